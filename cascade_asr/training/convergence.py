"""Whether a training has converged: one definition for training, tables and reports.

A training has converged when both of these hold:

- its last N epochs (``converged.epochs``) ran after the learning-rate schedule had ended;
- the best dev metric of these N epochs is better than the best of all epochs before them
  by no more than the margin (``converged.margin``).

`cascade_asr.training.schedules.Schedule.ended` defines when a schedule has ended.
A schedule that lasts as long as the training leaves no epoch after its end:
``schedule_epochs`` makes it end earlier, and later epochs keep the last rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.state import signed

RELATIVE_MARGIN = 0.01  # share of the previous best value, if no margin is given

CONVERGED, NOT_CONVERGED = "converged", "not converged"


@dataclass(frozen=True)
class Convergence:
    """The verdict on one training, as stored in ``done.json`` and ``lineage.json``.

    Attributes:
        converged: by the definition of this module.
        metric: the dev metric that was watched.
        margin: largest gain that counts as none, in the metric's unit.
        epochs: how many epochs had to pass without a larger gain.
        epochs_after_schedule: epochs since the schedule ended.
        gain: gain of the best of the last ``epochs`` epochs over the best before them,
            positive for an improvement; None if there are no epochs before them.
        reason: the reason in words.
    """

    converged: bool
    metric: str
    margin: float | None
    epochs: int
    epochs_after_schedule: int
    gain: float | None
    reason: str

    def record(self) -> dict[str, Any]:
        """The verdict for a JSON file."""
        return asdict(self)


def watched_criterion(config: TrainingOptions) -> list[str]:
    """Split, metric and mode that decide; by default the criterion that ranks epochs."""
    return config.converged.criterion or config.best_model_criterion[0]


def judge_convergence(
    config: TrainingOptions, values: Sequence[float], epochs_after_schedule: int
) -> Convergence:
    """Judge the epochs of a training so far.

    Args:
        config: options, with ``converged``.
        values: the watched metric after each epoch.
        epochs_after_schedule: how many of the last epochs ran after the schedule's end.
    """
    needed = config.converged.epochs
    _, metric, mode = watched_criterion(config)
    margin, gain, converged = config.converged.margin, None, False
    ordered = [signed(value, mode) for value in values]
    if len(ordered) <= needed:
        count = "1 epoch is" if len(ordered) == 1 else f"{len(ordered)} epochs are"
        reason = f"{count} too few to compare the last {needed} with"
    elif not math.isfinite(best := min(ordered[-needed:])):
        reason = f"{metric} is not a number in the last {needed} epochs"
    elif not math.isfinite(before := min(ordered[:-needed])):
        reason = f"{metric} was not a number before the last {needed} epochs"
    else:
        margin = RELATIVE_MARGIN * abs(before) if margin is None else margin
        gain = before - best
        converged = gain <= margin or math.isclose(gain, margin)
        better = f"improved by {gain:.4g}" if gain > 0 else "did not improve"
        reason = f"{metric} {better} in the last {needed} epochs, margin {margin:.4g}"
        if epochs_after_schedule < needed:
            converged = False
            reason = f"{epochs_after_schedule} of {needed} epochs ran after the schedule's end"
    return Convergence(converged, metric, margin, needed, epochs_after_schedule, gain, reason)


def in_words(converged: bool | None) -> str:
    """A verdict in words, or ``-`` if there is none."""
    return {True: CONVERGED, False: NOT_CONVERGED}.get(converged, "-")


def is_converged(record: dict[str, Any]) -> bool | None:
    """The verdict in a ``lineage.json``; None if it was written before verdicts existed."""
    found = record.get("convergence")
    return bool(found["converged"]) if found else None
