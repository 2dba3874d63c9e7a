"""Show the progress of stage 5's jobs until the parent process ends.

Example:
    python -m cascade_asr.cli.follow_decoding --set dump/test --outdir exp/rnn/full/decode_test

On a terminal it draws a bar, otherwise it prints a line every 30 s. --set and --outdir may
be given several times.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

from cascade_asr import command
from cascade_asr.speech.decoding_output import LOGDIR
from cascade_asr.speech.partial_results import PartialCounter
from cascade_asr.speech.progress import DecodingProgress

LOOK_AGAIN_S = 0.5


class _Ended(Exception):  # noqa: N818 - nothing is wrong
    """A signal asked this process to end."""


def end(*_: object) -> None:
    """Handle a signal by raising ``_Ended``."""
    raise _Ended


def follow(outdirs: list[Path], total: int) -> None:
    """Show progress until the parent process is gone."""
    parent = os.getppid()
    counter = PartialCounter([outdir / LOGDIR for outdir in outdirs])
    before, heard = counter.count()
    progress = DecodingProgress("decoding", total, "utterances", before)
    try:
        while os.getppid() == parent:
            time.sleep(LOOK_AGAIN_S)
            count, seconds = counter.count()
            progress.add(count - before, max(0.0, seconds - heard))  # fewer than before: decoding was restarted
            before, heard = count, seconds
    except _Ended:
        pass
    finally:
        progress.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several = {"type": Path, "action": "append", "required": True}
    parser.add_argument("--set", **several, help="dump folder of the set")
    parser.add_argument("--outdir", **several, help="where the jobs write")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    try:
        total = 0
        for directory in arguments.set:
            with (directory / "manifest.tsv").open("rb") as stream:
                total += sum(1 for _ in stream)
        follow(arguments.outdir, total)
    except _Ended:
        return


if __name__ == "__main__":
    command.run(main)
