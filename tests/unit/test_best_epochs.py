"""Tests of the best epochs of a training."""

from __future__ import annotations

from pathlib import Path

import torch

from cascade_asr.training.best_epochs import BestEpochs


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"layer.weight": torch.tensor([value]), "frozen.weight": torch.tensor([0.1])}


def test_the_best_are_kept_and_averaged(tmp_path: Path):
    ranked: list[list[float]] = []
    best = BestEpochs(tmp_path, ranked, capacity=2)
    for epoch, value in enumerate([5.0, 3.0, 4.0, 3.0, 9.0], start=1):
        among = best.rank(value, epoch)
        assert among == (epoch < 5)  # the last one is the worst
        if among:
            best.save(epoch, weights(float(epoch)))
    assert ranked == [[3.0, 2], [3.0, 4]] and best.epochs == [2, 4]
    assert len(list(tmp_path.iterdir())) == 4  # a killed training still finds the earlier ones
    best.remove_dropped()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch2.pth", "epoch4.pth"]
    averaged = best.average({"frozen.weight"})
    assert averaged["layer.weight"].tolist() == [3.0]
    assert torch.equal(averaged["frozen.weight"], weights(0)["frozen.weight"])


def test_of_equal_epochs_the_earlier_is_kept(tmp_path: Path):
    best = BestEpochs(tmp_path, [], capacity=1)
    assert best.rank(3.0, 1) and not best.rank(3.0, 2)
    assert best.epochs == [1]
