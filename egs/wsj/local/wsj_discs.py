"""Where the files of WSJ0 and WSJ1 are, in all layouts that sites use.

LDC's discs are folders ``11-13.1``, ``13_34.1``, ``13_34_1``, ... at most three levels
below the folder that the user names; at CSTR there is one folder with ``wsj0`` and
``wsj1`` and no discs. Some discs are entirely in upper case, so paths are resolved
component by component, ignoring case.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from cascade_asr.data.audio.corpus_files import AnyCase, find_files
from cascade_asr.errors import ConfigError, DataError

DISC_FOLDER = re.compile(r"(1[13])[-_](\d+)[._](\d)")
DISC_DEPTH = 3  # levels below the folder that the user names
SHOWN_DISCS = 12
CATALOGUE = {"11": ("wsj0", "LDC93S6"), "13": ("wsj1", "LDC94S13")}

log = logging.getLogger(__name__)


class Corpus:
    """Finds discs and files.

    Args:
        roots: folders by the option that named them, such as ``{"--wsj0": ...}``.

    Raises:
        ConfigError: if a folder is missing.
        DataError: if nothing of the corpus is in them, or a disc is there twice.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        for option, root in roots.items():
            if not root.is_dir():
                raise ConfigError(f"{option} {root}: no such folder")
        self._given = {option: root.absolute() for option, root in roots.items()}
        self.roots = list(dict.fromkeys(self._given.values()))
        self._files = AnyCase()
        self._discs: dict[str, Path] = {}
        for root in self.roots:
            self._find_discs(root, 1)
        self._part_roots: dict[str, Path] = {}
        if not self._discs:
            self._find_parts()

    def _find_discs(self, folder: Path, depth: int) -> None:
        try:
            listing = self._files.listing(folder)
        except PermissionError:  # such as lost+found, where a disk for corpora is mounted
            log.warning("%s: may not be read, and is not searched for discs", folder)
            return
        for names in listing.values():
            for name in names:
                match = DISC_FOLDER.fullmatch(name)
                path = folder / name
                if not path.is_dir():
                    continue
                if not match:
                    if depth < DISC_DEPTH:
                        self._find_discs(path, depth + 1)
                    continue
                disc = "{}-{}.{}".format(*match.groups())
                other = self._discs.setdefault(disc, path)
                if not other.samefile(path):
                    raise DataError(f"WSJ disc {disc} is both {other} and {path}; name one of them")

    def _find_parts(self) -> None:
        """``wsj0`` and ``wsj1`` without discs, below the given folders or given themselves."""
        for root in self.roots:
            for part, _ in CATALOGUE.values():
                if root.name.lower() == part:
                    self._part_roots.setdefault(part, root.parent)
                elif self._files.resolve(root, part) is not None:
                    self._part_roots.setdefault(part, root)
        if not self._part_roots:
            raise DataError(
                f"{self._shown_roots()}: neither disc folders such as 11-13.1 nor a folder wsj0 or "
                "wsj1 inside: is this LDC93S6 or LDC94S13?"
            )

    def find(self, disc: str, path: str, needed_by: str) -> Path | None:
        """A file of a disc, or None if the disc has no such file.

        Args:
            disc: such as ``13-34.1``.
            path: path on that disc, beginning with ``wsj0/`` or ``wsj1/``, in any case.
            needed_by: file and line that name it.

        Raises:
            DataError: if the disc is missing, or two files differ only in case.
        """
        if self._discs:
            if disc not in self._discs:
                raise DataError(
                    f"WSJ disk {disc} not found under {self._shown_roots()} (needed by "
                    f"{needed_by}); found: {self._shown_discs()}"
                )
            return self._files.resolve(self._discs[disc], path)
        root = self._part_roots.get(path.split("/")[0].lower())
        return None if root is None else self._files.resolve(root, path)

    def find_if_there(self, disc: str, path: str) -> Path | None:
        """As `find`, for files that are not essential; their disc may be missing too."""
        if self._discs and disc not in self._discs:
            return None
        return self.find(disc, path, path)

    def require(self, disc: str, path: str, needed_by: str) -> Path:
        """As `find`, for files without which this would be a different corpus."""
        part, catalogue = CATALOGUE[disc[:2]]
        wrong = not any(name.startswith(disc[:2]) for name in self._discs) and (
            part not in self._part_roots
        )
        found = None if wrong else self.find(disc, path, needed_by)
        if found is None:
            root = self._given.get(f"--{part}", self._shown_roots())
            raise DataError(f"{root} has no {path}: is this {catalogue}?")
        return found

    def find_all(self, suffix: str) -> list[Path]:
        """All files with this suffix, ignoring case, at any depth; sorted."""
        if self._discs:
            folders = sorted(self._discs.values())
        else:
            parts = [self._files.resolve(root, part) for part, root in self._part_roots.items()]
            folders = sorted(part for part in parts if part is not None)
        return find_files(folders, suffix)

    def files_in(self, disc: str, path: str, suffix: str) -> list[Path]:
        """Files with this suffix below a folder of a disc; none if there is no such folder."""
        folder = self.find(disc, path, path)
        return [] if folder is None else find_files([folder], suffix)

    def _shown_roots(self) -> str:
        return " and ".join(map(str, self.roots))

    def _shown_discs(self) -> str:
        names = sorted(self._discs, key=_disc_order)
        more = f" and {len(names) - SHOWN_DISCS} more" if names[SHOWN_DISCS:] else ""
        return " ".join(names[:SHOWN_DISCS]) + more


def _disc_order(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
