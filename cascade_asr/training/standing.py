"""The progress of a running training, for other processes to read.

``progress.json`` is in the training's folder while it runs. It is removed at the end;
one that stays behind belongs to a process that was killed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.files import write_json

NAME = "progress.json"
INTERVAL_S = 10.0  # between two entries
PACE_OVER_ENTRIES = 30  # the time left is estimated from the last five minutes, not from the start


class ProgressFile:
    """Keeps ``progress.json``; a file that cannot be written does not stop a training.

    Once another process has replaced it, as a later attempt at the same training
    does, it is left alone.

    Args:
        directory: the training's folder.
        total: updates in all.
        done: updates done by earlier runs.
    """

    def __init__(self, directory: Path, total: int, done: int) -> None:
        self.path = directory / NAME
        self.total = total
        # when the last entries were written, and at which update
        self._written = deque([(time.monotonic(), done)], maxlen=PACE_OVER_ENTRIES + 1)
        self._due = 0.0
        self._process = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": process_started(os.getpid()),
        }
        self._begun = False

    def write(self, epoch: int, update: int) -> None:
        """Record that ``update`` is done, at most every `INTERVAL_S`."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL_S
        if self._begun and self._is_taken_over():
            return
        then, first = self._written[0]
        made = update - first
        if update > self._written[-1][1]:
            self._written.append((now, update))
        content = {
            **self._process,
            "epoch": epoch,
            "update": update,
            "total_updates": self.total,
            "seconds_per_update": (now - then) / made if made > 0 else None,
            "written": time.time(),
        }
        try:
            write_json(self.path, content)
            self._begun = True
        except OSError:
            pass

    def remove(self) -> None:
        """Remove the file, because the training is no longer running."""
        if self._is_taken_over():
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            pass

    def _is_taken_over(self) -> bool:
        """Whether the file now belongs to another process."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return not self._process.items() <= content.items()
        except (OSError, ValueError, AttributeError):
            return False


@dataclass(frozen=True)
class Standing:
    """The content of ``progress.json``.

    Attributes:
        host, epoch, update, total_updates: those of the training.
        seconds_per_update: over the last few minutes, dev passes included; None at the start.
        age_s: seconds since it was written.
        alive: whether its process is running; None if it is on another host.
    """

    host: str
    epoch: int
    update: int
    total_updates: int
    seconds_per_update: float | None
    age_s: float
    alive: bool | None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last epoch ends; patience may end the training sooner."""
        if self.seconds_per_update is None:
            return None
        left = self.seconds_per_update * max(self.total_updates - self.update, 0)
        return max(left - self.age_s, 0.0)


def process_started(pid: int) -> str | None:
    """When a process started, in kernel ticks; None if there is none with that id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def read_standing(directory: Path) -> Standing | None:
    """The progress of the training in a folder; None if it is not recorded."""
    try:
        content = json.loads((directory / NAME).read_text(encoding="utf-8"))
        return _standing(content)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _standing(content: Mapping) -> Standing:
    alive = None
    if content["host"] == socket.gethostname():
        started = process_started(content["pid"])
        alive = started is not None and started == content["process_started"]
    pace = content["seconds_per_update"]
    return Standing(
        str(content["host"]),
        int(content["epoch"]),
        int(content["update"]),
        int(content["total_updates"]),
        None if pace is None else float(pace),
        max(time.time() - float(content["written"]), 0.0),
        alive,
    )
