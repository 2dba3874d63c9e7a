"""The training loop's corners: resuming anywhere, broken gradients, leftovers, time left."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cascade_asr.data.batches import BatchOptions, plan_batches
from cascade_asr.data.loader import Batch, BatchLoader, UtteranceDataset
from cascade_asr.data.manifest import read_manifest
from cascade_asr.errors import ConfigError, TrainingError
from cascade_asr.speech.config import TrainConfig
from cascade_asr.training.device import make_fabric
from cascade_asr.training.finiteness import BAD_GRADIENTS_IN_A_ROW
from cascade_asr.training.history import Progress, read_history
from cascade_asr.training.interruption import Interrupted, Interruption
from cascade_asr.training.protocols import WithoutTrainingState
from cascade_asr.training.schedules import Schedule
from cascade_asr.training.state import work_of
from cascade_asr.training.trainer import Trainer

DIMENSION = 8


class MeanModel(nn.Module, WithoutTrainingState):
    """Learns the mean of the features; ``spoil`` acts on its parameter's gradient."""

    def __init__(self, spoil=None) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(DIMENSION))
        self.evaluated = 0
        if spoil:
            self.mean.register_hook(spoil)

    def forward(self, batch: Batch):
        self.evaluated += not self.training
        frames = batch.features.mean(dim=1)
        loss = (frames - self.mean).square().sum()
        return loss, {"loss": (loss.detach(), len(batch))}


@pytest.fixture
def loaders(dump: Path):
    def make(name: str, seed: int | None) -> BatchLoader:
        manifest = read_manifest(dump / name / "manifest.tsv")
        plan = plan_batches(
            manifest.frames,
            manifest.token_lengths,
            DIMENSION,
            BatchOptions("sorted", batch_size=12),
        )
        return BatchLoader(UtteranceDataset(manifest, DIMENSION), plan, seed)

    return make("train", 1), make("dev", None)


def test_the_time_left_follows_the_recent_pace(caplog, monkeypatch):
    """100 updates at 10 s, then a neighbour leaves: 1 s each, and soon that is what is reported."""
    now = [0.0]
    monkeypatch.setattr("cascade_asr.training.history.time.monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    caplog.set_level(logging.INFO)
    progress = Progress("full training", total=1000, done=0, interval=10, enabled=True)
    for update in range(10, 201, 10):
        now[0] += 100.0 if update <= 100 else 10.0
        progress.advance(update, 1, {"loss": 1.0})
    assert "10.00 s/update, 02:30:00 left" in caplog.text
    assert "1.00 s/update, 00:13:20 left" in caplog.text.splitlines()[-1]


@pytest.mark.parametrize(
    "damage", [b"garbage\n", b"[1, 2]\n", b'{"loss": 1.0}\n', b"\xff\xfe\n", b"null\n",
               b'{"split": "train", "epoch": "1", "update": null}\n'],
)  # fmt: skip
def test_a_damaged_history_is_read_up_to_the_damage(tmp_path: Path, caplog, damage: bytes):
    path = tmp_path / "history.jsonl"
    entry = {"split": "train", "epoch": 1, "update": 5, "loss": 2.0}
    whole = json.dumps(entry).encode() + b"\n"
    path.write_bytes(whole + damage + whole)
    assert read_history(path) == [entry]
    assert f"{path}:2: damaged; this line and those after it are left out" in caplog.text
    caplog.clear()
    path.write_bytes(whole + whole[:20])  # a kill in the middle of a line
    assert read_history(path) == [entry] and not caplog.text


@pytest.mark.parametrize("kind", ["removed", "cut"])
def test_weights_of_a_best_epoch_that_went_missing_are_told_when_training_resumes(
    loaders, tmp_path: Path, kind: str
):
    model = MeanModel()
    with pytest.raises(Interrupted):
        trainer_of(tmp_path, StopAt(model, 8)).fit(model, *loaders)
    path = tmp_path / "epoch1.pth"
    if kind == "removed":
        path.rename(tmp_path / "elsewhere")
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError) as caught:
        trainer_of(tmp_path).fit(MeanModel(), *loaders)
    assert str(caught.value) == (
        f"{path}: the weights of epoch 1, one of the best so far, are missing or damaged; put "
        f"that file back, or move {tmp_path}/checkpoint.pt away to train from the first epoch"
    )
    (tmp_path / "checkpoint.pt").rename(tmp_path / "away")  # the advice works
    assert trainer_of(tmp_path).fit(MeanModel(), *loaders).epochs == 2


