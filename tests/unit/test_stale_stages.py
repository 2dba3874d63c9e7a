"""A change of options is noticed and reported by name, and no trained model is lost."""

from __future__ import annotations

import json
import logging
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from test_selection import make_engine, selection

from cascade_asr.errors import ConfigError
from cascade_asr.training import checkpoint
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.finished import read_done


@pytest.fixture(scope="module")
def finished(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with full training and two stages, to be copied."""
    experiment = Experiment(tmp_path_factory.mktemp("finished") / "exp", dump, "train", "dev")
    experiment.adopt()
    engine = make_engine(experiment)
    engine.train_full()
    engine.run([1, 2])
    return experiment.directory


@pytest.fixture
def engine_of(finished: Path, dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Builds engines over one copy of the finished experiment."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    shutil.copytree(finished, tmp_path / "exp")
    experiment = Experiment(tmp_path / "exp", dump, "train", "dev")
    return partial(make_engine, experiment)


def made(folder: Path) -> dict[str, int]:
    """When each model was written: equal if nothing was trained again."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/model.pth")}


def forget_names(folder: Path) -> None:
    """Make identities what they were when they had only a hash of the options."""
    for path in folder.glob("*/identity.json"):
        content = json.loads(path.read_text())
        del content["options"]
        path.write_text(json.dumps(content))


# ---- stale trainings ------------------------------------------------------------------


def test_stage_4_alone_with_another_learning_rate_stops_and_names_it(engine_of):
    engine = engine_of(optim_conf={"lr": 0.003})
    folder = engine.runner.task.directory
    before = made(folder)
    for numbers in ([1], [2], [1, 2]):
        with pytest.raises(ConfigError) as caught:
            engine.run(numbers)
        assert f"needs full training, but {folder}/full was trained differently: " in str(
            caught.value
        )
        assert "optim_conf.lr: 0.02 -> 0.003; run --stage 3" in str(caught.value)
    assert made(folder) == before


def test_a_stage_is_not_trained_from_one_of_other_cuts(engine_of):
    engine = engine_of({"cuts": ["encoder.block1", "encoder.block0"]})
    with pytest.raises(ConfigError) as caught:
        engine.run([2])
    assert "frozen: classifier -> encoder.block1, classifier; run" in str(caught.value)
    assert "run --stage 4 --cascade-stages 1" in str(caught.value)


def test_a_change_two_stages_below_is_told(engine_of):
    engine = engine_of({"stages": {"1": {"max_epoch": 2}}})
    with pytest.raises(ConfigError, match="exp/stage1 was trained differently: max_epoch: 1 -> 2;"):
        engine.run([2])


def test_training_again_names_what_changed(engine_of, caplog):
    engine = engine_of(optim_conf={"lr": 0.02, "eps": 1e-7}, seed=4, grad_clip=1.0)
    with caplog.at_level(logging.WARNING):
        engine.train_full()
    assert (
        "options changed (grad_clip: 5.0 -> 1.0; optim_conf.eps: unset -> 1e-07; seed: 3 -> 4); "
        "training again" in caplog.text
    )
    folder = engine.runner.task.directory
    assert (folder / "full.replaced.1/model.pth").is_file()


def test_experiments_with_hashes_alone_are_recognised(engine_of):
    engine = engine_of()
    folder = engine.runner.task.directory
    forget_names(folder)
    before = made(folder)
    engine.train_full()
    engine.run([1, 2])
    assert made(folder) == before
    with pytest.raises(ConfigError, match=r"optim_conf.lr: 0.02 -> 0.5; run --stage 3"):
        engine_of(optim_conf={"lr": 0.5}).run([1])


def test_an_option_that_is_new_in_the_program_changes_nothing(engine_of):
    """Its hash is then different, and every training would be repeated."""
    engine = engine_of()
    folder = engine.runner.task.directory
    before = made(folder)
    for path in folder.glob("*/identity.json"):
        content = json.loads(path.read_text())
        content["config"] = "0" * 16
        del content["options"]["grad_clip_type"]
        del content["options"]["model_conf"]["lsm_weight"]
        path.write_text(json.dumps(content))
    engine.train_full()
    engine.run([1, 2])
    assert made(folder) == before


