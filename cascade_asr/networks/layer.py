"""The interfaces between the parts of a network.

Axes, in every shape comment of this package:

    B batch (utterances), T frames, U tokens, D features, V vocabulary

Lengths are int64 tensors of shape (B,) and count valid positions; everything
beyond them is padding and never changes a valid output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from cascade_asr.errors import ConfigError


@dataclass(frozen=True)
class Layer:
    """One step of the data flow that a cascade can freeze or train again.

    A layer is a set of parameters, not a submodule: the layers of a fused
    multi-layer LSTM are in one submodule and differ only by suffix.

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
        """The same layer, seen from the module that contains its owner as ``prefix``."""

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


TYINGS = ("untie", "freeze", "train")


@dataclass(frozen=True)
class Layering:
    """How a model is divided into the layers of a cascade.

    Attributes:
        grain: ``layer``, ``module`` or ``fine``.
        tying: what to do with a matrix that two layers share, one of `TYINGS`; None if
            none is shared.
    """

    grain: str = "layer"
    tying: str | None = None

    def require_nothing_tied(self, what: str) -> None:
        """Refuse ``tying`` for a model without tied weights.

        Raises:
            ConfigError: if ``tying`` is given, for ``what``, which shares nothing.
        """
        if self.tying is not None:
            raise ConfigError(f"tying: {self.tying}: {what} has no tied weights; leave it out")


class Encoder(Protocol):
    """Maps features to a shorter sequence of hidden vectors."""

    def __call__(
        self, features: torch.Tensor, feature_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) float and (B,) to (B, T', H) float, zero beyond (B,) lengths."""

    def output_size(self) -> int:
        """H, the width of the encoder output."""

    def output_lengths(self, feature_lengths: torch.Tensor) -> torch.Tensor:
        """T' for each T, without running the network; 0 if T is too short."""

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


def kept_buffers(network: nn.Module) -> list[str]:
    """Dotted names of the buffers that a state dict keeps; others are made anew by the network."""
    kept = network.state_dict().keys()
    return [name for name, _ in network.named_buffers() if name in kept]


def misplaced(names: Iterable[str], layers: Iterable[Layer]) -> tuple[list[str], list[str]]:
    """Of these parameters and buffers, those that are in no layer, and those in several, sorted."""
    owned = Counter(name for layer in layers for name in (*layer.parameters, *layer.buffers))
    known = sorted(names)
    return [name for name in known if not owned[name]], [name for name in known if owned[name] > 1]


def layer_of(
    network: nn.Module,
    name: str,
    owners: Iterable[str],
    *,
    dropouts: Iterable[str] = (),
    aliases: Iterable[str] = (),
) -> Layer:
    """Describe a layer by the submodules and parameters that it owns.

    Args:
        network: the encoder, decoder or model that the names are relative to.
        name: the layer's name.
        owners: dotted names of submodules or of single parameters. Their dropout
            submodules are found automatically.
        dropouts: dotted names of further dropout submodules, located elsewhere.
        aliases: other names for the layer.

    Returns:
        The layer, its names in the order of ``network.named_parameters()``.
    """
    owners = tuple(owners)

    def owned(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(
            candidate
            for candidate in names
            if any(candidate == owner or candidate.startswith(owner + ".") for owner in owners)
        )

    inside = owned(
        module_name
        for module_name, module in network.named_modules()
        if isinstance(module, _DropoutNd)
    )
    return Layer(
        name=name,
        parameters=owned(parameter_name for parameter_name, _ in network.named_parameters()),
        buffers=owned(kept_buffers(network)),
        dropouts=inside + tuple(extra for extra in dropouts if extra not in inside),
        aliases=tuple(aliases),
    )


def merged(name: str, layers: Iterable[Layer]) -> Layer:
    """Several layers as one."""
    layers = list(layers)
    return Layer(
        name=name,
        parameters=tuple(each for layer in layers for each in layer.parameters),
        buffers=tuple(each for layer in layers for each in layer.buffers),
        dropouts=tuple(each for layer in layers for each in layer.dropouts),
    )
