"""Experiments that are compared as seeds differ in their seed, and in nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from conftest import command
from test_branch_results import experiment

from cascade_asr.errors import ConfigError
from cascade_asr.results.seeds import check_seeds

OPTIONS = {"encoder": "rnn", "encoder_conf": {"hidden_size": 320}, "max_epoch": 5, "num_workers": 2}


def seed(folder: Path, number: int, full: dict | None = None, **identity) -> Path:
    """An experiment with the files that describe it."""
    experiment(folder, 12.0, 10.0)
    for name in ("full", "stage1"):
        options = {**OPTIONS, "seed": number, **(full or {})}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(options))
        content = {"config": str(number), "seed": number, "frozen": [], "data": "d", "source": str(folder)}
        (folder / name / "identity.json").write_text(json.dumps(content | identity))
    plan = {"title": "top-down cascade", "stop": "patience", "stages": [{"name": "full"}]}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def refusal(*folders: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        check_seeds(folders)
    return str(caught.value)


def test_seeds_of_one_experiment_are_accepted(tmp_path: Path):
    check_seeds([seed(tmp_path / str(number), number) for number in (1, 2, 3)])
    workers = seed(tmp_path / "4", 4, {"num_workers": 0})  # changes no result
    check_seeds([tmp_path / "1", workers])


def test_a_cascade_that_patience_ended_earlier_is_accepted(tmp_path: Path):
    folders = [seed(tmp_path / str(number), number) for number in (1, 2)]
    path = folders[1] / "selection.json"
    content = json.loads(path.read_text())
    content["stages"].pop()
    path.write_text(json.dumps(content | {"selected": "full"}))
    check_seeds(folders)


def test_other_networks_options_and_data_are_refused_by_name(tmp_path: Path):
    train = seed(tmp_path / "train", 1)
    tiny = seed(tmp_path / "tiny", 1, {"encoder_conf": {"hidden_size": 64}, "max_epoch": 2})
    text = refusal(train, tiny)
    assert text.startswith(f"{train} and {tiny} are not seeds of one experiment; they differ in more")
    for name in ("full", "stage1"):
        assert f"\n  {name}: encoder_conf.hidden_size: 320 -> 64\n" in text
        assert f"\n  {name}: max_epoch: 5 -> 2\n" in text
    assert "seed:" not in text.partition("\n")[2]
    data = seed(tmp_path / "data", 2, data="e")
    assert "full: data: the training set or the dev set is different" in refusal(train, data)
    frozen = seed(tmp_path / "frozen", 3, frozen=["ctc"])
    assert "stage1: frozen: none -> ctc" in refusal(train, frozen)


def test_an_imported_model_is_no_seed_of_a_trained_one(tmp_path: Path):
    folders = [seed(tmp_path / str(number), number) for number in (1, 2, 3)]
    for folder in folders[1:]:
        path = folder / "full/lineage.json"
        content = json.loads(path.read_text()) | {"imported_weights": f"{folder.name}.pth"}
        path.write_text(json.dumps(content))
    check_seeds(folders[1:])
    assert "\n  full: imported: unset -> yes" in refusal(*folders[:2])


def test_other_plans_and_metrics_are_refused(tmp_path: Path):
    train, other = seed(tmp_path / "train", 1), seed(tmp_path / "other", 2)
    plan = json.loads((other / "plan.json").read_text())
    (other / "plan.json").write_text(json.dumps(plan | {"stop": "exhaustive"}))
    assert "plan: stop: patience -> exhaustive" in refusal(train, other)
    third = seed(tmp_path / "third", 3)
    content = json.loads((third / "selection.json").read_text())
    (third / "selection.json").write_text(json.dumps(content | {"metric": "acc"}))
    assert "selection: metric: wer_ctc -> acc" in refusal(train, third)


def test_test_sets_that_have_changed_between_two_seeds_are_refused(tmp_path: Path):
    folders = [seed(tmp_path / str(number), number) for number in (1, 2)]
    for folder in folders:
        (folder / "full/decode_test/score_wer").mkdir(parents=True)
        (folder / "full/decode_test/score_wer/ref.trn").write_text("one two (a-1)\n")
        (folder / "full/perplexity.json").write_text(json.dumps({"texts_sha256": {"valid": "v"}}))
    check_seeds(folders)
    (folders[1] / "full/perplexity.json").write_text(json.dumps({"texts_sha256": {"valid": "w"}}))
    assert "\n  test set valid: its texts are not the same; run stages 5 and 6" in refusal(*folders)
    (folders[1] / "full/decode_test/score_wer/ref.trn").write_text("one three (a-1)\n")
    assert "\n  test set test: its texts are not the same" in refusal(*folders)


def test_seeds_of_a_module_that_were_evaluated_on_other_data_are_refused(tmp_path: Path):
    folders = [seed(tmp_path / str(number), number) for number in (1, 2)]
    for folder in folders:
        (folder / "evaluated_sets.json").write_text(json.dumps({"test": "a", folder.name: folder.name}))
    check_seeds(folders)
    (folder / "evaluated_sets.json").write_text(json.dumps({"test": "b"}))
    assert "\n  test set test: other data were evaluated under this name" in refusal(*folders)


def test_seeds_that_were_tested_with_other_options_are_refused(tmp_path: Path):
    folders = [seed(tmp_path / str(number), number) for number in (1, 2)]
    for folder in folders:
        decoded = folder / "full/decode_test"
        decoded.mkdir()
        (decoded / "text").write_text("a-1 one two\n")
        record = f"input exp/{folder.name}/full/done.json={folder.name * 64}\n"
        (decoded / ".done").write_text(f"{record}input conf/decode.yaml={'a' * 64}\n")
    check_seeds(folders)
    (decoded / ".done").write_text(f"{record}input conf/decode.yaml={'b' * 64}\n")
    assert "\n  test set test: decoded with other options or another language model; run" in refusal(
        *folders
    )
    (decoded / ".done").unlink()  # not recorded
    for folder, theta in zip(folders, (0.6, 0.7), strict=True):
        options = {"batch_size": int(10 * theta), "cache_theta": 0.6}
        (folder / "full/perplexity.json").write_text(json.dumps({"options": options}))
    check_seeds(folders)
    (folders[1] / "full/perplexity.json").write_text(json.dumps({"options": {"cache_theta": 0.7}}))
    assert "\n  perplexities: cache_theta: 0.6 -> 0.7; run stages 5 and 6 of both" in refusal(*folders)


@pytest.mark.parametrize("damage", ["seed: 1\nencoder_conf: {hid", "seed: 1\nval_", "[]", "\0"])
def test_damaged_options_are_named(tmp_path: Path, damage: str):
    folders = [seed(tmp_path / str(number), number) for number in (1, 2)]
    (folders[1] / "full/config.yaml").write_text(damage)
    assert f"{folders[1]}/full/config.yaml" in refusal(*folders)


def test_the_same_seed_twice_is_refused(tmp_path: Path):
    one, other = seed(tmp_path / "one", 7), seed(tmp_path / "other", 7)
    assert refusal(one, other) == (
        f"{one} and {other} have the same seed, 7: give each seed once"
    )
    assert "have the same seed" in refusal(one, one)


def test_the_command_refuses_without_a_traceback(tmp_path: Path):
    folders = [str(seed(tmp_path / "train", 1)), str(seed(tmp_path / "tiny", 2, {"max_epoch": 2}))]
    words = ["cascade_asr.cli.compare", "seeds", "--outdir", tmp_path]
    done = command(*words, *folders)
    assert done.returncode != 0 and "full: max_epoch: 5 -> 2" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "RESULTS.md").exists()
    folders[1] = str(seed(tmp_path / "two", 2))
    done = command(*words, *folders)
    assert done.returncode == 0, done.stderr
    assert "Results of 2 seeds" in (tmp_path / "RESULTS.md").read_text()
    # as exp/TAG_seed* would name them
    done = command(*words, *folders, tmp_path)
    assert done.returncode == 0 and "Results of 2 seeds" in (tmp_path / "RESULTS.md").read_text()
    for other, word in ((tmp_path / "train/full", "full"), (tmp_path / "none", "none")):
        done = command(*words, *folders, other)
        assert done.returncode != 0 and f"{word}: not an experiment; expected a folder" in done.stderr
