"""Cut long recordings where it is quietest."""

from __future__ import annotations

import numpy as np

FRAME_S = 0.01
PAUSE_S = 0.3  # the stretch that should be quiet around a cut


def cut_at_pauses(samples: np.ndarray, rate: int, longest_s: float) -> list[tuple[int, int]]:
    """Stretches of a recording, none longer than ``longest_s``, which together are all of it.

    Where a recording is longer, it is cut in the middle of the quietest 0.3 s of
    the second half of what a stretch may hold, and so on with the rest.

    Args:
        samples: shape (frames,).
        rate: in Hz.
        longest_s: seconds.

    Returns:
        First sample and the one behind the last of each stretch.
    """
    longest = max(1, int(longest_s * rate))
    if len(samples) <= longest:
        return [(0, len(samples))]
    step = max(1, int(FRAME_S * rate))
    loudness = _loudness(samples, step)
    starts = [0]
    while len(samples) - starts[-1] > longest:
        first = starts[-1] // step + max(1, longest // (2 * step))
        # the last stretch is to hold something: not less than a quarter, or a second
        last = min(starts[-1] + longest, len(samples) - min(longest // 4, rate)) // step
        last = min(last, len(loudness) - 1)
        # an equally quiet place later on makes fewer stretches
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