def test_a_file_of_another_kind_is_no_checkpoint(loaders, tmp_path: Path):
    torch.save({"model": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"checkpoint.pt: not a checkpoint of a training \(opt"):
        trainer_of(tmp_path).fit(MeanModel(), *loaders)


def trainer_of(directory: Path, interruption: Interruption | None = None, **changes) -> Trainer:
    config = {
        "optim": "sgd", "optim_conf": {"lr": 0.1, "momentum": 0.5}, "max_epoch": 2,
        "use_tensorboard": False, "log_interval": 1, "keep_nbest_models": 2,
    }  # fmt: skip
    fabric = make_fabric(0, "32-true")
    return Trainer(fabric, TrainConfig(**config | changes), directory, interruption=interruption)


def entries(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "history.jsonl").open()]


class StopAt(Interruption):
    """A signal that arrives when the model is called for the n-th time."""

    def __init__(self, model: nn.Module, calls: int) -> None:
        super().__init__()
        self.left = calls
        model.register_forward_hook(self.count)

    def count(self, *_) -> None:
        self.left -= 1
        if self.left == 0:
            self.signal_number = 15


@pytest.mark.parametrize("calls", range(1, 14))
def test_a_training_stopped_anywhere_ends_as_if_it_had_not_been(
    loaders, tmp_path: Path, calls: int
):
    """5 updates and 1 dev batch per epoch, 2 epochs, and the dev batch of the average."""
    whole = MeanModel()
    result = trainer_of(tmp_path / "whole").fit(whole, *loaders)
    folder = tmp_path / "stopped"
    model = MeanModel()
    trainer = trainer_of(folder, StopAt(model, calls))
    with pytest.raises(
        Interrupted, match="saved in .*checkpoint.pt; rerun the same command to resume"
    ) as caught:
        trainer.fit(model, *loaders)
    assert caught.value.exit_status == 85
    resumed = MeanModel()
    again = trainer_of(folder).fit(resumed, *loaders)
    assert torch.equal(resumed.mean, whole.mean)
    assert torch.equal(
        torch.load(folder / "model.pth")["mean"], torch.load(tmp_path / "whole/model.pth")["mean"]
    )
    assert entries(folder) == entries(tmp_path / "whole")
    assert (again.metrics, again.updates, again.frames, again.averaged_epochs) == (
        result.metrics, result.updates, result.frames, result.averaged_epochs,
    )  # fmt: skip
    assert (result.resumed, again.resumed) == (0, 1)


# ---- ESPnet1's decay of eps -----------------------------------------------------------


def decayed(values: list[float], **options) -> tuple[list[float], list[float]]:
    """eps and the weight after each epoch whose dev metric is given; epoch n leaves weight n."""
    weight = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adadelta(weight.parameters(), eps=1.0)
    schedule = Schedule(optimizer, "epsdecay", {"factor": 0.5} | options, 10)
    found = []
    for epoch, value in enumerate(values, start=1):
        nn.init.constant_(weight.weight, epoch)
        schedule.after_epoch(value)
        schedule.keep_or_restore(weight)
        found.append((optimizer.param_groups[0]["eps"], weight.weight.item()))
    return [eps for eps, _ in found], [after for _, after in found]


def test_eps_decays_on_a_strictly_worse_epoch_which_is_undone():
    values = [3.0, 2.0, 2.0, 2.5, 1.0, 4.0]
    assert decayed(values) == ([1, 1, 1, 0.5, 0.5, 0.25], [1, 2, 3, 2, 5, 5])
    assert decayed(values, restore=False) == ([1, 1, 1, 0.5, 0.5, 0.25], [1, 2, 3, 4, 5, 6])
    negated = [-value for value in values]
    assert decayed(negated, mode="max") == ([1, 1, 1, 0.5, 0.5, 0.25], [1, 2, 3, 2, 5, 5])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_that_is_no_number_is_worse_than_any(mode: str):
    assert decayed([3.0, math.nan, math.nan], mode=mode) == ([1, 0.5, 0.25], [1, 1, 1])


EPS_DECAY = {
    "optim": "adadelta", "optim_conf": {"lr": 60.0, "rho": 0.5, "eps": 1e-2}, "max_epoch": 4,
    "scheduler": "epsdecay", "scheduler_conf": {"factor": 0.1}, "keep_nbest_models": 1,
}  # fmt: skip


