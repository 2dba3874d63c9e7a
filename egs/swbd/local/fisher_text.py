"""Fisher's transcripts (LDC2004T19, LDC2005T19) as text for a language model."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from swbd_words import MARKERS, WordMap

from cascade_asr.data.audio.corpus_files import find_files, read_lines
from cascade_asr.errors import DataError

FILE = re.compile(r"fe_03_\d{5}\.txt", re.IGNORECASE)
LINE = re.compile(r"\d+\.?\d*\s+\d+\.?\d*\s+[AB]\d*:\s*(.*)")
UNCLEAR = "(("  # the transcriber guessed
NOISES = ("sigh", "cough", "mn", "breath", "lipsmack")
_SOUNDS = {"[laugh]": "[laughter]", **{f"[{name}]": "[noise]" for name in NOISES}}
_SOUND = re.compile("|".join(map(re.escape, _SOUNDS)))
_MARKER = re.compile(r"\[[^\]]*\]*|\S*[\[\]{}<>()]\S*")

log = logging.getLogger(__name__)


def find_transcripts(folders: Iterable[Path]) -> list[Path]:
    """All transcripts below the folders, each of which must have some.

    If there are folders ``trans``, only their files are used, because BBN's originals of
    the same conversations are beside them.

    Raises:
        DataError: for a folder without any, and for a conversation that occurs twice.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        paths = [path for path in find_files([folder], ".txt") if FILE.fullmatch(path.name)]
        if not paths:
            raise DataError(f"{folder} has no fe_03_*.txt: is this LDC2004T19 or LDC2005T19?")
        final = [
            path for path in paths if "trans" in map(str.lower, path.relative_to(folder).parts)
        ]
        for path in final or paths:
            other = found.setdefault(path.name.lower(), path)
            if not other.samefile(path):
                raise DataError(f"{other} and {path} are the same conversation; remove one")
    return [found[name] for name in sorted(found)]


def sentences(paths: Iterable[Path]) -> Iterator[str]:
    """Lower-case words of each clear utterance, one conversation after another.

    Raises:
        DataError: for a line that does not belong in a transcript.
    """
    words = WordMap({})
    unclear, unknown = 0, Counter()
    for path in paths:
        for number, line in enumerate(read_lines(path), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            match = LINE.fullmatch(line.strip())
            if not match:
                raise DataError(
                    f"{path}:{number}: expected '7.38 8.78 A: words', found '{line[:60]}'"
                )
            if UNCLEAR in match[1]:
                unclear += 1
                continue
            raw = _SOUND.sub(lambda sound: _SOUNDS[sound[0]], match[1].lower())
            try:
                text = words(raw)
            except ValueError:
                unknown[next(each for each in _MARKER.findall(raw) if each not in MARKERS)] += 1
                continue
            if text:
                yield text
    log.info("Fisher: %d unclear utterances left out", unclear)
    if unknown:
        listed = ", ".join(f"{marker} {count}" for marker, count in unknown.most_common(10))
        log.warning("Fisher: utterances with unknown markers left out: %s", listed)
