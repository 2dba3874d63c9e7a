"""The most probable alignment of a text to the frames of an utterance, by its CTC layer."""

from __future__ import annotations

import numpy as np

from cascade_asr.networks.ctc import BLANK


def best_path(log_probabilities: np.ndarray, tokens: np.ndarray) -> np.ndarray | None:
    """Viterbi alignment (Graves et al. 2006, section 4.1, with max for sum).

    Args:
        log_probabilities: (T, V) of every token in every frame.
        tokens: (U,) without blanks.

    Returns:
        (T,) index of the token that each frame stands for, -1 for a blank; None where
        there are too few frames.
    """
    frames = len(log_probabilities)
    if not frames:
        return None
    states = np.full(2 * len(tokens) + 1, BLANK, dtype=np.int64)
    states[1::2] = tokens
    may_skip = np.zeros(len(states), dtype=bool)
    may_skip[3::2] = tokens[1:] != tokens[:-1]
    scores = np.full(len(states), -np.inf)
    scores[:2] = log_probabilities[0, states[:2]]
    came_from = np.zeros((frames, len(states)), dtype=np.int8)
    for frame in range(1, frames):
        one = np.concatenate([[-np.inf], scores[:-1]])
        two = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], scores[:-2]])[: len(states)],
                       -np.inf)  # fmt: skip
        candidates = np.stack([scores, one, two])
        came_from[frame] = candidates.argmax(0)
        scores = candidates.max(0) + log_probabilities[frame, states]
    state = len(states) - 1
    if len(states) > 1 and scores[-2] > scores[-1]:
        state -= 1
    if not np.isfinite(scores[state]):
        return None
    path = np.empty(frames, dtype=np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = (state - 1) // 2 if state % 2 else -1
        state -= came_from[frame, state]
    return path
