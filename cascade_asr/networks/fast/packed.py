"""Products and convolutions whose weights have the memory layout that oneDNN prefers.

PyTorch multiplies with MKL and packs the weights of a convolution anew at each call.
On processors not made by Intel a product with oneDNN takes half the time, and some
convolutions a twentieth (docs/performance.md). Packed weights have no gradients:
this is for networks that only decode, on a CPU with x86 instructions.
"""

from __future__ import annotations

import platform

import torch
from torch.nn import functional

from cascade_asr.networks.fast.switch import is_fast

ROWS = 10  # number of input rows for which the layout of a product's weights is chosen
X86 = ("x86_64", "amd64")
OPERATIONS = (
    "_reorder_linear_weight", "_linear_pointwise", "_reorder_convolution_weight",
    "_convolution_pointwise", "_reorder_mkldnn_rnn_layer_weight",
)  # fmt: skip
HAS_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and platform.machine().lower() in X86
    and all(hasattr(torch.ops.mkldnn, name) for name in OPERATIONS)  # they are not documented
)


def can_pack(weight: torch.Tensor) -> bool:
    """Whether a weight can have a packed form."""
    return (
        HAS_ONEDNN
        and is_fast()
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.numel() > 0
    )


def acts(weight: torch.Tensor, inputs: torch.Tensor) -> bool:
    """Whether the existing packed form of a weight can take these inputs now."""
    return (
        weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and inputs.dtype == torch.float32
        and inputs.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def state_of(weight: torch.Tensor) -> tuple[int, int]:
    """A value that changes whenever the weight does."""
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version


class Product:
    """Inputs (..., D) to inputs x weight^T + bias, (..., O).

    Args:
        weight: (O, D).
        bias: (O,), or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self._can_pack = can_pack(weight)
        self._packed = None

    def __call__(self, inputs: torch.Tensor, activation: str = "none") -> torch.Tensor:
        """The product, with ``relu`` or ``swish`` applied if asked for."""
        if not (self._can_pack and acts(self.weight, inputs)):
            output = functional.linear(inputs, self.weight, self.bias)
            return _ACTIVATIONS[activation](output)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, ROWS)
        return torch.ops.mkldnn._linear_pointwise(
            inputs, self._packed, self.bias, activation, [], ""
        )


_ACTIVATIONS = {
    "none": lambda output: output,
    "relu": functional.relu_,
    "swish": lambda output: functional.silu(output, inplace=True),
}


class Convolution:
    """Applies a convolution to maps (B, C, T, D) with zeros around them.

    Args:
        weight: (O, C / groups, K, L).
        bias: (O,), or None.
        stride, padding, dilation: over frames and over the last axis.
        groups: number of channel groups.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self._can_pack = can_pack(weight)
        self._shape = (padding, stride, dilation, groups)
        self._packed = None

    def __call__(self, maps: torch.Tensor, activation: str = "none") -> torch.Tensor:
        """(B, O, T', D'); in packed form, channels come last in memory."""
        padding, stride, dilation, groups = self._shape
        if not (self._can_pack and acts(self.weight, maps)):
            output = functional.conv2d(
                maps, self.weight, self.bias, stride, padding, dilation, groups
            )
            return _ACTIVATIONS[activation](output)
        maps = maps.contiguous(memory_format=torch.channels_last)
        if self._packed is None:
            weight = self.weight.contiguous(memory_format=torch.channels_last)
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                weight, padding, stride, dilation, groups, list(maps.shape)
            )
        return torch.ops.mkldnn._convolution_pointwise(
            maps, self._packed, self.bias, padding, stride, dilation, groups, activation, [], ""
        )


class RecurrentLayer:
    """One direction of an LSTM layer, from a state of zeros.

    Args:
        weights: as PyTorch's kernel takes them: ``weight_ih``, ``weight_hh``,
            ``bias_ih``, ``bias_hh``.
    """

    def __init__(self, weights: list[torch.Tensor]) -> None:
        self.weights = [each.detach() for each in weights]
        self._packed = None

    def __call__(self, sequence: torch.Tensor, is_backward: bool = False) -> torch.Tensor:
        """(T, B, D) to (T, B, H), from the last frame to the first if it is backward."""
        hidden_size = self.weights[1].size(1)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
                *self.weights[:2], hidden_size, False, True, False, list(sequence.shape)
            )
        state = sequence.new_zeros(1, sequence.size(1), hidden_size)[0].unsqueeze(0)
        return torch.ops.aten.mkldnn_rnn_layer(
            sequence.contiguous(), *self._packed, *self.weights[2:], state, state, is_backward, [],
            LSTM, hidden_size, 1, True, False, False, False,
        )[0]  # fmt: skip


LSTM = 2  # how the kernel names it
