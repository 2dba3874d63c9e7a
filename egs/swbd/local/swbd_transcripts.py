"""Switchboard's transcripts, as corrected at Mississippi State University in 1998."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from swbd_words import WordMap, read_acronyms

from cascade_asr.data.audio.corpus_files import THREADS, read_lines
from cascade_asr.errors import DataError

SUFFIX = "-trans.text"
SIBLING = "swb_ms98_transcriptions"  # the folder that OpenSLR's archive unpacks to
DICTIONARY = "sw-ms98-dict.text"
SHOWN_FAULTS = 50
MOST_FAULTS = 0.001  # share of all segments; more means a different kind of transcript
FILE = re.compile(r"sw\d{4}[ab]-ms98-a-trans\.text", re.IGNORECASE)
LINE = re.compile(r"sw(\d{4})([AB])-ms98-a-\w+\s+(\d+\.?\d*)\s+(\d+\.?\d*)(?:\s+(.*))?")

log = logging.getLogger(__name__)


class Utterance(NamedTuple):
    """A stretch of one side of a conversation.

    Attributes:
        file: name of the recording, such as ``sw02001``.
        side: ``A`` (channel 1) or ``B``.
        start_s, end_s: seconds from the beginning of the file.
        text: words, lower case; may be empty in a set that is scored.
        place: file and line.
    """

    file: str
    side: str
    start_s: float
    end_s: float
    text: str
    place: tuple[Path, int]

    @property
    def recording(self) -> str:
        """One channel of the file: ``sw02001-A``."""
        return f"{self.file}-{self.side}"

    @property
    def shown_place(self) -> str:
        """File and line, for messages."""
        return "{}:{}".format(*self.place)


def utterance_id(recording: str, start_s: float, end_s: float) -> str:
    """Recording and times in hundredths of a second, as in Kaldi."""
    return f"{recording}_{int(100 * start_s + 0.5):06d}-{int(100 * end_s + 0.5):06d}"


def check_length(recording: str, start_s: float, end_s: float, place: str) -> None:
    """Refuse a segment that does not end after its start.

    Raises:
        DataError: naming the utterance and its place.
    """
    if start_s >= end_s:
        name = utterance_id(recording, start_s, end_s)
        raise DataError(f"{place}: {name}: zero/negative length {start_s:.2f}-{end_s:.2f}")


def beside(folders: Iterable[Path]) -> list[Path]:
    """Folders named ``swb_ms98_transcriptions``, ignoring case, next to these."""
    return sorted({
        each
        for folder in folders
        for each in folder.absolute().parent.iterdir()
        if each.name.lower() == SIBLING and each.is_dir()
    })  # fmt: skip


def read_transcripts(
    paths: Iterable[Path], strict: bool = False, left_out: dict[str, str] | None = None
) -> dict[str, Utterance]:
    """Read all transcripts, leaving out segments without words, such as ``[silence]``.

    Args:
        paths: files found below the corpus; those whose name is not a transcript's are skipped.
        strict: whether a single word with an unknown bracket is an error.
        left_out: segments with such words are added here: their ids with what is wrong.

    Returns:
        Sorted utterances by id, without segments that contain such a word.

    Raises:
        DataError: for a line that does not belong in a transcript, more than 0.1 % of
            segments with an unknown bracket, a segment of zero length, and two texts for
            the same segment.
    """
    paths = list(paths)
    words = WordMap(_acronyms(paths))
    chosen = [path for path in paths if FILE.fullmatch(path.name)]
    found: dict[str, Utterance] = {}
    repeated: list[str] = []
    faults: dict[str, str] = {} if left_out is None else left_out
    with ThreadPoolExecutor(THREADS) as pool:
        for path, lines in zip(chosen, pool.map(read_lines, chosen), strict=True):
            for utterance in _parse(path, lines, words, faults):
                name = utterance_id(utterance.recording, utterance.start_s, utterance.end_s)
                first = found.setdefault(name, utterance)
                if first is utterance:
                    continue
                places = f"'{name}' in {first.shown_place} and {utterance.shown_place}"
                if first.text != utterance.text:
                    raise DataError(f"{places} with different texts; remove the wrong one")
                repeated.append(places)
    _judge_faults(list(faults.values()), len(found), strict)
    if repeated:
        log.warning("%d transcripts occur twice, such as %s", len(repeated), repeated[0])
    return {name: found[name] for name in sorted(found)}


def _judge_faults(faults: list[str], read: int, strict: bool) -> None:
    """Leave out a few unreadable segments, naming each; stop if there are many.

    Raises:
        DataError: if they are more than `MOST_FAULTS` of all, or with ``strict``.
    """
    if not faults:
        return
    if strict or len(faults) > MOST_FAULTS * (len(faults) + read):
        more = f"\n(and {len(faults) - SHOWN_FAULTS} more)" if faults[SHOWN_FAULTS:] else ""
        raise DataError("\n".join(faults[:SHOWN_FAULTS]) + more)
    for fault in faults:
        log.warning("%s; the segment is left out", fault)
    log.warning("Switchboard: %d segments left out because of unknown markers", len(faults))


def _acronyms(paths: list[Path]) -> dict[str, str] | None:
    dictionaries = [path for path in paths if path.name.lower() == DICTIONARY]
    if not dictionaries:
        log.warning(
            "no %s beside the transcripts: every word in capitals is treated as an acronym",
            DICTIONARY,
        )
        return None
    return read_acronyms(read_lines(dictionaries[0]), str(dictionaries[0]))


def _parse(
    path: Path, lines: Iterable[str], words: WordMap, faults: dict[str, str]
) -> Iterator[Utterance]:
    """Utterances of a file; words with unknown brackets are added to the faults."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            raise DataError(
                f"{path}:{number}: expected 'sw2001A-ms98-a-0002 0.977625 11.561375 words', "
                f"found '{line[:60]}'"
            )
        conversation, side, start, end, raw = match.groups()
        try:
            text = words(raw or "")
        except ValueError as error:
            name = utterance_id(f"sw0{conversation}-{side}", float(start), float(end))
            faults[name] = f"{path}:{number}: {error}"
            continue
        if not text:
            continue
        utterance = Utterance(
            f"sw0{conversation}", side, float(start), float(end), text, (path, number)
        )
        check_length(utterance.recording, utterance.start_s, utterance.end_s, utterance.shown_place)
        yield utterance
