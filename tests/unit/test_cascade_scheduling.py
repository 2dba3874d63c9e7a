"""However branches are scheduled and interrupted, the weights are the same."""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

import pytest
import torch
from conftest import write_yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cascade_property import few, trainings  # noqa: F401 (few is a fixture)
from tiny_corpus import TINY_CONFIG

from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.planning import Plan, make_plan
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.errors import ConfigError
from cascade_asr.networks.encoders.rnn import RNNEncoder
from cascade_asr.results.branches import branch_table, read_experiment
from cascade_asr.results.headline import headline
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training.device import make_fabric
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.interruption import Interrupted, Interruption


class StopAfter(Interruption):
    """As if a signal arrived between two updates, after a number of checks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def signal_number(self) -> int | None:
        self.looks -= 1
        return 10 if self.looks < 0 else None

    @signal_number.setter
    def signal_number(self, _: int | None) -> None:
        pass


def planned(folder: Path, dump: Path, config: TrainConfig, cascade: CascadeConfig):
    """A task and its plan, as a new process would make them."""
    task = SpeechTask(Experiment(folder / "exp", dump, "train", "dev"))
    task.adopt()
    return task, make_plan(task, config, cascade)


def engine(task: SpeechTask, plan: Plan, interruption: Interruption | None = None) -> Engine:
    runner = StageRunner(task, make_fabric(0, "32-true"), interruption or Interruption())
    return Engine(runner, plan.branches, plan.cascade, plan.select)


def own_numbers(plan: Plan, branch: str) -> range:
    return range(1, len(plan.branches[branch].stages))


def in_one_go(task: SpeechTask, plan: Plan) -> None:
    whole = engine(task, plan)
    whole.train_full()
    for name in plan.branches:
        whole.run(own_numbers(plan, name), name)


def shuffled_and_interrupted(task: SpeechTask, plan: Plan, order: random.Random) -> int:
    """Run every training as a separate job, and stop many of them; return how many."""
    stopped = 0

    def attempt(start) -> None:
        nonlocal stopped
        while True:
            try:
                start(engine(task, plan, StopAfter(order.randrange(1, 12))))
                return
            except Interrupted:
                stopped += 1

    attempt(lambda each: each.train_full())
    waiting = {name: list(own_numbers(plan, name)) for name in plan.branches}
    while any(waiting.values()):
        name = order.choice([name for name, numbers in waiting.items() if numbers])
        number = waiting[name].pop(0)
        attempt(lambda each, name=name, number=number: each.run([number], name))
    return stopped


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(trainings(), st.randoms(use_true_random=False), st.sampled_from(["previous", "full", "best"]))
def test_weights_do_not_depend_on_scheduling_or_interruption(
    few: Path,  # noqa: F811
    monkeypatch,
    config: TrainConfig,
    order: random.Random,
    source: str,
):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a busy disk takes a second each time
    config.max_epoch = 2
    with tempfile.TemporaryDirectory() as folder, torch.backends.mkldnn.flags(enabled=False):
        cascade = CascadeConfig(grain="module", source=source)
        first = planned(Path(folder) / "first", few, config, cascade)
        second = planned(Path(folder) / "second", few, config, cascade)
        in_one_go(*first)
        assert shuffled_and_interrupted(*second, order) > 0
        names = sorted(path.parent.name for path in first[0].directory.glob("*/done.json"))
        assert {"full", "stage1", "longer1", "continue1", "best-of-n1", "keep1"} <= set(names)
        for name in names:
            one, other = (
                torch.load(task.directory / name / "model.pth") for task, _ in (first, second)
            )
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one), name
        selections = [
            json.loads((task.directory / "selection.json").read_text()) for task, _ in (first, second)
        ]
        assert selections[0] == selections[1]
        assert set(selections[0]["controls"]) == set(first[1].branches) - {"cascade"}
        assert all(control["complete"] for control in selections[0]["controls"].values())
        result = read_experiment(first[0].directory)
        assert "not run" not in headline([result])
        assert branch_table(result).count("\n") == 1 + len(result.rows)


def test_a_control_needs_full_training(few: Path, tmp_path: Path):  # noqa: F811
    config = TrainConfig(
        encoder="rnn", encoder_conf={"num_layers": 2, "hidden_size": 6, "output_size": 6},
        decoder_conf={"hidden_size": 6}, batch_size=3, batch_type="sorted", max_epoch=1,
        num_workers=0, use_tensorboard=False,
    )  # fmt: skip
    task, plan = planned(tmp_path, few, config, CascadeConfig())
    with pytest.raises(ConfigError, match="continue1 needs full training: .*--stage 3"):
        engine(task, plan).run([1], "continue")
    with pytest.raises(ConfigError, match="continue2 needs continue1: .* run --stage 4 --controls"):
        engine(task, plan).run([2], "continue")


def test_a_parameter_in_no_layer_or_in_two_is_told_before_training(tmp_path, dump, monkeypatch):
    """As of an encoder of one's own: it would be new, and trained, in every stage, above frozen layers."""
    config = load_train_config(write_yaml(tmp_path / "train.yaml", TINY_CONFIG))[0]
    layers = RNNEncoder.layers
    for changed, message in (
        (lambda self: layers(self)[1:], r"encoder\.\S+, .*: in no layer, so that no stage could freeze them"),
        (lambda self: [*layers(self), layers(self)[0]], r"encoder\.\S+, .*: in more than one layer"),
    ):
        monkeypatch.setattr(RNNEncoder, "layers", changed)
        with pytest.raises(ConfigError, match=message):
            planned(tmp_path, dump, config, CascadeConfig())
