"""Try one step of every network of a plan, before hours of training."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from cascade_asr.cascade.planning import Plan
from cascade_asr.cascade.task import Task
from cascade_asr.networks.layer import Layer
from cascade_asr.training.freezing import freeze, set_training_mode
from cascade_asr.training.trial import try_schedule, try_training

logger = logging.getLogger(__name__)

TRIAL_SECONDS = 30  # after which further networks are tried on little data only


def try_networks(task: Task, plan: Plan, where: str) -> None:
    """Make a trial step with every network of the plan, and run through every schedule.

    Stages with the same configuration that freeze the same layers count as one network.
    After `TRIAL_SECONDS` the remaining ones are tried only on the shortest batch.
    """
    started, tried, scheduled = time.monotonic(), set(), set()
    for stage in [each for branch in plan.branches.values() for each in branch.stages]:
        content = dataclasses.asdict(stage.config) | {"seed": 0}
        key = (repr(content), tuple(layer.name for layer in stage.frozen), stage.frozen_dropout)
        if key in tried:
            continue
        tried.add(key)
        model = task.build_model(stage.config, stage.seed)
        data = task.data(model, stage.config)
        batches = data.trial_batches()
        if time.monotonic() - started > TRIAL_SECONDS:
            batches = batches[-1:]
        freeze(model, stage.frozen)
        try_training(
            model, stage.config, batches, where, _training_mode(stage.frozen, stage.frozen_dropout)
        )
        if repr(content) not in scheduled:
            epochs = stage.config.schedule_epochs or stage.config.max_epoch
            scheduled.add(repr(content))
            try_schedule(stage.config, epochs * data.updates_per_epoch, where)
    logger.info("%d networks of the plan made a trial step", len(tried))


def _training_mode(frozen: Sequence[Layer], frozen_dropout: bool) -> Callable[[Any], Any]:
    """The function that puts a partly frozen network into training mode."""
    return lambda model: set_training_mode(model, frozen, frozen_dropout)
