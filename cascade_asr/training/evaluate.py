"""Metrics of a model over all batches of a set, and over all ranks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn

from cascade_asr.training.protocols import Batches, CascadeModel, Statistics
from cascade_asr.training.state import add_statistics

if TYPE_CHECKING:  # importing it takes 1.4 s, which commands without training should not spend
    from lightning_fabric import Fabric


@torch.no_grad()
def evaluate(
    fabric: Fabric,
    model: CascadeModel,
    batches: Batches,
    weights: Callable[[], AbstractContextManager[None]] = nullcontext,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Metrics of a model in evaluation mode, in which it is left.

    Args:
        fabric: launched; its device holds the model.
        model: the model with the weights to evaluate.
        batches: batches of the set, read once.
        weights: context in which the model has the weights to evaluate, if it has
            different ones outside.
        after_batch: called after each batch; may raise to stop.
    """
    model.eval()
    sums: Statistics = {}
    with closing(batches.epoch(1)) as all_batches:
        for number, batch in enumerate(all_batches):
            if number == 0:  # reading processes have begun, undisturbed by threads of the ranks
                take_buffers_of_first_rank(fabric, model)
            with weights(), fabric.autocast():
                _, statistics = model(batch.to(fabric.device))
            add_statistics(sums, statistics)
            after_batch()
    return means_over_ranks(fabric, model, sums)


@torch.no_grad()
def take_buffers_of_first_rank(fabric: Fabric, model: nn.Module) -> None:
    """Give all ranks the buffers of the first one, whose model is saved.

    Weights are equal on all ranks after an update, but running statistics, as of BatchNorm,
    are those of each rank's own share of the last batch.
    """
    if fabric.world_size == 1:
        return
    for buffer in filter(torch.Tensor.numel, model.buffers()):
        content = buffer.reshape(-1)
        torch.distributed.broadcast(content.view(torch.uint8), src=0)
        buffer.copy_(content.view_as(buffer))


def means_over_ranks(
    fabric: Fabric, model: CascadeModel, sums: Statistics
) -> dict[str, float]:
    """Means over all ranks, and what the model derives from them; NaN if nothing was added."""
    means = {}
    for name, pair in sorted(sums.items()):
        value, weight = sum_over_ranks(fabric, *map(float, pair))
        means[name] = value / weight if weight else float("nan")
    return means | model.derived_metrics(means)


def sum_over_ranks(fabric: Fabric, *values: float) -> list[float]:
    """Sum of each value over all ranks, in float64."""
    if fabric.world_size == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    return fabric.all_reduce(tensor, reduce_op="sum").tolist()
