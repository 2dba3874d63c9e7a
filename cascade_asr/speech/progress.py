"""The progress of a decoding: a bar on a terminal, an occasional line in a log."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

logger = logging.getLogger(__name__)

INTERVAL_S = 30.0
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total_fmt} {unit} [{elapsed}<{remaining}{postfix}]"


class DecodingProgress:
    """Counts what is decoded and shows the pace and the time left.

    Args:
        title: title of the decoding.
        total: number of items to decode.
        unit: name of the items, such as ``utterances``.
        done: number of them decoded before.
        interval_s: seconds between two lines.
    """

    def __init__(
        self, title: str, total: int, unit: str, done: int = 0, interval_s: float = INTERVAL_S
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.interval_s = interval_s
        self._first = self._count = float(done)
        self._audio_s = 0.0
        self._started = self._shown = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total, initial=done, desc=title, unit=unit, bar_format=BAR, leave=False
            )

    def add(self, count: float, audio_s: float) -> None:
        """Count ``count`` more as decoded, with a total duration of ``audio_s`` seconds."""
        self._count += count
        self._audio_s += audio_s
        now = time.monotonic()
        pace = self._audio_s / max(now - self._started, 1e-6)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{pace:.1f} x real time", refresh=False)
            self._bar.update(count)
        elif now - self._shown >= self.interval_s:
            self._shown = now
            logger.info(
                "%s: %.0f of %d %s (%.0f %%), %.1f x real time, %s left",
                self.title, self._count, self.total, self.unit,
                100 * self._count / max(self.total, 1), pace, self._left(now),
            )  # fmt: skip

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _left(self, now: float) -> str:
        each = (now - self._started) / max(self._count - self._first, 1e-6)
        minutes, seconds = divmod(round(each * max(self.total - self._count, 0)), 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
