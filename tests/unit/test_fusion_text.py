"""The text of a language model for fusion, in the recogniser's tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_here

from cascade_asr.data.tokens import write_token_directory
from cascade_asr.errors import ConfigError, DataError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Tokens of a recogniser in dump/tokens, and a text in data."""
    write_token_directory(tmp_path / "dump/tokens", ["ab a"], "char")
    (tmp_path / "data").mkdir()
    for part in ("train", "valid"):
        (tmp_path / f"data/{part}.txt").write_text("a b\n")
    return tmp_path


def ids(place: Path, text: bytes) -> list[int]:
    (place / "data/train.txt").write_bytes(text)
    run_here("lm_tokens", "--text", place / "data", "--tokens", place / "dump/tokens", "--dump", place / "dump/lm")
    return np.load(place / "dump/lm/train/tokens.npy").tolist()


def test_blanks_are_those_of_the_transcripts(place):
    expected = ids(place, b"a b\n\nab\n")
    assert expected.count(1) == 0  # <unk>
    assert ids(place, b" a\tb \r\n\r\nab") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\ncaf\xe9\n", r"train.txt:2: not UTF-8 \(byte 0xe9 in column 4\)"),
        (b"\xef\xbb\xbfa\n", "train.txt:1: the file begins with a byte order mark"),
        (b"a\na\rb\n", "train.txt:2: a carriage return inside the line"),
        (b"", "train.txt: empty"),
    ],
)
def test_other_text_is_refused(place, text, message):
    with pytest.raises(DataError, match=message):
        ids(place, text)


def test_the_tokens_of_the_recogniser_stay(place):
    with pytest.raises(ConfigError, match="name another folder, such as .*dump/lm"):
        run_here("lm_tokens", "--text", place / "data", "--tokens", place / "dump/tokens", "--dump", place / "dump")
    assert (place / "dump/tokens/tokens.txt").is_file()
