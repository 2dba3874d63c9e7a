"""WSJ's transcripts (``.dot`` files) and their normalisation."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cascade_asr.data.audio.corpus_files import THREADS, read_lines
from cascade_asr.errors import DataError

NOISE = "<NOISE>"
LINE = re.compile(r"(.*)\((\w{8})\)\s*")

# Marks that are not words: noises that begin or end elsewhere, and pauses.
_DROPPED = re.compile(r"\[<\w+\]|\[\w+>\]|.*\[\w+/\]|.*\[/\w+\]|~|\.")
_NOISE_INSIDE = re.compile(r"\[\w+\]")
_VERBAL_DELETION = re.compile(r"<([\w']+)>")
_SPELLINGS = {"%PERCENT": "PERCENT", ".POINT": "POINT", "--DASH": "-DASH"}

_UNSPOKEN = re.compile(r"\([^)]*\)")
_NO_LETTER = re.compile(r"[^\w'.-]|_")

log = logging.getLogger(__name__)


class Transcript(NamedTuple):
    """A line of a ``.dot`` file."""

    text: str
    path: Path
    line: int

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.path}:{self.line}"


def normalise(text: str, clean_words: bool = False) -> str:
    """The words that a recogniser should output for a transcript.

    Args:
        text: the text as in the ``.dot`` file.
        clean_words: also remove the marks of verbalised punctuation, stress,
            lengthening, mispronunciation and unspoken word parts.

    >>> normalise(r'\\"DOUBLE-QUOTE [cough] he <the> *fell* --dash . ten %percent')
    '"DOUBLE-QUOTE <NOISE> HE THE *FELL* -DASH TEN PERCENT'
    """
    words = (_normalise_word(word) for word in text.split())
    if clean_words:
        words = (word if word == NOISE else _clean(word) for word in words)
    return " ".join(word for word in words if word)


def _normalise_word(word: str) -> str:
    """One word, or nothing."""
    word = word.upper().replace("\\", "")
    if _DROPPED.fullmatch(word):
        return ""
    if _NOISE_INSIDE.search(word):
        return NOISE
    deleted = _VERBAL_DELETION.fullmatch(word)
    return deleted[1] if deleted else _SPELLINGS.get(word, word)


def _clean(word: str) -> str:
    """Letters, apostrophes, and hyphens and dots inside or after letters.

    ``,COMMA`` is COMMA, ``*DECLINED*`` DECLINED, ``SECURI:TY`` SECURITY, ``!BUT``
    BUT, ``-(RE)PORTED`` PORTED, ``IN-`` IN; ``~~`` is nothing.
    """
    word = _NO_LETTER.sub("", _UNSPOKEN.sub("", word)).lstrip("-.").rstrip("-")
    if word in ("'SINGLE-QUOTE", "'SINGLE-CLOSE-QUOTE"):
        word = word[1:]
    return word if any(letter.isalnum() for letter in word) else ""


def read_transcripts(paths: Iterable[Path], wanted: set[str]) -> dict[str, Transcript]:
    """Read the transcripts of these utterances.

    Args:
        paths: all ``.dot`` files; only those of the wanted sessions are read.
        wanted: utterance ids.

    Returns:
        Transcripts by lower-case utterance id; ids without one are left out.

    Raises:
        DataError: for a line without an id, or two different lines with the same id.
    """
    sessions = {name[:6] for name in wanted}
    chosen = [path for path in paths if path.name.lower()[:6] in sessions]
    found: dict[str, Transcript] = {}
    repeated: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for transcripts in pool.map(_read_dot, chosen):
            for name, transcript in transcripts:
                first = found.setdefault(name, transcript)
                if first is transcript or name not in wanted:
                    continue
                places = f"'{name}' in {first.place} and {transcript.place}"
                if first.text.split() != transcript.text.split():
                    raise DataError(f"{places} with different texts; remove the line that is wrong")
                repeated.append(places)
    if repeated:
        log.warning("%d transcripts occur twice, such as %s", len(repeated), repeated[0])
    return {name: found[name] for name in wanted if name in found}


def _read_dot(path: Path) -> list[tuple[str, Transcript]]:
    transcripts = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line)
        if not match:
            raise DataError(f"{path}:{number}: no '(uttid)' at the end of '{line[:60]}'")
        transcripts.append((match[2].lower(), Transcript(match[1], path, number)))
    return transcripts
