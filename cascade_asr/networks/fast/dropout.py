"""Dropout and activations in fewer passes over the largest tensors of self-attention models.

On a CPU PyTorch draws a dropout mask with one 64-bit random number per element;
here each such number serves four elements.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cascade_asr.networks.fast.switch import is_fast

LEVELS = 65_536  # values of a 16-bit random number: rates are rounded to multiples of 1 / LEVELS


def dropout(module: nn.Dropout, sequence: torch.Tensor) -> torch.Tensor:
    """``module(sequence)``, with other random numbers on a CPU in training."""
    if not _acts(module, sequence):
        return module(sequence)
    dropped, scale = _draw(sequence, module.p)
    return sequence * dropped.to(sequence.dtype).mul_(scale)


def activation_and_dropout(
    activation: nn.Module, module: nn.Dropout, hidden: torch.Tensor
) -> torch.Tensor:
    """``module(activation(hidden))``.

    Args:
        activation: ReLU and Swish have a fast form.
        module: the dropout that follows it.
        hidden: output of a linear layer.
    """
    if type(activation) is nn.ReLU and _acts(module, hidden):
        return _DroppedReLU.apply(hidden, *_draw(hidden, module.p))
    return dropout(module, activate(activation, hidden))


def activate(activation: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """``activation(hidden)``; Swish in one pass."""
    if is_fast() and type(activation).__name__ == "Swish":
        return functional.silu(hidden)
    return activation(hidden)


def _acts(module: nn.Dropout, sequence: torch.Tensor) -> bool:
    return (
        is_fast()
        and module.training
        and 0.0 < module.p < 1.0
        and sequence.device.type == "cpu"
        and sequence.dtype == torch.float32
    )


def _draw(like: torch.Tensor, rate: float) -> tuple[torch.Tensor, float]:
    """Mask of elements that stay (bool), and the factor that keeps the mean."""
    threshold = min(max(1, round(rate * LEVELS)), LEVELS - 1)
    size = like.numel()
    words = torch.empty((size + 3) // 4, dtype=torch.int64)
    drawn = words.random_(-(2**63), None).view(torch.int16)[:size].view(like.shape)
    return drawn >= threshold - LEVELS // 2, LEVELS / (LEVELS - threshold)


class _DroppedReLU(torch.autograd.Function):
    """ReLU and dropout at once: where the output is zero the gradient is, so no mask is kept."""

    @staticmethod
    def forward(context, hidden: torch.Tensor, stays: torch.Tensor, scale: float) -> torch.Tensor:
        output = hidden.relu().mul_(stays.to(hidden.dtype).mul_(scale))
        context.save_for_backward(output)
        context.scale = scale
        return output

    @staticmethod
    @once_differentiable
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (output,) = context.saved_tensors
        passed = torch.ops.aten.threshold_backward(gradient, output, 0)
        return passed.mul_(context.scale), None, None