@pytest.mark.parametrize("calls", range(2, 26, 3))
def test_a_training_that_restores_weights_can_be_stopped_anywhere(loaders, tmp_path: Path, calls):
    """6 calls per epoch; the learning rate is so large that epochs get worse."""
    whole, model, resumed = MeanModel(), MeanModel(), MeanModel()
    undisturbed = trainer_of(tmp_path / "whole", **EPS_DECAY)
    undisturbed.fit(whole, *loaders)
    eps = undisturbed.optimizer.param_groups[0]["eps"]
    assert eps < 1e-2, "this test needs a training that gets worse"
    losses = [each["loss"] for each in entries(tmp_path / "whole") if each["split"] == "valid"]
    assert undisturbed.schedule.state_dict()["best"] == min(losses)
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        trainer_of(folder, StopAt(model, calls), **EPS_DECAY).fit(model, *loaders)
    again = trainer_of(folder, **EPS_DECAY)
    again.fit(resumed, *loaders)
    assert torch.equal(resumed.mean, whole.mean)
    assert again.optimizer.param_groups[0]["eps"] == eps
    assert entries(folder) == entries(tmp_path / "whole")
    last, best = (
        state["mean"]
        for state in (
            torch.load(folder / "checkpoint.pt")["model"],
            torch.load(folder / "checkpoint.pt")["schedule"]["best_weights"],
        )
    )
    assert torch.equal(last, best) or losses[-1] == min(losses)


class TwoRanks(Trainer):
    """Adds over a second rank that did as much as this one."""

    def _sum_over_ranks(self, *values: float) -> list[float]:
        return [2 * value for value in values]


def test_processor_time_is_that_of_all_ranks(loaders, tmp_path: Path):
    trainer = trainer_of(tmp_path)
    trainer.__class__ = TwoRanks
    result = trainer.fit(MeanModel(), *loaders)
    own = trainer.position.cpu_seconds
    assert result.cpu_seconds == pytest.approx(2 * own, abs=0.06)
    saved = torch.load(tmp_path / "checkpoint.pt")["position"]["cpu_seconds"]
    assert saved == pytest.approx(2 * own)
    # the first rank continues with the sum
    again = trainer_of(tmp_path)
    again.fit(MeanModel(), *loaders)
    assert again.position.cpu_seconds == pytest.approx(2 * own)


def test_a_training_that_was_killed_before_its_first_checkpoint_is_marked(loaders, tmp_path: Path):
    (tmp_path / "history.jsonl").write_text("")
    assert trainer_of(tmp_path).fit(MeanModel(), *loaders).resumed == 1


def test_what_was_computed_is_estimated_from_parameters_frames_and_what_is_frozen():
    """Layers of 10, 20 and 30 parameters, 5 updates on 100 frames in all."""
    full = work_of([(10, True), (20, True), (30, True)], 5, 100)
    assert (full.parameters, full.trained_parameters) == (60, 60)
    assert full.trained_parameter_updates == 300
    assert full.flops == 2 * 100 * (60 + 50 + 60)  # no gradient of the features
    top_frozen = work_of([(10, True), (20, True), (30, False)], 5, 100)
    assert top_frozen.trained_parameter_updates == 150
    assert top_frozen.flops == 2 * 100 * (60 + 50 + 30)
    bottom_frozen = work_of([(10, False), (20, False), (30, True)], 5, 100)
    assert bottom_frozen.flops == 2 * 100 * (60 + 0 + 30)


@pytest.mark.parametrize("grad_clip", [5.0, 0.0])
def test_an_update_without_a_finite_gradient_is_skipped(loaders, tmp_path: Path, grad_clip: float):
    """Also if the gradient is not clipped: one NaN would spoil all weights for good."""
    gradients = []

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        gradients.append(gradient)
        return gradient * math.nan if len(gradients) == 3 else gradient

    model = MeanModel(spoil)
    trainer = trainer_of(tmp_path, grad_clip=grad_clip)
    result = trainer.fit(model, *loaders)
    assert len(gradients) == 10 and torch.isfinite(model.mean).all()
    assert math.isfinite(result.metrics["loss"])
    assert trainer.position.bad_gradients == 0


def test_training_without_clipping_moves_as_far_as_the_gradient_says(loaders, tmp_path: Path):
    models = {}
    for grad_clip in (0.0, 1e9, 1e-3):
        models[grad_clip] = MeanModel()
        trainer_of(tmp_path / str(grad_clip), grad_clip=grad_clip).fit(models[grad_clip], *loaders)
    assert torch.equal(models[0.0].mean, models[1e9].mean)
    assert not torch.allclose(models[0.0].mean, models[1e-3].mean, atol=1e-2)


def test_many_bad_gradients_in_a_row_stop_the_training(loaders, tmp_path: Path):
    model = MeanModel(lambda gradient: gradient * math.inf)
    with pytest.raises(
        TrainingError, match=f"{BAD_GRADIENTS_IN_A_ROW} updates in a row had no finite"
    ):
        trainer_of(tmp_path, max_epoch=9).fit(model, *loaders)
    assert not model.mean.any()


