"""The results of a decoding so far, from which a killed job resumes.

``partial.JOB.jsonl`` has a head, which says what is decoded with what, and one line
per batch. Batches do not depend on the number of jobs: a job uses what any job left,
but only below the same head that it would write itself. The last line may be cut off.
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
    """Batches of one decoding, saved as they are done.

    Args:
        folder: folder of all jobs' files of this decoding.
        job: number of the job whose file is written.
        head: what decides the result. Results below a different head are not used,
            and such a file of this job is replaced.

    Attributes:
        batches: results of all jobs, by number of the batch.
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
                    logger.info("%s: from another model, set or options; not used", path)
            for line in lines[path][1:]:
                self._take(_parsed(line))
        with atomic_write(own) as stream:
            kept = lines.get(own) or [json.dumps(head)]
            stream.writelines(f"{line}\n" for line in kept)
        self._stream = own.open("a", encoding="utf-8")

    def add(self, number: int, seconds: float, results: Sequence[Decoded]) -> None:
        """Save a batch with a total duration of ``seconds``."""
        content = {"batch": number, "count": len(results), "seconds": round(seconds, 3),
                   "utterances": [each.to_json() for each in results]}  # fmt: skip
        self._stream.write(f"{json.dumps(content, ensure_ascii=False)}\n")
        self._stream.flush()
        self.batches[number] = list(results)

    def close(self) -> None:
        """Stop writing."""
        self._stream.close()

    def _take(self, content: Any) -> None:
        try:
            results = [Decoded.from_json(each) for each in content["utterances"]]
            self.batches[int(content["batch"])] = results
        except (KeyError, TypeError, ValueError):
            return  # damaged: decoded again


class PartialCounter:
    """Counts what the jobs of a decoding have done, without reading anything twice.

    Args:
        folders: folders of the decodings.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._read: dict[Path, tuple[int, int, float]] = {}  # bytes, utterances, seconds

    def count(self) -> tuple[int, float]:
        """Number of utterances decoded, and their total duration in seconds."""
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
                if stream.seek(0, 2) < offset:  # the file was started afresh
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
    """The partial results of all jobs."""
    return sorted(folder.glob("partial.*.jsonl"))


def _whole_lines(path: Path) -> Iterator[str]:
    """Complete lines, up to the first that cannot be read."""
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
