"""Digests of the state of a file or a folder of any size.

They are those of ``sha256sum`` and ``find`` on the same files, so that they can be
checked by hand.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from cascade_asr.files import file_digest

GONE = "gone"
ABSENT = "absent"
SMALL_BYTES = 64 * 1024 * 1024  # read in less than a second
SMALL_FILES = 5000


def state_of_file(path: Path) -> str:
    """SHA-256 of a file's content; `ABSENT` if there is no such file."""
    return file_digest(path) if path.is_file() else ABSENT


def tree_digest(path: Path) -> str:
    """A digest of a file or a folder; `GONE` if there is neither.

    Small ones enter by their content, large ones by the names, sizes and times of
    their files. Names are relative to ``path``, so that a corpus may be moved.
    """
    if not path.exists():
        return GONE
    found = list(_files(path))
    small = len(found) <= SMALL_FILES and sum(each.stat().st_size for each in found) <= SMALL_BYTES
    if small and path.is_file():
        return hashlib.sha256(f"{file_digest(path)}  -\n".encode()).hexdigest()
    lines = _contents(path, found) if small else _listing(path, found)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """All files below a folder, following links, or the file itself."""
    if not path.is_dir():
        yield path
        return
    seen = set()
    for folder, below, names in os.walk(path, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (file for name in names if (file := Path(folder, name)).is_file())


def _relative(path: Path, file: Path) -> bytes:
    return b"" if file == path else os.fsencode(file.relative_to(path))


def _contents(path: Path, found: list[Path]) -> list[bytes]:
    """Lines of ``sha256sum`` with names that begin with ``./``."""
    named = sorted((b"./" + _relative(path, file), file) for file in found)
    return [checksum_line(file_digest(file), name) for name, file in named]


def _listing(path: Path, found: list[Path]) -> list[bytes]:
    entries = []
    for file in found:
        status = file.stat()
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        times = f"\t{status.st_size}\t{seconds}.{nanoseconds:09d}0\0"
        entries.append(_relative(path, file) + times.encode())
    return sorted(entries)


def checksum_line(digest: str, name: bytes) -> bytes:
    """A line as ``sha256sum`` writes and ``sha256sum --check`` reads it."""
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != name else b""
    return mark + digest.encode() + b"  " + escaped + b"\n"


def read_checksum_line(line: str) -> tuple[str, str]:
    """Digest and name of a line of ``sha256sum``; a damaged one has an empty digest."""
    digest, separator, name = line.removeprefix("\\").partition("  ")
    if not separator or len(digest) != 64:
        return "", line
    if line.startswith("\\"):
        parts = name.split("\\\\")
        name = "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)
    return digest, name
