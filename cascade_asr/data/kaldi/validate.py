"""Find everything that is wrong with a Kaldi data folder."""

from __future__ import annotations

import logging
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

from cascade_asr.data.kaldi.blanks import first_word, odd_character, words
from cascade_asr.data.kaldi.data_dir import RECORDING_TABLES, TABLES, UTTERANCE_TABLES
from cascade_asr.data.kaldi.tables import Table, invert, parse_segment, scan_table

DURATION_TOLERANCE_S = 0.1  # between a duration and frames x frame shift
DEFAULT_FRAME_SHIFT_S = 0.01
ARCHIVE_ENTRY = re.compile(r"(?P<path>.+):(?P<offset>\d+)(\[[\d:,]*\])?$")


def validate(
    path: Path | str,
    wav: bool = True,
    text: bool = True,
    feats: bool = True,
    controls: bool = True,
    speaker_order: bool = True,
    shown: Path | None = None,
) -> list[str]:
    """List all faults of a data folder; the list is empty if it is valid.

    A fault that ``utils/fix_data_dir.sh`` repairs says so. What is merely unusual
    (speaker ids that do not begin their utterances' ids, empty transcripts,
    Windows line ends) is logged as a warning.

    Args:
        path: the data folder.
        wav, text, feats: whether ``wav.scp``, ``text``, ``feats.scp`` must exist;
            a table that exists is checked in any case.
        controls: whether control characters in transcripts and ids are faults.
        speaker_order: whether to warn of ids that do not begin with the speaker's.
        shown: the folder's name in warnings, if it is to be renamed.
    """
    run = _Validation(Path(path), controls, speaker_order, shown or Path(path)).run
    return run({"wav.scp": wav, "text": text, "feats.scp": feats})


