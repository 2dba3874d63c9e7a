"""The relative shift of attention over distances, as a view of the same memory."""

from __future__ import annotations

import torch


def relative_shift(scores: torch.Tensor) -> torch.Tensor:
    """Scores by distance to scores by position: entry (i, j) is entry (i, T - 1 - i + j).

    One step down and one to the left are 2T - 2 places in memory, so nothing is copied.
    The plain reference is ``rel_shift`` of ESPnet's ``RelPositionMultiHeadedAttention``.

    Args:
        scores: (B, heads, T, 2T - 1), distances from T - 1 down to -(T - 1).

    Returns:
        (B, heads, T, T).
    """
    scores = scores.contiguous()
    size = scores.size(2)
    by_utterance, by_head, by_query, _ = scores.stride()
    return scores.as_strided(
        (*scores.shape[:2], size, size),
        (by_utterance, by_head, by_query - 1, 1),
        scores.storage_offset() + size - 1,
    )
