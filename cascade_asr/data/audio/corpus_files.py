"""Find and read the files of old corpora in the forms in which sites keep them.

Copies of the discs have upper- or lower-case names, at varying depths; texts that are
not UTF-8 are latin-1, and may have carriage returns.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cascade_asr.data.audio.sphere import SphereHeader, read_header, require_decoder
from cascade_asr.errors import DataError

THREADS = 16  # the time goes into waiting for the file system
SHOWN_FILES = 5  # files named for each oddity
_warned: Counter[str] = Counter()

log = logging.getLogger(__name__)


class AnyCase:
    """Resolves paths component by component, ignoring case; reads each folder once."""

    def __init__(self) -> None:
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def resolve(self, base: Path, path: str) -> Path | None:
        """A file or folder below ``base``, or None if there is none.

        Raises:
            DataError: if two names differ only in case.
        """
        for component in path.split("/"):
            names = self.listing(base).get(component.lower())
            if not names:
                return None
            if len(names) > 1:
                found = " and ".join(sorted(names))
                raise DataError(f"{base} holds {found}, which differ only in case; remove one")
            base = base / names[0]
        return base

    def listing(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder by their lower-case form; none if it is not a folder."""
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            if folder.is_dir():
                for name in os.listdir(folder):
                    names.setdefault(name.lower(), []).append(name)
            self._listings[folder] = names
        return self._listings[folder]


def find_files(folders: Iterable[Path], suffixes: str | tuple[str, ...]) -> list[Path]:
    """All files below these folders with one of the suffixes, ignoring case; sorted.

    Links are followed, but not to a folder that the search has come through. What macOS
    writes beside a file, ``._`` and its name, is none of the corpus.
    """
    branches: list[_Branch] = [(folder, frozenset()) for folder in folders]
    found: list[Path] = []
    with ThreadPoolExecutor(THREADS) as pool:
        while branches:
            below: list[_Branch] = []
            for subfolders, files in pool.map(lambda each: _scan(*each, suffixes), branches):
                below += subfolders
                found += files
            branches = below
    return sorted(found)


_Branch = tuple[Path, frozenset[tuple[int, int]]]  # a folder, and the identities of those above it


def _scan(
    folder: Path, above: frozenset[tuple[int, int]], suffixes: str | tuple[str, ...]
) -> tuple[list[_Branch], list[Path]]:
    """Subfolders of one folder, and its files with one of the suffixes."""
    subfolders: list[_Branch] = []
    files: list[Path] = []
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in above:
        return subfolders, files
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                subfolders.append((Path(entry.path), above | {identity}))
            elif entry.name.lower().endswith(suffixes) and not entry.name.startswith("._"):
                files.append(Path(entry.path))
    return subfolders, files


def read_lines(path: Path) -> list[str]:
    """Lines of an old text file: UTF-8 or else latin-1, with or without carriage returns.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        warn_of_file("not UTF-8; read as latin-1", f"{path}:{line}")
        text = content.decode("latin-1")
    if "\r" in text:
        warn_of_file("Windows line ends; read without the carriage returns", str(path))
        text = text.replace("\r", "")
    return text.split("\n")


def warn_of_file(what: str, place: str) -> None:
    """Warn of a file, but name only the first few of a kind: there may be thousands."""
    _warned[what] += 1
    if _warned[what] <= SHOWN_FILES:
        log.warning("%s: %s", place, what)
    elif _warned[what] == SHOWN_FILES + 1:
        log.warning("further files are not named: %s", what)


def read_headers(
    paths: Iterable[Path], sample_rate: int, channel_count: int
) -> dict[Path, SphereHeader]:
    """Read the header of every file.

    Args:
        paths: SPHERE files.
        sample_rate: rate that all must have, in Hz.
        channel_count: number of channels that all must have.

    Raises:
        DataError: naming the first unusable file, and the number of such files.
    """
    paths = list(paths)

    def check(path: Path) -> SphereHeader | DataError:
        try:
            header = read_header(path)
            require_decoder(header)
        except DataError as error:
            return error
        if header.sample_rate != sample_rate:
            return DataError(f"{path}: {header.sample_rate} Hz, recipe expects {sample_rate}")
        if header.channel_count != channel_count:
            plural = "" if header.channel_count == 1 else "s"
            found = f"{header.channel_count} channel{plural}"
            return DataError(f"{path}: {found}, need {channel_count}")
        return header

    with ThreadPoolExecutor(THREADS) as pool:
        results = dict(zip(paths, pool.map(check, paths), strict=True))
    faults = [str(result) for result in results.values() if isinstance(result, DataError)]
    if faults:
        more = f"\n(and {len(faults) - 1} more files cannot be used)" if faults[1:] else ""
        raise DataError(faults[0] + more)
    return results


def shown(names: Iterable[str], limit: int = 10) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return " ".join(names[:limit]) + more
