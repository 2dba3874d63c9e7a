"""The state of a training: its position, its measurements, its randomness."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cascade_asr.errors import ConfigError
from cascade_asr.training.protocols import Statistics


@dataclass
class Position:
    """The position of a training; all of it is in the checkpoint.

    Attributes:
        epoch: counted from 1.
        batch: batches of this epoch already used.
        update: updates done in all.
        best: metric of each epoch kept on disk, best first.
        stale_epochs: epochs since the watched metric improved.
        watched_best: best value of the metric that patience watches.
        watched: for each epoch, the dev metric that decides whether training has converged.
        epochs_after_schedule: how many of the last of these epochs followed the schedule's end.
        after_schedule: this epoch began after the schedule's end.
        bad_gradients: updates skipped in a row.
        seconds: training time so far, over all attempts.
        cpu_seconds: processor time of this rank's process in it; after a resume the
            first rank continues with that of all ranks.
        frames: feature frames trained on so far.
        resumed: how often it resumed from a checkpoint. What was trained between a
            checkpoint and a kill is trained again, and counted once.
        finished: no epoch is left.
    """

    epoch: int = 1
    batch: int = 0
    update: int = 0
    best: list[list[float]] = field(default_factory=list)
    stale_epochs: int = 0
    watched_best: float | None = None
    watched: list[float] = field(default_factory=list)
    epochs_after_schedule: int = 0
    after_schedule: bool = False
    bad_gradients: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    frames: int = 0
    finished: bool = False
    resumed: int = 0


class Clock:
    """Adds elapsed time to a position.

    Args:
        position: the position whose ``seconds`` and ``cpu_seconds`` grow.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def add(self) -> float:
        """Add the time since the last call; return the current time in seconds."""
        wall, cpu = time.monotonic(), time.process_time()
        self.position.seconds += wall - self._wall
        self.position.cpu_seconds += cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        return wall


@dataclass
class FitResult:
    """The result of a training.

    Attributes:
        metrics: dev metrics of the averaged model.
        averaged_epochs: epochs that were averaged, best first.
        epochs, updates, frames, seconds: how much was trained.
        cpu_seconds: processor time of the processes of all ranks.
        resumed: how often it was interrupted and resumed.
        convergence: whether it has converged; see `cascade_asr.training.convergence`.
    """

    metrics: dict[str, float]
    averaged_epochs: list[int]
    epochs: int
    updates: int
    frames: int
    seconds: float
    cpu_seconds: float
    resumed: int = 0
    convergence: dict[str, Any] | None = None


@dataclass(frozen=True)
class Work:
    """What a training computed, estimated from its parameters.

    Attributes:
        parameters: parameters of the network; a tied matrix counts once.
        trained_parameters: parameters of the layers that are not frozen.
        trained_parameter_updates: trained parameters x updates.
        flops: floating-point operations, estimated: per frame, a parameter costs two in
            the forward pass, two for the gradient of its input if a layer below
            is trained, and two for its own gradient if it is trained. Subsampling is
            ignored, so every layer counts all feature frames, and attention over
            frames is not counted: compare only figures of the same network.
    """

    parameters: int
    trained_parameters: int
    trained_parameter_updates: int
    flops: int


def work_of(layers: Sequence[tuple[int, bool]], updates: int, frames: int) -> Work:
    """Estimate what a training computed.

    Args:
        layers: for each layer, input first, its parameters and whether they are trained.
        updates, frames: those of the training.
    """
    parameters = sum(size for size, _ in layers)
    trained = sum(size for size, is_trained in layers if is_trained)
    passed = 0  # parameters through which a gradient passes to a trained layer below
    trained_below = False
    for size, is_trained in layers:
        passed += size if trained_below else 0
        trained_below = trained_below or is_trained
    flops = 2 * frames * (parameters + passed + trained)
    return Work(parameters, trained, trained * updates, flops)


def seed_update(seed: int, update: int, rank: int) -> None:
    """Make the randomness of an update a function of (seed, update, rank)."""
    torch.manual_seed(int(np.random.SeedSequence([seed, update, rank]).generate_state(1)[0]))


def add_statistics(sums: Statistics, statistics: Statistics) -> None:
    """Add the (sum, weight) pairs of a batch to running ones, in float64.

    Tensors stay on their device: reading one would wait for it.
    """
    for name, (value, weight) in statistics.items():
        so_far = sums.get(name, (0.0, 0.0))
        if isinstance(value, torch.Tensor):
            value = value.detach().to(torch.float64)
        sums[name] = (so_far[0] + value, so_far[1] + weight)


def read_metric(metrics: Mapping[str, dict[str, float]], criterion: list[str]) -> float:
    """The metric that a criterion such as ``[valid, loss]`` names.

    Raises:
        ConfigError: listing the metrics that are logged, if it is not.
    """
    split, name = criterion[:2]
    if name not in metrics.get(split, {}):
        known = ", ".join(f"{split} {name}" for split in metrics for name in metrics[split])
        raise ConfigError(f"metric '{split} {name}' is not logged; there are: {known}")
    return metrics[split][name]


def signed(value: float, mode: str) -> float:
    """A value signed so that less is better, NaN worst; ``mode`` is ``min`` or ``max``."""
    if math.isnan(value):
        return float("inf")
    return value if mode == "min" else -value


def duration(seconds: float) -> str:
    """``4 min 05 s``, or ``2 h 13 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s"
