"""Convolutions over time and frequency whose maps end where their utterances end."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.fast.switch import is_fast
from cascade_asr.networks.masking import valid_positions


def convolve(convolution: nn.Conv2d, maps: torch.Tensor) -> torch.Tensor:
    """The convolution, in the memory layout that is fastest (bench/bench_networks.py)."""
    if not is_fast():
        return convolution(maps)
    weight = convolution.weight.contiguous(memory_format=torch.channels_last)
    return functional.conv2d(
        maps, weight, convolution.bias, convolution.stride, convolution.padding
    )


def valid_relu(maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """ReLU, and zero beyond the lengths, so that no convolution sees the padding.

    Args:
        maps: (B, C, T, D), which may be overwritten.
        lengths: (B,) int64 on the CPU.
    """
    if is_fast():
        return _ValidReLU.apply(maps, lengths)
    valid = valid_positions(lengths, maps.size(2)).to(maps.device)
    return functional.relu(maps).masked_fill(~valid[:, None, :, None], 0.0)


class _ValidReLU(torch.autograd.Function):
    """`valid_relu` in place.

    One pass forward and one backward: the maps are the largest tensors of the
    whole model, and each pass over them costs.
    """

    @staticmethod
    def forward(context, maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, C, T, D) and (B,) on the CPU to (B, C, T, D)."""
        maps.relu_()
        for utterance, length in zip(maps, lengths.tolist(), strict=True):
            if length < maps.size(2):
                utterance[:, length:].zero_()
        context.mark_dirty(maps)
        context.save_for_backward(maps)
        return maps

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Zero where the output is zero."""
        (maps,) = context.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, maps, 0), None
