"""Stage 6 on a set that hubscr.pl scores and one that is scored against its text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_scoring_hub5 import GLM, SCTK, SEGMENTS, STM, TEXT

from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.data.manifest import read_manifest
from cascade_asr.data.sets import write_set
from cascade_asr.data.tokens import write_token_directory
from cascade_asr.errors import DataError
from cascade_asr.files import write_json
from cascade_asr.results.collect import Results, collect
from cascade_asr.results.comparison import compare_systems, open_system
from cascade_asr.results.html import html
from cascade_asr.results.markdown import compare_models, markdown
from cascade_asr.results.test_sets import open_set

needs_sctk = pytest.mark.skipif(SCTK is None, reason="hubscr.pl NOT FOUND; apt-get install sctk")
DEV = {"dev-1": "a b c d", "dev-2": "[laughter] e"}
# Full training recognises TEXT, with 1 error in 23 words; this stage three more.
WORSE = TEXT.replace("he is uh really here", "he was uh hear").replace("oh this", "so this")
LINEAGE = {"seconds": 1.0, "updates": 2, "frames": 3, "cpu_seconds": 1.0, "source": "",
           "frozen_layers": [], "trained_layers": ["a"], "seed": 1, "model_sha256": "0" * 64,
           "code": "x", "device": "CPU"}  # fmt: skip


def make_experiment(tmp_path: Path) -> Path:
    """data, dump and an experiment of full training and one stage, decoded."""
    hub5 = tmp_path / "data/eval2000/hub5"
    hub5.mkdir(parents=True)
    for name, content in (("glm", GLM), ("stm", STM), ("segments", SEGMENTS)):
        (hub5 / name).write_text(content)
    (tmp_path / "dump/tokens").mkdir(parents=True)
    (tmp_path / "dump/tokens/non_linguistic_symbols.txt").write_text("[laughter]\n")
    (tmp_path / "dump/dev").mkdir()
    write_table(tmp_path / "dump/dev/text", DEV)
    write_table(tmp_path / "dump/dev/utt2spk", dict.fromkeys(DEV, "dev"))
    worse = (WORSE, {**DEV, "dev-1": "a b c x [laughter]"})
    stages = {"full": (TEXT, DEV), "stage1": worse, "longer1": worse}
    entries = []
    for name, (text, dev) in stages.items():
        model = tmp_path / "exp" / name
        for test_set in ("dev", "eval2000"):
            (model / f"decode_{test_set}").mkdir(parents=True)
        (model / "decode_eval2000/text").write_text(text)
        write_table(model / "decode_dev/text", dev)
        write_json(model / "lineage.json", LINEAGE)
        (model / "history.jsonl").write_text("")
        entries.append({"name": name, "title": name, "value": 50.0, "kept": name == "full"})
    control = {"title": "longer training", "selected": "longer1", "stages": entries[2:]}
    selection = {"stages": entries[:2], "selected": "full", "metric": "wer_ctc", "mode": "min"}
    write_json(tmp_path / "exp/selection.json", selection | {"controls": {"longer": control}})
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_experiment(tmp_path)


def results_of(folder: Path) -> Results:
    return collect(folder / "exp", folder / "dump", ["dev", "eval2000"], folder / "data")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Scored once, for tests that only read."""
    return results_of(make_experiment(tmp_path_factory.mktemp("scored")))


@needs_sctk
def test_each_subset_is_a_column_beside_the_plain_sets(results: Results):
    assert results.sets == ["dev", "eval2000 swbd", "eval2000 callhm", "eval2000 all"]
    errors = {
        stage.name: [
            (stage.scores[name].result.total.errors, stage.scores[name].result.total.words)
            for name in results.sets
        ]
        for stage in results.stages
    }
    # here/hear and is/was are two, oh/so the third; really is missing, but optional
    assert errors["full"] == [(0, 5), (1, 6), (0, 17), (1, 23)]
    assert errors["stage1"] == [(1, 5), (1, 6), (3, 17), (4, 23)]
    rates = json.loads((results.directory / "stage1/scores.json").read_text())
    assert rates["eval2000 callhm WER"] == pytest.approx(100 * 3 / 17)
    assert set(rates) == {f"{name} WER" for name in results.sets} | {"dev CER"}


@needs_sctk
def test_intervals_and_comparisons_draw_conversation_sides(results: Results):
    full, stage = results.stages
    score = stage.scores["eval2000 all"]
    assert (score.interval.unit, stage.scores["dev"].interval.unit) == ("speaker", "utterance")
    versus = score.versus_full
    assert versus.unit == "speaker" and full.scores["eval2000 all"].versus_full is None
    assert versus.difference == pytest.approx(100 * 3 / 23)
    assert versus.low >= 0 and versus.probability_b_better < 0.5
    assert versus.mapsswe.segments > 0 and versus.mapsswe.mean < 0
    table = stage.directory / "decode_eval2000/score_hub5/callhm/changes.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert [(row[0], row[4]) for row in rows] == [("en_4156_a-000", "2"), ("en_4156_b-000", "1")]