def test_what_a_killed_training_left_half_written_is_removed(loaders, tmp_path: Path):
    """Otherwise each kill in the middle of a checkpoint would leave a gigabyte behind forever."""
    for name in (".checkpoint.pt.123.tmp", ".epoch3.pth.99.tmp"):
        (tmp_path / name).write_text("half")
    trainer_of(tmp_path).fit(MeanModel(), *loaders)
    assert not list(tmp_path.glob(".*"))


def test_gradients_are_means_over_utterances_whatever_the_accumulation(loaders, tmp_path: Path):
    """One update of 5 batches is plain gradient descent on the whole set."""
    train, valid = loaders
    model = MeanModel()
    conf = {"lr": 0.5}
    trainer_of(tmp_path, accum_grad=5, max_epoch=1, optim_conf=conf, grad_clip=0.0).fit(
        model, train, valid
    )
    means = torch.cat([b.features.sum(1) / b.features.size(1) for b in train.epoch(1)])
    # one step with lr 0.5 on the mean of |x - m|^2 from m = 0 reaches the mean of x
    torch.testing.assert_close(model.mean.detach(), means.mean(dim=0), atol=1e-5, rtol=1e-4)


def test_the_best_epochs_are_averaged_and_the_others_removed(loaders, tmp_path: Path):
    model = MeanModel()
    result = trainer_of(tmp_path, max_epoch=4, keep_nbest_models=2).fit(model, *loaders)
    dev = {e["epoch"]: e["loss"] for e in entries(tmp_path) if e["split"] == "valid"}
    best = sorted(dev, key=lambda epoch: (dev[epoch], epoch))[:2]
    assert result.averaged_epochs == best
    kept = {path.name for path in tmp_path.glob("epoch*.pth")}
    assert kept == {f"epoch{epoch}.pth" for epoch in best}
    states = [torch.load(tmp_path / f"epoch{epoch}.pth")["mean"].double() for epoch in best]
    assert torch.equal(model.mean.detach(), torch.stack(states).mean(0).float())


@pytest.mark.parametrize("patience", [0, 2])
def test_patience_ends_a_training_when_espnet2_does(loaders, tmp_path: Path, patience: int):
    """Once the best epoch is more than ``patience`` epochs ago. Here it is the first one:
    watched upwards, a falling loss never improves."""
    result = trainer_of(
        tmp_path, max_epoch=9, optim_conf={"lr": 0.01}, patience=patience,
        early_stopping_criterion=["valid", "loss", "max"],
    ).fit(MeanModel(), *loaders)  # fmt: skip
    assert result.epochs - 1 == patience + 1


@pytest.mark.parametrize("pace, left", [(0.5, "00:04:55"), (400.0, "65:33:20")])
def test_the_time_left_may_be_longer_than_a_day(pace: float, left: str, caplog):
    caplog.set_level(logging.INFO)
    progress = Progress("full training", total=600, done=0, interval=1, enabled=True)
    started, update = progress._shown[0]
    progress._shown[0] = (started - 10 * pace, update)
    progress.advance(10, 1, {"loss": 1.0})
    assert f"{pace:.2f} s/update, {left} left" in caplog.text


STATISTICS_OF_RANKS = """
import torch
from torch import nn
from cascade_asr.library.data import ItemLoader, as_dataset
from cascade_asr.library.network import MeasuredNetwork
from cascade_asr.training.device import make_fabric
from cascade_asr.training.evaluate import evaluate

fabric = make_fabric(0, "32-true", 2)
model = MeasuredNetwork(
    nn.Sequential(nn.BatchNorm1d(1)), lambda network, inputs, _: {"loss": network(inputs).squeeze(1)}, ["loss"]
)
model.network[0].running_mean.fill_(fabric.global_rank)  # as after a batch of its own
items = as_dataset((torch.zeros(8, 1), torch.zeros(8)), "dev")
found = evaluate(fabric, model, ItemLoader(items, 2, None, fabric.global_rank, 2))
fabric.barrier()
print(f"rank {fabric.global_rank}: loss {found['loss']:.1f}", flush=True)
"""


def test_all_ranks_evaluate_the_statistics_that_are_saved(tmp_path: Path):
    script = tmp_path / "evaluate_ranks.py"
    script.write_text(STATISTICS_OF_RANKS)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rank 0: loss 0.0" in done.stdout and "rank 1: loss 0.0" in done.stdout
