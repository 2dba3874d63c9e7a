"""cascade-asr compare: values, tests and differences of experiments, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from browser import browser, needs_chromium, open_page

from cascade_asr.data.kaldi.tables import read_table, write_table
from cascade_asr.errors import CascadeError
from cascade_asr.files import write_json
from cascade_asr.recipe.marker import Marker, described
from cascade_asr.results.comparison import ComparedSystems, compare_systems, open_system
from cascade_asr.results.comparison_page import comparison_page, comparison_text
from cascade_asr.results.markdown import compare_models
from cascade_asr.results.seeds import check_seeds
from cascade_asr.scoring.significance import CRITICAL_Z

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = {f"s{number % 2}-u{number:02d}": "one two three four five" for number in range(40)}


def training(folder: Path, wrong: int, dev: float, options: dict) -> dict:
    """A finished training that recognises ``wrong`` utterances with one error each."""
    write_json(folder / "lineage.json", {"parameters": 12345, "updates": 600, "seed": options["seed"]})
    write_json(folder / "done.json", {"digest": str(wrong), "model_sha256": "s", "metrics": {}})
    write_json(folder / "identity.json", {"config": str(options), "data": "d", "frozen": []})
    (folder / "config.yaml").write_text(yaml.safe_dump(options))
    for name in ("test", "other"):
        decoded = folder / f"decode_{name}"
        decoded.mkdir()
        write_table(decoded / "text", {
            key: "one two three four" if number < wrong else text
            for number, (key, text) in enumerate(REFERENCE.items())
        })  # fmt: skip
    return {"name": folder.name, "title": folder.name, "value": dev, "kept": True}


def make(recipe: Path, tag: str, wrong: tuple[int, int], **options) -> Path:
    """An experiment with full training and stage 1, which is selected."""
    options = {"seed": 1, "encoder_conf": {"hidden_size": 320}, "num_workers": 2, **options}
    experiment = recipe / "exp" / tag
    entries = [
        training(experiment / name, count, 10.0 - number, options)
        for number, (name, count) in enumerate(zip(("full", "stage1"), wrong, strict=True))
    ]
    write_json(experiment / "selection.json", {
        "metric": "wer_ctc", "mode": "min", "selected": "stage1", "stages": entries,
        "complete": True, "controls": {},
    })  # fmt: skip
    return experiment


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name in ("test", "other"):
        folder = tmp_path / "dump" / name
        folder.mkdir(parents=True)
        write_table(folder / "text", REFERENCE)
        write_table(folder / "utt2spk", {key: key[:2] for key in REFERENCE})
    make(tmp_path, "a", (30, 20))
    make(tmp_path, "b", (28, 4), encoder_conf={"hidden_size": 64}, max_epoch=3, num_workers=0)
    return tmp_path


def compared(*folders: Path, sets: tuple[str, ...] = ()) -> ComparedSystems:
    return compare_systems([open_system(each) for each in folders], sets)


def refusal(*folders: Path, sets: tuple[str, ...] = ()) -> str:
    with pytest.raises(CascadeError) as caught:
        compared(*folders, sets=sets)
    return str(caught.value)


def test_the_table_has_error_rates_of_what_each_experiment_selected(recipe):
    found = compared(recipe / "exp/a", recipe / "exp/b", sets=("test",))
    assert found.header[2] == "test WER (95 % interval)"
    rows = [[cell.partition(" (")[0] for cell in row] for row in found.rows]
    # 20 and 4 deletions in 200 words
    assert rows == [
        [f"{recipe}/exp/a/stage1", "wer_ctc 9", "10.0", "12,345", "600", "1"],
        [f"{recipe}/exp/b/stage1", "wer_ctc 9", "2.0", "12,345", "600", "1"],
    ]


def test_the_test_is_that_of_matched_pairs(recipe):
    found = compared(recipe / "exp/a", recipe / "exp/b", sets=("test",))
    (sentence,) = found.sentences
    assert sentence.startswith(
        f"{recipe}/exp/b/stage1 against {recipe}/exp/a/stage1 on test: -8.0 % WER ("
    )
    # 20 segments with an error in either: 16 times one error fewer, 4 times none; z by hand
    mean, deviation = 0.8, (20 / 19 * 0.8 * 0.2) ** 0.5
    z = mean / (deviation / 20**0.5)
    assert f"MAPSSWE Z {z:.2f}" in sentence and z > CRITICAL_Z
    assert sentence.endswith(", significant")


def test_several_sets_and_trainings_are_tested_against_the_first(recipe):
    make(recipe, "c", (30, 20))
    found = compared(recipe / "exp/a/full", recipe / "exp/a", recipe / "exp/c")
    assert len(found.rows) == 3 and len(found.sentences) == 4
    assert "with 4 tests, use 0.013 instead of 0.05" in "".join(found.notes)
    same = compared(recipe / "exp/a", recipe / "exp/c").sentences
    assert all("+0.0 % WER" in each and "not significant" in each for each in same)


def test_options_that_differ_are_listed_without_those_that_change_no_result(recipe):
    found = compared(recipe / "exp/a", recipe / "exp/b")
    assert found.changes == [["encoder_conf.hidden_size", "320", "64"], ["max_epoch", "-", "3"]]
    text = comparison_text(found)
    assert "| encoder_conf.hidden_size | 320" in text and "num_workers" not in text
    same = compared(recipe / "exp/a", recipe / "exp/a/full")
    assert same.changes == [] and "options do not differ" in comparison_text(same)


def test_what_may_not_be_compared_is_refused(recipe, tmp_path_factory):
    a, b = recipe / "exp/a", recipe / "exp/b"
    assert "give at least two" in refusal(a)
    assert f"{a}/stage1 is given twice" in refusal(a, a / "stage1")
    assert "not tested on tset" in refusal(a, b, sets=("tset",))
    assert "no such folder" in refusal(a, recipe / "exp/zz")
    # another recipe, whose test set of the same name is another one
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(recipe, other, dirs_exist_ok=True)
    assert compared(a, other / "exp/b").sentences == [
        each.replace(f"{recipe}/exp/b", f"{other}/exp/b") for each in compared(a, b).sentences
    ]
    text = other / "dump/test/text"
    text.write_text(text.read_text().replace("five", "six"))
    assert "the reference of test is not the same" in refusal(a, other / "exp/b", sets=("test",))
    # not finished, nothing selected, nothing in common
    (b / "stage1/done.json").unlink()
    (b / "stage1/lineage.json").unlink()
    assert f"{b}/stage1: not a finished training; run --stage 4 --cascade-stages 1" in refusal(a, b)
    (b / "selection.json").unlink()
    assert "nothing is selected yet" in refusal(a, b)
    shutil.rmtree(b / "full/decode_other")
    shutil.rmtree(a / "stage1/decode_test")
    assert "no set that all were tested on" in refusal(a, b / "full")


def test_symbols_that_one_does_not_score_are_scored_for_none(recipe):
    before = compared(recipe / "exp/a", recipe / "exp/b", sets=("test",))
    for experiment in ("a", "b"):
        decoded = recipe / f"exp/{experiment}/stage1/decode_test/text"
        texts = {key: f"{text} <NOISE>" for key, text in read_table(decoded).items()}
        write_table(decoded, texts)
    symbols = recipe / "exp/b/tokens/non_linguistic_symbols.txt"
    symbols.parent.mkdir()
    symbols.write_text("<NOISE>\n")
    after = compared(recipe / "exp/a", recipe / "exp/b", sets=("test",))
    assert after.rows == before.rows and after.sentences == before.sentences
    assert [each for each in after.notes if each.startswith("<NOISE>: non-linguistic symbols of only")]
    models = compare_models(recipe / "exp/a/stage1", recipe / "exp/b/stage1", recipe / "dump", "test")
    assert [each.partition(":")[2] for each in models] == [
        each.partition(":")[2] for each in before.sentences
    ]


def test_experiments_and_trainings_may_be_named_by_dots(recipe, monkeypatch):
    (recipe / "exp/a/stage1/plots").mkdir()
    for folder, other in ((".", "full"), ("stage1", "../full"), ("stage1/plots", "../../full")):
        monkeypatch.chdir(recipe / "exp/a" / folder)
        dots = "." if folder != "stage1/plots" else ".."
        found = compared(Path(dots), Path(other))
        assert [Path(name).name for name in found.names] == ["stage1", "full"]
        assert len(found.sentences) == 2


def test_experiments_may_be_links_to_another_place(recipe, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("scratch")
    for old, new in (("exp", scratch / "folder"), ("exp/b", scratch / "b")):
        (recipe / old).rename(new)
        (recipe / old).symlink_to(new)
    assert len(compared(recipe / "exp/a", recipe / "exp/b").sentences) == 2


def test_dev_values_without_the_same_utterances_have_a_note(recipe):
    header = "utterance\tencoder_frames\tframes_needed\n"
    for tag, frames in (("a", 3), ("b", 2)):
        path = recipe / f"exp/{tag}/stage1/dropped_dev.tsv"
        path.write_text(f"{header}s1-u01\t{frames}\t5\n")
    assert not any("leave out" in each for each in compared(recipe / "exp/a", recipe / "exp/b").notes)
    path.write_text(path.read_text() + "s1-u03\t2\t3\n")
    notes = compared(recipe / "exp/a", recipe / "exp/b").notes
    assert any("leave out different utterances as too short" in each for each in notes)


def test_other_data_are_told_in_words(recipe):
    path = recipe / "exp/b/stage1/identity.json"
    write_json(path, json.loads(path.read_text()) | {"data": "e"})
    found = compared(recipe / "exp/a", recipe / "exp/b")
    assert "training or dev data differ: dev values may not be comparable" in found.notes
    assert "data" not in [row[0] for row in found.changes]


def test_without_tests_dev_values_and_options_are_compared(recipe):
    a, b = recipe / "exp/a", recipe / "exp/b"
    for name in ("test", "other"):
        shutil.rmtree(b / f"stage1/decode_{name}")
    found = compared(a, b)
    assert found.header == ["training", "dev", "parameters", "updates", "seed"]
    assert [row[1] for row in found.rows] == ["wer_ctc 9", "wer_ctc 9"]
    text = comparison_text(found)
    assert "Note: no test set is compared, because these were not tested yet (stage 5): " in text
    assert f"{b}/stage1." in text and f"{a}/stage1." not in text
    assert "| encoder_conf.hidden_size | 320" in text and "\n\n\n" not in text
    assert f"{b}/stage1: not tested on test; run stage 5" in refusal(a, b, sets=("test",))


def test_language_models_without_tests_are_compared(recipe):
    for tag in "ab":
        config = recipe / f"exp/{tag}/stage1/config.yaml"
        config.write_text(config.read_text() + "lm: awd_lstm\n")
        texts = {"test": {"perplexity": 100.0, "log_probability": -4605.17, "tokens": 1000}}
    write_json(recipe / "exp/a/stage1/perplexity.json", {"texts": texts})
    found = compared(recipe / "exp/a", recipe / "exp/b")
    assert found.header[2] == "parameters" and found.notes[0].endswith("exp/b/stage1")


def test_what_a_replaced_training_recognised_is_refused(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    for tag in "ab":
        folder = f"exp/{tag}/stage1"
        marker = Marker(Path(f"{folder}/decode_test/.done"))
        marker.begin(described([f"@{folder}/done.json", "@dump/test/text"]))
        marker.finish([f"{folder}/decode_test/text"])
    assert compared(Path("exp/a"), Path("exp/b"), sets=("test",)).sentences
    write_json(Path("exp/b/stage1/done.json"), {"digest": "new", "model_sha256": "t", "metrics": {}})
    assert "exp/b/stage1/decode_test: recognised by an earlier training of stage1" in refusal(
        Path("exp/a"), Path("exp/b"), sets=("test",)
    )


def test_a_set_without_reference_words_has_no_error_rate(recipe):
    """A set that is only to be decoded: 0.0 % would look perfect."""
    write_table(recipe / "dump/other/text", dict.fromkeys(REFERENCE, ""))
    a, b = recipe / "exp/a", recipe / "exp/b"
    found = compared(a, b)
    assert [title.split()[0] for title in found.header[2:-3]] == ["test"] and len(found.sentences) == 1
    told = "other: its text has no words, so it was decoded but has no error rate"
    assert told in found.notes
    assert compare_models(a / "full", b / "full", recipe / "dump", "other") == [told]


def test_what_is_no_training_is_told(recipe):
    a, tables = recipe / "exp/a", recipe / "exp/a_seeds"
    tables.mkdir()
    (tables / "RESULTS.md").write_text("mean")
    (a / "best").symlink_to("stage1")
    assert compared(a / "full", a / "best").sentences
    for folder in (tables, recipe / "exp", a / "full/decode_test"):
        assert f"{folder}: neither an experiment nor a training of one; expected" in refusal(a, folder)
    with pytest.raises(CascadeError, match="exp/a: an experiment; .* one of its trainings, such as .*a/stage1"):
        compare_models(a, recipe / "exp/b/stage1", recipe / "dump", "test")


@pytest.mark.parametrize("lm", ["exp/lm_b/stage1", "../other/exp/b/stage1"])
def test_a_language_model_of_a_like_name_is_not_taken_for_the_training(recipe, monkeypatch, lm: str):
    """Its record may end in the same words as the model's: they are two models."""
    monkeypatch.chdir(recipe)
    write_json(Path(lm) / "done.json", {"digest": "lm", "model_sha256": "l", "metrics": {}})
    for tag in "ab":
        folder = f"exp/{tag}/stage1"
        marker = Marker(Path(f"{folder}/decode_test/.done"))
        marker.begin(described([f"@{folder}/done.json", f"@{lm}/done.json"]))
        marker.finish([f"{folder}/decode_test/text"])
    found = compared(Path("exp/a"), Path("exp/b"), sets=("test",))
    assert found.sentences and not any("decoded with different" in each for each in found.notes)
    monkeypatch.chdir("exp/b")
    assert compared(Path("../a"), Path("stage1"), sets=("test",)).sentences
    monkeypatch.chdir(recipe)
    Path("exp/b").rename("exp/renamed")  # its own record is still no language model
    found = compared(Path("exp/a"), Path("exp/renamed"), sets=("test",))
    assert not any("decoded with different" in each for each in found.notes)


