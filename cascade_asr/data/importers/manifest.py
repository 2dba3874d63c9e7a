"""Tables of recordings: CSV, TSV or JSONL, Hugging Face audio folders, Common Voice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from cascade_asr.data.importers.entries import (
    Entry,
    Fault,
    Faults,
    clean_text,
    existing,
    refuse_half_characters,
    resolve_audio,
    times,
)
from cascade_asr.data.importers.rows import Row, field, read_rows
from cascade_asr.errors import ConfigError, DataError, nearest

# Names that a column may have, the usual one first; they include those of ESPnet's,
# NeMo's, Hugging Face's and Common Voice's tables.
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "audio", "audio_path", "audio_filepath", "file_name", "filename", "file",
             "wav", "wav_path", "audio.path"),
    "text": ("text", "transcription", "transcript", "sentence", "words"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "start": ("start", "start_s", "start_time", "offset", "begin"),
    "end": ("end", "end_s", "end_time"),
    "duration": ("duration", "duration_s"),
    "id": ("id", "utt_id", "utterance_id", "utterance"),
    "channel": ("channel",),
}  # fmt: skip
REQUIRED = ("path", "text")
# Folders that Hugging Face's datasets takes for splits, also below a single table.
SPLITS = {"train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation"}


def parse_columns(text: str) -> dict[str, str]:
    """Read ``path=wav,text=sentence``.

    Raises:
        ConfigError: for an unknown name, or a name without a value.
    """
    columns: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        what, equals, name = part.partition("=")
        if not equals or not name or what not in COLUMNS:
            raise ConfigError(
                f"--columns '{part}': expected MEANING=COLUMN with one of {', '.join(COLUMNS)}"
                + nearest(what, COLUMNS)
            )
        columns[what] = name
    return columns


def choose_columns(rows: list[tuple[str, Row]], stated: dict[str, str], path: Path) -> dict[str, str]:
    """The column of each meaning: the stated one, else the first usual name that exists.

    Raises:
        DataError: if a stated or needed one does not exist.
    """
    names = _names(row for _, row in rows)
    lower = {name.lower(): name for name in reversed(names)}
    chosen = dict(stated)
    for what, name in stated.items():
        if name not in names:
            raise DataError(
                f"{path}: no column '{name}' (--columns {what}={name}); there are: {', '.join(names)}"
            )
    for what, usual in COLUMNS.items():
        if what not in chosen:
            found = [lower[name] for name in usual if name in lower]
            if found:
                chosen[what] = found[0]
    missing = [what for what in REQUIRED if what not in chosen]
    if missing:
        raise DataError(
            f"{path}: no column for {' and '.join(missing)}; there are: {', '.join(names)}; name it, "
            f"for example --columns {missing[0]}={names[0] if names else 'NAME'}"
        )
    return chosen


def _names(rows: Iterable[Row], prefix: str = "") -> list[str]:
    """Names of the columns of all rows; for one of objects, the names inside, after a dot."""
    names: dict[str, list[Row]] = {}
    for row in rows:
        for name, value in row.items():
            names.setdefault(f"{prefix}{name}", []).extend([value] if isinstance(value, dict) else [])
    return [
        each
        for name, objects in names.items()
        for each in (_names(objects, f"{name}.") if objects else [name])
    ]


def read_manifest(
    path: Path,
    faults: Faults,
    columns: dict[str, str] | None = None,
    root: Path | None = None,
    delimiter: str = "",
    quoting: str = "",
    find: Callable[[str], str] = str.strip,
) -> tuple[list[Entry], dict[str, str]]:
    """Entries of a table, and the columns that were read.

    Args:
        path: CSV, TSV or JSONL, gzipped or not.
        faults: to add to; a faulty line gives no entry.
        columns: column names by meaning (of `COLUMNS`), where they are not usual ones.
        root: folder that relative paths start from; None: the manifest's.
        delimiter, quoting: see `rows.read_rows`.
        find: turns the field of the path column into a path.

    Raises:
        DataError: if the file cannot be read as a table.
    """
    rows = read_rows(existing(path), faults, delimiter, quoting)
    if not rows:
        if not faults.found:
            raise DataError(f"{path}: nothing but a header")
        return [], {}
    chosen = choose_columns(rows, columns or {}, path)
    folders = [root or path.absolute().parent]
    entries = []
    for place, row in rows:
        with faults.at(place):
            entries.append(_entry(place, row, chosen, folders, find))
    return entries, chosen


def _entry(
    place: str, row: Row, columns: dict[str, str], folders: list[Path], find: Callable[[str], str]
) -> Entry:
    def given(what: str) -> object:
        return field(row, columns[what]) if what in columns else None

    text = clean_text(given("text"))
    path = given("path")
    if path is not None and not isinstance(path, str):
        raise Fault(f"the path {path!r} is not a string")
    start_s, end_s, is_part = times(given("start"), given("end"), given("duration"))
    of_file_s = None
    if columns.get("start") is None and columns.get("end") is None:
        # a duration alone is that of the file
        start_s, end_s, is_part, of_file_s = 0.0, None, False, end_s
    audio = resolve_audio(find(path or ""), folders)
    return Entry(
        place, audio, text, _label(given("speaker"), "speaker"), _label(given("id"), "id"), start_s, end_s,
        _channel(given("channel")), is_part, of_file_s,
    )  # fmt: skip


def _label(value: object, what: str) -> str | None:
    """A speaker or an id, from a string or a whole number."""
    if value is None or isinstance(value, (dict, list, bool)):
        if value is None:
            return None
        raise Fault(f"a speaker or an id must be a string or a number, not {value!r}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of numbers in which some are missing is one of floats
    label = str(value).strip()
    refuse_half_characters(label, what)
    return label or None


def _channel(value: object) -> int | None:
    if value is None or value == "":
        return None
    text = str(value).strip().removesuffix(".0")
    if text in ("A", "B"):
        return "AB".index(text) + 1
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise Fault(f"channel '{value}': expected 1, 2, ... or A, B")


def read_common_voice(
    path: Path, faults: Faults, split: str = "", root: Path | None = None
) -> tuple[list[Entry], dict[str, str]]:
    """Entries of a Common Voice list: ``client_id``, ``path``, ``sentence``, separated by tabs.

    Quotes are characters of the sentence, but some sentences of some editions are quoted as in CSV.

    Args:
        path: the list (``train.tsv``), or the folder of the language, which has ``clips/``.
        faults: to add to.
        split: list to read from a folder: ``train``, ``dev``, ``test``, ``validated``.
        root: folder of the clips; None: ``clips`` beside the list.

    Raises:
        DataError: if there is no such list.
    """
    if existing(path).is_dir():
        lists = sorted(each.stem for each in path.glob("*.tsv"))
        if not split:
            raise DataError(f"{path}: which list? give --split with one of {', '.join(lists) or 'none'}")
        if split not in lists:
            raise DataError(f"{path}/{split}.tsv: no such list; there are: {', '.join(lists) or 'none'}")
        path = path / f"{split}.tsv"
    clips = root or path.absolute().parent / "clips"
    if not clips.is_dir():
        raise DataError(f"{clips}: missing; Common Voice's clips must be beside its lists")
    columns = {"path": "path", "text": "sentence", "speaker": "client_id"}

    def with_suffix(name: str) -> str:
        return name if Path(name).suffix else f"{name}.mp3"  # the first editions had no suffix

    return read_manifest(path, faults, columns, clips, "\t", "mixed", with_suffix)


def read_audio_folder(
    folder: Path, faults: Faults, columns: dict[str, str] | None = None, split: str = ""
) -> tuple[list[Entry], dict[str, str]]:
    """Entries of a Hugging Face audio folder: ``metadata.csv`` or ``.jsonl`` with ``file_name``.

    Args:
        folder: has the metadata itself, perhaps for files of several splits in sub-folders, or has
            sub-folders with it (``train/``, ``data/train/``).
        faults: to add to.
        columns: as for `read_manifest`.
        split: the sub-folder to read.

    Raises:
        DataError: if there is no metadata, or there are several splits and none is named.
    """
    found = sorted(
        each for each in existing(folder).rglob("metadata.*") if each.suffix in (".csv", ".jsonl")
    )
    if not found:
        others = ", ".join(sorted(each.name for each in folder.rglob("metadata.*"))[:3])
        raise DataError(
            f"{folder}: no metadata.csv or metadata.jsonl in it or below"
            + (f"; {others} is not read" if others else "")
        )
    parts: dict[str, list[Path]] = {}
    for each in found:
        below = [part for part in each.parent.relative_to(folder).parts if part != "data"]
        parts.setdefault(below[0] if below else "", []).append(each)
    if set(parts) == {""}:
        entries, chosen = _read_all(parts[""], faults, columns)
        return _of_split(entries, folder, split, faults), chosen
    if split not in parts and len(parts) > 1 or split and split not in parts:
        raise _which_split(folder, split, parts)
    return _read_all(parts[split or next(iter(parts))], faults, columns)


def _of_split(entries: list[Entry], folder: Path, split: str, faults: Faults) -> list[Entry]:
    """Entries of one table for all splits whose files are in the folder of this split."""
    below = [_folders_below(each, folder) for each in entries]
    if not split:
        known = SPLITS.intersection(first for first, *_ in below)
        if len(known) > 1:
            raise _which_split(folder, split, known)
        return entries
    kept = [each for each, folders in zip(entries, below, strict=True) if split in folders]
    if not kept and not faults.found:
        raise _which_split(folder, split, {first for first, *_ in below})
    return kept


def _which_split(folder: Path, split: str, known: Iterable[str]) -> DataError:
    names = ", ".join(sorted(filter(None, known)))
    remedy = f"give --split with one of {names}" if names else "its files are in no sub-folder: leave out --split"
    return DataError(f"{folder}: {f'no split {split}' if split else 'which split?'}; {remedy}")


def _read_all(
    paths: list[Path], faults: Faults, columns: dict[str, str] | None
) -> tuple[list[Entry], dict[str, str]]:
    entries: list[Entry] = []
    chosen: dict[str, str] = {}
    for path in paths:
        found, chosen = read_manifest(path, faults, {"path": "file_name", **(columns or {})})
        entries += found
    return entries, chosen


def _folders_below(entry: Entry, folder: Path) -> list[str]:
    """Up to two folders, below an audio folder and its ``data``, with the entry's file; at least one, "" if none."""
    for root in (Path(os.path.abspath(folder)), folder.resolve()):
        if entry.audio.is_relative_to(root):
            parts = [each for each in entry.audio.relative_to(root).parts[:-1] if each != "data"]
            return parts[:2] or [""]
    return [""]
