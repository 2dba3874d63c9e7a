"""What a training asks of its batches and its model."""

from __future__ import annotations

from typing import Protocol

import torch

from cascade_asr.networks.layer import Layer

# name -> (sum, weight), whose quotient is the mean; sums may be tensors still on the device
Statistics = dict[str, tuple[torch.Tensor | float, float]]


class TrainingBatch(Protocol):
    """What a training step takes, and what the trainer asks of it."""

    frames: int  # feature frames, or tokens of text, for the record of what was trained
    description: str  # names what is in it, for the message of a loss that is not a number

    def __len__(self) -> int:
        """How many items the loss is summed over: utterances, or tokens of text."""

    def to(self, device: torch.device) -> TrainingBatch:
        """The same batch on another device."""


class CascadeModel(Protocol):
    """A network that a cascade can train; an ``nn.Module`` too."""

    def __call__(self, batch: TrainingBatch) -> tuple[torch.Tensor, Statistics]:
        """The loss summed over the batch, and what to log."""

    def layers(self) -> list[Layer]:
        """All layers, bottom (input) to top (output); each parameter in exactly one."""

    def metric_names(self, split: str) -> list[str]:
        """Names that it logs for ``train`` or ``valid``."""
