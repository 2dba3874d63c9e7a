"""What a training requires of its batches and its model; nothing is optional.

If a part has a usual answer, there is a class to inherit it from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from cascade_asr.networks.layer import Layer

# name -> (sum, weight), whose quotient is the mean; sums may be tensors still on the device
Statistics = dict[str, tuple[torch.Tensor | float, float]]


class TrainingBatch(Protocol):
    """The input of a training step, and what the trainer requires of it."""

    frames: int  # feature frames, or tokens of text, for the record of what was trained
    learning_rate_scale: float  # factor of the learning rate in the batch's update; usually 1
    description: str  # names its content, for the message about a loss that is not a number

    def __len__(self) -> int:
        """How many items the loss is summed over: utterances, or tokens of text."""

    def to(self, device: torch.device) -> TrainingBatch:
        """The same batch on another device."""


class Batches(Protocol):
    """The batches of a set, from any position of any epoch."""

    def __len__(self) -> int:
        """Number of batches per epoch, averaged over epochs."""

    def batches_of(self, epoch: int) -> int:
        """Number of batches in one epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TrainingBatch]:
        """The batches of an epoch (counted from 1), without the first ``start``."""


class Ranks(NamedTuple):
    """The rank of this process among those that train together, and their number."""

    rank: int
    world_size: int


ONE_RANK = Ranks(0, 1)


class TrainingData(Protocol):
    """What a training sees: one task's data, under one set of options.

    Attributes:
        train: batches of the training set.
        dev: batches of the dev set.
        updates_per_epoch: weight updates per epoch, averaged over epochs.
        description: what training would see, as lines for people to read.
    """

    train: Batches
    dev: Batches
    updates_per_epoch: int
    description: list[str]

    def trial_batches(self) -> list[TrainingBatch]:
        """A few items each from the longest and the shortest batch, for a trial step."""

    def record(self, directory: Path) -> None:
        """Write lists of what is left out of the sets to a training's folder."""


class CascadeModel(Protocol):
    """A network that a cascade can train; also an ``nn.Module``."""

    def __call__(self, batch: TrainingBatch) -> tuple[torch.Tensor, Statistics]:
        """The loss summed over the batch, and what to log."""

    def layers(self) -> list[Layer]:
        """All layers, bottom (input) to top (output); each parameter is in exactly one."""

    def metric_names(self, split: str) -> list[str]:
        """Names of the metrics that it logs for ``train`` or ``valid``."""

    def training_state(self) -> Any:
        """What a checkpoint keeps beside the weights; None for nothing."""

    def load_training_state(self, state: Any) -> None:
        """Continue from what `training_state` returned."""

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Metrics that follow from the means of those that it logs, such as perplexity."""


class WithoutTrainingState:
    """The usual answers of a model: its weights are its whole state, and its metrics are means."""

    def training_state(self) -> None:
        """Nothing beside the weights."""

    def load_training_state(self, state: None) -> None:
        """Nothing to continue from."""

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """No metrics besides the means."""
        return {}
