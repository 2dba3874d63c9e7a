"""What all blocks of an encoder need to know about the padding of one batch."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import nn

from cascade_asr.networks.masking import valid_positions


class PaddedBatch:
    """The lengths of a batch, in the forms that attention and convolutions need.

    Args:
        lengths: (B,) int64 on the CPU. An utterance too short for the input
            layer (0) counts as one frame here, so that no softmax is empty.
        size: T, the padded length.
        device: device of the sequences.
    """

    def __init__(self, lengths: torch.Tensor, size: int, device: torch.device) -> None:
        self.is_padded = bool((lengths < size).any())
        self.size = size
        self.lengths = lengths.clamp(min=1).to(device, non_blocking=True)
        self.valid = valid_positions(self.lengths, size)  # (B, T)

    @property
    def key_mask(self) -> torch.Tensor | None:
        """(B, 1, 1, T) bool, True at valid positions; None without padding."""
        return self.valid[:, None, None, :] if self.is_padded else None

    def zero(self, sequence: torch.Tensor) -> torch.Tensor:
        """(B, T, D) with zeros in the padding, as convolutions need it."""
        if not self.is_padded:
            return sequence
        return sequence.masked_fill(~self.valid.unsqueeze(2), 0.0)

    @cached_property
    def _valid_rows(self) -> torch.Tensor:
        return self.valid.flatten().nonzero().squeeze(1)

    def batch_norm(self, norm: nn.BatchNorm1d, sequence: torch.Tensor) -> torch.Tensor:
        """Batch normalisation of (B, T, D) with statistics that leave the padding out."""
        rows = sequence.flatten(0, 1)  # (B T, D)
        if not (self.is_padded and norm.training):
            return norm(rows).view_as(sequence)
        normalised = norm(rows.index_select(0, self._valid_rows))
        padded = normalised.new_zeros(rows.shape)
        return padded.index_copy(0, self._valid_rows, normalised).view_as(sequence)

    @cached_property
    def legacy_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The source of each score in ESPnet's old relative shift.

        That shift depends on the utterance's length T: score (i, j) comes from
        column T - 1 - (i - j) of row i for j <= i, is 0 for j = i + 1, and comes
        from column j - i - 2 of row i + 1 beyond.

        Returns:
            Index into flattened (T, T) scores, (B, 1, T x T) int64, and a mask of
            zeros in the result, (T, T) bool.
        """
        position = torch.arange(self.size, device=self.valid.device)
        query, key = position.unsqueeze(1), position.unsqueeze(0)
        from_left = self.lengths.view(-1, 1, 1) - 1 - query + key  # (B, T, T)
        from_right = (query + 1) * self.size + key - query - 2
        index = torch.where(key <= query, query * self.size + from_left, from_right)
        index = index.clamp(0, self.size**2 - 1)
        return index.flatten(1).unsqueeze(1), key == query + 1
