"""Selection: what is kept, what is best, when a cascade stops, and what counts at all."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import write_yaml
from tiny_corpus import TINY_CONFIG

from cascade_asr.cascade.controls import Branch
from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.plan import plan_cascade
from cascade_asr.cascade.selection import judge, selected, stages_without_gain
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training.device import make_fabric
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.finished import DoneStage, code_version
from cascade_asr.training.interruption import Interruption

NAN = float("nan")
FEED_FORWARD = {
    "encoder": "transformer",
    "encoder_conf": {
        "output_size": 8, "attention_heads": 1, "linear_units": 8, "num_blocks": 2,
        "input_layer": "linear", "dropout_rate": 0.0, "attention_dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
    },
    "model_conf": {"ctc_weight": 1.0},
    "max_epoch": 1,
    "batch_size": 30,
    "init": None,
}  # fmt: skip


def done(values: list[float]) -> dict[int, DoneStage]:
    return {
        number: DoneStage(Path(f"exp/x/{number}"), "", "", {"wer": value, "loss": 1.0})
        for number, value in enumerate(values)
    }


# ---- rules ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "mode", "kept", "best", "stale"),
    [
        ([20.0], "min", [0], 0, 0),
        ([20.0, 18.0, 19.0, 17.0, 17.0], "min", [0, 1, 3], 3, 1),
        ([0.5, 0.6, 0.4, 0.6], "max", [0, 1], 1, 2),
        ([20.0, 25.0, 22.0, 21.0], "min", [0], 0, 3),  # better than before is not better than best
        ([20.0, 20.0], "min", [0], 0, 1),  # equally good is not an improvement
        ([NAN, 90.0, NAN], "min", [0, 1], 1, 1),
        ([50.0, NAN], "max", [0], 0, 1),
        ([NAN, NAN], "min", [0], 0, 1),
        ([-1.0, -2.0], "min", [0, 1], 1, 0),
    ],
)
def test_a_stage_is_kept_where_it_improves_on_the_best(values, mode, kept, best, stale):
    verdicts = judge(done(values), ["wer", mode])
    assert [verdict.number for verdict in verdicts if verdict.kept] == kept
    assert [verdict.number for verdict in verdicts] == list(range(len(values)))
    assert selected(verdicts) == best
    assert stages_without_gain(verdicts) == stale


def test_stages_that_were_not_run_are_no_gap_in_the_verdicts():
    found = done([20.0, 18.0, 15.0])
    del found[1]
    verdicts = judge(found, ["wer", "min"])
    assert [(v.number, v.kept) for v in verdicts] == [(0, True), (2, True)]


def test_an_unknown_metric_is_named_with_those_that_exist():
    with pytest.raises(ConfigError, match="'acc' is not logged by exp/x/0; there are: wer, loss"):
        judge(done([1.0]), ["acc", "max"])


# ---- a cascade, in process ---------------------------------------------------------


def make_engine(experiment: Experiment, cascade: dict | None = None, **changes) -> Engine:
    """An engine whose stages take a fraction of a second."""
    path = write_yaml(
        experiment.directory.parent / "train.yaml", TINY_CONFIG | FEED_FORWARD | changes
    )
    config, _ = load_train_config(path)
    options = CascadeConfig(**{"cuts": ["ctc", "encoder.block1"]} | (cascade or {}))
    tokenizer = Tokenizer.from_directory(experiment.tokens)
    model = build_model(config, tokenizer, 8, experiment.global_cmvn, config.seed)
    stages = plan_cascade(model.layers(options.grain), options, config)
    runner = StageRunner(SpeechTask(experiment), make_fabric(0, "32-true"), Interruption())
    branches = {"cascade": Branch("cascade", "cascade", tuple(stages))}
    return Engine(runner, branches, options, ["loss", "min"])


@pytest.fixture(scope="module")
def finished(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with full training and two stages, to be copied."""
    experiment = Experiment(tmp_path_factory.mktemp("finished") / "exp", dump, "train", "dev")
    experiment.adopt()
    engine = make_engine(experiment)
    engine.train_full()
    assert [stage["name"] for stage in selection(engine)["stages"]] == ["full"]
    engine.run([1, 2])
    return experiment.directory


