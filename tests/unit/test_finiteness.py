"""Losses and gradients that are not finite, reported at once on a CPU and without waiting on a GPU.

The GPU's code path runs here on the CPU, and its reads are counted.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from test_trainer import MeanModel, loaders, trainer_of  # noqa: F401
from torch.utils._python_dispatch import TorchDispatchMode

from cascade_asr.errors import TrainingError
from cascade_asr.training.history import read_history
from cascade_asr.training.trainer import Trainer

CONF = {"lr": 0.1}
READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default}
READ_LIST = torch.Tensor.tolist


class CountedReads(TorchDispatchMode):
    """Counts numbers read from tensors; lengths (int64) are always on the CPU."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in READS and args[0].dtype != torch.int64:
            self.count += 1
        return function(*args, **(kwargs or {}))

    def tolist(self, tensor: torch.Tensor) -> list:
        """It is not a dispatched operation."""
        self.count += tensor.dtype != torch.int64
        return READ_LIST(tensor)


@pytest.fixture(params=[True, False], ids=["deferred", "at once"])
def is_deferred(request, monkeypatch) -> bool:
    if request.param:
        monkeypatch.setattr(Trainer, "_defers", lambda self: True)
    return request.param


def trained(loaders, folder: Path, model: MeanModel, **options) -> Trainer:  # noqa: F811
    trainer = trainer_of(folder, optim="adam", optim_conf=CONF, **options)
    trainer.fit(model, *loaders)
    return trainer


def spoilt(*updates: int):
    """A hook that spoils the gradients of these updates, counted from 1."""
    seen = []

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        return gradient * math.nan if len(seen) in updates else gradient

    return spoil


class Diverging(MeanModel):
    """Its loss is infinite from the third update on, its gradient is not."""

    updates = 0

    def forward(self, batch):
        loss, statistics = super().forward(batch)
        self.updates += self.training
        return loss + (math.inf if self.updates >= 3 else 0.0), statistics


def test_an_update_is_skipped_and_counted_either_way(loaders, tmp_path, monkeypatch, caplog):  # noqa: F811
    models = [MeanModel(spoilt(3, 4)), MeanModel(spoilt(3, 4))]
    now = trained(loaders, tmp_path / "now", models[0])
    monkeypatch.setattr(Trainer, "_defers", lambda self: True)
    later = trained(loaders, tmp_path / "later", models[1])
    assert now._finiteness.is_deferred is False and later._finiteness.is_deferred is True
    assert torch.equal(models[0].mean, models[1].mean) and torch.isfinite(models[0].mean).all()
    histories = [read_history(tmp_path / name / "history.jsonl") for name in ("now", "later")]
    assert histories[0] == histories[1]
    told = [each.message for each in caplog.records if "is not finite" in each.message]
    assert len(told) == 4 and told[:2] == told[2:]
    assert told[0] == "update 2: the gradient is not finite; the update is skipped"


def test_an_infinite_loss_stops_the_training_and_nothing_is_saved(loaders, tmp_path, is_deferred):  # noqa: F811
    with pytest.raises(TrainingError, match=r"loss is inf in epoch 1, update 3, utterances \w"):
        trained(loaders, tmp_path, model := Diverging(), log_interval=50)
    assert model.updates == (
        5 if is_deferred else 3
    )  # 5 batches: an epoch, shorter than the interval
    assert [path.name for path in tmp_path.glob("*.p*")] == []


def test_a_diverging_training_is_stopped_within_the_log_interval(loaders, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Trainer, "_defers", lambda self: True)
    with pytest.raises(TrainingError, match="loss is inf in epoch 1, update 3"):
        trained(loaders, tmp_path, model := Diverging(), log_interval=4)
    assert model.updates == 4


def test_an_update_reads_nothing_from_the_device(loaders, tmp_path, is_deferred, monkeypatch):  # noqa: F811
    counts = []
    update = Trainer._update

    def counted(self, group):
        with CountedReads() as reads:
            monkeypatch.setattr(torch.Tensor, "tolist", lambda each: reads.tolist(each))
            statistics = update(self, group)
            self._add(statistics)
        monkeypatch.setattr(torch.Tensor, "tolist", READ_LIST)
        counts.append(reads.count)
        return {}

    monkeypatch.setattr(Trainer, "_update", counted)
    trained(loaders, tmp_path, MeanModel(), max_epoch=1)
    assert len(counts) == 5
    assert sum(counts) == 0 if is_deferred else min(counts) > 0