def test_layers_of_the_same_name_with_other_weights_are_a_change(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By the grain 'fine' the classifier is without the decoder's blocks, which then are trained."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    experiment = Experiment(tmp_path / "exp", dump, "train", "dev")
    experiment.adopt()
    both = {
        "model_conf": {"ctc_weight": 0.5}, "decoder": "transformer",
        "decoder_conf": {"attention_heads": 1, "linear_units": 8, "num_blocks": 1},
    }  # fmt: skip
    engine = make_engine(experiment, {"cuts": ["classifier"]}, **both)
    engine.train_full()
    engine.run([1])
    path = tmp_path / "exp/stage1/identity.json"
    written = json.loads(path.read_text())
    fine = make_engine(experiment, {"cuts": ["classifier"], "grain": "fine"}, **both)
    older = {key: value for key, value in written.items() if key != "tensors"}
    for content in (written, older):
        path.write_text(json.dumps(content))
        assert set(engine.done()) == {0, 1} and set(fine.done()) == {0}
    changed = fine.runner.changes(fine.branches["cascade"].stages[1], fine.done()[0])
    assert changed == ["layers: the frozen or re-initialised ones have other weights (grain, tying)"]


def test_a_stage_is_not_trained_on_data_that_changed_during_the_run(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stage 2 of the recipe for another experiment; the stage counted as made of the old data."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    experiment = Experiment(tmp_path / "exp", Path(shutil.copytree(dump, tmp_path / "dump")), "train", "dev")
    experiment.adopt()
    engine = make_engine(experiment)
    engine.train_full()
    path = experiment.manifest_path("train")
    before = path.read_text()
    path.write_text("".join(before.splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigError, match="the dev set has changed since this run began"):
        engine.run([1])
    assert not (tmp_path / "exp/stage1").exists()
    path.write_text(before)
    engine.run([1])
    assert set(engine.done()) == {0, 1}


def test_a_stale_selection_is_told(engine_of, caplog):
    engine = engine_of(optim_conf={"lr": 0.003})
    before = selection(engine)
    engine.write_selection()
    assert "selection.json is not written: the selection needs full training" in caplog.text
    assert "optim_conf.lr: 0.02 -> 0.003" in caplog.text
    assert selection(engine) == before


# ---- damaged files --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["identity.json", "done.json"])
@pytest.mark.parametrize("damage", ["garbage", "half", "empty", "shape", "list"])
def test_a_damaged_file_is_made_again_from_the_others(engine_of, name: str, damage: str):
    engine = engine_of()
    folder = engine.runner.task.directory
    path = folder / "full" / name
    content = path.read_bytes()
    path.write_bytes(
        {"garbage": b"\xff\x00{", "half": content[: len(content) // 2], "empty": b"",
         "shape": b'{"a": 1}', "list": b"[1]"}[damage]
    )  # fmt: skip
    before = made(folder)
    engine.train_full()
    engine.run([1, 2])
    assert made(folder) == before
    assert json.loads(path.read_text()) == json.loads(content)


@pytest.mark.parametrize("name", ["identity.json", "done.json"])
def test_following_the_old_advice_trains_nothing_again(engine_of, name: str):
    """Remove it and start again: the stage is found finished."""
    engine = engine_of()
    folder = engine.runner.task.directory
    before, content = made(folder), (folder / "full" / name).read_bytes()
    (folder / "full" / name).unlink()
    engine.train_full()
    assert made(folder) == before
    assert json.loads((folder / "full" / name).read_bytes()) == json.loads(content)


def test_a_model_without_a_marker_is_set_aside(engine_of):
    engine = engine_of()
    folder = engine.runner.task.directory
    before = made(folder)["full"]
    for name in ("done.json", "lineage.json"):
        (folder / "full" / name).unlink()
    engine.train_full()
    assert made(folder)["full.replaced.1"] == before
    assert read_done(folder / "full") is not None


def test_what_cannot_be_told_is_set_aside(engine_of, caplog):
    engine = engine_of()
    folder = engine.runner.task.directory
    for name in ("identity.json", "done.json", "lineage.json"):
        (folder / "full" / name).write_text("{")
    model = (folder / "full/model.pth").read_bytes()
    with pytest.raises(ConfigError, match="needs full training: .* run --stage 3"):
        engine.run([1])
    engine.train_full()
    assert (folder / "full.replaced.1/model.pth").read_bytes() == model
    assert "identity.json is missing or damaged; training again" in caplog.text
    assert read_done(folder / "full") is not None


def test_a_checkpoint_of_other_options_is_not_resumed(engine_of, tmp_path: Path):
    """Damage hides that the options changed; the checkpoint knows."""
    engine = engine_of()
    folder = engine.runner.task.directory / "full"
    identity = json.loads((folder / "identity.json").read_text())
    identity["options"]["optim_conf"]["lr"] = 0.5
    identity["config"] = "0" * 16
    for path in folder.iterdir():
        if path.name not in ("identity.json", "config.yaml"):
            path.unlink()
    checkpoint.save(folder / "checkpoint.pt", {"identity": identity})
    engine.train_full()
    aside = folder.with_name("full.replaced.1")
    assert checkpoint.load(aside / "checkpoint.pt")["identity"]["options"]["optim_conf"]["lr"] == 0.5
    assert read_done(folder) is not None


def test_the_folder_is_claimed_after_the_model_was_built(engine_of):
    for changes in ({"init": "no such scheme"}, {"model_conf": {"ctc_weight": 0.0}}):
        engine = engine_of({"stages": {"1": changes}})
        folder = engine.runner.task.directory
        before = made(folder)
        with pytest.raises(ConfigError):
            engine.run([1])
        assert made(folder) == before and not (folder / "stage1.replaced.1").exists()
        assert json.loads((folder / "stage1/identity.json").read_text())["options"]["init"] is None