@pytest.fixture
def engine_of(finished: Path, dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Builds engines over one copy of the finished experiment."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a busy disk takes a second each time
    shutil.copytree(finished, tmp_path / "exp")
    experiment = Experiment(tmp_path / "exp", dump, "train", "dev")
    return partial(make_engine, experiment)


def selection(engine: Engine) -> dict:
    return json.loads((engine.runner.task.directory / "selection.json").read_text())


def weights(engine: Engine, stage: str) -> dict[str, torch.Tensor]:
    return torch.load(engine.runner.task.directory / stage / "model.pth")


def lineage(engine: Engine, stage: str) -> dict:
    return json.loads((engine.runner.task.directory / stage / "lineage.json").read_text())


def test_the_selection_names_every_stage_and_the_best(engine_of):
    engine = engine_of()
    found = selection(engine)
    assert [stage["name"] for stage in found["stages"]] == ["full", "stage1", "stage2"]
    assert found["selected"] == min(found["stages"], key=lambda stage: stage["value"])["name"]
    assert (found["metric"], found["mode"]) == ("loss", "min")
    assert [stage["title"] for stage in found["stages"]][1] == "stage 1: classifier frozen"


def test_the_record_tells_device_ranks_and_what_was_computed(engine_of):
    engine = engine_of()
    full, stage = lineage(engine, "full"), lineage(engine, "stage1")
    assert (full["device_type"], full["ranks"], full["resumed"]) == ("CPU", 1, 0)
    assert full["threads"] == torch.get_num_threads()
    sizes = {name: each.numel() for name, each in weights(engine, "full").items()}
    top = sum(
        size for name, size in sizes.items()
        if name in stage["frozen_fingerprints"]
    )  # fmt: skip
    assert 0 < top < full["parameters"] == full["trained_parameters"] == stage["parameters"]
    assert stage["trained_parameters"] == full["parameters"] - top
    trained_updates = stage["trained_parameters"] * stage["updates"]
    assert stage["trained_parameter_updates"] == trained_updates
    saved = 2 * stage["frames"] * top  # the frozen top's own gradient, and no more
    assert stage["flops"] == full["flops"] - saved


def test_stages_of_a_full_training_that_was_replaced_do_not_count(engine_of):
    """Its seed or options changed: what was built on it belongs to another experiment."""
    again = engine_of(seed=4)
    again.train_full()
    assert [stage["name"] for stage in selection(again)["stages"]] == ["full"]
    again.run([1])
    assert [stage["name"] for stage in selection(again)["stages"]] == ["full", "stage1"]
    assert list(again.done()) == [0, 1]


def test_a_stage_of_other_options_does_not_count(engine_of):
    other = engine_of({"frozen_dropout": False})
    other.train_full()
    assert [stage["name"] for stage in selection(other)["stages"]] == ["full"]
    recut = engine_of({"cuts": ["ctc", "encoder.block0"]})
    recut.train_full()
    assert [stage["name"] for stage in selection(recut)["stages"]] == ["full", "stage1"]
    back = engine_of()
    back.train_full()
    assert [stage["name"] for stage in selection(back)["stages"]] == ["full", "stage1", "stage2"]


def set_metric(engine: Engine, stage: str, value: float) -> None:
    """Pretend a result; the marker is the only place that selection reads."""
    path = engine.runner.task.directory / stage / "done.json"
    content = json.loads(path.read_text())
    content["metrics"]["loss"] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("source", "expected"), [("previous", "stage1"), ("best", "full"), ("full", "full")]
)
def test_the_source_of_a_stage(engine_of, source: str, expected: str):
    engine = engine_of({"source": source})
    set_metric(engine, "full", 1.0), set_metric(engine, "stage1", 2.0)
    engine.run([2])
    assert lineage(engine, "stage2")["source"].endswith(expected)
    taken, given = weights(engine, "stage2"), weights(engine, expected)
    frozen = lineage(engine, "stage2")["frozen_fingerprints"]
    assert frozen and all(torch.equal(taken[name], given[name]) for name in frozen)
    assert list(engine.done()) == [0, 1, 2]


