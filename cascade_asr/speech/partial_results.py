"""What a decoding has found so far: a killed job goes on from there.

``partial.JOB.jsonl`` holds a head, which tells what is decoded with what, and a line
a batch. Batches do not depend on the number of jobs: a job takes what any job left,
but only below the head that it would write itself. The last line may be cut off.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write
from cascade_asr.speech.decoded import Decoded

logger = logging.getLogger(__name__)


class PartialResults:
    """Batches of one decoding, kept as they come.

    Args:
        folder: where the jobs of this decoding keep theirs.
        job: whose file is written.
        head: what decides the result. What stands below another head is not taken,
            and the job's own file of that kind is replaced.

    Attributes:
        batches: results by number of the batch, those of all jobs.
    """

    def __init__(self, folder: Path, job: int, head: dict[str, Any]) -> None:
        head = json.loads(json.dumps(head))  # as it is read back
        own = folder / f"partial.{job}.jsonl"
        self.batches: dict[int, list[Decoded]] = {}
        lines: dict[Path, list[str]] = {}
        for path in partial_files(folder):
            lines[path] = list(_whole_lines(path))
            if not lines[path] or _parsed(lines[path][0]) != head:
                lines[path] = []
                if path == own:
                    logger.info("%s: of another model, set or options; not taken", path)
            for line in lines[path][1:]:
                self._take(_parsed(line))
        with atomic_write(own) as stream:
            kept = lines.get(own) or [json.dumps(head)]
            stream.writelines(f"{line}\n" for line in kept)
        self._stream = own.open("a", encoding="utf-8")

    def add(self, number: int, seconds: float, results: Sequence[Decoded]) -> None:
        """Keep a batch, which lasts so many seconds."""
        content = {"batch": number, "count": len(results), "seconds": round(seconds, 3),
                   "utterances": [each.to_json() for each in results]}  # fmt: skip
        self._stream.write(f"{json.dumps(content, ensure_ascii=False)}\n")
        self._stream.flush()
        self.batches[number] = list(results)

    def close(self) -> None:
        """Write no more."""
        self._stream.close()

    def _take(self, content: Any) -> None:
        try:
            results = [Decoded.from_json(each) for each in content["utterances"]]
            self.batches[int(content["batch"])] = results
        except (KeyError, TypeError, ValueError):
            return  # damaged: decoded again


class PartialCounter:
    """Counts what the jobs of a decoding have found, without reading anything twice.

    Args:
        folders: of the decodings.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._read: dict[Path, tuple[int, int, float]] = {}  # bytes, utterances, seconds

    def count(self) -> tuple[int, float]:
        """Utterances that are decoded, and the seconds that they last."""
        for folder in self._folders:
            for path in partial_files(folder):
                self._read_on(path)
        return (
            sum(count for _, count, _ in self._read.values()),
            sum(seconds for _, _, seconds in self._read.values()),
        )

    def _read_on(self, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                offset, count, seconds = self._read.get(path, (0, 0, 0.0))
                if stream.seek(0, 2) < offset:  # begun anew
                    offset, count, seconds = 0, 0, 0.0
                stream.seek(offset)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    offset += len(line)
                    content = _parsed(line.decode("utf-8", "replace"))
                    if isinstance(content, dict) and "batch" in content:
                        count += int(content.get("count", 0))
                        seconds += float(content.get("seconds", 0.0))
                self._read[path] = offset, count, seconds
        except FileNotFoundError:
            return  # joined meanwhile


def partial_files(folder: Path) -> list[Path]:
    """Those of all jobs."""
    return sorted(folder.glob("partial.*.jsonl"))


def _whole_lines(path: Path) -> Iterator[str]:
    """Lines that end, up to the first that cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    for line in content.split(b"\n")[:-1]:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return
        if _parsed(text) is None:
            return
        yield text


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
