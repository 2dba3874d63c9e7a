"""Cut long recordings where it is quietest."""

from __future__ import annotations

import numpy as np

FRAME_S = 0.01
PAUSE_S = 0.3  # the stretch around a cut that should be quiet


def cut_at_pauses(samples: np.ndarray, rate: int, longest_s: float) -> list[tuple[int, int]]:
    """Divide a recording into stretches, none of them longer than ``longest_s``.

    A longer recording is cut in the middle of the quietest 0.3 s of the second half
    of the first ``longest_s`` seconds, and likewise the rest.

    Args:
        samples: shape (frames,).
        rate: in Hz.
        longest_s: seconds; infinity for a single stretch.

    Returns:
        First sample of each stretch, and the sample after its last.
    """
    longest = max(1, int(min(longest_s * rate, len(samples))))
    if len(samples) <= longest:
        return [(0, len(samples))]
    step = max(1, int(FRAME_S * rate))
    loudness = _loudness(samples, step)
    starts = [0]
    while len(samples) - starts[-1] > longest:
        first = starts[-1] // step + max(1, longest // (2 * step))
        # the last stretch must not be too short: a quarter, or a second, at least
        last = min(starts[-1] + longest, len(samples) - min(longest // 4, rate)) // step
        last = min(last, len(loudness) - 1)
        # of equally quiet places, the later one gives fewer stretches
        window = loudness[first : last + 1][::-1]
        cut = (last - int(window.argmin())) * step if len(window) else 0
        starts.append(cut if starts[-1] < cut <= starts[-1] + longest else starts[-1] + longest)
    return list(zip(starts, [*starts[1:], len(samples)], strict=True))


def _loudness(samples: np.ndarray, step: int) -> np.ndarray:
    """Mean power of the 0.3 s around the start of each frame of ``step`` samples."""
    whole = samples[: len(samples) // step * step].reshape(-1, step)
    power = np.einsum("ts,ts->t", whole, whole, dtype=np.float64)
    width = round(PAUSE_S / FRAME_S)
    padded = np.pad(power, (width // 2, width - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")[: len(power)]
