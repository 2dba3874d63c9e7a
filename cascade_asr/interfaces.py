"""What the parts of a network promise to each other.

Axes, in every shape comment of this package:

    B batch (utterances), T frames, U tokens, D features, V vocabulary

Lengths are int64 tensors of shape (B,) and count valid positions; what lies
beyond them is padding and never changes a valid output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch


@dataclass(frozen=True)
class Layer:
    """One step of the data flow that a cascade can freeze or train again.

    A layer is a set of parameters, not a submodule: the layers of a fused
    multi-layer LSTM live in one submodule and differ only by suffix.

    Attributes:
        name: what users write in ``cuts``, such as ``"encoder.rnn1"``.
        parameters: dotted names, as in ``named_parameters()``.
        buffers: dotted names of the running statistics that belong to it.
        dropouts: dotted names of its dropout submodules. ``eval()`` on such a
            submodule switches this layer's dropout off and nothing else.
        aliases: other names for the same layer (``decoder`` for the classifier).
    """

    name: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...] = ()
    dropouts: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def prefixed(self, prefix: str) -> Layer:
        """The same layer, seen from the module that holds its owner as ``prefix``."""

        def longer(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(f"{prefix}.{name}" for name in names)

        return replace(
            self,
            name=f"{prefix}.{self.name}",
            parameters=longer(self.parameters),
            buffers=longer(self.buffers),
            dropouts=longer(self.dropouts),
            aliases=longer(self.aliases),
        )


@runtime_checkable
class Layers(Protocol):
    """A network that knows the order of its layers."""

    def layers(self) -> list[Layer]:
        """All layers, bottom (input) to top (output); each parameter in exactly one."""


class Encoder(Protocol):
    """Maps features to a shorter sequence of hidden vectors."""

    def __call__(
        self, features: torch.Tensor, feature_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) float and (B,) to (B, T', H) float, zero beyond (B,) lengths."""

    def output_size(self) -> int:
        """H, the width of the encoder output."""

    def output_lengths(self, feature_lengths: torch.Tensor) -> torch.Tensor:
        """T' for each T, without running the network; 0 where T is too short."""

    def layers(self) -> list[Layer]:
        """Layers of the encoder, names relative to it, bottom to top."""


class Decoder(Protocol):
    """Predicts each token from the tokens before it and the encoder output.

    It is also a scorer of ESPnet's beam search (``init_state``, ``score``).
    """

    def __call__(
        self,
        encoder_output: torch.Tensor,
        encoder_lengths: torch.Tensor,
        tokens_in: torch.Tensor,
        tokens_in_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """(B, T', H), (B,), (B, U) int64 from <sos>, (B,) to logits (B, U, V)."""

    def init_state(self, encoder_output: torch.Tensor) -> Any:
        """The state before the first token of one utterance, (T', H)."""

    def layers(self) -> list[Layer]:
        """Layers of the decoder, names relative to it, bottom to top."""


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


class Task(Protocol):
    """One kind of model on the data of one experiment: all that a cascade asks of it."""

    directory: Path  # exp/TAG
    kind: str  # what is trained, for messages: "speech" or "text"

    def adopt(self) -> None:
        """Copy what its models need (tokens, statistics) into the experiment."""

    def data_digest(self) -> str:
        """Hash of everything that a model sees in training and selection."""

    def load_config(self, path: Path) -> tuple[Any, list[str]]:
        """A training configuration and notes on keys without effect."""

    def check_config(self, config: Any, where: str) -> None:
        """Raise ConfigError with every problem that shows without a model."""

    def build_model(self, config: Any, seed: int) -> CascadeModel:
        """A model with new weights, a function of ``seed``."""

    def stage_layers(
        self, model: CascadeModel, config: Any, grain: str, tying: str | None
    ) -> tuple[Any, list[Layer]]:
        """The configuration and the layers, bottom to top, of the cascade's stages.

        They differ from full training's where tied weights are untied.

        Args:
            model: of full training.
            config: of full training.
            grain: ``layer``, ``module`` or ``fine``.
            tying: what happens to tied weights: ``untie``, ``freeze``, ``train``.

        Raises:
            ConfigError: if the model has tied weights and ``tying`` is None, or
                the other way round.
        """

    def default_select(self, model: CascadeModel) -> list[str]:
        """The dev metric that selects, and ``min`` or ``max``."""

    def loaders(
        self, model: CascadeModel, config: Any, rank: int, world_size: int, directory: Path
    ) -> tuple[Any, Any]:
        """Batches of the training and of the dev set.

        The first rank writes lists of what is left out into ``directory``.
        """

    def describe_data(self, model: CascadeModel, config: Any) -> list[str]:
        """What training would see, in lines for a person."""

    def updates_per_epoch(self, model: CascadeModel, config: Any) -> int:
        """Updates of the weights in one epoch."""

    def check_same_outputs(self, other: Path) -> None:
        """Raise ConfigError unless a model in ``other`` predicts the same tokens."""
