"""Kaldi tables: an identifier and a value on each line."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cascade_asr.data.kaldi.blanks import split_first, words
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write


class Segment(NamedTuple):
    """A part of a recording; ``end_s`` is None if it lasts to the end."""

    recording: str
    start_s: float
    end_s: float | None


@dataclass
class Table:
    """A table as it is in its file, with all faults of its format.

    Attributes:
        path: the file.
        values: rest of the line for each id, in file order; for a repeated id the
            first line counts.
        line_numbers: line of each id, in the same order, counted from 1.
        faults: one message with file and line for each format fault.
        conflicts: the messages among them about an id with two values.
    """

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    line_numbers: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def lines_of(self, ids: Iterable[str]) -> list[tuple[str, int]]:
        """Pair each of these ids with its line number, in file order."""
        wanted = set(ids)
        pairs = zip(self.values, self.line_numbers, strict=True)
        return [pair for pair in pairs if pair[0] in wanted]


def scan_table(path: Path) -> Table:
    """Read a table and collect its format faults instead of raising them.

    Faults are bytes that are not UTF-8, a byte order mark, blank lines, lines
    that begin with a space, and repeated ids. Any ASCII white space separates.
    Windows line ends are dropped with a warning.

    Raises:
        DataError: if the file cannot be read at all.
    """
    table = Table(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    lines = _decode(data, table)
    values, line_numbers = table.values, table.line_numbers
    for number, line in enumerate(lines, 1):
        identifier, value = split_first(line)
        if not identifier:
            what = "begins with a space" if value else "is blank"
            table.faults.append(f"{path}:{number}: the line {what}")
            if not value:
                continue
            identifier, value = split_first(value)
        if identifier in values:
            _report_duplicate(table, number, identifier, value)
            continue
        values[identifier] = value
        line_numbers.append(number)
    return table


def _decode(data: bytes, table: Table) -> list[str]:
    """Split a file into lines; bytes that are not UTF-8 become lone surrogates."""
    if data.startswith(b"\xef\xbb\xbf"):
        table.faults.append(f"{table.path}:1: the file begins with a byte order mark")
        data = data[3:]
    if b"\r\n" in data or data.endswith(b"\r"):
        logging.warning("%s: Windows line ends; read without the carriage returns", table.path)
        while b"\r\n" in data:  # a file that was converted twice has two
            data = data.replace(b"\r\n", b"\n")
        data = data.rstrip(b"\r")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        for number, line in enumerate(data.split(b"\n"), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                table.faults.append(
                    f"{table.path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} in column "
                    f"{error.start + 1}); convert the file, for example with iconv"
                )
        text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _report_duplicate(table: Table, number: int, identifier: str, value: str) -> None:
    message = f"{table.path}:{number}: '{identifier}' appears here a second time"
    if value != table.values[identifier]:
        message += ", with another value; decide by hand which line is right"
        table.conflicts.append(message)
    table.faults.append(message)


def read_table(path: Path | str) -> dict[str, str]:
    """Read a table ``id value``; the value is "" on a line with only an id.

    Raises:
        DataError: naming file and line of every format fault (see
            `scan_table`), or if the file is missing.
    """
    table = scan_table(Path(path))
    if table.faults:
        raise DataError("\n".join(table.faults))
    return table.values


def write_table(path: Path | str, values: Mapping[str, str]) -> None:
    """Write a table sorted by id, under a temporary name first.

    Raises:
        DataError: for an id that is empty or contains a blank, or a value with a line end:
            other ids would be read from the table.
    """
    for key, value in values.items():
        if words(str(key)) != [str(key)] or "\n" in str(value):
            what = "has a line end in its value" if "\n" in str(value) else "is not one word"
            raise DataError(f"{path}: the id {str(key)!r} {what}; a table has one line 'id value' for each id")
    with atomic_write(Path(path)) as file:
        file.writelines(table_lines(values))


def table_lines(values: Mapping[str, str]) -> Iterator[str]:
    """The lines of a table, sorted by id."""
    return (f"{key} {values[key]}".rstrip(" ") + "\n" for key in sorted(values))


def parse_segment(value: str) -> Segment:
    """Read the value of a line of ``segments``: recording, start and end in seconds.

    An end of -1 means the end of the recording, as in Kaldi.

    Raises:
        ValueError: saying what is wrong, for the caller to add file and line.
    """
    fields = words(value)
    if len(fields) != 3:
        raise ValueError(f"expected 'utterance recording start end', found {len(fields) + 1} words")
    try:
        start_s, end_s = float(fields[1]), float(fields[2])
    except ValueError:
        raise ValueError(f"start '{fields[1]}' and end '{fields[2]}' must be seconds") from None
    if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s >= 0):
        raise ValueError(f"start {fields[1]} and end {fields[2]} must be seconds, 0 or more")
    if end_s == -1:
        return Segment(fields[0], start_s, None)
    if start_s >= end_s:
        raise ValueError(f"the start {fields[1]} is not before the end {fields[2]}")
    return Segment(fields[0], start_s, end_s)


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Make ``spk2utt`` from ``utt2spk``: the sorted utterances of each speaker."""
    utterances: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk):
        utterances.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: " ".join(names) for speaker, names in utterances.items()}
