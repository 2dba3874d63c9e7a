"""Turn the text of a language model into the recogniser's tokens, as a stream.

    python -m cascade_asr.cli.lm_tokens --text data/lm --tokens dump/tokens --dump dump/lm

writes dump/lm/{train,valid}/tokens.npy and dump/lm/tokens, which is what
``python -m cascade_asr.cli.training full --task text`` trains on.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from cascade_asr import command
from cascade_asr.data.tokens import SENTENCE_EDGE, Tokenizer
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write

CHUNK = 1 << 20  # token ids per write

log = logging.getLogger(__name__)


def encoded(path: Path, tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """Token ids of a text in chunks, (N,) int32, with ``<sos/eos>`` after each line."""
    edge = tokenizer.tokens.index(SENTENCE_EDGE)
    chunk: list[int] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            chunk += tokenizer.encode(line.rstrip("\n"))
            chunk.append(edge)
            if len(chunk) >= CHUNK:
                yield np.array(chunk, np.int32)
                chunk = []
    yield np.array(chunk, np.int32)


def write_tokens(path: Path, chunks: Iterable[np.ndarray]) -> int:
    """Write chunks to one npy file, whose length is known only at the end.

    Returns:
        Number of tokens.
    """
    count = 0
    with atomic_write(path, "wb") as stream:
        npy.write_array_header_1_0(stream, _header(0))
        start = stream.tell()
        for chunk in chunks:
            stream.write(chunk.astype("<i4").tobytes())
            count += len(chunk)
        stream.seek(0)
        npy.write_array_header_1_0(stream, _header(count))
        assert stream.tell() == start, "NumPy pads headers so that a longer array fits"
    return count


def _header(count: int) -> dict[str, object]:
    return {"descr": "<i4", "fortran_order": False, "shape": (count,)}


def main() -> None:
    """Encode both texts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--text", type=Path, default=Path("data/lm"), help="folder with train.txt and valid.txt")
    add("--tokens", type=Path, default=Path("dump/tokens"), help="tokens of the recogniser")
    add("--dump", type=Path, default=Path("dump/lm"), help="folder for the token ids")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_directory(options.tokens)
    for part in ("train", "valid"):
        path = options.text / f"{part}.txt"
        if not path.is_file():
            raise DataError(f"{path}: not found; run stage 0 of ./run_lm.sh first")
        count = write_tokens(options.dump / part / "tokens.npy", encoded(path, tokenizer))
        log.info("%s: %d tokens", path, count)
    shutil.rmtree(options.dump / "tokens", ignore_errors=True)
    shutil.copytree(options.tokens, options.dump / "tokens")


if __name__ == "__main__":
    command.run(main)
