"""What a training asks of its batches and its model: all of it, nothing is optional.

Where a part has a usual answer, a class to inherit from gives it.
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
    """What a training step takes, and what the trainer asks of it."""

    frames: int  # feature frames, or tokens of text, for the record of what was trained
    learning_rate_scale: float  # factor of the learning rate in the batch's update; usually 1
    description: str  # names what is in it, for the message of a loss that is not a number

    def __len__(self) -> int:
        """How many items the loss is summed over: utterances, or tokens of text."""

    def to(self, device: torch.device) -> TrainingBatch:
        """The same batch on another device."""


class Batches(Protocol):
    """The batches of a set, from any position of any epoch."""

    def __len__(self) -> int:
        """Batches of an epoch, on average over epochs."""

    def batches_of(self, epoch: int) -> int:
        """Batches of one epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TrainingBatch]:
        """The batches of an epoch (counted from 1), without the first ``start``."""


class Ranks(NamedTuple):
    """Which of the processes that train together this one is."""

    rank: int
    world_size: int


ONE_RANK = Ranks(0, 1)


class TrainingData(Protocol):
    """What a training sees: one task's data, under one set of options.

    Attributes:
        train: batches of the training set.
        dev: batches of the dev set.
        updates_per_epoch: of the weights, on average over epochs.
        description: what training would see, in lines for a person.
    """

    train: Batches
    dev: Batches
    updates_per_epoch: int
    description: list[str]

    def trial_batches(self) -> list[TrainingBatch]:
        """Few items each of the longest and of the shortest batch, to try a step with."""

    def record(self, directory: Path) -> None:
        """Write lists of what is left out of the sets into a training's folder."""


class CascadeModel(Protocol):
    """A network that a cascade can train; an ``nn.Module`` too."""

    def __call__(self, batch: TrainingBatch) -> tuple[torch.Tensor, Statistics]:
        """The loss summed over the batch, and what to log."""

    def layers(self) -> list[Layer]:
        """All layers, bottom (input) to top (output); each parameter in exactly one."""

    def metric_names(self, split: str) -> list[str]:
        """Names that it logs for ``train`` or ``valid``."""

    def training_state(self) -> Any:
        """What a checkpoint keeps beside the weights; None for nothing."""

    def load_training_state(self, state: Any) -> None:
        """Go on from what `training_state` returned."""

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Metrics that follow from the means of those that it logs, such as perplexity."""


class WithoutTrainingState:
    """The usual answers of a model: its weights are its whole state, its metrics are means."""

    def training_state(self) -> None:
        """Nothing beside the weights."""

    def load_training_state(self, state: None) -> None:
        """Nothing to go on from."""

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """No metric beside the means."""
        return {}
