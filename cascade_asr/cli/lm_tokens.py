"""Turn the text of a language model into the recogniser's tokens, as a stream.

    python -m cascade_asr.cli.lm_tokens --text data/lm --tokens dump/tokens --dump dump/lm

writes dump/lm/{train,valid}/tokens.npy and dump/lm/tokens, which is what
``python -m cascade_asr.cli.training full --task text`` trains on.
"""

from __future__ import annotations

import argparse
import codecs
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from cascade_asr import command
from cascade_asr.data.kaldi.blanks import BLANKS, with_spaces
from cascade_asr.data.tokens import SENTENCE_EDGE, Tokenizer
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.files import atomic_write

CHUNK = 1 << 20  # token ids per write

log = logging.getLogger(__name__)


def lines_of(path: Path) -> Iterator[str]:
    """Lines of a text of any size, with blanks as in the transcripts that the recogniser learns.

    Raises:
        DataError: with file and line, for text that is not UTF-8, begins with a byte order
            mark or has a carriage return inside a line.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith(codecs.BOM_UTF8):
                raise DataError(
                    f"{path}:1: the file begins with a byte order mark (U+FEFF); save it without one"
                )
            try:
                text = line.decode("utf-8").strip(BLANKS)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} in column "
                    f"{error.start + 1}); convert it, for example with iconv -t UTF-8"
                ) from error
            if "\r" in text:
                raise DataError(
                    f"{path}:{number}: a carriage return inside the line; lines end in LF or CR LF"
                )
            yield with_spaces(text)


def encoded(path: Path, tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """Token ids of a text in chunks, (N,) int32, with ``<sos/eos>`` after each line."""
    edge = tokenizer.tokens.index(SENTENCE_EDGE)
    chunk: list[int] = []
    for line in lines_of(path):
        chunk += tokenizer.encode(line)
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
    if (options.dump / "tokens").resolve() == options.tokens.resolve():
        raise ConfigError(
            f"--dump {options.dump}: its tokens are those of the recogniser, which would be replaced; "
            f"name another folder, such as {options.dump / 'lm'}"
        )
    for part in ("train", "valid"):
        path = options.text / f"{part}.txt"
        if not path.is_file():
            raise DataError(f"{path}: not found; run stage 0 of ./run_lm.sh first")
        if not path.stat().st_size:
            raise DataError(f"{path}: empty; expected a sentence on each line")
        count = write_tokens(options.dump / part / "tokens.npy", encoded(path, tokenizer))
        log.info("%s: %d tokens", path, count)
    shutil.rmtree(options.dump / "tokens", ignore_errors=True)
    shutil.copytree(options.tokens, options.dump / "tokens")


if __name__ == "__main__":
    command.run(main)
