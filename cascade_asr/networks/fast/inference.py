"""A form of a network for decoding only: the same modules, with packed weights.

`inference_form` returns a second set of modules over the same parameters; a weight that
has changed in the meantime is packed again. With gradients or on a GPU it computes as
the plain modules do; if the fast forms are off, it consists of plain modules.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import nn

from cascade_asr.networks.fast.packed import (
    Convolution,
    Product,
    RecurrentLayer,
    acts,
    can_pack,
    state_of,
)
from cascade_asr.networks.fast.products import Linear

Network = TypeVar("Network", bound=nn.Module)


def inference_form(network: Network) -> Network:
    """A network over the same parameters whose products and convolutions are packed.

    Args:
        network: network in evaluation mode. Neither it nor its parameters change.
    """
    return _form(network, {})


def _form(module: nn.Module, known: dict[nn.Module, nn.Module]) -> nn.Module:
    if module in known:
        return known[module]
    form = known[module] = copy.copy(module)
    form._modules = {
        name: each if each is None else _form(each, known)
        for name, each in module._modules.items()
    }
    kind = _PACKED.get(type(module))
    if kind is not None and kind.takes(module):
        form.__class__ = kind
        form._packed_forms = {}
    return form


class _Packed:
    """The packed form of a module's weights, valid as long as these do not change."""

    _packed_forms: dict[Any, tuple[Any, Any]]

    @staticmethod
    def takes(module: nn.Module) -> bool:
        """Whether a module can have such a form."""
        return can_pack(module.weight)

    def _packed(self, key: Any, weights: list[torch.Tensor | None], make) -> Any:
        """The result of ``make`` for these weights; it is called again if they have changed."""
        state = [state_of(each) for each in weights if each is not None]
        before = self._packed_forms.get(key)
        if before is None or before[0] != state:
            self._packed_forms[key] = before = (state, make())
        return before[1]


class PackedLinear(_Packed, Linear):
    """A linear layer."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., D) to (..., O)."""
        if not acts(self.weight, inputs):
            return super().forward(inputs)
        weights = [self.weight, self.bias]
        return self._packed("whole", weights, lambda: Product(*weights))(inputs)

    def of_maps(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, T, D) to (B, T, O), for a layer that takes C x D values per frame."""
        channels, width = maps.size(1), maps.size(3)

        def make() -> Product:
            weight = self.weight.view(-1, channels, width).transpose(1, 2).flatten(1)
            return Product(weight, self.bias)

        product = self._packed((channels, width), [self.weight, self.bias], make)
        return product(maps.permute(0, 2, 3, 1).flatten(2))


class PackedConv2d(_Packed, nn.Conv2d):
    """A convolution over frames and bands."""

    @staticmethod
    def takes(module: nn.Module) -> bool:
        return can_pack(module.weight) and has_zeros_around(module)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, C, T, D) to (B, O, T', D')."""
        if not acts(self.weight, maps) or maps.dim() != 4:
            return super().forward(maps)
        return self.packed(maps)

    def packed(self, maps: torch.Tensor, activation: str = "none") -> torch.Tensor:
        """The same, and an activation of it (see `Product`)."""
        weights = [self.weight, self.bias]

        def make() -> Convolution:
            return Convolution(*weights, self.stride, self.padding, self.dilation, self.groups)

        return self._packed("whole", weights, make)(maps, activation)


class PackedConv1d(_Packed, nn.Conv1d):
    """A convolution over frames."""

    takes = staticmethod(PackedConv2d.takes)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        """(B, C, T) to (B, O, T')."""
        if not acts(self.weight, sequence) or sequence.dim() != 3:
            return super().forward(sequence)
        weights = [self.weight, self.bias]

        def make() -> Convolution:
            return Convolution(
                self.weight.unsqueeze(2), self.bias, (1, *self.stride), (0, *self.padding),
                (1, *self.dilation), self.groups,
            )  # fmt: skip

        return self._packed("whole", weights, make)(sequence.unsqueeze(2)).squeeze(2)

    def of_frames(self, sequence: torch.Tensor) -> torch.Tensor:
        """(B, T, C) to (B, T, O), where the kernel is one frame wide."""
        weights = [self.weight, self.bias]
        product = self._packed(
            "frames", weights, lambda: Product(self.weight.squeeze(2), self.bias)
        )
        return product(sequence)


class PackedLSTM(_Packed, nn.LSTM):
    """An LSTM over padded batches, for `cascade_asr.networks.fast.recurrent`."""

    @staticmethod
    def takes(module: nn.Module) -> bool:
        return can_pack(module.weight_hh_l0) and module.bias and not module.proj_size

    def layer(self, key: tuple[int, bool], weights: list[torch.Tensor]) -> RecurrentLayer:
        """One direction of a layer, by its number and whether it is backward."""
        return self._packed(key, weights, lambda: RecurrentLayer(weights))


def has_zeros_around(convolution: nn.Module) -> bool:
    """Whether a convolution is padded by a fixed number of zeros on both sides."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


_PACKED: dict[type, type] = {
    nn.Linear: PackedLinear,
    Linear: PackedLinear,
    nn.Conv2d: PackedConv2d,
    nn.Conv1d: PackedConv1d,
    nn.LSTM: PackedLSTM,
}