class _Validation:
    """One run over one folder, which collects faults."""

    def __init__(self, path: Path, controls: bool, speaker_order: bool, shown: Path) -> None:
        self.path = path
        self.shown = shown
        self.controls = controls
        self.speaker_order = speaker_order
        self.faults: list[str] = []
        self.tables: dict[str, Table] = {}
        self.remedy = f"; run utils/fix_data_dir.sh {path}"

    def run(self, required: Mapping[str, bool]) -> list[str]:
        if not self.path.is_dir():
            return [f"{self.path}: no such data folder"]
        _file_size.cache_clear()
        self._read(["utt2spk", "spk2utt", *(name for name in required if required[name])])
        utt2spk = self.tables.get("utt2spk")
        if utt2spk is None:
            return self.faults
        self._check_ids(utt2spk.values.keys())
        self._check_speakers(utt2spk)
        for name, check in _VALUE_CHECKS.items():
            if name in self.tables:
                self._check_values(self.tables[name], check)
        self._check_durations()
        self._check_characters()
        self._warn()
        return self.faults

    def _read(self, required: list[str]) -> None:
        """Read all tables and check that they exist and their content, format and order."""
        for name in dict.fromkeys([*required, "spk2utt", *TABLES]):
            path = self.path / name
            if not path.is_file():
                if name in required:
                    remedy = self.remedy if name == "spk2utt" else ""
                    self.faults.append(f"{path}: missing{remedy}")
                continue
            table = scan_table(path)
            if not table.values:
                self.faults.append(f"{path}: empty")
            conflicts = set(table.conflicts)
            self.faults += [
                fault if fault in conflicts or "not UTF-8" in fault else fault + self.remedy
                for fault in table.faults
            ]
            for (first, second), line in zip(
                pairwise(table.values), table.line_numbers[1:], strict=False
            ):
                if first > second:
                    self.faults.append(
                        f"{path}:{line}: not sorted: '{second}' after '{first}'{self.remedy}"
                    )
                    break
            self.tables[name] = table

    def _check_ids(self, utterances: Iterable[str]) -> None:
        """Check that all tables name the same utterances and recordings."""
        utterances = set(utterances)
        recordings, origin = utterances, "utt2spk"
        if "segments" in self.tables:
            values = self.tables["segments"].values.values()
            recordings, origin = {first_word(value) for value in values}, "segments"
        for name, table in self.tables.items():
            if name in UTTERANCE_TABLES and name != "utt2spk":
                self._compare(table, utterances, "utterance", "utt2spk")
            elif name in RECORDING_TABLES:
                self._compare(table, recordings, "recording", origin)

    def _compare(self, table: Table, expected: set[str], kind: str, origin: str) -> None:
        name = table.path.name
        repairable = name not in ("reco2file_and_channel", "reco2dur")
        unexpected, missing = table.values.keys() - expected, expected - table.values.keys()
        twins = _same_but_for_code_points(unexpected, missing)
        for identifier, line in table.lines_of(unexpected):
            if identifier in twins:
                missing.discard(twins[identifier])
                what = f"has other code points in {origin} (an accent composed or apart); write both in Unicode's NFC"
            else:
                what = f"is not in {origin}{self.remedy}"
            self.faults.append(f"{table.path}:{line}: {kind} '{identifier}' {what}")
        remedy = self.remedy if repairable else ""
        if kind == "recording" and origin == "segments":
            segments = self.tables["segments"]
            for (utterance, value), line in zip(
                segments.values.items(), segments.line_numbers, strict=True
            ):
                recording = first_word(value)
                if recording in missing:
                    self.faults.append(
                        f"{segments.path}:{line}: recording '{recording}' of utterance "
                        f"'{utterance}' is not in {name}{remedy}"
                    )
            return
        for identifier, line in self.tables[origin].lines_of(missing):
            self.faults.append(
                f"{self.path}/{origin}:{line}: {kind} '{identifier}' is not in {name}{remedy}"
            )

    def _check_speakers(self, utt2spk: Table) -> None:
        """Check that spk2utt is utt2spk inverted, and that spk2gender names its speakers."""
        for (utterance, speaker), line in zip(
            utt2spk.values.items(), utt2spk.line_numbers, strict=True
        ):
            if len(words(speaker)) != 1:
                self.faults.append(
                    f"{utt2spk.path}:{line}: expected 'utterance speaker', found "
                    f"{len(words(speaker)) + 1} words for '{utterance}'"
                )
        expected = invert(utt2spk.values)
        if "spk2utt" in self.tables:
            spk2utt = self.tables["spk2utt"]
            for speaker, line in zip(spk2utt.values, spk2utt.line_numbers, strict=True):
                if speaker not in expected:
                    self.faults.append(
                        f"{spk2utt.path}:{line}: speaker '{speaker}' is not in utt2spk{self.remedy}"
                    )
                elif sorted(words(spk2utt.values[speaker])) != words(expected[speaker]):
                    self.faults.append(
                        f"{spk2utt.path}:{line}: speaker '{speaker}' has other utterances "
                        f"than in utt2spk{self.remedy}"
                    )
            for speaker in sorted(expected.keys() - spk2utt.values.keys()):
                self.faults.append(f"{spk2utt.path}: speaker '{speaker}' is missing{self.remedy}")
        if "spk2gender" in self.tables:
            genders = self.tables["spk2gender"]
            for speaker, line in genders.lines_of(genders.values.keys() - expected.keys()):
                self.faults.append(
                    f"{genders.path}:{line}: speaker '{speaker}' is not in utt2spk{self.remedy}"
                )
            for speaker in sorted(expected.keys() - genders.values.keys()):
                self.faults.append(f"{genders.path}: speaker '{speaker}' is missing")

    def _check_values(self, table: Table, check: Callable[[str], str]) -> None:
        remedy = self.remedy if table.path.name == "segments" else ""
        for (identifier, value), line in zip(
            table.values.items(), table.line_numbers, strict=True
        ):
            fault = check(value)
            if fault:
                self.faults.append(f"{table.path}:{line}: '{identifier}': {fault}{remedy}")

    def _check_durations(self) -> None:
        """Check that utt2num_frames fits the durations in utt2dur or else in segments."""
        if "utt2num_frames" not in self.tables:
            return
        durations = self._durations_s()
        shift_s = self._frame_shift_s()
        frames = self.tables["utt2num_frames"]
        for (utterance, value), line in zip(
            frames.values.items(), frames.line_numbers, strict=True
        ):
            duration_s = durations.get(utterance)
            if duration_s is None or _frames_fault(value):
                continue
            if abs(int(value) * shift_s - duration_s) > DURATION_TOLERANCE_S:
                self.faults.append(
                    f"{frames.path}:{line}: '{utterance}': {value} frames of {shift_s:g} s do not "
                    f"fit its duration of {duration_s:.2f} s"
                )

    def _durations_s(self) -> dict[str, float]:
        if "utt2dur" in self.tables:
            values = self.tables["utt2dur"].values
            return {name: float(v) for name, v in values.items() if not _duration_fault(v)}
        durations = {}
        if "segments" in self.tables:
            for utterance, value in self.tables["segments"].values.items():
                if not _segment_fault(value):
                    segment = parse_segment(value)
                    if segment.end_s is not None:
                        durations[utterance] = segment.end_s - segment.start_s
        return durations

    def _check_characters(self) -> None:
        """Check that ids and transcripts have only ASCII blanks and no invisible characters."""
        for table in (self.tables[name] for name in ("utt2spk", "text") if name in self.tables):
            for (identifier, value), line in zip(
                table.values.items(), table.line_numbers, strict=True
            ):
                for what, text in (("id", identifier), ("value", value)):
                    odd = odd_character(text, self.controls)
                    if odd:
                        self.faults.append(
                            f"{table.path}:{line}: '{identifier}': {odd} of its {what}, which "
                            "sclite takes for a letter or a blank; write a space, or remove it"
                        )

    def _frame_shift_s(self) -> float:
        path = self.path / "frame_shift"
        if not path.is_file():
            return DEFAULT_FRAME_SHIFT_S
        fault = _duration_fault(path.read_text(encoding="utf-8").strip())
        if fault:
            self.faults.append(f"{path}:1: {fault}")
            return DEFAULT_FRAME_SHIFT_S
        return float(path.read_text(encoding="utf-8"))

    def _warn(self) -> None:
        utt2spk = self.tables["utt2spk"].values
        other = [name for name, speaker in utt2spk.items() if not name.startswith(speaker)]
        if other and self.speaker_order:
            logging.warning(
                "%s/utt2spk: %d of %d utterance ids do not begin with their speaker's id ('%s'); "
                "tools that sort by speaker may see a different order",
                self.shown, len(other), len(utt2spk), other[0],
            )  # fmt: skip
        if "text" in self.tables:
            empty = [name for name, text in self.tables["text"].values.items() if not text]
            if empty:
                logging.warning(
                    "%s/text: %d empty transcripts, such as '%s'", self.shown, len(empty), empty[0]
                )


