"""Print the corpus that stage 0 reads, or has read, and a digest of its content.

    python local/corpus_in_use.py [--fsdd DIR|ARCHIVE]

It is chosen as prepare_digits.py chooses it; if no corpus is given, the one that was
used stays in use, even if it no longer exists.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import fsdd

from cascade_asr import command
from cascade_asr.recipe.files_of_stages import marker_path
from cascade_asr.recipe.marker import Marker
from cascade_asr.recipe.state_of_files import tree_digest

DATA, DOWNLOADS = Path("data"), Path("downloads")


def chosen(given: Path | None, corpora: str | None) -> Path | None:
    """The existing corpus, without making one; None if there is none yet."""
    if given is not None:
        return given
    found = fsdd.find_in(Path(corpora)) if corpora else None
    archive = DOWNLOADS / fsdd.ARCHIVE
    if found is None and archive.is_file():
        found = archive
    return found if found is not None else _used()


def _used() -> Path | None:
    """The corpus that stage 0 has read."""
    description = DATA / "corpus.txt"
    if not description.is_file():
        return None
    for line in description.read_text("utf-8").splitlines():
        if line.startswith("source: "):
            return Path(line.removeprefix("source: "))
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fsdd", type=Path, help="a folder or an archive (default: the existing one)")
    source = chosen(parser.parse_args().fsdd, os.environ.get("CORPORA"))
    if source is not None and source.exists():
        print(f"{source.resolve()} ({tree_digest(source)})")
    else:  # it no longer exists, and neither does another
        recorded = Marker(marker_path(0, {})).recorded().get("source", "")
        print(recorded or source or "")


if __name__ == "__main__":
    command.run(main)
