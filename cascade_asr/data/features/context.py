"""Give frames their context: time derivatives (deltas) and neighbouring frames (splicing)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade_asr.errors import ConfigError


@dataclass(frozen=True)
class Context:
    """What is appended to each frame in stage 1; deltas come before splicing.

    Attributes:
        deltas: append time derivatives up to `order`.
        splice: number of frames before and after each frame that are concatenated with it.
        order: of the highest derivative.
        window: frames on either side that the regression of a derivative uses.
    """

    deltas: bool = False
    splice: int = 0
    order: int = 2
    window: int = 2

    def __post_init__(self) -> None:
        for name, smallest in (("splice", 0), ("order", 1), ("window", 1)):
            value = getattr(self, name)
            if value < smallest:
                raise ConfigError(f"{name} {value}: expected {smallest} or more")

    @property
    def changes_features(self) -> bool:
        """Whether it changes the feature dimension."""
        return self.deltas or self.splice > 0

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Features (T, D) to float32 (T, D') with their context."""
        if self.deltas:
            features = add_deltas(features, self.order, self.window)
        if self.splice:
            features = splice_frames(features, self.splice)
        return features


def delta_filters(order: int, window: int) -> list[np.ndarray]:
    """Weights of neighbouring frames for the derivatives of order 0 to ``order``.

    The first derivative is the slope of a regression line through 2 ``window`` + 1
    frames, sum(j x[t+j]) / sum(j^2); each higher one is the derivative of the previous one.
    Filter n has 2 n ``window`` + 1 weights, the frame itself in the middle.
    """
    offsets = np.arange(-window, window + 1, dtype=np.float64)
    slope = offsets / np.square(offsets).sum()
    filters = [np.ones(1)]
    for _ in range(order):
        filters.append(np.convolve(filters[-1], slope))
    return filters


def add_deltas(features: np.ndarray, order: int = 2, window: int = 2) -> np.ndarray:
    """Append time derivatives, as Kaldi's add-deltas defines them.

    The first and the last frame are repeated beyond the ends of an utterance. A
    derivative of order n is one filter over the features, not the derivative of the
    padded previous one, which differs in the first and last frames.

    Args:
        features: (T, D), T of 1 or more.
        order: of the highest derivative.
        window: frames on either side of a regression.

    Returns:
        (T, D (order + 1)) float32: features, first derivatives, and so on.
    """
    frames = len(features)
    columns = []
    for weights in delta_filters(order, window):
        reach = len(weights) // 2
        padded = np.pad(features.astype(np.float64), ((reach, reach), (0, 0)), mode="edge")
        columns.append(
            sum(weight * padded[k : k + frames] for k, weight in enumerate(weights) if weight)
        )
    return np.concatenate(columns, axis=1).astype(np.float32)


def splice_frames(features: np.ndarray, context: int) -> np.ndarray:
    """Concatenate each frame with ``context`` frames on either side, earliest first.

    The first and the last frame are repeated beyond the ends of an utterance.

    Args:
        features: (T, D), T of 1 or more.
        context: frames on either side.

    Returns:
        (T, D (2 context + 1)) float32.
    """
    frames = len(features)
    padded = np.pad(features, ((context, context), (0, 0)), mode="edge")
    shifted = [padded[k : k + frames] for k in range(2 * context + 1)]
    return np.concatenate(shifted, axis=1).astype(np.float32)
