"""Read references and hypotheses: trn files, or Kaldi ``text`` with ``utt2spk``.

Everything is turned into trn lines, ``words (speaker-utterance)``, because
sclite's reports show these. Kaldi files are joined by key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cascade_asr.errors import DataError
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.words import Report

COMMENTS = (b";;", b"**")
_TRN_END = re.compile(rb"\([^()]*\)\s*$")


class Line(NamedTuple):
    """One utterance as it stands in its file.

    Attributes:
        text: the words, with case and markup unchanged.
        identifier: the id with its parentheses, in the file's case.
        number: line number in the file, from 1.
    """

    text: bytes
    identifier: bytes
    number: int


@dataclass(frozen=True)
class Transcripts:
    """All utterances of one side.

    Attributes:
        source: file name, for messages.
        lines: lines by id with parentheses, in file order. The ids of a trn file are
            case-folded, as in sclite; a Kaldi table's keys are exact (see `joined`).
    """

    source: str
    lines: dict[bytes, Line]

    def where(self, identifier: bytes) -> str:
        """``FILE:LINE`` of an utterance."""
        return f"{self.source}:{self.lines[identifier].number}"

    def keyed(self, key: Callable[[bytes], bytes]) -> Transcripts:
        """The same utterances under other keys."""
        lines = {key(line.identifier): line for line in self.lines.values()}
        return Transcripts(self.source, lines)

    def without(self, words: Iterable[bytes]) -> Transcripts:
        """The same utterances without these words, which must match exactly."""
        removed = frozenset(words)
        kept = {
            key: line._replace(
                text=b" ".join(word for word in line.text.split() if word not in removed)
            )
            for key, line in self.lines.items()
        }
        return Transcripts(self.source, kept)

    def trn(self) -> bytes:
        """The utterances as trn, with a newline after each line."""
        return b"".join(map(_trn_line, self.lines.values()))

    def write_trn(self, path: Path) -> None:
        """Write the utterances as trn."""
        path.write_bytes(self.trn())


def _trn_line(line: Line) -> bytes:
    text = line.text.strip()
    # Without the space, a first word such as '**' would make it a comment.
    return b" " * text.startswith(COMMENTS) + text + b"\t" + line.identifier + b"\n"


def read_transcripts(
    path: Path,
    options: ScoringOptions,
    report: Report,
    form: str = "auto",
    speakers: Mapping[bytes, bytes] | None = None,
    conflicts: bool = True,
) -> Transcripts:
    """Read one side.

    Args:
        path: a trn file, or a Kaldi ``text``.
        options: how ids are case-folded, and the encoding.
        report: receives warnings.
        form: ``trn``, ``text`` or ``auto``: ``trn`` if no ``speakers`` are given and
            most lines end in ``(id)``.
        speakers: from `read_speakers`; needed to name a Kaldi utterance
            ``(speaker-utterance)``, otherwise it is ``(utterance)``.
        conflicts: whether a repeated id is always an error; in a reference a
            repetition with the same words gives only a warning.

    Raises:
        DataError: with file and line, for an empty file, a bad or repeated id, or
            text that is not UTF-8 with ``--encoding utf-8``.
    """
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        report(f"{path}: the last line has no newline; it counts here (sclite drops it)")
    if content.startswith(b"\xef\xbb\xbf"):
        report(
            f"{path}:1: the file begins with a byte order mark, which counts as part of the first "
            "word or id, as in sclite; save it without one"
        )
    rows = list(_rows(path, content, options))
    if not rows:
        raise DataError(f"{path}: contains no utterance; was the decoding interrupted?")
    if form == "auto":
        with_id = sum(_TRN_END.search(row) is not None for _, row in rows)
        form = "trn" if speakers is None and 2 * with_id > len(rows) else "text"
    split = _split_trn if form == "trn" else _split_text
    lines: dict[bytes, Line] = {}
    for number, row in rows:
        line = split(row, f"{path}:{number}", number, speakers)
        key = options.fold(line.identifier) if form == "trn" else line.identifier
        if key not in lines:
            lines[key] = line
            continue
        same = options.fold(lines[key].text).split() == options.fold(line.text).split()
        message = f"{path}:{number}: id {_name(key)} is already on line {lines[key].number}"
        if conflicts or not same:
            raise DataError(f"{message}; every utterance must occur once")
        report(f"{message}, with the same words")
    return Transcripts(str(path), lines)


def _rows(path: Path, content: bytes, options: ScoringOptions) -> Iterator[tuple[int, bytes]]:
    for number, row in enumerate(content.split(b"\n"), 1):
        if row.startswith(COMMENTS) or not row.strip():
            continue
        if options.encoding:
            try:
                row.decode(options.encoding)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}:{number}: not {options.encoding}: byte 0x{row[error.start]:02x} in "
                    f"column {error.start + 1}; convert the file (iconv -t utf-8)"
                ) from None
        yield number, row


def _split_trn(row: bytes, where: str, number: int, speakers: object) -> Line:
    begin, end = row.rfind(b"("), row.rfind(b")")
    if begin < 0 or end < begin or not row[begin + 1 : end].strip():
        raise DataError(
            f"{where}: no '(id)' at the end of '{row.decode('utf-8', 'replace').strip()[-40:]}'; "
            "a trn line reads 'words (speaker-utterance)'"
        )
    return Line(row[:begin], row[begin : end + 1], number)


def _split_text(
    row: bytes, where: str, number: int, speakers: Mapping[bytes, bytes] | None
) -> Line:
    key, *rest = row.split(None, 1)
    text = rest[0] if rest else b""
    if speakers is None:
        return Line(text, b"(" + key + b")", number)
    if key not in speakers:
        name = key.decode("utf-8", "replace")
        if _TRN_END.search(row):
            raise DataError(
                f"{where}: utterance '{name}' is not in utt2spk; if this is a trn file, leave out "
                "utt2spk (--utt2spk): its ids name the speakers"
            )
        raise DataError(
            f"{where}: utterance '{name}' is not in utt2spk; run utils/fix_data_dir.sh on the data folder"
        )
    return Line(text, b"(" + speakers[key] + b"-" + key + b")", number)


def read_speakers(path: Path, report: Report) -> dict[bytes, bytes]:
    """Read ``utt2spk``: the speaker of each utterance.

    Raises:
        DataError: for a line that is not ``utterance speaker``, a repeated
            utterance or an empty file.
    """
    speakers: dict[bytes, bytes] = {}
    for number, row in enumerate(path.read_bytes().split(b"\n"), 1):
        fields = row.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise DataError(f"{path}:{number}: expected 'utterance speaker', found {len(fields)}")
        if fields[0] in speakers:
            raise DataError(f"{path}:{number}: utterance '{_name(fields[0])}' is listed twice")
        speakers[fields[0]] = fields[1]
    if not speakers:
        raise DataError(f"{path}: contains no utterance")
    warn_of_hyphens(speakers, report)
    return speakers


def warn_of_hyphens(speakers: Mapping[bytes, bytes], report: Report) -> None:
    """Warn of hyphens in speakers' names: sclite ends a name at the first, merging speakers."""
    hyphened = sorted({speaker for speaker in speakers.values() if b"-" in speaker})
    if hyphened:
        report(
            f"{len(hyphened)} speakers have a '-' in their name, such as '{_name(hyphened[0])}': "
            f"sclite, and this table, call that one '{_name(hyphened[0].split(b'-')[0])}'"
        )


