"""Which positions of a padded batch are valid."""

from __future__ import annotations

import torch


def valid_positions(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Mask of positions that lie inside their utterance.

    Args:
        lengths: (B,) int64.
        size: T, the padded length.

    Returns:
        (B, T) bool, on the device of ``lengths``.
    """
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def zero_padding(sequence: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Set everything beyond each length in a (B, T, D) tensor to zero."""
    valid = valid_positions(lengths.to(sequence.device), sequence.size(1))
    return sequence.masked_fill(~valid.unsqueeze(2), 0.0)


def is_on_host(tensor: torch.Tensor) -> bool:
    """Whether values can be read without waiting for a device, so that a loop may be faster."""
    return tensor.device.type == "cpu"
