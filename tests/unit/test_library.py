"""A third task: cascades of a user's module on vectors, through `cascade_asr.Cascade`."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import environment
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset, TensorDataset

import cascade_asr
from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.probe import initial_weights, replacement_weights
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.errors import ConfigError, DataError, TrainingError
from cascade_asr.library.data import ItemLoader, as_dataset, digest
from cascade_asr.library.network import MeasuredNetwork, find_layers
from cascade_asr.results.comparison import compare_systems, open_system
from cascade_asr.training import checkpoint
from cascade_asr.training.device import make_fabric
from cascade_asr.training.interruption import Interruption

OPTIONS = {"optim": "adam", "optim_conf": {"lr": 0.02}, "max_epoch": 6, "keep_nbest_models": 1}


def build() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2),
    )  # fmt: skip


def measure(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    logits = network(inputs)
    return {
        "loss": cross_entropy(logits, targets, reduction="none"),
        "accuracy": (logits.argmax(dim=1) == targets).float(),
    }


def points(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in the plane, and whether both coordinates have the same sign."""
    inputs = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def cascade_in(directory: Path, **changes) -> cascade_asr.Cascade:
    options = {
        "train": points(256, 0), "dev": points(100, 1), "metrics": ["accuracy"],
        "select": ("accuracy", "max"), "training": OPTIONS,
    }  # fmt: skip
    return cascade_asr.Cascade(directory, build, measure, **(options | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> cascade_asr.Cascade:
    cascade = cascade_in(tmp_path_factory.mktemp("library") / "exp")
    cascade.run(controls="continue")
    return cascade


def test_it_learns_and_selects(finished):
    results = finished.results()
    assert results.full.dev > 0.8  # 0.5 is chance
    assert finished.selected in ("full", "stage1", "stage2")
    values = finished.evaluate(points(200, 2), as_set="test")
    assert values["accuracy"] > 0.8
    table = finished.table()
    assert "test accuracy" in table and "all layers trainable" in table


def test_every_branch_is_tested(finished):
    finished.evaluate(points(200, 2), "full", as_set="alone")
    assert "not every branch has test scores yet" in finished.table()
    values = finished.evaluate_branches(points(200, 2), as_set="unseen")
    assert list(values) == ["full", "cascade", "continue"]
    selected = finished.results().rows[-1].selected
    assert values["continue"] == finished.evaluate(points(200, 2), selected)
    assert "on sets that were not, unseen accuracy: full" in finished.table()


@pytest.mark.parametrize("metric", ["top 5", "", "with cache"])
def test_metrics_are_called_by_one_word(tmp_path: Path, metric: str):
    with pytest.raises(ConfigError, match=f"metrics: '{metric}' is not one word"):
        cascade_in(tmp_path, metrics=["accuracy", metric])
    assert not list(tmp_path.iterdir())


def test_other_data_under_the_same_name_are_refused(tmp_path: Path):
    cascade = cascade_in(tmp_path, training=OPTIONS | {"max_epoch": 1})
    cascade.run()
    cascade.evaluate(points(100, 1), "full", as_set="test")
    scores = tmp_path / "stage1/scores.json"
    with pytest.raises(ConfigError, match="as_set='test': other data were evaluated under this name"):
        cascade_in(tmp_path, training=OPTIONS | {"max_epoch": 1}).evaluate(points(100, 2), "stage1", as_set="test")
    cascade.evaluate(points(100, 2), "stage1")  # is not recorded
    assert not scores.exists()
    cascade.evaluate(points(100, 1), "stage1", as_set="test")
    assert "test accuracy" in scores.read_text()


def test_a_file_system_without_locks_does_not_end_a_training(tmp_path: Path, monkeypatch, caplog):
    def missing(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    cascade = cascade_in(tmp_path, training=OPTIONS | {"max_epoch": 1})
    cascade.run()
    assert len(cascade.results().branches) == 1 and cascade.selected
    assert "cannot be locked (Function not implemented); going on without" in caplog.text


def test_missing_weights_are_told_before_a_control_is_trained(tmp_path: Path):
    cascade = cascade_in(tmp_path, training=OPTIONS | {"max_epoch": 1})
    cascade.run()
    (tmp_path / "stage1/model.pth").unlink()
    runner = StageRunner(cascade.task, make_fabric(0, "32-true"), Interruption())
    engine = Engine(runner, cascade.plan.branches, cascade.plan.cascade, cascade.plan.select)
    for train in (engine.train_full, lambda: engine.run([1], "longer")):
        with pytest.raises(ConfigError, match="stage1/model.pth is missing although"):
            train()
    assert not (tmp_path / "longer1").exists()


def test_what_is_called_wrongly_is_told_in_terms_of_the_library(finished, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"keep1: this training is not finished; call run\(controls='keep'\) first"):
        finished.load("keep1")
    with pytest.raises(ConfigError, match="as_set: 'test other' is not one word"):
        finished.evaluate(points(10, 3), as_set="test other")
    assert finished.run(controls=None).full.complete
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: cannot be made: File exists"):
        cascade_in(tmp_path / "file").run()


def test_dev_data_that_are_evaluated_are_no_test_set(tmp_path: Path):
    cascade = cascade_in(tmp_path, training=OPTIONS | {"max_epoch": 1})
    cascade.run()
    cascade.evaluate_branches(points(100, 1), as_set="dev")
    assert "no test scores yet" in cascade.table().splitlines()[0]
    cascade.evaluate_branches(points(100, 2))
    assert "on sets that were not, test accuracy: full" in cascade.table()
    assert "dev accuracy: full" not in cascade.table()


def test_commands_for_recipes_say_what_a_module_has_instead(finished):
    done = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.plan", "--exp", finished.directory],
        env=environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "cascade.run() trains what is missing" in done.stderr
    finished.evaluate_branches(points(200, 2))
    systems = [open_system(finished.directory / name) for name in ("full", "continue1")]
    with pytest.raises(DataError, match="for a user's module only mean scores are kept"):
        compare_systems(systems)


def test_frozen_layers_are_bit_identical_and_the_lower_ones_new(finished):
    weights = {
        name: checkpoint.load(finished.directory / name / "model.pth")
        for name in ("full", "stage1", "stage2")
    }
    same = {
        name: all(torch.equal(weights["full"][key], weights[name][key])
                  for key in weights["full"] if key.startswith("network.6"))
        for name in weights
    }  # fmt: skip
    assert same == {"full": True, "stage1": True, "stage2": True}
    assert not torch.equal(weights["full"]["network.0.weight"], weights["stage1"]["network.0.weight"])
    assert torch.equal(weights["stage1"]["network.4.weight"], weights["stage2"]["network.4.weight"])


def test_a_second_run_trains_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.directory.glob("*/model.pth")}
    again = cascade_in(finished.directory)
    again.run(controls="continue")
    assert len(before) == 5
    assert before == {path: path.stat().st_mtime_ns for path in again.directory.glob("*/model.pth")}


def test_what_other_options_have_trained_is_told(finished, caplog: pytest.LogCaptureFixture):
    """As where options were edited and run() was forgotten."""
    cascade_in(finished.directory).table()
    assert not caplog.text
    other = cascade_in(finished.directory, training=OPTIONS | {"max_epoch": 7})
    assert other.table() == finished.table()
    other.load("full"), other.load("full")
    told = f"{finished.directory}/full: was trained with other options: max_epoch: 6 -> 7; run() trains it"
    assert caplog.text.count(told) == 1
    chosen = finished.selected
    selection = finished.directory / "selection.json"
    content = selection.read_text()
    cascade_in(finished.directory, cascade={"cuts": ["6"]}).table()  # stage 2 is not of this plan
    assert (chosen == "stage2") == ("stage2: was trained with other options: this plan" in caplog.text)
    assert selection.read_text() == content


def test_the_loaded_module_is_the_users_own(finished):
    network = finished.load("stage1")
    assert isinstance(network, nn.Sequential) and not network.training
    inputs, targets = points(100, 1)
    accuracy = measure(network, inputs, targets)["accuracy"].mean()
    assert accuracy == pytest.approx(finished.evaluate((inputs, targets), "stage1")["accuracy"])


def test_two_folders_give_the_same_weights(finished, tmp_path: Path):
    other = cascade_in(tmp_path / "exp", cascade={"cuts": ["4"]})
    other.run()
    first, second = (
        checkpoint.load(each.directory / "full/model.pth") for each in (finished, other)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_layers_are_found_with_their_normalisation_and_dropout():
    layers = find_layers(build())
    assert [layer.name for layer in layers] == ["0", "4", "6"]
    assert layers[0].parameters == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert layers[0].buffers == ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert layers[0].dropouts == ("3",)


def test_batches_depend_on_seed_and_epoch_and_resume_anywhere():
    dataset = as_dataset(points(10, 0), "train")
    loader = ItemLoader(dataset, 4, seed=3)
    first, second = (torch.cat([b.inputs for b in loader.epoch(epoch)]) for epoch in (1, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(0).values, second.sort(0).values)
    assert torch.equal(torch.cat([b.inputs for b in loader.epoch(1, start=2)]), first[8:])
    shares = [[len(b) for b in ItemLoader(dataset, 4, 3, rank, 2).epoch(1)] for rank in (0, 1)]
    assert shares == [[4, 1], [4, 1]]
    for count in range(3, 20):  # every item once, over all ranks
        dataset = as_dataset(points(count, 0), "dev")
        seen = [batch.inputs for rank in range(3) for batch in ItemLoader(dataset, 2, None, rank, 3).epoch(1)]
        assert torch.equal(torch.cat(seen).sort(0).values, points(count, 0)[0].sort(0).values)
        for ranks in (1, 2, 3):
            batches = [each for rank in range(ranks) for each in ItemLoader(dataset, 2, None, rank, ranks).epoch(1)]
            assert ItemLoader(dataset, 2, None, 0, ranks).smallest == min(map(len, batches)), (count, ranks)
    alone = [len(batch) for batch in ItemLoader(as_dataset(points(9, 0), "dev"), 4).epoch(1)]
    assert alone == [4, 4, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"max_epochs": 3}}, "^training: unknown key 'max_epochs'.*max_epoch"),
        ({"training": {"max_epoch": -1}}, "^training: max_epoch is -1, expected 1 or more"),
        ({"cascade": {"stop": "never"}}, "^cascade: stop is 'never', expected"),
        ({"training": {"optim": "adamm"}}, "adam"),
        ({"cascade": {"cuts": ["5"]}}, "no layer '5'.*this model has: 6, 4, 0"),
        ({"cascade": {"tying": "untie"}}, "no tied weights"),
        ({"select": ("acuracy", "max")}, "acuracy.* is not logged"),
        ({"select": ("accuracy", "best")}, "select: expected a metric and min or max"),
        ({"train": (torch.zeros(3, 2), torch.zeros(2))}, "train: 3 inputs but 2 targets"),
        ({"dev": (torch.zeros(0, 2), torch.zeros(0))}, "dev: no items"),
        ({"dev": TensorDataset(*points(5, 0), torch.ones(5))}, "dev: its first item is a tuple of 3"),
        ({"layers": ["0", "4"]}, "1.weight.*6.bias.*in no layer"),
        ({"layers": ["0", "1", "4", "6", "6"]}, "in more than one layer"),
        ({"training": "conf/train.yaml"}, "training: expected a dict of options, found 'conf/train.yaml'"),
        ({"cascade": Path("c.yaml")}, "cascade: expected a dict of options, found .*c.yaml"),
        ({"metrics": "accuracy"}, r"metrics: expected a list of names, such as \['accuracy'\]"),
        ({"layers": "fc"}, r"layers: expected a list of names, such as \['fc'\], found 'fc'"),
        ({"ngpu": "1"}, "ngpu: expected a number of GPUs, or None for all, found '1'"),
        ({"train": [(torch.zeros(2), 0), (torch.ones(2), 1)]}, "train: expected a dataset of .* or two"),
        ({"layers": ["first"]}, "no submodule 'first'; there are: 0, 1"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        cascade_in(tmp_path / "exp", **changes)
    assert not (tmp_path / "exp").exists()


def test_each_layer_goes_back_to_what_it_began_with_in_whichever_training(finished, tmp_path: Path, caplog):
    def began(training: str, layer: str) -> str:
        found = initial_weights(finished.task, finished.plan, training)[f"network.{layer}.weight"]
        for name in ("full", "stage1", "stage2", "continue1"):
            stage = finished.plan.stage(name)
            new = finished.task.build_model(stage.config, stage.seed).state_dict()
            if torch.equal(found, new[f"network.{layer}.weight"]):
                return name
        return "none"

    assert [began("full", layer) for layer in ("0", "4", "6")] == ["full", "full", "full"]
    assert [began("stage1", layer) for layer in ("0", "4", "6")] == ["stage1", "stage1", "full"]
    assert [began("stage2", layer) for layer in ("0", "4", "6")] == ["stage2", "stage1", "full"]
    assert [began("continue1", layer) for layer in ("0", "4", "6")] == ["full", "full", "full"]

    copy = shutil.copytree(finished.directory, tmp_path / "exp")
    task = dataclasses.replace(finished.task, directory=copy)
    moved, stayed = (initial_weights(each, finished.plan, "stage2") for each in (task, finished.task))
    assert all(torch.equal(moved[name], stayed[name]) for name in stayed)
    shutil.rmtree(copy / "full")  # as if it had come from another experiment
    with pytest.raises(ConfigError, match="6 of stage1 are from no training of this experiment, .*full; use --with random"):
        replacement_weights(task, finished.plan, "stage2", ["initial"])
    assert list(replacement_weights(task, finished.plan, "stage2", None)) == ["random"]
    assert "--with initial: the weights with which it began are not known" in caplog.text


def test_one_item_left_for_the_last_batch_is_refused_only_if_the_network_cannot_take_it(tmp_path: Path):
    """Of one row, BatchNorm1d has no variance; the first epoch would fail in its last batch."""
    for items, batch_size in ((33, 32), (8, 1), (1, 4)):
        cascade = cascade_in(tmp_path / "exp", train=points(items, 0), training=OPTIONS | {"batch_size": batch_size})
        with pytest.raises(ConfigError, match=f"batch_size {batch_size}: the {items} items .* more than 1 value per channel"):
            cascade.run()
        assert not (tmp_path / "exp").exists()

    def without_normalisation():
        return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))

    options = OPTIONS | {"max_epoch": 1, "batch_size": 4}
    cascade_asr.Cascade(
        tmp_path / "a", without_normalisation, measure, points(9, 0), points(9, 1), metrics=["accuracy"], training=options
    ).run()
    cascade_in(tmp_path / "b", train=points(10, 0), training=options).run()


def test_a_module_instead_of_a_function_that_makes_one_is_refused(tmp_path: Path):
    for wrong, found in ((build(), "found Sequential"), (lambda: (1, 2), "it returns tuple")):
        with pytest.raises(ConfigError, match=f"build: expected a function or class .*{found}"):
            cascade_asr.Cascade(tmp_path, wrong, measure, points(8, 0), points(8, 1))


def test_what_measure_returns_is_checked(tmp_path: Path):
    model = MeasuredNetwork(build(), lambda *batch: measure(*batch)["loss"], ["loss"])
    with pytest.raises(ConfigError, match="measure: expected a dict of tensors .* found Tensor"):
        model(next(iter(ItemLoader(as_dataset(points(8, 0), "train"), 8).epoch(1))))
    model = MeasuredNetwork(build(), lambda *batch: {"loss": 1.0}, ["loss"])
    with pytest.raises(ConfigError, match="measure: .* found 'loss': float"):
        model(next(iter(ItemLoader(as_dataset(points(8, 0), "train"), 8).epoch(1))))


def test_results_before_a_training_say_what_to_call(tmp_path: Path):
    cascade = cascade_in(tmp_path / "exp")
    for ask in (cascade.load, cascade.table, cascade.results, cascade.report):
        with pytest.raises(ConfigError, match=r"exp: no training is finished there yet; call run\(\) first"):
            ask()
    with pytest.raises(ConfigError, match="longer,foil: no control 'foil'"):
        cascade.run(controls=["longer", "foil"])


def test_a_module_that_is_made_only_once_is_refused(tmp_path: Path):
    network = build()
    with pytest.raises(ConfigError, match="build: returns the same module at every call"):
        cascade_asr.Cascade(tmp_path, lambda: network, measure, points(8, 0), points(8, 1),
                            metrics=["accuracy"])  # fmt: skip


def test_a_module_with_a_seed_of_its_own_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def seeded() -> nn.Module:
        torch.manual_seed(0)
        return build()

    for makes, warnings in [(build, 0), (seeded, 1)]:
        caplog.clear()
        cascade_asr.Cascade(tmp_path, makes, measure, points(8, 0), points(8, 1), metrics=["accuracy"])
        assert sum("same weights whatever the seed" in each for each in caplog.messages) == warnings


def test_a_stage_of_what_the_module_freezes_itself_is_refused(tmp_path: Path):
    def pretrained() -> nn.Module:
        network = build()
        network[frozen].requires_grad_(False)
        return network

    def cascade(**options) -> cascade_asr.Cascade:
        return cascade_asr.Cascade(tmp_path, pretrained, measure, points(8, 0), points(8, 1),
                                   metrics=["accuracy"], cascade=options)  # fmt: skip

    frozen = slice(2)
    with pytest.raises(ConfigError, match="stage 2: 6, 4 frozen: trains 0, where build leaves no"):
        cascade()
    assert [each.name for each in cascade(cuts=["6"]).plan.stages] == ["full", "stage1"]
    frozen = slice(6, 7)
    with pytest.raises(ConfigError, match="bottom-up 2: 4, 0 frozen: trains 6, where build"):
        cascade().run(controls="bottom-up")
    assert not (tmp_path / "full").exists()


class Tied(nn.Module):
    """The first and the last layer share a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.last.weight = self.first.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.middle(self.first(inputs))))


@pytest.mark.parametrize("layers", [None, ["first", "middle", "last"]])
def test_tied_weights_of_two_layers_are_refused(layers: list[str] | None):
    message = "first.weight and last.weight are one tensor in the layers first and last"
    with pytest.raises(ConfigError, match=message):
        MeasuredNetwork(Tied(), measure, ["loss"], layers)
    together = MeasuredNetwork(Tied(), measure, ["loss"], ["middle", ["first", "last"]])
    assert [layer.name for layer in together.layers()] == ["middle", "first"]


class HeadFirst(nn.Module):
    """Registers its layers from output to input."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(8, 2), nn.Linear(2, 8)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs).relu())


def test_layers_that_are_called_in_another_order_are_to_be_named(tmp_path: Path, caplog):
    one_epoch = {"training": {"max_epoch": 1}}
    with pytest.raises(ConfigError, match=r"registered, but the network calls body, head.*layers=\['body', 'head'\]"):
        cascade_asr.Cascade(tmp_path / "a", HeadFirst, measure, points(64, 0), points(32, 1),
                            metrics=["accuracy"], **one_epoch).run()  # fmt: skip
    assert not (tmp_path / "a/full").exists()
    for order, warned in ((["body", "head"], False), (["head", "body"], True)):
        caplog.clear()
        cascade_asr.Cascade(tmp_path / order[0], HeadFirst, measure, points(64, 0), points(32, 1),
                            metrics=["accuracy"], layers=order, **one_epoch).run()  # fmt: skip
        assert ("is the order given, but the network calls body, head" in caplog.text) == warned


def test_items_that_fit_into_no_batch_are_named(tmp_path: Path):
    inputs, labels = points(64, 0)
    ragged = [(each[: 1 + number % 2], label) for number, (each, label) in enumerate(zip(inputs, labels, strict=True))]
    with pytest.raises(ConfigError, match=r"items 0, 1 do not fit into one batch: .*pad them, or use batch_size 1"):
        cascade_in(tmp_path, train=ragged).run()


def test_a_dev_metric_that_is_not_a_number_is_told(tmp_path: Path, caplog):
    def never(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> dict:
        return {**measure(network, inputs, labels), "accuracy": torch.full((len(labels),), float("nan"))}

    cascade = cascade_asr.Cascade(tmp_path, build, never, points(64, 0), points(32, 1), metrics=["accuracy"],
                                  select=("accuracy", "max"), training={"max_epoch": 1})  # fmt: skip
    cascade.run()
    assert "epoch 1: valid accuracy is not a number: the worst of all values" in caplog.text


def test_a_loss_without_a_gradient_is_refused(tmp_path: Path):
    def detached(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> dict:
        return {name: each.detach() for name, each in measure(network, inputs, labels).items()}

    cascade = cascade_asr.Cascade(tmp_path, build, detached, points(64, 0), points(32, 1), metrics=["accuracy"])
    with pytest.raises(ConfigError, match="'loss' has no gradient: it does not depend on the network"):
        cascade.run()


def test_a_loss_that_is_a_mean_is_refused(tmp_path: Path):
    def mean(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
        return {"loss": cross_entropy(network(inputs), targets)}

    cascade = cascade_asr.Cascade(tmp_path, build, mean, points(8, 0), points(8, 1))
    with pytest.raises(ConfigError, match="'loss' has shape \\(\\), expected one value for each"):
        cascade.run()


def test_any_dataset_of_pairs_works(tmp_path: Path):
    class Points(Dataset):
        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            if not 0 <= index < 64:
                raise IndexError(index)
            inputs, targets = points(64, 0)
            return inputs[index], int(targets[index])

    cascade = cascade_in(tmp_path, train=Points(), training=OPTIONS | {"max_epoch": 1})
    plain = cascade_in(tmp_path / "b", train=points(64, 0), training=OPTIONS | {"max_epoch": 1})
    assert cascade.run().full.dev == plain.run().full.dev


def normalised() -> nn.Module:
    """Layers whose buffers move in training mode, not only those of BatchNorm."""
    spectral = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(
        nn.Linear(2, 16), nn.ReLU(), nn.Unflatten(1, (4, 4)),
        nn.Conv1d(4, 4, 1), nn.InstanceNorm1d(4, track_running_stats=True), nn.Flatten(),
        spectral(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 2),
    )  # fmt: skip


def test_running_statistics_of_every_kind_of_normalisation_stay_in_frozen_layers(tmp_path: Path):
    cascade = cascade_asr.Cascade(
        tmp_path, normalised, measure, points(64, 0), points(32, 1), metrics=["accuracy"],
        training=OPTIONS | {"max_epoch": 2},
    )  # fmt: skip
    cascade.run()
    before, last = (cascade.load(name).state_dict() for name in ("stage2", "stage3"))
    moved = [name for name in last if not torch.equal(before[name], last[name])]
    assert {name.partition(".")[0] for name in moved} == {"0"}


class Centred(nn.Module):
    """Moves its buffer in training mode, and has a submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean.lerp_(inputs.detach().mean(dim=0), 0.1)
        return self.linear(inputs - self.mean)


def test_a_frozen_buffer_that_moves_is_told_after_the_first_update(tmp_path: Path):
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), Centred(), nn.ReLU(), nn.Linear(16, 2))

    cascade = cascade_asr.Cascade(tmp_path, network, measure, points(64, 0), points(32, 1),
                                  metrics=["accuracy"], training=OPTIONS)  # fmt: skip
    with pytest.raises(TrainingError, match="first update changed .* frozen layers: network.2.mean"):
        cascade.run()
    assert (tmp_path / "stage1/done.json").is_file()
    assert not list((tmp_path / "stage2").glob("epoch*.pth"))


class Nested(Dataset):
    """Points whose inputs are built up by ``make``."""

    def __init__(self, make: Callable[[torch.Tensor], Any], seed: int = 0) -> None:
        self.make = make
        self.inputs, self.targets = points(16, seed)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, torch.Tensor]:
        return self.make(self.inputs[index]), self.targets[index]


def test_a_training_on_randomly_augmented_items_is_found_done(tmp_path: Path, caplog):
    def noisy(inputs: torch.Tensor) -> torch.Tensor:
        return inputs + 0.1 * torch.randn(2)

    def cascade(data: Dataset) -> cascade_asr.Cascade:
        return cascade_in(tmp_path, train=data, training=OPTIONS | {"max_epoch": 1})

    first = cascade(Nested(noisy)).run()
    assert "train: its items differ each time they are read" in caplog.text
    assert cascade(Nested(noisy)).run() == first
    assert not list(tmp_path.glob("*.replaced.1"))
    cascade(Nested(lambda inputs: inputs)).run()
    assert list(tmp_path.glob("full.replaced.1"))


class Noisy(Dataset):
    """Items with noise from three random states."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        noise = [float(torch.randn(())), float(np.random.randn()), random.random()]
        return torch.tensor(noise) + index, index


def test_random_items_are_the_same_wherever_a_training_resumes():
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    loader = ItemLoader(Noisy(), 3, seed=1)
    once = [batch.inputs for batch in loader.epoch(2)]
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[2]
    assert (np.random.get_state()[1] == states[1]).all()
    torch.manual_seed(5)  # a process of its own has another state
    resumed = [batch.inputs for batch in ItemLoader(Noisy(), 3, seed=1).epoch(2, start=1)]
    assert all(map(torch.equal, once[1:], resumed))
    others = (loader.epoch(3), ItemLoader(Noisy(), 3, seed=2).epoch(2))
    noise = [(each % 1).flatten()[0] for each in (*once, *(next(other).inputs for other in others))]
    assert len(set(map(float, noise))) == len(noise)  # each batch, epoch and seed has its own


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@pytest.mark.parametrize(
    ("make", "whole"),
    [
        (lambda x: {"x": x, "id": "a"}, lambda inputs: inputs["x"]),
        (lambda x: Pair(x[:1], x[1:]), lambda inputs: torch.cat(inputs, dim=1)),
        (lambda x: [x, {"more": (x, x)}], lambda inputs: inputs[1]["more"][0]),
        (lambda x: x.to(torch.bfloat16), lambda inputs: inputs.float()),
    ],
    ids=["dict", "named tuple", "list", "bfloat16"],
)
def test_inputs_may_be_nested_and_of_any_type(tmp_path: Path, make: Callable, whole: Callable):
    def nested(network: nn.Module, inputs: Any, targets: torch.Tensor) -> dict:
        return measure(network, whole(inputs), targets)

    cascade = cascade_asr.Cascade(
        tmp_path, build, nested, Nested(make), Nested(make), metrics=["accuracy"],
        training=OPTIONS | {"max_epoch": 1},
    )  # fmt: skip
    assert cascade.run().full.dev > 0
    assert digest(Nested(make)) == digest(Nested(make))
    assert digest(Nested(make)) != digest(Nested(make, seed=1))


class Masked(nn.Module):
    """A layer with a buffer that a state dict leaves out, as positions of attention often are."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.register_buffer("mask", torch.ones(16), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(inputs)) * self.mask


def test_buffers_that_are_not_kept_with_the_weights_are_the_modules_own(tmp_path: Path):
    cascade = cascade_asr.Cascade(
        tmp_path, lambda: nn.Sequential(nn.Linear(2, 16), Masked(), nn.Linear(16, 2)), measure,
        points(64, 0), points(32, 1), metrics=["accuracy"], training=OPTIONS | {"max_epoch": 1},
    )  # fmt: skip
    assert [layer.buffers for layer in cascade.plan.layers] == [(), (), ()]
    assert [each.name for each in cascade.run().branches] == ["cascade"]
    assert cascade.load("stage2")[1].mask.tolist() == [1.0] * 16


def test_a_module_without_weights_yet_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no weights yet in 0\.weight, 0\.bias; give its lazy layers"):
        cascade_asr.Cascade(tmp_path, lambda: nn.Sequential(nn.LazyLinear(16), nn.Linear(16, 2)),
                            measure, points(64, 0), points(32, 1), metrics=["accuracy"])  # fmt: skip