def test_the_best_source_follows_the_metric(engine_of):
    engine = engine_of({"source": "best"})
    set_metric(engine, "full", 2.0), set_metric(engine, "stage1", 1.0)
    engine.run([2])
    assert lineage(engine, "stage2")["source"].endswith("stage1")


def test_patience_ends_a_cascade(engine_of):
    """Stage 1 improves and stage 2 does not: stage 3 is not run."""
    cuts = ["ctc", "encoder.block1", "encoder.block0"]
    engine = engine_of({"cuts": cuts, "stop": "patience", "patience": 1})
    set_metric(engine, "full", 3.0)
    for number, value in ((1, 2.0), (2, 2.5)):
        engine.run([number])
        set_metric(engine, f"stage{number}", value)
    engine.run([3])
    assert list(engine.done()) == [0, 1, 2]
    engine.write_selection()
    assert selection(engine)["complete"]  # nothing is left to run
    engine.cascade.patience = 2
    engine.write_selection()
    assert not selection(engine)["complete"]  # stage 3 is
    engine.run([3])
    assert list(engine.done()) == [0, 1, 2, 3]


def test_full_training_is_eligible(engine_of):
    engine = engine_of()
    set_metric(engine, "full", -1.0)
    engine.write_selection()
    assert selection(engine)["selected"] == "full"
    assert [stage["kept"] for stage in selection(engine)["stages"]] == [True, False, False]


def test_a_stage_needs_the_one_before(engine_of):
    engine = engine_of()
    folder = engine.runner.task.directory
    shutil.rmtree(folder / "stage1"), shutil.rmtree(folder / "stage2")
    with pytest.raises(
        ConfigError, match="cascade stage 2 needs cascade stage 1: .*--cascade-stages 1 first"
    ):
        engine.run([2])
    shutil.rmtree(folder / "full")
    with pytest.raises(ConfigError, match="cascade stage 1 needs full training: .* run --stage 3"):
        engine.run([1])


def test_a_damaged_source_is_not_used(engine_of):
    engine = engine_of()
    path = engine.runner.task.directory / "full/model.pth"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="model.pth: checksum differs from .*done.json"):
        engine.run([1])
    path.unlink()
    with pytest.raises(ConfigError, match="model.pth is missing although .*done.json exists"):
        engine.run([1])


def test_a_stage_is_recorded_where_there_is_no_git(monkeypatch, tmp_path: Path):
    """Compute nodes often have none, and a stage is recorded after hours of training."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version()


def test_transfer_from_another_experiment(engine_of, dump: Path, tmp_path: Path):
    engine = engine_of()
    source = tmp_path / "exp" / "full"
    experiment = Experiment(tmp_path / "other", dump, "train", "dev")
    experiment.adopt()
    transfer = engine_of({"source": str(source)})
    transfer.runner.task = SpeechTask(experiment)
    transfer.train_full()
    transfer.run([1])
    given, taken = weights(engine, "full"), torch.load(tmp_path / "other/stage1/model.pth")
    frozen = lineage(transfer, "stage1")["frozen_fingerprints"]
    assert all(torch.equal(given[name], taken[name]) for name in frozen)
    assert not torch.equal(given["encoder.embed.0.weight"], taken["encoder.embed.0.weight"])
    assert list(transfer.done()) == [0, 1]
    tokens = tmp_path / "exp" / "tokens" / "tokens.txt"
    tokens.write_text(tokens.read_text().replace("a\n", "z\n"))
    with pytest.raises(ConfigError, match="can only be transferred to the same tokens"):
        transfer.run([2])
