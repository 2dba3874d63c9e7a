"""What every importer returns: one entry for each utterance, and a list of faults."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cascade_asr.data.kaldi.blanks import odd_character, words
from cascade_asr.errors import DataError

SHOWN_FAULTS = 50


class Fault(Exception):
    """What is wrong with one line of a manifest; its text does not name the place."""


@dataclass(frozen=True)
class Entry:
    """One utterance as a manifest describes it.

    Attributes:
        place: ``FILE:LINE``, for messages.
        audio: the file of its recording.
        text: its words, with single spaces between them.
        speaker: None if the manifest names none.
        name: its id in the manifest; None if it has none.
        start_s: where it begins in the recording; 0 unless given.
        end_s: where it ends; None for the end of the recording.
        channel: channel of the recording, counted from 1; None if not given.
        is_part: whether the manifest gave a start, an end or a duration.
        of_file_s: a duration that the manifest gives without start or end: that of the file.
    """

    place: str
    audio: Path
    text: str
    speaker: str | None = None
    name: str | None = None
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None
    is_part: bool = False
    of_file_s: float | None = None


@dataclass
class Faults:
    """Collects faults, so that one run reports all of them."""

    found: list[str] = field(default_factory=list)

    def add(self, place: str, reason: str) -> None:
        self.found.append(f"{place}: {reason}")

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Record a `Fault` raised in the block as one at this place."""
        try:
            yield
        except Fault as fault:
            self.add(place, str(fault))

    def shown(self) -> str:
        """All faults, up to a limit."""
        lines = self.found[:SHOWN_FAULTS]
        if len(self.found) > SHOWN_FAULTS:
            lines = [*lines, f"and {len(self.found) - SHOWN_FAULTS} more"]
        return "\n".join(lines)


def resolve_audio(path: str, folders: list[Path]) -> Path:
    """The file that a path names, relative to the first of these folders that has it.

    A link keeps its name: that of its target may be a mere number, as in a cache of Hugging Face.

    Raises:
        Fault: if it is empty, missing, not a file, or not allowed in a Kaldi table.
    """
    if not path:
        raise Fault("no path to an audio file")
    if "://" in path:
        raise Fault(f"'{path}' is a URL; fetch the file and give its path")
    for folder in folders:
        try:
            given = folder / path
            candidate = Path(os.path.abspath(given))
            if given.exists() and not (candidate.exists() and candidate.samefile(given)):
                candidate = given.resolve()  # '..' behind a link to a folder
            if candidate.is_dir():
                raise Fault(f"{candidate}: a folder, not an audio file")
            if candidate.is_file():
                _check_name(str(candidate))
                return candidate
        except (OSError, RuntimeError, ValueError) as error:
            raise Fault(f"{path}: {error}") from error
    raise Fault(f"no such audio file: {folders[0] / path}")


def _check_name(path: str) -> None:
    """Refuse names that wav.scp cannot hold: a line break ends an entry, ``|`` a command."""
    if "\n" in path or "\r" in path or path[-1] in " \t\v\f|":
        raise Fault(f"{path!r} has a line break, or a blank or '|' at its end; rename it")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise Fault(f"the name {path!r} is not UTF-8; rename it") from None


def clean_text(text: object) -> str:
    """A transcript with a single space for each run of blanks, those of Unicode too.

    Raises:
        Fault: if it is not a text, is empty, or has invisible characters.
    """
    if text is None:
        raise Fault("no text")
    if not isinstance(text, str):
        raise Fault(f"the text {text!r} is not a string")
    spaced = "".join(
        " " if unicodedata.category(each) in ("Zs", "Zl", "Zp") or each in "\r\n" else each
        for each in text
    )
    cleaned = " ".join(words(spaced))
    if not cleaned:
        raise Fault("the text is empty")
    odd = odd_character(cleaned)
    if odd:
        raise Fault(f"{odd} of the text, which is invisible; remove it")
    refuse_half_characters(cleaned, "text")
    return cleaned


def refuse_half_characters(text: str, what: str) -> None:
    """Refuse single UTF-16 surrogates, which JSON may contain and UTF-8 cannot.

    Raises:
        Fault: naming the first.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise Fault(f"the {what} {text!r} has half a character (U+{half:04X}); remove it") from None


def seconds(value: object, what: str) -> float | None:
    """A time in seconds; None if it is not given.

    Raises:
        Fault: if it is not a number of at least 0.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise Fault(f"{what} '{value}': expected seconds, such as 12.34")
    return number


def times(start: object, end: object, duration: object) -> tuple[float, float | None, bool]:
    """Start and end in seconds, and whether any of them was given.

    Raises:
        Fault: for times that are invalid, contradict each other, or span nothing.
    """
    start_s, end_s = seconds(start, "start"), seconds(end, "end")
    duration_s = seconds(duration, "duration")
    begin = start_s or 0.0
    if duration_s is not None:
        by_duration = begin + duration_s
        if end_s is not None and abs(end_s - by_duration) > 0.01:
            raise Fault(f"the end {end_s:g} is not the start {begin:g} plus the duration {duration_s:g}")
        end_s = by_duration if end_s is None else end_s
    if end_s is not None and end_s <= begin:
        raise Fault(f"the start {begin:g} is not before the end {end_s:g}")
    return begin, end_s, start_s is not None or end_s is not None


def existing(path: Path) -> Path:
    """The same path.

    Raises:
        DataError: if nothing is there.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    return path
