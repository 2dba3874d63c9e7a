"""Matrix products with oneDNN, where PyTorch's own are slow.

PyTorch multiplies float32 matrices with MKL, which on AMD processors with AVX-512
uses half of their vector units: there oneDNN, which PyTorch includes for convolutions,
is twice as fast (docs/performance.md). Elsewhere, for small products and in other
precisions PyTorch's own are used.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cascade_asr.networks.fast.switch import is_fast

FEWEST_MULTIPLICATIONS = 2**21  # below, starting oneDNN costs more than it saves
FEWEST_COLUMNS = 16
ROWS = 64  # oneDNN prepares each new shape for milliseconds: rows are counted in steps of this


@cache
def prefers_onednn() -> bool:
    """Whether oneDNN is faster than MKL on this machine's processor."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    ):
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False


def linear(
    inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``functional.linear``: (..., K), (N, K) and (N,) to (..., N)."""
    rows = inputs.numel() // max(1, inputs.size(-1))
    if not _is_for_onednn(inputs, weight, (rows, *weight.shape)):
        return functional.linear(inputs, weight, bias)
    flat = inputs.reshape(-1, inputs.size(-1))
    if torch.is_grad_enabled():
        return _Linear.apply(flat, weight, bias).view(*inputs.shape[:-1], -1)
    return multiply(flat, weight, bias).view(*inputs.shape[:-1], -1)


def multiply(
    left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``left right^T + bias``: (M, K), (N, K) and (N,) to (M, N); no gradients.

    Rows are padded or split so that shapes recur; the smaller side is copied.
    """
    if not _is_for_onednn(left, right, (len(left), *right.shape)):
        return functional.linear(left, right, bias)
    rest = len(left) % ROWS
    if rest == 0 or len(left) < ROWS:
        return _onednn(left, right, bias)
    if left.size(1) <= len(right):
        return _onednn(functional.pad(left, (0, 0, 0, ROWS - rest)), right, bias)[: len(left)]
    parts = [left[:-rest], left[-rest:]]
    return torch.cat([_onednn(parts[0], right, bias), functional.linear(parts[1], right, bias)])


def weight_gradient(of_output: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Sum over rows of the outer products: (M, N) and (M, K) to (N, K); no gradients."""
    count = len(inputs) - len(inputs) % ROWS
    if not _is_for_onednn(inputs, of_output, (count, of_output.size(1), inputs.size(1))):
        return of_output.t() @ inputs
    gradient = _onednn(of_output[:count].t(), inputs[:count].t(), None)
    if count < len(inputs):
        gradient.addmm_(of_output[count:].t(), inputs[count:])
    return gradient


class Linear(nn.Linear):
    """``nn.Linear`` by `linear`."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., K) to (..., N)."""
        return linear(inputs, self.weight, self.bias)


def use_linear(network: nn.Module) -> None:
    """Make the linear layers of a network call `linear`; nothing else about them changes."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


def _is_for_onednn(left: torch.Tensor, right: torch.Tensor, sizes: tuple[int, int, int]) -> bool:
    return (
        math.prod(sizes) >= FEWEST_MULTIPLICATIONS
        and min(sizes[1:]) >= FEWEST_COLUMNS
        and left.device.type == "cpu"
        and left.dtype == right.dtype == torch.float32
        and is_fast()
        and prefers_onednn()
        and not torch.is_autocast_enabled("cpu")
    )


def _onednn(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """(M, K), (N, K) and (N,) to (M, N)."""
    return torch.ops.mkldnn._linear_pointwise(_dense(left), _dense(right), bias, "none", [], "")


def _dense(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix, or its transpose, contiguous in memory: others take oneDNN 100 times as long."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


class _Linear(torch.autograd.Function):
    """A linear layer that computes no gradient that is not needed."""

    @staticmethod
    def forward(context, inputs, weight, bias) -> torch.Tensor:
        """(M, K), (N, K) and (N,) or None to (M, N)."""
        of_inputs, of_weight, _ = context.needs_input_grad
        context.save_for_backward(inputs if of_weight else None, weight if of_inputs else None)
        return multiply(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(context, gradient: torch.Tensor):
        inputs, weight = context.saved_tensors
        of_inputs, of_weight, of_bias = context.needs_input_grad
        return (
            multiply(gradient, weight.t()) if of_inputs else None,
            weight_gradient(gradient, inputs) if of_weight else None,
            gradient.sum(dim=0) if of_bias else None,
        )
