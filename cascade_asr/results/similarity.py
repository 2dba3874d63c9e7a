"""How far apart two trainings of a layer are, in its weights and in its outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

MOST_ROWS = 500  # of a Gram matrix; longer outputs are thinned evenly


def relative_distance(
    weights: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor], names: Sequence[str]
) -> float | None:
    """``|w - v| / |v|`` over the parameters of a layer, where v are those of ``other``.

    0 means unchanged; about 1.4 means unrelated weights of the same size. None if the
    layer in ``other`` has other shapes, is missing, or has only zeros.
    """
    squares, size = 0.0, 0.0
    for name in names:
        ours, theirs = weights.get(name), other.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            return None
        squares += float((ours.double() - theirs.double()).square().sum())
        size += float(theirs.double().square().sum())
    return math.sqrt(squares / size) if size else None


def evenly(rows: torch.Tensor, most: int = MOST_ROWS) -> torch.Tensor:
    """Keep at most this many rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, most).round().long()]


def centred_gram(rows: torch.Tensor) -> torch.Tensor | None:
    """U-centred Gram matrix (N, N) of outputs (N, D), scaled to norm 1; None if its norm is 0.

    Its diagonal and the sum of each row are zero. The inner product of two such matrices
    is the unbiased estimate of HSIC (Song et al., "Feature Selection via Dependence
    Maximization", JMLR 2012; centring of Székely and Rizzo 2014).
    """
    number = len(rows)
    if number < 4:
        return None
    rows = rows.double()
    gram = rows @ rows.T
    gram.fill_diagonal_(0)
    size = gram.norm()
    sums = gram.sum(0)
    gram -= sums[:, None] / (number - 2) + sums[None, :] / (number - 2)
    gram += sums.sum() / ((number - 1) * (number - 2))
    gram.fill_diagonal_(0)
    norm = gram.norm()
    if not torch.isfinite(norm) or norm <= 1e-9 * size:
        return None
    return (gram / norm).float()


def linear_cka(first: torch.Tensor | None, second: torch.Tensor | None) -> float | None:
    """Linear CKA of two `centred_gram`; None if one is missing or they differ in size.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019,
    with the unbiased estimate of HSIC: unlike the plain one, it is about 0 for
    representations that have nothing in common, however wide they are. 1 means equal up
    to rotation and scale.
    """
    if first is None or second is None or first.shape != second.shape:
        return None
    return float((first.double() * second.double()).sum())
