"""Which stages are kept, which one is selected, and when the cascade stops."""

from __future__ import annotations

from dataclasses import dataclass

from cascade_asr.errors import ConfigError
from cascade_asr.training.finished import DoneStage
from cascade_asr.training.state import signed


@dataclass(frozen=True)
class Verdict:
    """A finished stage and whether it was kept.

    Attributes:
        number: number of the stage; 0 is full training.
        value: its dev metric.
        kept: it improved on everything before it.
    """

    number: int
    value: float
    kept: bool


def judge(done: dict[int, DoneStage], select: list[str]) -> list[Verdict]:
    """Keep a stage only if its dev metric improves on the best so far.

    Args:
        done: finished stages by number; full training (0) is eligible.
        select: metric and ``min`` or ``max``.

    Raises:
        ConfigError: if a stage has no such metric; it lists those that exist.
    """
    metric, mode = select
    verdicts: list[Verdict] = []
    best: float | None = None
    for number in sorted(done):
        metrics = done[number].metrics
        if metric not in metrics:
            raise ConfigError(
                f"select: metric '{metric}' is not logged by {done[number].directory}; "
                f"there are: {', '.join(metrics)}"
            )
        value = signed(metrics[metric], mode)
        kept = best is None or value < best
        best = value if kept else best
        verdicts.append(Verdict(number, metrics[metric], kept))
    return verdicts


def selected(verdicts: list[Verdict]) -> int:
    """Number of the best stage: the last that was kept."""
    return [verdict.number for verdict in verdicts if verdict.kept][-1]


def stages_without_gain(verdicts: list[Verdict]) -> int:
    """Number of stages since the best one, none of which improved."""
    return sum(verdict.number > selected(verdicts) for verdict in verdicts)
