"""What a training logs: JSON lines, TensorBoard, a progress bar or plain lines."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cascade_asr.files import atomic_write
from cascade_asr.training.standing import ProgressFile

logger = logging.getLogger(__name__)

PACE_OVER_LINES = 5  # the time left is estimated from this many recent intervals


class History:
    """``history.jsonl`` and TensorBoard files of one training.

    Args:
        directory: folder of the files.
        epoch, start_update: where the training resumes. Entries of later updates,
            and the summary of an unfinished epoch, are dropped: a killed training
            logged them and its successor will do so again.
        tensorboard: also write TensorBoard files.
    """

    def __init__(self, directory: Path, epoch: int, start_update: int, tensorboard: bool) -> None:
        self.path = directory / "history.jsonl"
        self._writer = None
        kept = [
            entry
            for entry in read_history(self.path)
            if entry["update"] <= start_update
            and (entry["split"] == "train" or entry["epoch"] < epoch)
        ]
        with atomic_write(self.path) as stream:
            stream.writelines(json.dumps(entry) + "\n" for entry in kept)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(
                str(directory / "tensorboard"), purge_step=start_update + 1
            )

    def add(self, split: str, epoch: int, update: int, values: dict[str, float]) -> None:
        """Append one entry."""
        entry: dict[str, Any] = {"split": split, "epoch": epoch, "update": update, **values}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(f"{split}/{name}", value, update)

    def close(self) -> None:
        """Flush the TensorBoard files."""
        if self._writer:
            self._writer.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Entries of a ``history.jsonl``, up to the first invalid line.

    A last line cut off by a kill is left out silently, other damage with a warning.
    """
    entries: list[dict[str, Any]] = []
    if not path.is_file():
        return entries
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError:  # this includes bytes that are not UTF-8
            entry = None
        if not _is_entry(entry):
            if number < len(lines):
                logger.warning(
                    "%s:%d: damaged; this line and those after it are left out", path, number
                )
            break
        entries.append(entry)
    return entries


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("split"), str)
        and all(type(entry.get(name)) is int for name in ("epoch", "update"))
    )


class Progress:
    """A bar with the time left on a terminal, plain lines in a log.

    Args:
        title: title of the training.
        total: updates in all.
        done: updates already done.
        interval: updates between two plain lines.
        enabled: show anything; False on all ranks but the first.
        directory: the training's folder, where ``progress.json`` is written for other processes.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int,
        interval: int,
        enabled: bool,
        directory: Path | None = None,
    ) -> None:
        self.title, self.total, self.interval, self.enabled = title, total, interval, enabled
        self._file = ProgressFile(directory, total, done) if enabled and directory else None
        if self._file is not None:
            self._file.write(0, done)  # the first update may take minutes
        # when the last plain lines were shown, and at which update
        self._shown = deque([(time.monotonic(), done)], maxlen=PACE_OVER_LINES + 1)
        self._bar = None
        if enabled and sys.stderr.isatty():
            self._bar = tqdm(
                total=total, initial=done, desc=title, unit="update", leave=False,
                dynamic_ncols=True,
            )  # fmt: skip

    def advance(self, update: int, epoch: int, values: dict[str, float]) -> None:
        """Show that ``update`` is done."""
        if self._file is not None:
            self._file.write(epoch, update)
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar is not None:
            self._bar.update(update - self._bar.n)
            if shown:
                self._bar.set_postfix_str(f"epoch {epoch} {shown}")
        elif self.enabled and values:
            now = time.monotonic()
            then, first = self._shown[0]
            pace = (now - then) / max(update - first, 1)
            self._shown.append((now, update))
            minutes, seconds = divmod(round(pace * max(self.total - update, 0)), 60)
            left = f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
            logger.info(
                "%s: epoch %d update %d/%d %s, %.2f s/update, %s left",
                self.title,
                epoch,
                update,
                self.total,
                shown,
                pace,
                left,
            )

    def message(self, text: str) -> None:
        """Print a separate line."""
        if self._bar is not None:
            self._bar.clear()
        if self.enabled:
            logger.info("%s: %s", self.title, text)

    def close(self) -> None:
        """Remove the bar and ``progress.json``."""
        if self._file is not None:
            self._file.remove()
        if self._bar is not None:
            self._bar.close()
