"""Print a NIST SPHERE file, or another audio file, as WAV, checked against its header.

For wav.scp, so that every program can read the pipe (this toolkit's feature extraction
reads the file directly):

    01ic0201 python -m cascade_asr.cli.sphere /corpora/wsj/11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1 |
    sw02001-A python -m cascade_asr.cli.sphere --channel 1 /corpora/swb1/sw02001.sph |
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.audio.audio import print_as_wav


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--channel", type=int, help="print only this channel, counted from 1")
    arguments = parser.parse_args()
    sys.stdout.buffer.write(print_as_wav(str(arguments.file), arguments.channel))


if __name__ == "__main__":
    command.run(main)