def test_other_decoding_options_are_noted(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    for tag in "ab":
        folder, options = f"exp/{tag}/stage1", Path("decode.yaml")
        options.write_text(f"beam_size: {1 if tag == 'a' else 20}\n")
        marker = Marker(Path(f"{folder}/decode_test/.done"))
        marker.begin(described([f"@{folder}/done.json", f"@{options}"]))
        marker.finish([f"{folder}/decode_test/text"])
    told = "decoded with different options or language models"
    found = compared(Path("exp/a"), Path("exp/b"), sets=("test",))
    assert any(told in each for each in found.notes)
    models = [Path(f"exp/{tag}/stage1") for tag in "ab"]
    *_, note = compare_models(*models, Path("dump"), "test")
    assert note.startswith("Note: on test ") and told in note
    assert not any(told in each for each in compared(*models, sets=("other",)).notes)


def test_what_was_recognised_from_other_data_is_refused(recipe, monkeypatch):
    """With another corpus in data/ and stages 0 to 2 of it, the ids may well be the same."""
    monkeypatch.chdir(recipe)
    manifest = Path("dump/test/manifest.tsv")
    manifest.write_text("s0-u00 of then\n")
    for tag in "ab":
        folder = f"exp/{tag}/stage1"
        marker = Marker(Path(f"{folder}/decode_test/.done"))
        marker.begin(described([f"@{folder}/done.json", f"@{manifest}"]))
        marker.finish([f"{folder}/decode_test/text"])
    assert compared(Path("exp/a"), Path("exp/b"), sets=("test",)).sentences
    assert compare_models(Path("exp/a/stage1"), Path("exp/b/stage1"), Path("dump"), "test")
    marker.begin({})
    assert "exp/b/stage1/decode_test: is being decoded again" in refusal(
        Path("exp/a"), Path("exp/b"), sets=("test",)
    )
    marker.finish([f"{folder}/decode_test/text"])
    manifest.write_text("s0-u00 of today\n")
    told = "exp/a/stage1/decode_test: recognised from other data than dump/test has now; run stage 5"
    assert told in refusal(Path("exp/a"), Path("exp/b"), sets=("test",))
    with pytest.raises(CascadeError, match="recognised from other data"):
        compare_models(Path("exp/a/stage1"), Path("exp/b/stage1"), Path("dump"), "test")


def test_each_experiment_is_scored_in_the_folder_that_it_was_trained_with(recipe):
    """Its references and its non-linguistic symbols may be others than those of dump/."""
    numbered = {key: f"{text} <noise>" for key, text in REFERENCE.items()}
    for name in ("test", "other"):
        shutil.copytree(recipe / "dump" / name, recipe / "feats/tokens_noise" / name)
        write_table(recipe / "feats/tokens_noise" / name / "text", numbered)
    tokens = recipe / "feats/tokens_noise/tokens"
    tokens.mkdir()
    (tokens / "non_linguistic_symbols.txt").write_text("<noise>\n")
    write_json(recipe / "exp/a/arguments.json", {"dump": "feats/tokens_noise"})
    found = compared(recipe / "exp/a/full", recipe / "exp/a/stage1", sets=("test",))
    # 30 and 20 deletions in 200 words
    assert [row[2].partition(" (")[0] for row in found.rows] == ["15.0", "10.0"]
    assert " is not the same: " in refusal(recipe / "exp/a", recipe / "exp/b")
    for name in ("test", "other"):  # the same texts, where <noise> is a word
        write_table(recipe / "dump" / name / "text", numbered)
    notes = compared(recipe / "exp/a", recipe / "exp/b", sets=("test",)).notes
    assert any(each.startswith("<noise>: non-linguistic symbols of only some") for each in notes)


def test_language_models_by_perplexity_and_bits(recipe):
    def evaluated(tag: str, perplexity: float, log_probability: float, digest: str = "t") -> None:
        texts = {"test": {"perplexity": perplexity, "log_probability": log_probability, "tokens": 1000}}
        content = {"texts": texts, "texts_sha256": {"test": digest}}
        write_json(recipe / f"exp/{tag}/stage1/perplexity.json", content)
        (recipe / f"exp/{tag}/tokens").mkdir(exist_ok=True)
        (recipe / f"exp/{tag}/tokens/tokens.txt").write_text("a\n")

    evaluated("a", 100.0, -4605.17)
    evaluated("b", 50.0, -3912.02)
    found = compared(recipe / "exp/a", recipe / "exp/b")
    assert [row[2] for row in found.rows] == ["100.00", "50.00"]
    assert found.sentences[0].endswith("on test: -50.0 % perplexity, -1.0000 bits per token")
    assert "is a language model and" in refusal(recipe / "exp/a", recipe / "exp/b/full")
    evaluated("b", 50.0, -3912.02, digest="of another text")
    assert "test is not the same text: perplexities" in refusal(recipe / "exp/a", recipe / "exp/b")
    path = recipe / "exp/b/stage1/perplexity.json"
    path.write_text(path.read_text().replace("1000", "1001"))
    assert "test has 1000 and 1001 tokens: perplexities" in refusal(recipe / "exp/a", recipe / "exp/b")
    # trained with the words that dump had then
    (recipe / "exp/b/tokens/tokens.txt").write_text("a\nb\n")
    assert "the vocabulary is not the same" in refusal(recipe / "exp/a", recipe / "exp/b")


def test_seeds_are_pointed_to_their_own_test(recipe):
    make(recipe, "a2", (30, 19), seed=2)
    check_seeds([recipe / "exp/a", recipe / "exp/a2"])
    found = compared(recipe / "exp/a", recipe / "exp/a2")
    assert any("differ only in their seeds" in each for each in found.notes)
    assert found.changes[0] == ["seed", "1", "2"]
    assert not any("seed" in each for each in compared(recipe / "exp/a", recipe / "exp/b").notes)


def test_the_command_prints_and_writes_a_page(recipe):
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cascade_asr.cli.main", "compare", *words], cwd=recipe,
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    text = run("exp/a", "exp/b", "--sets", "test", "--html", "out/compare.html")
    assert "exp/b/stage1 against exp/a/stage1 on test: -8.0 % WER" in text
    page = (recipe / "out/compare.html").read_text()
    assert "-8.0 % WER" in page and "<code>max_epoch</code>" in page and 'src="' not in page
    text = run("exp/a", "exp/b", "--sets", "test", "--sets", "other")
    assert all(f"on {name}: " in text for name in ("test", "other"))
    help_text = run("--help")
    assert "Examples:" in help_text and "default: print only" in help_text


@needs_chromium
def test_the_page_fits_and_the_console_is_empty(recipe):
    for tag in "ab":
        options = yaml.safe_load((recipe / f"exp/{tag}/stage1/config.yaml").read_text())
        options["train_<b>"] = "an_option_with_a_value_that_has_no_blank_" * 4 + tag
        (recipe / f"exp/{tag}/stage1/config.yaml").write_text(yaml.safe_dump(options))
    path = recipe / "compare.html"
    path.write_text(comparison_page(compared(recipe / "exp/a", recipe / "exp/b")))
    with browser() as driver:
        for width in (390, 768, 1280):
            open_page(driver, path, width)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert driver.get_log("browser") == []
        assert "train_<b>" in driver.find_element("css selector", "main").text
    assert json.dumps("stage1") not in path.read_text()
