"""The dropouts of AWD-LSTM, each with one mask for a whole sequence.

Merity, Keskar, Socher, "Regularizing and Optimizing LSTM Language Models",
ICLR 2018, section 3 (DropConnect) and section 4 (the others). All scale what
they keep by 1/(1-p), do nothing in evaluation, and are separate submodules, so
that a frozen layer's dropout can be switched off by itself.
"""

from __future__ import annotations

import math

import torch
from torch.nn.modules.dropout import _DropoutNd


def keep_mask(shape: tuple[int, ...], p: float, like: torch.Tensor) -> torch.Tensor:
    """0 with probability ``p``, else 1/(1-p), with the dtype and device of ``like``.

    On a CPU ``bernoulli_`` takes 4 times as long as drawing a random 32-bit integer per
    element and comparing it with 2^32 p.
    """
    if p >= 1.0:
        return like.new_zeros(shape)
    if like.is_cuda:
        mask = torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1 - p)
        return mask.div_(1 - p)
    count = math.prod(shape)
    pairs = torch.empty((count + 1) // 2, dtype=torch.int64).random_(-(2**63), None)
    kept = pairs.view(torch.int32)[:count] >= round(p * 2**32) - 2**31
    return kept.view(shape).to(like.dtype).div_(1 - p)


class LockedDropout(_DropoutNd):
    """Variational dropout: a dropped feature is dropped at all time steps."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(T, B, D) to the same, with one mask (1, B, D) for all T."""
        if not self.training or self.p == 0.0:
            return inputs
        return inputs * keep_mask((1, *inputs.shape[1:]), self.p, inputs)


class EmbeddingDropout(_DropoutNd):
    """Drops whole words: all occurrences of a dropped word embed to zero."""

    def forward(
        self, tokens: torch.Tensor, embedded: torch.Tensor, vocabulary_size: int
    ) -> torch.Tensor:
        """Tokens (T, B) int64 and their embeddings (T, B, D) to embeddings (T, B, D).

        Values and gradients are those of masking rows of the embedding matrix,
        without a copy of that matrix.
        """
        if not self.training or self.p == 0.0:
            return embedded
        return embedded * keep_mask((vocabulary_size,), self.p, embedded)[tokens].unsqueeze(-1)


class DropConnect(_DropoutNd):
    """Drops single weights of a matrix; sampled at each call, so call it once per sequence."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """A weight matrix to the one used for this sequence."""
        if not self.training or self.p == 0.0:
            return weight
        return weight * keep_mask(tuple(weight.shape), self.p, weight)
