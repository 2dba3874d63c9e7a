"""Rows of CSV, TSV and JSONL files with their line numbers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from cascade_asr.data.importers.entries import Fault, Faults
from cascade_asr.errors import DataError

Row = dict[str, Any]
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
csv.field_size_limit(10_000_000)


def kind_of(path: Path) -> str:
    """The suffix of a file's name in lower case, ignoring ``.gz``: such as ``.csv``."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def read_text(path: Path) -> str:
    """Read a text file, gzipped or not; a byte order mark, as Excel writes it, is dropped.

    Raises:
        DataError: with the line, if it cannot be read or is not UTF-8.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: UTF-16; save it as UTF-8")
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: not UTF-8 (byte offset {error.start}); convert it, for example with "
            "iconv -t UTF-8"
        ) from error
    if not text.strip():
        raise DataError(f"{path}: empty")
    return text


def read_rows(path: Path, faults: Faults, delimiter: str = "", quoting: str = "") -> list[tuple[str, Row]]:
    """Place (``FILE:LINE``) and fields of each row; rows that are malformed go to ``faults``.

    Args:
        path: the file; its suffix gives the kind.
        faults: to add to.
        delimiter: delimiter of a table; "": a tab in .tsv files, else a comma, a semicolon
            or a tab, whichever the first line has.
        quoting: ``csv``: quoted fields end at the closing quote; ``none``: quotes are
            ordinary characters; ``mixed``: so they are, except in fields in which they are
            doubled as in CSV; "": ``none`` for tabs, else ``csv``.

    Raises:
        DataError: if the file cannot be read, or is of an unknown kind.
    """
    kind = kind_of(path)
    if kind in JSON_SUFFIXES:
        return list(_json_rows(path, faults))
    if kind not in TABLE_SUFFIXES:
        raise DataError(
            f"{path}: a manifest ends in .csv, .tsv, .txt, .jsonl or .json (each may be followed by .gz)"
        )
    text = read_text(path)
    first = text.split("\n", 1)[0]
    if not delimiter:
        known = ["\t"] if kind == ".tsv" else [",", "\t", ";"]
        delimiter = next((each for each in known if each in first), known[0])
        if kind == ".csv" and first.count(";") > first.count(delimiter):
            delimiter = ";"
    quoting = quoting or ("none" if delimiter == "\t" else "csv")
    if quoting == "csv":
        rows = _quoted_rows(path, text, delimiter, faults)
    else:
        rows = _plain_rows(path, text, delimiter, faults, quoting == "mixed")
    return list(_named(path, rows, faults))


def _json_rows(path: Path, faults: Faults) -> Iterator[tuple[str, Row]]:
    text = read_text(path)
    if text.lstrip().startswith("["):
        raise DataError(f"{path}: expected one JSON object per line (JSONL), not a list")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError, ValueError) as error:
            faults.add(place, f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            faults.add(place, f"expected a JSON object, found {line.strip()[:40]}")


def _quoted_rows(path: Path, text: str, delimiter: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line where each begins; after a faulty one, reading goes on in the next line."""
    lines = list(io.StringIO(text, newline=""))
    number, header_read = 1, False
    while True:
        before = number - 1
        reader = csv.reader(islice(lines, before, None), delimiter=delimiter, strict=True)
        try:
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield number, fields
                    header_read = True
                number = before + reader.line_num + 1
            return
        except csv.Error as error:
            what = f"quotes that do not end ({error}); '--quoting none' treats quotes as characters"
            if not header_read:
                raise DataError(f"{path}:{number}: {what}") from error
            faults.add(f"{path}:{number}", what)
            number += 1


def _plain_rows(
    path: Path, text: str, delimiter: str, faults: Faults, unquoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """Rows whose quotes are characters; fields that are quoted as in CSV are read so, or are faults."""
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.removesuffix("\r").split(delimiter)
        quoted = [each for each in fields if _is_quoted(each)]
        if quoted and not unquoted:
            faults.add(
                f"{path}:{number}",
                f"{quoted[0][:40]} looks like a quoted field; give '--quoting csv'",
            )
        elif any(field.strip() for field in fields):
            yield number, [each[1:-1].replace('""', '"') if _is_quoted(each) else each for each in fields]


def _is_quoted(field: str) -> bool:
    """Whether a field begins and ends with a quote, and those inside are doubled."""
    inside = field[1:-1]
    return field[:1] == field[-1:] == '"' and '""' in inside and '"' not in inside.replace('""', "")


def _named(path: Path, rows: Iterator[tuple[int, list[str]]], faults: Faults) -> Iterator[tuple[str, Row]]:
    """Fields of each row, by the names in the first row."""
    line, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    double = sorted({name for name in header if name and header.count(name) > 1})
    if double:
        raise DataError(f"{path}:{line}: the column '{double[0]}' appears twice")
    for number, fields in rows:
        place = f"{path}:{number}"
        if len(fields) != len(header):
            faults.add(place, f"{len(fields)} fields, but line {line} names {len(header)} columns")
            continue
        yield place, dict(zip(header, fields, strict=True))


def field(row: Row, name: str) -> Any:
    """A field, also one inside objects (``audio.path``); None if it is missing.

    Raises:
        Fault: if what should contain it is not an object.
    """
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict):
            raise Fault(f"no '{name}': '{value}' is not an object")
        value = value.get(part)
        if value is None:
            return None
    return value
