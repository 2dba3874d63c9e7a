"""Hypotheses of telephone conversations as ctm, which gives each word a time.

A recogniser of segments gives no word times, so the words are spread evenly over
the segment, which is enough for sclite to find each word's reference segment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cascade_asr.errors import DataError
from cascade_asr.scoring.words import Report, ascii_words

# Words that the Hub5 rules do not count, matched as whole tokens: the real word
# "laughter" stays, the marker "[laughter]" is removed.
HESITATIONS = frozenset(
    "UH UM EH MM HM AH HUH HA ER OOF HEE ACH EEE EW".split()
)
_MARKER = re.compile(r"\[[^\]]*\]|<[^>]*>")
SHORTEST_WORD_S = 0.01
CHANNELS = {"1": "A", "2": "B"}


def channel_name(channel: str) -> str:
    """The canonical name of a side: for sclite ``a`` is the same as ``A``, and 1 is A.

    >>> channel_name("1"), channel_name("b")
    ('A', 'B')
    """
    return CHANNELS.get(channel, channel.upper())


@dataclass(frozen=True)
class ConversationSegment:
    """The segment of an utterance: times in seconds from the beginning of the file."""

    file: str
    channel: str
    begin_s: float
    end_s: float


class TimedWord(NamedTuple):
    """One line of a ctm."""

    file: str
    channel: str
    begin_s: float
    duration_s: float
    word: str

    def __str__(self) -> str:
        return f"{self.file} {self.channel} {self.begin_s:.2f} {self.duration_s:.2f} {self.word}"


def read_segments(path: Path, recordings: Path | None = None) -> dict[str, ConversationSegment]:
    """Read Kaldi ``segments``: utterance, recording, start and end in seconds.

    Args:
        path: the segments with the evaluation's original times, not extended ones.
        recordings: ``reco2file_and_channel``; without it the recording id is
            split at its last hyphen: ``en_4156-A`` is side A of en_4156.

    Raises:
        DataError: for a damaged line, an unknown recording or a segment of zero
            length.
    """
    sides = _read_sides(recordings) if recordings else None
    segments: dict[str, ConversationSegment] = {}
    for number, fields in _fields(path):
        where = f"{path}:{number}"
        if len(fields) != 4:
            raise DataError(f"{where}: expected 'utterance recording begin end' in seconds")
        utterance, recording, begin, end = fields
        try:
            times = float(begin), float(end)
            if not all(map(math.isfinite, times)):
                raise ValueError
        except ValueError:
            raise DataError(f"{where}: '{begin} {end}' are not times in seconds") from None
        if times[0] >= times[1]:
            raise DataError(f"{where}: {utterance}: zero/negative length {begin}-{end}")
        if utterance in segments:
            raise DataError(f"{where}: utterance '{utterance}' is listed twice")
        segments[utterance] = ConversationSegment(*_side(recording, sides, where), *times)
    if not segments:
        raise DataError(f"{path}: contains no segment")
    return segments


def _side(
    recording: str, sides: dict[str, tuple[str, str]] | None, where: str
) -> tuple[str, str]:
    if sides is None:
        file, hyphen, channel = recording.rpartition("-")
        if not hyphen:
            raise DataError(
                f"{where}: recording '{recording}' does not name its channel as in 'en_4156-A'; "
                "give --reco2file-and-channel"
            )
    elif recording in sides:
        file, channel = sides[recording]
    else:
        raise DataError(f"{where}: recording '{recording}' is not in reco2file_and_channel")
    return file, channel_name(channel)


def _read_sides(path: Path) -> dict[str, tuple[str, str]]:
    sides = {}
    for number, fields in _fields(path):
        if len(fields) != 3:
            raise DataError(f"{path}:{number}: expected 'recording file channel'")
        sides[fields[0]] = (fields[1], fields[2])
    return sides


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        content = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte offset {error.start}); convert it") from error
    for number, line in enumerate(content.split("\n"), 1):
        if fields := ascii_words(line):
            yield number, fields


def read_hypotheses(path: Path) -> dict[str, list[str]]:
    """Read Kaldi ``text``.

    Raises:
        DataError: for a repeated utterance, a file without utterances, or a ``(`` in
            a word, which makes NIST's filters abort.
    """
    hypotheses: dict[str, list[str]] = {}
    for number, (utterance, *words) in _fields(path):
        if utterance in hypotheses:
            raise DataError(f"{path}:{number}: utterance '{utterance}' is listed twice")
        bad = [word for word in words if "(" in word or ")" in word]
        if bad:
            raise DataError(
                f"{path}:{number}: '{bad[0]}': NIST's filters abort at a parenthesis in a "
                "hypothesis; remove it from the text"
            )
        hypotheses[utterance] = words
    if not hypotheses:
        raise DataError(f"{path}: contains no hypothesis; hubscr.pl would not notice")
    return hypotheses


def counts_in_hub5(word: str) -> bool:
    """Whether a hypothesised word takes part in Hub5 scoring.

    >>> [w for w in "yes uh [laughter] laughter <unk> lem- uh-huh".split() if counts_in_hub5(w)]
    ['yes', 'laughter', 'uh-huh']
    """
    return not (
        word.upper() in HESITATIONS or word.endswith("-") or _MARKER.fullmatch(word) is not None
    )


def spread(words: list[str], segment: ConversationSegment) -> list[TimedWord]:
    """Give each word an equal share of its segment, then drop what does not count."""
    share = (segment.end_s - segment.begin_s) / max(1, len(words))
    return [
        TimedWord(
            segment.file,
            segment.channel,
            segment.begin_s + share * position,
            max(share, SHORTEST_WORD_S),
            word,
        )
        for position, word in enumerate(words)
        if counts_in_hub5(word)
    ]


def make_ctm(
    hypotheses: dict[str, list[str]],
    segments: dict[str, ConversationSegment],
    report: Report,
    strict: bool = False,
) -> list[TimedWord]:
    """All words, ordered by file, channel and time.

    Raises:
        DataError: for a hypothesis without a segment; with ``strict``, also for
            a segment without a hypothesis.
    """
    unknown = [utterance for utterance in hypotheses if utterance not in segments]
    if unknown:
        raise DataError(
            f"hypothesis '{unknown[0]}' has no segment ({len(unknown)} of {len(hypotheses)}); "
            "does --segments belong to the same set?"
        )
    missing = [utterance for utterance in segments if utterance not in hypotheses]
    if missing:
        message = (
            f"segment '{missing[0]}' has no hypothesis ({len(missing)} of {len(segments)}): "
            "its words count as deletions"
        )
        if strict:
            raise DataError(f"{message}; decode all segments, or leave out --strict")
        report(message)
    words = [
        word
        for utterance, hypothesis in hypotheses.items()
        for word in spread(hypothesis, segments[utterance])
    ]
    return sorted(words, key=lambda word: word[:3])
