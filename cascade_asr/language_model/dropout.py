"""The dropouts of AWD-LSTM, each one mask for a whole sequence.

Merity, Keskar, Socher, "Regularizing and Optimizing LSTM Language Models",
ICLR 2018, section 3 (DropConnect) and section 4 (the others). All scale what
they keep by 1/(1-p), do nothing in evaluation, and are submodules of their
own, so that a frozen layer's dropout can be switched off alone.
"""

from __future__ import annotations

import torch
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd


def keep_mask(shape: tuple[int, ...], p: float, like: torch.Tensor) -> torch.Tensor:
    """0 with probability ``p``, else 1/(1-p): a tensor of dtype and device of ``like``."""
    if p >= 1.0:
        return like.new_zeros(shape)
    return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1 - p).div_(1 - p)


class LockedDropout(_DropoutNd):
    """Variational dropout: a feature that is dropped is dropped at all times."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(T, B, D) to the same, one mask (1, B, D) over T."""
        if not self.training or self.p == 0.0:
            return inputs
        return inputs * keep_mask((1, *inputs.shape[1:]), self.p, inputs)


class EmbeddingDropout(_DropoutNd):
    """Drops whole words: all occurrences of a dropped word embed to zero."""

    def forward(
        self, tokens: torch.Tensor, embedded: torch.Tensor, vocabulary_size: int
    ) -> torch.Tensor:
        """Tokens (T, B) int64 and their embeddings (T, B, D) to embeddings (T, B, D).

        The same values and gradients as masking rows of the embedding matrix,
        without a copy of that matrix.
        """
        if not self.training or self.p == 0.0:
            return embedded
        return embedded * keep_mask((vocabulary_size,), self.p, embedded)[tokens].unsqueeze(-1)


class DropConnect(_DropoutNd):
    """Drops single weights of a matrix; sampled at each call, so call it once a sequence."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """A weight matrix to the one that this sequence uses."""
        if not self.training or self.p == 0.0:
            return weight
        return functional.dropout(weight, self.p, training=True)