@needs_sctk
def test_tables_and_report_show_them(results: Results):
    text, page = markdown(results), html(results)
    header = next(line for line in text.splitlines() if line.startswith("| stage "))
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert columns[2:6] == [f"{name} WER (95 % interval)" for name in results.sets]
    assert "stage1 against full training on eval2000 callhm: +17.6 % WER" in text
    note = "eval2000: scored by NIST&#x27;s hubscr.pl; its intervals and comparisons resample whole"
    assert note in page and note.replace("&#x27;", "'") in text
    assert "longer1 against full training on eval2000 swbd: +0.0 % WER" in text
    branches = next(line for line in text.splitlines() if line.startswith("| branch"))
    assert "eval2000 all WER" in branches and "eval2000 callhm WER" in branches
    assert any(line.startswith("| longer training") and "17.65" in line for line in text.splitlines())
    assert "CER on dev: full 0.0, stage1" in text and "CER on eval2000" not in text
    assert "exp/STAGE/decode_SET/score_hub5/SUBSET" in text
    assert "<th>eval2000 swbd WER (95 % interval)</th>" in page
    row = ["full", "eval2000 swbd", "16.67 %", "6", "1", "0", "0", "1 of 2"]
    assert "".join(f"<td>{cell}</td>" for cell in row) in page
    assert '"en_4156_a-000"' in page  # subsets are not embedded twice
    assert page.count('"en_4156_a-000"') == 1


@needs_sctk
def test_two_models_are_compared_by_the_same_rules(folder: Path):
    full, stage = folder / "exp/full", folder / "exp/stage1"
    lines = compare_models(full, stage, folder / "dump", "eval2000", folder / "data")
    assert len(lines) == 3 and "on eval2000 callhm: +17.6 % WER" in lines[1]
    (line,) = compare_models(full, stage, folder / "dump", "dev", folder / "data")
    assert "on dev: +20.0 % WER" in line
    assert not (stage / "decode_eval2000/score_hub5").exists()


@needs_sctk
@pytest.mark.parametrize(
    ("missing", "message"),
    [("sw_4390", "2 of 4 conversation sides of the stm have no hypothesis, first sw_4390 A"),
     ("en_4156-A_2", r"segment 'en_4156-A_2' has no hypothesis \(1 of 5\)")],
)  # fmt: skip
def test_a_conversation_or_segment_that_was_not_decoded_is_an_error(
    folder: Path, missing: str, message: str
):
    text = folder / "exp/stage1/decode_eval2000/text"
    text.write_text("".join(line for line in TEXT.splitlines(True) if missing not in line))
    with pytest.raises(DataError, match=message):
        results_of(folder)


def test_a_set_that_was_not_decoded_is_an_error(folder: Path):
    (folder / "exp/full/decode_dev/text").unlink()
    with pytest.raises(DataError, match="exp/full/decode_dev/text: not decoded; run stage 5"):
        collect(folder / "exp", folder / "dump", ["dev"])


@needs_sctk
def test_damaged_references_are_named(folder: Path):
    (folder / "data/eval2000/hub5/glm").unlink()
    with pytest.raises(DataError, match="data/eval2000/hub5/glm: no such file"):
        open_set("eval2000", folder / "dump", folder / "data")


def test_utterances_without_text_are_decoded_where_the_reference_is_elsewhere(tmp_path: Path):
    tokenizer = write_token_directory(tmp_path / "tokens", ["ab"], "char")
    directory = tmp_path / "rt03"
    directory.mkdir()
    for name, table in (
        ("text", {"u1": "a b", "u2": ""}),
        ("utt2spk", {"u1": "u", "u2": "u"}),
        ("utt2num_frames", {"u1": "9", "u2": "8"}),
        ("feats.scp", {"u1": "x.ark:1", "u2": "x.ark:2"}),
    ):
        write_table(directory / name, table)
    with pytest.raises(DataError, match="1 utterances without text: u2"):
        write_set(directory, tokenizer, required=True)
    write_set(directory, tokenizer, required=True, keep_empty=True)
    manifest = read_manifest(directory / "manifest.tsv")
    assert manifest.utterances == ["u1", "u2"] and manifest.token_lengths.tolist() == [3, 0]


def test_a_tie_is_rounded_as_in_the_report_of_sclite(folder: Path):
    """One error in 16 words is 6.25 %, where sclite prints 6.3 and Python 6.2."""
    text = {f"dev-{number}": "a b c d" for number in range(4)}
    write_table(folder / "dump/dev/text", text)
    write_table(folder / "dump/dev/utt2spk", dict.fromkeys(text, "dev"))
    for name in ("full", "stage1", "longer1"):
        write_table(folder / f"exp/{name}/decode_dev/text", {**text, "dev-0": "a b x d"})
    found = collect(folder / "exp", folder / "dump", ["dev"])
    table = markdown(found)
    report = (folder / "exp/full/decode_dev/score_wer/result.txt").read_text()
    (average,) = (line for line in report.splitlines() if "Sum/Avg" in line)
    assert average.split()[-3] == "6.3"
    assert table.count("| 6.3 (0.0-") == 2, table
    systems = [open_system(folder / "exp" / name, folder / "dump") for name in ("full", "stage1")]
    assert all(" 6.3 (" in f" {row[2]}" for row in compare_systems(systems, ["dev"]).rows)
