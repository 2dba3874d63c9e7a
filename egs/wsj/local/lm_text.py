"""Text for a character language model: WSJ's newspapers of 1987 to 1989 and the transcripts.

    python local/lm_text.py --wsj1 /corpora/LDC94S13A --data data --train-set train_si284 \\
        --dev-set test_dev93 --outdir data/lm

writes train.txt (newspapers, then the transcripts of the training set) and valid.txt (those
of the dev set), one sentence per line, in upper case. Lines with ``<`` are mark-up. The 1.6
million lines are processed one at a time.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

from prepare_wsj import add_roots, roots_of
from wsj_discs import Corpus

from cascade_asr import command
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write

DISC = "13-32.1"
FOLDER = "wsj1/doc/lng_modl/lm_train/np_data"
YEARS = ("87", "88", "89")

log = logging.getLogger(__name__)


def newspaper_files(corpus: Corpus) -> list[Path]:
    """The compressed texts, year by year.

    Raises:
        DataError: if there are none.
    """
    files = []
    for year in YEARS:
        found = corpus.files_in(DISC, f"{FOLDER}/{year}", ".z")
        if not found:
            raise DataError(f"WSJ disk {DISC} has no {FOLDER}/{year}/*.z; is this LDC94S13?")
        files += found
    return files


def read_compressed(path: Path) -> Iterator[str]:
    """Lines of a file packed by ``compress`` (LZW), which gzip can read but Python cannot.

    Raises:
        DataError: if the file is damaged.
    """
    arguments = ["gzip", "-dc"]
    with (
        path.open("rb") as packed,
        subprocess.Popen(
            arguments, stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        for line in process.stdout:
            yield line.decode("latin-1")
        fault = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise DataError(f"{path}: gzip cannot unpack it: {fault}; copy it from the disc again")


def sentences(lines: Iterator[str]) -> Iterator[str]:
    """Upper-case lines without mark-up."""
    for line in lines:
        text = " ".join(line.split())
        if text and "<" not in text:
            yield text.upper()


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_roots(parser)
    add = parser.add_argument
    add("--data", type=Path, default=Path("data"), help="data folders of stage 0")
    add("--train-set", default="train_si284", help="set whose transcripts are added")
    add("--dev-set", default="test_dev93", help="set whose transcripts are the dev text")
    add("--outdir", type=Path, default=Path("data/lm"), help="where to write train.txt and valid.txt")
    return parser.parse_args()


def main() -> None:
    """Write both texts, or none."""
    options = parse_options()
    transcripts = read_table(options.data / options.train_set / "text").values()
    held_out = read_table(options.data / options.dev_set / "text").values()
    files = newspaper_files(Corpus(roots_of(options)))
    with atomic_write(options.outdir / "train.txt") as stream:
        count = 0
        for path in files:
            for sentence in sentences(read_compressed(path)):
                stream.write(f"{sentence}\n")
                count += 1
        stream.writelines(f"{text}\n" for text in transcripts)
    with atomic_write(options.outdir / "valid.txt") as stream:
        stream.writelines(f"{text}\n" for text in held_out)
    log.info(
        "%s: %d sentences from %d newspaper files and %d transcripts; valid.txt: %d transcripts",
        options.outdir / "train.txt", count, len(files), len(transcripts), len(held_out),
    )  # fmt: skip


if __name__ == "__main__":
    command.run(main)
