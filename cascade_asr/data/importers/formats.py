"""The importer of each format, and the options that it takes."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, fields, replace
from pathlib import Path

from cascade_asr.data.importers.build import Wishes, build, check_destination, write_folder
from cascade_asr.data.importers.entries import Fault, Faults, existing, resolve_audio
from cascade_asr.data.importers.lhotse import read_lhotse
from cascade_asr.data.importers.manifest import (
    parse_columns,
    read_audio_folder,
    read_common_voice,
    read_manifest,
)
from cascade_asr.data.importers.rows import JSON_SUFFIXES, kind_of, read_text
from cascade_asr.data.kaldi.data_dir import DataDir, load_data_dir
from cascade_asr.data.kaldi.validate import ARCHIVE_ENTRY
from cascade_asr.errors import ConfigError, DataError

FORMATS = ("auto", "manifest", "common-voice", "lhotse", "audiofolder", "kaldi")

ARCHIVE_TABLES = {"feats.scp", "vad.scp", "cmvn.scp"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How to read a source; see ``cascade-asr import-data --help``."""

    columns: str = ""
    root: Path | None = None
    split: str = ""
    recordings: Path | None = None
    delimiter: str = ""
    quoting: str = ""


# The options that each format takes.
_READ_BY = {
    "manifest": {"columns", "root", "delimiter", "quoting"},
    "common-voice": {"root", "split"},
    "lhotse": {"root", "recordings"},
    "audiofolder": {"columns", "split"},
    "kaldi": {"root"},
}


def recognise(source: Path) -> str:
    """The format of a file or folder.

    Raises:
        DataError: if it cannot be recognised.
    """
    if existing(source).is_dir():
        if (source / "utt2spk").is_file() or (source / "wav.scp").is_file():
            return "kaldi"
        if (source / "clips").is_dir() and any(source.glob("*.tsv")):
            return "common-voice"
        if any(source.rglob("metadata.*")):
            return "audiofolder"
        raise DataError(
            f"{source}: neither a Kaldi data folder (utt2spk), nor Common Voice (clips/), nor an audio "
            "folder (metadata.csv); give a manifest"
        )
    if kind_of(source) in JSON_SUFFIXES:
        try:
            row = json.loads(read_text(source).lstrip().split("\n", 1)[0])
        except ValueError:
            row = {}
        if isinstance(row, dict) and ({"recording_id", "supervisions", "tracks", "sources"} & set(row)):
            return "lhotse"
        return "manifest"
    if kind_of(source) == ".tsv" and (source.absolute().parent / "clips").is_dir():
        columns = read_text(source).split("\n", 1)[0].rstrip("\r").split("\t")
        if {"client_id", "path", "sentence"} <= set(columns):
            return "common-voice"
    return "manifest"


def import_data(
    kind: str, source: Path, destination: Path, reading: Reading, wishes: Wishes
) -> DataDir:
    """Make a data folder from a source; see `build.build`.

    Raises:
        ConfigError: for an option that the format does not take.
        DataError: for everything that is wrong with the source.
    """
    check_destination(destination)
    if kind == "auto":
        kind = recognise(source)
        log.info("%s: read as %s", source, kind)
    for each in fields(Reading):
        if getattr(reading, each.name) and each.name not in _READ_BY[kind]:
            raise ConfigError(f"--{each.name} has no meaning for {kind}")
    if kind == "kaldi":
        if wishes != Wishes():
            log.warning(
                "%s: a data folder is used as it is; --sample-rate, --channel and --skip-faults "
                "have no effect", source,
            )  # fmt: skip
        return _import_kaldi(source, destination, reading.root)
    faults, chosen = Faults(), {}
    columns = parse_columns(reading.columns)
    if kind == "manifest":
        entries, chosen = read_manifest(
            source, faults, columns, reading.root, reading.delimiter, reading.quoting
        )
    elif kind == "common-voice":
        entries, chosen = read_common_voice(source, faults, reading.split, reading.root)
    elif kind == "audiofolder":
        entries, chosen = read_audio_folder(source, faults, columns, reading.split)
    else:
        entries = read_lhotse(source, faults, reading.recordings, reading.root)
    if chosen:
        log.info("columns: %s", ", ".join(f"{what}={name}" for what, name in sorted(chosen.items())))
    return build(entries, faults, destination, wishes)


def _import_kaldi(source: Path, destination: Path, root: Path | None) -> DataDir:
    """Copy a data folder, with sorted tables, spk2utt and absolute paths."""
    if source.resolve() == destination.resolve():
        raise ConfigError(f"{destination}: source and destination must be different folders")
    data = load_data_dir(source)
    faults = Faults()
    folders = [root.resolve()] if root else [Path.cwd(), source.absolute()]
    if "wav.scp" in data.tables:
        data.tables["wav.scp"] = _resolved(data, "wav.scp", folders, faults)
    for name in ARCHIVE_TABLES & data.tables.keys():
        data.tables[name] = {key: _in_folders(value, folders) for key, value in data.tables[name].items()}
    if faults.found:
        raise DataError(faults.shown())
    sources = [f"{utterance}\t{utterance}\t{speaker}\t{source}"
               for utterance, speaker in data.tables["utt2spk"].items()]  # fmt: skip
    data = replace(data, path=destination)
    write_folder(data, sources, destination, wav="wav.scp" in data.tables or "feats.scp" not in data.tables)
    log.info("%s: %d utterances", destination, len(data.utterances))
    return data


def _in_folders(entry: str, folders: list[Path]) -> str:
    """An entry of an archive with the absolute path of its file, if one of the folders has it."""
    found = ARCHIVE_ENTRY.fullmatch(entry)
    path = found["path"] if found else ""
    for folder in folders if path and not path.startswith("/") else ():
        if (folder / path).is_file():
            return f"{folder / path}{entry[len(path) :]}"
    return entry


def _resolved(data: DataDir, name: str, folders: list[Path], faults: Faults) -> dict[str, str]:
    """A table with relative paths made absolute; commands and archives stay as they are."""
    found = {}
    for number, (key, value) in enumerate(data.tables[name].items(), 1):
        found[key] = value
        if value.endswith("|") or value.startswith("/") or ":" in value:
            continue
        try:
            found[key] = str(resolve_audio(value, folders))
        except Fault as fault:
            faults.add(f"{data.path}/{name}:{number}", f"'{key}': {fault}")
    return found
