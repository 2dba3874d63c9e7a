"""What batches, models and optimizers may do in a training beyond their usual part.

The trainer asks for each of these and does without where there is none:

``batch.learning_rate_scale``     factor of the learning rate of this batch's update
``loader.batches_of(epoch)``      how many batches an epoch has, where epochs differ
``model.training_state()``        what a checkpoint keeps of it beside the weights,
``model.load_training_state(x)``  and how it goes on from there
``model.derived_metrics(means)``  metrics that follow from means, such as perplexity
``optimizer.evaluation_weights()``  context in which the parameters are the averaged ones
``optimizer.after_epoch(metric)``   look at the dev metric; true where averaging begins
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.optim import Optimizer


@contextmanager
def scaled_learning_rate(optimizer: Optimizer, batches: Sequence[Any]) -> Iterator[None]:
    """Scale the learning rate, inside, by what the batches of an update ask for, on average."""
    scales = [getattr(batch, "learning_rate_scale", 1.0) for batch in batches]
    rates = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * (sum(scales) / len(scales))
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def total_updates(loader: Any, epochs: int, accum_grad: int) -> int:
    """Updates of a whole training."""
    batches_of = getattr(loader, "batches_of", lambda epoch: len(loader))
    return sum(math.ceil(batches_of(epoch) / accum_grad) for epoch in range(1, epochs + 1))


def training_state(model: nn.Module) -> Any:
    """The model's own state, to be saved; None where it has none."""
    ask = getattr(model, "training_state", None)
    return ask() if ask else None


def load_training_state(model: nn.Module, state: Any) -> None:
    """Give the model back what `training_state` returned."""
    if state is not None:
        model.load_training_state(state)


def derived_metrics(model: nn.Module, means: dict[str, float]) -> dict[str, float]:
    """Metrics that the model computes from means."""
    ask = getattr(model, "derived_metrics", None)
    return ask(means) if ask else {}


def evaluation_weights(optimizer: Optimizer) -> AbstractContextManager[None]:
    """Inside, the model has the weights that the optimizer wants to be judged by."""
    ask = getattr(optimizer, "evaluation_weights", None)
    return ask() if ask else nullcontext()


def averaging_begins(optimizer: Optimizer, metric: float) -> bool:
    """Show the optimizer the dev metric of an epoch."""
    ask = getattr(optimizer, "after_epoch", None)
    return ask(metric) if ask else False