def warn_of_parentheses(reference: Transcripts, report: Report) -> None:
    """Warn of ids that contain a parenthesis, with which a trn file cannot be read again."""
    found = [each for each in reference.lines if b"(" in each[1:]]
    if found:
        report(
            f"{reference.where(found[0])}: the id {_name(found[0])} contains a parenthesis: in a trn "
            "file, part of it counts as a word, so sclite's numbers would differ from these"
        )


def from_texts(
    name: str,
    texts: Mapping[str, Sequence[str]],
    utt2spk: Mapping[str, str] | None,
    options: ScoringOptions,
) -> Transcripts:
    """Make transcripts of words held in memory, keyed by utterance.

    Raises:
        DataError: for an utterance that is not in ``utt2spk``, or whose words are one string:
            its characters would be scored as words.
    """
    lines: dict[bytes, Line] = {}
    for number, (utterance, words) in enumerate(texts.items(), 1):
        if isinstance(words, (str, bytes)):
            raise DataError(
                f"{name}: utterance '{utterance}': expected a list of words, found {words[:40]!r}; "
                "split texts into words, with .split()"
            )
        if utt2spk is None:
            identifier = f"({utterance})".encode()
        elif utterance in utt2spk:
            identifier = f"({utt2spk[utterance]}-{utterance})".encode()
        else:
            raise DataError(f"{name}: utterance '{utterance}' is not in utt2spk")
        lines[identifier] = Line(" ".join(words).encode(), identifier, number)
    return Transcripts(name, lines)


def joined(
    reference: Transcripts, hypothesis: Transcripts, options: ScoringOptions, report: Report
) -> tuple[Transcripts, Transcripts]:
    """Both sides under the same ids: case-folded, as in sclite, or exact if folding merges two.

    Args:
        report: receives a warning if ids differ only in case.
    """
    sides = (reference, hypothesis)
    folded = [side.keyed(options.fold) for side in sides]
    merging = [s for s, f in zip(sides, folded) if len(f.lines) < len(s.lines)]
    if not merging:
        return folded[0], folded[1]
    first, second = _same_but_for_case(merging[0], options)
    report(
        f"{merging[0].where(second)}: the ids {_name(first)} and {_name(second)} differ only in "
        "case; upper and lower case tell ids apart here (sclite would refuse the file)"
    )
    exact = [side.keyed(bytes) for side in sides]
    return exact[0], exact[1]


def _same_but_for_case(side: Transcripts, options: ScoringOptions) -> tuple[bytes, bytes]:
    """The first two ids that case folding merges."""
    seen: dict[bytes, bytes] = {}
    for identifier in side.lines:
        first = seen.setdefault(options.fold(identifier), identifier)
        if first is not identifier:
            return first, identifier
    raise AssertionError("no two ids differ only in case")


def speaker_of(identifier: bytes, options: ScoringOptions) -> bytes | None:
    """The speaker in an id with parentheses, or None if no separator ends it.

    >>> speaker_of(b"(spk1-utt_2)", ScoringOptions()), speaker_of(b"(x)", ScoringOptions())
    (b'spk1', None)
    """
    if options.id_type == "sp":
        return identifier
    if options.id_type == "wsj":
        return identifier[1:4]
    for separator in (b"-", b"_"):
        end = identifier.find(separator)
        if end > 0:
            return identifier[1:end]
    return None


def _name(identifier: bytes) -> str:
    return identifier.decode("utf-8", "replace")
