"""Bucketed batches: which utterances go together, and in which order.

Utterances are sorted by length and cut into batches, so that little of a batch
is padding. The plan depends only on lengths and options, and the order of the
batches in an epoch only on seed and epoch, so a resumed training sees what an
uninterrupted one would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade_asr.errors import ConfigError

BATCH_TYPES = ("numel", "length", "folded", "sorted", "unsorted")


@dataclass(frozen=True)
class BatchOptions:
    """How to form batches; the keys and their meaning are ESPnet2's.

    Attributes:
        batch_type: ``numel`` and ``length`` fill a batch up to ``batch_bins``;
            ``folded``, ``sorted`` and ``unsorted`` count utterances.
        batch_bins: padded elements of a batch: B x (T x D + U) for ``numel``,
            B x (T + U) for ``length``.
        batch_size: utterances in a batch for the other types.
        fold_length: for ``folded``: T and U at which the batch size halves,
            thirds, and so on.
    """

    batch_type: str = "numel"
    batch_bins: int = 1_000_000
    batch_size: int = 20
    fold_length: tuple[int, int] = (800, 150)


def plan_batches(
    frames: np.ndarray, token_lengths: np.ndarray, dimension: int, options: BatchOptions
) -> list[np.ndarray]:
    """Cut utterances into batches.

    Args:
        frames: T of each utterance, shape (N,).
        token_lengths: U of each utterance, shape (N,).
        dimension: D, feature dimension.
        options: as above.

    Returns:
        Indices of the utterances of each batch; every utterance is in exactly one.
        An utterance larger than ``batch_bins`` becomes a batch by itself.

    Raises:
        ConfigError: for an unknown ``batch_type``.
    """
    if options.batch_type not in BATCH_TYPES:
        raise ConfigError(
            f"unknown batch_type '{options.batch_type}'; expected one of {', '.join(BATCH_TYPES)}"
        )
    if options.batch_type == "unsorted":
        order = np.arange(len(frames))
    else:
        order = np.lexsort((token_lengths, frames))  # shortest first, ties by tokens
    sorted_frames, sorted_tokens = frames[order], token_lengths[order]
    batches, start, longest_tokens = [], 0, 0
    for index in range(len(order)):
        candidate_tokens = max(longest_tokens, int(sorted_tokens[index]))
        size = index - start + 1
        fits = _fits(size, int(sorted_frames[index]), candidate_tokens, dimension, options)
        if size > 1 and not fits:
            batches.append(order[start:index])
            start, candidate_tokens = index, int(sorted_tokens[index])
        longest_tokens = candidate_tokens
    if start < len(order):
        batches.append(order[start:])
    return batches


def _fits(size: int, frames: int, tokens: int, dimension: int, options: BatchOptions) -> bool:
    """May ``size`` utterances, padded to ``frames`` and ``tokens``, be one batch?"""
    if options.batch_type == "numel":
        return size * (frames * dimension + tokens) <= options.batch_bins
    if options.batch_type == "length":
        return size * (frames + tokens) <= options.batch_bins
    if options.batch_type == "folded":
        longest = max(frames // options.fold_length[0], tokens // options.fold_length[1])
        return size <= max(1, options.batch_size // (1 + longest))
    return size <= options.batch_size


def epoch_order(batches: int, seed: int, epoch: int, short_first: bool = False) -> np.ndarray:
    """The order of the batches in one epoch, shape (batches,).

    Args:
        batches: number of batches.
        seed: seed of the training.
        epoch: counted from 1.
        short_first: keep the plan's order, shortest utterances first (the
            "SortaGrad" curriculum of Deep Speech 2, section 3.2).
    """
    if short_first:
        return np.arange(batches)
    return np.random.default_rng([seed, epoch]).permutation(batches)


def padding_share(batches: list[np.ndarray], frames: np.ndarray) -> float:
    """Share of padding among the frames of all batches, 0 to 1."""
    padded = sum(len(batch) * int(frames[batch].max()) for batch in batches)
    return 1.0 - float(frames.sum()) / max(padded, 1)
