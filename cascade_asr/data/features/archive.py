"""Write features to a Kaldi archive."""

from __future__ import annotations

from pathlib import Path

import kaldiio
import numpy as np


class ArchiveWriter:
    """A Kaldi archive and the table that points into it, at any paths.

    kaldiio's own writer takes both paths in one word, separated by a comma.

    Args:
        archive: the archive to write.
        table: the table, with lines ``ID ARCHIVE:OFFSET``.
        compression_method: of kaldiio; None writes floats.
    """

    def __init__(self, archive: Path, table: Path, compression_method: int | None = None) -> None:
        self._archive = open(archive, "wb")
        self._table = open(table, "w", encoding="utf-8", errors="surrogateescape")
        self._compression_method = compression_method

    def __call__(self, name: str, features: np.ndarray) -> None:
        """Append a matrix (T, D)."""
        kaldiio.save_ark(
            self._archive, {name: features}, scp=self._table, compression_method=self._compression_method
        )

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        self._table.close()
