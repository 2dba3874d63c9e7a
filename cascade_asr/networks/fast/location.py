"""The convolution of location attention over attention weights, as one matrix product."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.fast.switch import is_fast

LONGEST_MATRIX = 400  # frames up to which a matrix product beats the convolution


class LocationConvolution:
    """Convolves the attention weights of one token after another over the same frames.

    Args:
        convolution: convolution of ESPnet's attention, over one row: kernel (1, K).
        frames: T', frames of the encoder output.
    """

    def __init__(self, convolution: nn.Conv2d, frames: int) -> None:
        self._convolution = convolution
        self._matrix = None
        if is_fast() and frames <= LONGEST_MATRIX:
            self._matrix = convolution_matrix(convolution, frames)

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        """(B, T') to (B, T', C)."""
        if self._matrix is None:
            return _convolved(self._convolution, weights)
        batch, frames = weights.shape
        return (weights @ self._matrix).view(batch, frames, -1)


def _convolved(convolution: nn.Conv2d, weights: torch.Tensor) -> torch.Tensor:
    """The plain reference, (B, T') to (B, T', C)."""
    located = functional.conv1d(
        weights.unsqueeze(1), convolution.weight.squeeze(2), padding=convolution.padding[1]
    )
    return located.transpose(1, 2)


def convolution_matrix(convolution: nn.Conv2d, frames: int) -> torch.Tensor:
    """The convolution over ``frames`` frames as a matrix (T', T' x C).

    Entry (t, (u, c)) is what frame t adds to channel c of frame u: tap t - u
    of the filter, counted from its middle.
    """
    identity = torch.eye(frames, device=convolution.weight.device, dtype=convolution.weight.dtype)
    # Not by indexing the filter: its gradient would be summed in the order in which
    # threads finish, and two runs would differ.
    return _convolved(convolution, identity).flatten(1)
