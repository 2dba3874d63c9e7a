"""Score the references of test sets against themselves, before anything is trained.

    python -m cascade_asr.cli.check_references data/dev data/test
    python -m cascade_asr.cli.check_references data/test --warn-only data/train

Anything in a reference that the scorer refuses is reported with file, line and remedy.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.tokens import read_symbols
from cascade_asr.errors import DataError
from cascade_asr.scoring.references import faults_of_reference

SHOWN_FAULTS = 10

log = logging.getLogger("check_references")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="python -m cascade_asr.cli.check_references",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("sets", nargs="+", type=Path, metavar="DATA", help="data folders with text and utt2spk")
    add("--warn-only", nargs="+", default=[], type=Path, metavar="DATA",
        help="folders that are not scored: faults only give warnings")  # fmt: skip
    add("--non-linguistic-symbols", type=Path, metavar="FILE", help="words that do not count")
    return options


def main() -> None:
    """Check all sets, then stop if one of those to be scored has a fault."""
    arguments = parser().parse_args()
    symbols = arguments.non_linguistic_symbols
    unscored = frozenset(read_symbols(symbols) if symbols else ())
    for folder in arguments.warn_only:
        for fault in faults_of_reference(folder, unscored, log.warning)[:SHOWN_FAULTS]:
            log.warning("%s", fault)
    faults = [
        fault
        for folder in arguments.sets
        for fault in faults_of_reference(folder, unscored, log.warning)
    ]
    if faults:
        more = len(faults) - SHOWN_FAULTS
        rest = f"\n(and {more} more)" if more > 0 else ""
        raise DataError("\n".join(faults[:SHOWN_FAULTS]) + rest)


if __name__ == "__main__":
    command.run(main)
