"""Learning-rate schedules, by ESPnet2's names: when they step, end and stretch."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from cascade_asr.errors import ConfigError
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.training.state import signed


class EpsDecay:
    """Multiply Adadelta's eps after an epoch that is worse than the best one.

    ESPnet1's schedule for RNN recipes (``--eps-decay 0.01 --criterion acc``). As there,
    a value equal to the best one changes nothing, and after a worse one training continues
    from the weights of the best epoch, with the optimizer's other state as it is;
    ``restore: false`` is ESPnet1's ``--criterion loss_eps_decay_only``. The weights of
    the best epoch are part of the state, so that a killed training also continues
    from them.

    Departure: a metric that is not a number is worse than any other; ESPnet1 would take
    it as the new best.

    Args:
        optimizer: an Adadelta.
        factor: factor by which eps is multiplied.
        mode: ``min`` or ``max``: which direction of the metric is better.
        restore: return to the weights of the best epoch when eps is multiplied.
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 0.01, mode: str = "min", restore: bool = True
    ) -> None:
        if "eps" not in optimizer.param_groups[0]:
            raise ConfigError("scheduler epsdecay needs an optimizer with eps, such as adadelta")
        if mode not in ("min", "max"):
            raise ConfigError(f"scheduler epsdecay: mode is '{mode}', expected min or max")
        self.optimizer = optimizer
        self.factor = factor
        self.mode = mode
        self.restore = restore
        self.best: float | None = None
        self._best_weights: dict[str, torch.Tensor] = {}
        self._last = "equal"  # the last epoch's metric compared with the best one before it

    def step(self, metric: float) -> None:
        """Take note of an epoch's metric."""
        value = signed(metric, self.mode)
        if self.best is None or value < self.best:
            self.best, self._last = value, "better"
        elif value == self.best:
            self._last = "equal"
        else:
            self._last = "worse"
            for group in self.optimizer.param_groups:
                group["eps"] *= self.factor

    def keep_or_restore(self, model: nn.Module) -> None:
        """Remember the weights of a best epoch; restore them after a worse one.

        Call it after `step`, when the epoch's own weights are no longer needed.
        """
        if not self.restore:
            return
        if self._last == "better":
            weights = model.state_dict()
            self._best_weights = {name: each.detach().cpu().clone() for name, each in weights.items()}
        elif self._last == "worse" and self._best_weights:
            model.load_state_dict(self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_weights": self._best_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best = state["best"]
        self.best = None if best == float("inf") else best  # no epoch yet, as once written
        self._best_weights = state.get("best_weights", {})


# name -> (class, when it steps)
SCHEDULERS: dict[str, tuple[type, str]] = {
    "cosineannealinglr": (lr_scheduler.CosineAnnealingLR, "epoch"),
    "epsdecay": (EpsDecay, "metric"),
    "exponentiallr": (lr_scheduler.ExponentialLR, "epoch"),
    "multisteplr": (lr_scheduler.MultiStepLR, "epoch"),
    "noamlr": (espnet_module("espnet2.schedulers.noam_lr").NoamLR, "update"),
    "onecyclelr": (lr_scheduler.OneCycleLR, "update"),
    "reducelronplateau": (lr_scheduler.ReduceLROnPlateau, "metric"),
    "steplr": (lr_scheduler.StepLR, "epoch"),
    "warmuplr": (espnet_module("espnet2.schedulers.warmup_lr").WarmupLR, "update"),
}

ANY = (0, None)
FRACTION = (0, 1)
_FROM_THE_START = {"last_epoch": (-1, -1)}  # a resumed training restores its schedule
SCHEDULER_BOUNDS = _FROM_THE_START | {
    "T_max": (1, None),
    "eta_min": ANY,
    "factor": FRACTION,
    "gamma": ANY,
    "milestones": ANY,
    "model_size": (1, None),
    "warmup_steps": (1, None),
    "max_lr": ANY,
    "total_steps": (1, None),
    "epochs": (1, None),
    "steps_per_epoch": (1, None),
    "pct_start": FRACTION,
    "base_momentum": FRACTION,
    "max_momentum": FRACTION,
    "div_factor": (1e-9, None),
    "final_div_factor": (1e-9, None),
    "patience": ANY,
    "threshold": ANY,
    "cooldown": ANY,
    "min_lr": ANY,
    "eps": ANY,
    "step_size": (1, None),
}


def stretched(name: str | None, conf: dict[str, Any], ratio: Fraction) -> dict[str, Any]:
    """The arguments of a schedule for a training that is ``ratio`` times as long.

    A schedule that counts epochs or updates reaches the same point at the same fraction
    of the training; one that has no end, or follows the dev metric, is rounded to
    whole steps or left unchanged:

    ===================  ==========================================================
    schedule             rule
    ===================  ==========================================================
    cosineannealinglr    ``T_max`` x ratio
    epsdecay             unchanged: it follows the dev metric and counts nothing
    exponentiallr        ``gamma`` ** (1 / ratio): the same decay at the end
    multisteplr          each of ``milestones`` x ratio
    noamlr               unchanged, as warmuplr
    onecyclelr           ``total_steps`` (or ``epochs``) x ratio, rounded up; without
                         either it lasts the whole training anyway
    reducelronplateau    ``patience`` and ``cooldown`` x ratio
    steplr               ``step_size`` x ratio
    warmuplr             unchanged: the warm-up protects the first updates, whatever
                         follows, and the decay after it has no end
    ===================  ==========================================================

    Products are rounded to the nearest whole number (half up), and to at least 1 if the
    schedule needs one step.

    Args:
        name: one of `SCHEDULERS`, or None.
        conf: its arguments; not changed.
        ratio: ratio of the numbers of updates, at least 1.

    Returns:
        The new arguments.
    """
    conf = dict(conf)
    kind = name.lower() if name else ""
    if kind == "reducelronplateau":
        conf["patience"] = _times(conf.get("patience", 10), ratio)
        conf["cooldown"] = _times(conf.get("cooldown", 0), ratio)
    elif kind == "multisteplr":
        conf["milestones"] = [max(1, _times(each, ratio)) for each in conf["milestones"]]
    elif kind == "exponentiallr":
        conf["gamma"] = conf["gamma"] ** float(1 / ratio)
    elif kind == "onecyclelr":
        for key in {"total_steps", "epochs"} & {key for key in conf if conf[key] is not None}:
            conf[key] = math.ceil(conf[key] * ratio)
    elif kind in ("cosineannealinglr", "steplr"):
        key = "T_max" if kind == "cosineannealinglr" else "step_size"
        conf[key] = max(1, _times(conf[key], ratio))
    return conf


def _times(count: float, ratio: Fraction) -> int:
    """Product rounded to the nearest whole number, half up."""
    return math.floor(Fraction(count) * ratio + Fraction(1, 2))


class Schedule:
    """A learning-rate schedule that knows when it steps.

    Args:
        optimizer: the optimizer whose learning rate changes.
        name: one of `SCHEDULERS`, or None for a constant rate.
        conf: its arguments. A one-cycle schedule without ``total_steps`` lasts
            the whole training, and without ``max_lr`` peaks at the optimizer's lr.
        total_updates: updates of the whole training, or of ``schedule_epochs``.
        epochs: after this many the learning rate stays as it is (``schedule_epochs``); None
            leaves that to the schedule. One that follows the dev metric always does so.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        name: str | None,
        conf: dict[str, Any],
        total_updates: int,
        epochs: int | None = None,
    ) -> None:
        self.when, self._scheduler = "never", None
        self._optimizer = optimizer
        self._held_after: int | None = None
        if name is None:
            return
        kind, self.when = SCHEDULERS[name.lower()]
        conf = dict(conf)
        if kind is lr_scheduler.OneCycleLR:
            if not {"total_steps", "epochs"} & set(conf):
                conf["total_steps"] = total_updates + 1
            conf.setdefault("max_lr", optimizer.param_groups[0]["lr"])
        self._scheduler = kind(optimizer, **conf)
        if epochs is not None:
            self._held_after = {"update": total_updates, "epoch": epochs}.get(self.when)

    def after_update(self) -> None:
        """Call after each update of the weights."""
        if self.when == "update" and not self._is_held:
            self._scheduler.step()

    def after_epoch(self, metric: float | None) -> bool:
        """Call after each epoch with the watched dev metric.

        Returns:
            Whether a schedule that follows the metric lowered the rate (or eps).
        """
        before = self._rates()
        if self.when == "epoch" and not self._is_held:
            self._scheduler.step()
        elif self.when == "metric":
            self._scheduler.step(metric)
        return self.when == "metric" and self._rates() != before

    def _rates(self) -> list[tuple[Any, Any]]:
        return [(group["lr"], group.get("eps")) for group in self._optimizer.param_groups]

    @property
    def _is_held(self) -> bool:
        return self._held_after is not None and self._scheduler.last_epoch >= self._held_after

    @property
    def ended(self) -> bool:
        """Whether the schedule has ended, so that it no longer causes gains.

        ===================  ======================================================
        schedule             ends
        ===================  ======================================================
        any that counts      after ``schedule_epochs``, if given; else:
        none                 before the first update; with NT-ASGD, when averaging
                             begins
        cosineannealinglr    after ``T_max`` epochs
        multisteplr          after the last milestone
        noamlr, warmuplr     after the warm-up
        onecyclelr           after its last update
        exponentiallr,       has no end, and counts as ended from the beginning
        steplr
        epsdecay,            counts as ended from the beginning, and anew whenever it
        reducelronplateau    lowers the rate (see `after_epoch`)
        ===================  ======================================================
        """
        if not self._optimizer.param_groups[0].get("averaging", True):
            return False
        if self._scheduler is None:
            return True
        if self._held_after is not None:
            return self._is_held
        end = self._own_end()
        return end is None or self._scheduler.last_epoch >= end

    def _own_end(self) -> int | None:
        """The step at which the schedule itself ends; None if it has no end."""
        scheduler = self._scheduler
        if isinstance(scheduler, lr_scheduler.OneCycleLR):
            return scheduler.total_steps - 1
        if isinstance(scheduler, lr_scheduler.CosineAnnealingLR):
            return scheduler.T_max
        if isinstance(scheduler, lr_scheduler.MultiStepLR):
            return max(scheduler.milestones, default=0)
        return getattr(scheduler, "warmup_steps", None)

    @property
    def last_update(self) -> int | None:
        """The update after which the schedule ends; None if it has no end."""
        return getattr(self._scheduler, "total_steps", None)

    def keep_or_restore(self, model: nn.Module) -> None:
        """Call after `after_epoch`, once the epoch's weights are ranked and saved."""
        if isinstance(self._scheduler, EpsDecay):
            self._scheduler.keep_or_restore(model)

    def state_dict(self) -> dict[str, Any]:
        return self._scheduler.state_dict() if self._scheduler else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._scheduler:
            self._scheduler.load_state_dict(state)
