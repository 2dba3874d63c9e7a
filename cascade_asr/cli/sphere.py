"""Print a NIST SPHERE file as WAV, checked against its header.

For wav.scp, where every program can read the pipe (our own feature extraction
reads the file directly instead):

    01ic0201 python -m cascade_asr.cli.sphere /corpora/wsj/11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1 |
    sw02001-A python -m cascade_asr.cli.sphere --channel 1 /corpora/swb1/sw02001.sph |
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.audio.sphere import choose_channel, read_sphere, wav_bytes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--channel", type=int, help="this one alone, counted from 1")
    arguments = parser.parse_args()
    samples, rate = read_sphere(arguments.file)
    if arguments.channel is not None:
        samples = choose_channel(samples, arguments.channel, str(arguments.file))
    sys.stdout.buffer.write(wav_bytes(samples, rate))


if __name__ == "__main__":
    command.run(main)
