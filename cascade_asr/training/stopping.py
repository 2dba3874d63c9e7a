"""When a training ends before its last epoch: by patience, or because it has converged."""

from __future__ import annotations

from collections.abc import Mapping

from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.convergence import Convergence, judge_convergence, watched_criterion
from cascade_asr.training.state import Position, read_metric, signed


class Stopping:
    """Watches the dev metrics of a training.

    Args:
        config: how to train.
        position: keeps what was watched so far, and so brings it into the checkpoint.
    """

    def __init__(self, config: TrainingOptions, position: Position) -> None:
        self.config, self.position = config, position

    def after_epoch(
        self, metrics: Mapping[str, dict[str, float]], schedule_ended: bool, is_lowered: bool
    ) -> list[str]:
        """Note the metrics of an epoch; return the reasons to stop now.

        Args:
            metrics: of the splits ``train`` and ``valid``.
            schedule_ended: whether the learning-rate schedule has ended.
            is_lowered: whether it lowered the rate after this epoch.
        """
        self._count_stale_epochs(metrics)
        self._watch_convergence(metrics, schedule_ended, is_lowered)
        reasons, stale = [], self.position.stale_epochs
        if self.config.patience is not None and stale > self.config.patience:
            reasons.append(f"no improvement for {stale} epochs: stopping")
        if self.config.converged.stop and self.convergence.converged:
            reasons.append(f"converged, stopping: {self.convergence.reason}")
        return reasons

    @property
    def convergence(self) -> Convergence:
        """The verdict on the epochs so far."""
        position = self.position
        return judge_convergence(self.config, position.watched, position.epochs_after_schedule)

    def _count_stale_epochs(self, metrics: Mapping[str, dict[str, float]]) -> None:
        split, name, mode = self.config.early_stopping_criterion
        value = signed(read_metric(metrics, [split, name]), mode)
        if self.position.watched_best is None or value < self.position.watched_best:
            self.position.watched_best = value
            self.position.stale_epochs = 0
        else:
            self.position.stale_epochs += 1

    def _watch_convergence(
        self, metrics: Mapping[str, dict[str, float]], schedule_ended: bool, is_lowered: bool
    ) -> None:
        """Note this epoch's metric, and whether it and the next one follow the schedule's end."""
        position = self.position
        position.watched.append(read_metric(metrics, watched_criterion(self.config)))
        after = position.after_schedule and not is_lowered
        position.epochs_after_schedule = position.epochs_after_schedule + 1 if after else 0
        position.after_schedule = schedule_ended