def _same_but_for_code_points(some: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Pairs that look the same, as of file names from macOS, where accents are code points of their own."""
    composed = {unicodedata.normalize("NFC", each): each for each in others if not each.isascii()}
    pairs = {each: composed.get(unicodedata.normalize("NFC", each)) for each in some if not each.isascii()}
    return {each: other for each, other in pairs.items() if other is not None}


def _segment_fault(value: str) -> str:
    try:
        parse_segment(value)
    except ValueError as error:
        return str(error)
    return ""


def _audio_fault(value: str) -> str:
    if not value:
        return "names no audio file"
    if value.endswith("|"):
        return "" if value.rstrip("| ") else "an empty pipe"
    if value.startswith("|") or value == "-":
        return f"cannot be read from '{value}'"
    try:
        status = os.stat(value)
    except OSError:
        match = ARCHIVE_ENTRY.match(value)
        if match and _file_size(match["path"]):
            return f"audio inside an archive is not read: {match['path']}; write each recording to a file"
        return _archive_fault(value, missing="no such audio file")
    return "" if status.st_size else f"empty audio file: {value}"


def _archive_fault(value: str, missing: str = "no such file") -> str:
    if not value:
        return "no file"
    if value.endswith("|"):
        return "a command, which is not run here; write it to an archive"
    match = ARCHIVE_ENTRY.match(value)
    path = match["path"] if match else value
    size = _file_size(path)
    if size is None:
        return f"{missing}: {path}"
    if match and int(match["offset"]) >= size:
        return f"the archive {path} ends before byte {match['offset']}: it is truncated"
    return "" if size else f"empty file: {path}"


@cache
def _file_size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _frames_fault(value: str) -> str:
    if value.isascii() and value.isdecimal() and int(value) > 0:
        return ""
    return f"'{value}' is not a number of frames"


def _duration_fault(value: str) -> str:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds) and seconds > 0:
        return ""
    return f"'{value}' is not a duration in seconds"


def _channel_fault(value: str) -> str:
    count = len(words(value))
    return "" if count == 2 else f"expected 'recording file channel', found {count + 1} words"


# For each table, a function that says what is wrong with a value, or "".
_VALUE_CHECKS: dict[str, Callable[[str], str]] = {
    "segments": _segment_fault,
    "wav.scp": _audio_fault,
    "feats.scp": _archive_fault,
    "vad.scp": _archive_fault,
    "cmvn.scp": _archive_fault,
    "utt2num_frames": _frames_fault,
    "utt2dur": _duration_fault,
    "reco2dur": _duration_fault,
    "reco2file_and_channel": _channel_fault,
    "spk2gender": lambda value: "" if value in ("m", "f") else f"'{value}' is not m or f",
    "utt2lang": lambda value: "" if value else "no language",
    "utt2uniq": lambda value: "" if value else "no original utterance",
}


def value_fault(table: str, value: str) -> str:
    """What is wrong with a value in a table of this name; empty if nothing is."""
    check = _VALUE_CHECKS.get(table)
    return check(value) if check else ""
