"""Optimizers by ESPnet2's names, and checks of their options."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from cascade_asr.errors import ConfigError, nearest, told
from cascade_asr.options.signatures import check_conf
from cascade_asr.training.averaging import NTASGD
from cascade_asr.training.protocols import Batches, TrainingBatch
from cascade_asr.training.schedules import (
    ANY,
    FRACTION,
    SCHEDULER_BOUNDS,
    SCHEDULERS,
    Schedule,
)

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "asgd": torch.optim.ASGD,
    "nt_asgd": NTASGD,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
}
ESPNET2_DEFAULTS = {"sgd": {"lr": 0.1}}  # where they are not PyTorch's, whose SGD has 0.001
IN_ONE_PASS = (torch.optim.Adam, torch.optim.AdamW)  # on a CPU and on a GPU


OPTIMIZER_BOUNDS = {
    "betas": FRACTION,
    "step_sizes": ANY,
    "nonmonotone_interval": (1, None),
}
def check_optimization(
    optim: str, optim_conf: dict[str, Any], scheduler: str | None, scheduler_conf: dict[str, Any]
) -> list[str]:
    """Problems with the optimizer and schedule options, found on a network of one weight."""
    problems = []
    if optim.lower() not in OPTIMIZERS:
        problems.append(f"unknown optim '{optim}'{nearest(optim, OPTIMIZERS)}")
    else:
        problems += check_conf(
            OPTIMIZERS[optim.lower()], optim_conf, "optim_conf", bounds=OPTIMIZER_BOUNDS
        )
    if scheduler is not None and scheduler.lower() not in SCHEDULERS:
        problems.append(f"unknown scheduler '{scheduler}'{nearest(scheduler, SCHEDULERS)}")
    elif scheduler is not None:
        conf = dict(scheduler_conf)
        if scheduler.lower() == "onecyclelr":
            conf.setdefault("max_lr", 1.0)
        problems += check_conf(
            SCHEDULERS[scheduler.lower()][0], conf, "scheduler_conf", bounds=SCHEDULER_BOUNDS
        )
    if problems:
        return problems
    place = f"optim {optim}, optim_conf"
    weight = nn.Parameter(torch.zeros(1))
    try:
        optimizer = build_optimizer([weight], optim, optim_conf)
        make_updates(optimizer, weight, updates=1)
        place = f"scheduler {scheduler}, scheduler_conf"
        schedule = Schedule(optimizer, scheduler, scheduler_conf, total_updates=1_000)
        make_updates(optimizer, weight, 3, schedule)
    except ConfigError as error:
        return [f"{place}: {error}"]
    except Exception as error:  # whatever an optimizer or schedule raises for such values
        return [f"{place}: {told(error)}"]
    return []


def make_updates(
    optimizer: Optimizer, weight: nn.Parameter, updates: int, schedule: Schedule | None = None
) -> None:
    """Make updates of a single weight whose gradient is zero, and then end an epoch.

    Raises:
        ValueError: if the learning rate is not a number afterwards; and whatever the
            optimizer or the schedule raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(updates):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
            if schedule is not None:
                schedule.after_update()
        if schedule is not None:
            schedule.after_epoch(1.0)
    rate = optimizer.param_groups[0]["lr"]
    if isinstance(rate, complex) or not math.isfinite(rate):
        raise ValueError(f"the learning rate becomes {rate}")


def build_optimizer(
    parameters: Iterable[nn.Parameter], name: str, conf: dict[str, Any], in_one_pass: bool = False
) -> Optimizer:
    """Build an optimizer over the trainable parameters.

    Args:
        parameters: parameters to train.
        name: one of `OPTIMIZERS`.
        conf: its arguments; those left out have ESPnet2's defaults.
        in_one_pass: let PyTorch update a tensor in one pass over its memory, if it can and
            ``conf`` does not choose another way. Not with a loss scaler (fp16), because
            clipping would then not work.
    """
    kind = OPTIMIZERS[name.lower()]
    conf = ESPNET2_DEFAULTS.get(name.lower(), {}) | conf
    chosen = {"fused", "foreach", "capturable", "differentiable"} & set(conf)
    if in_one_pass and kind in IN_ONE_PASS and not chosen:
        conf = {**conf, "fused": True}
    return kind(list(parameters), **conf)


@contextmanager
def scaled_learning_rate(optimizer: Optimizer, batches: Sequence[TrainingBatch]) -> Iterator[None]:
    """Inside, the learning rate is scaled by the mean of what an update's batches ask for."""
    scales = [batch.learning_rate_scale for batch in batches]
    rates = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * (sum(scales) / len(scales))
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def total_updates(batches: Batches, epochs: int, accum_grad: int) -> int:
    """Number of updates of a whole training."""
    counts = (batches.batches_of(epoch) for epoch in range(1, epochs + 1))
    return sum(math.ceil(count / accum_grad) for count in counts)
