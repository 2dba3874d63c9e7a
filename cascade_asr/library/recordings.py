"""The recordings to transcribe: named one by one, in a list, or piped in."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.data.audio.any_audio import Source
from cascade_asr.errors import ConfigError, DataError

STDIN = "-"


@dataclass(frozen=True)
class Recording:
    """A recording to transcribe.

    Attributes:
        name: name for messages and outputs.
        source: a file, bytes, a binary stream or samples.
        rate: sampling rate of samples, in Hz.
    """

    name: str
    source: Source
    rate: int | None = None


def recordings_of(audio: Sequence[str], listed: Path | None) -> list[Recording]:
    """The recordings to transcribe.

    Raises:
        DataError: if the list cannot be read.
        ConfigError: if nothing is named, or standard input twice.
    """
    names = list(audio)
    if (*names, str(listed)).count(STDIN) > 1:
        raise ConfigError("- (standard input) can be given only once")
    if STDIN in (*names, str(listed)) and sys.stdin.isatty():
        raise ConfigError("- is standard input, and nothing is piped into it")
    if listed is not None:
        names += _lines_of(listed)
    if not names:
        raise ConfigError("no recordings: name files, - for standard input, or --list FILE")
    return [Recording(name, sys.stdin.buffer if name == STDIN else name) for name in names]


def _lines_of(listed: Path) -> list[str]:
    if str(listed) == STDIN:
        content = sys.stdin.buffer.read()
    elif listed.is_file():
        content = listed.read_bytes()
    else:
        raise DataError(f"--list {listed}: no such file")
    # file names are bytes, which need not be UTF-8
    lines = content.decode("utf-8-sig", errors="surrogateescape").split("\n")
    names = [line.strip("\r") for line in lines if line.strip()]
    if not names:
        raise DataError(f"--list {listed}: lists no recordings")
    if STDIN in names:
        raise DataError(f"--list {listed}: - cannot be listed; name it on the command line")
    return names


def short_names(recordings: Sequence[Recording]) -> dict[str, str]:
    """Names for ctm: the file name without folder and suffix, if it is unique.

    Raises:
        ConfigError: if two differ only by spaces, which ctm does not have.
    """
    stems = {each.name: Path(each.name).stem or each.name for each in recordings}
    counts = Counter(map(in_one_word, stems.values()))
    names = {name: stem if counts[in_one_word(stem)] == 1 else name for name, stem in stems.items()}
    written: dict[str, str] = {}
    for name, short in names.items():
        other = written.setdefault(in_one_word(short), name)
        if other != name:
            raise ConfigError(
                f"--output ctm: '{other}' and '{name}' would both be called {in_one_word(short)}; "
                "rename one, or transcribe them one by one"
            )
    return names


def in_one_word(name: str) -> str:
    """A name as one column of ctm: its spaces become underscores."""
    return "_".join(name.split()) or "_"
