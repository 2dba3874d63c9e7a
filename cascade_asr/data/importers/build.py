"""Make a data folder from entries: safe ids, order, segments, one sampling rate."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.data.importers.entries import Entry, Fault, Faults
from cascade_asr.data.importers.identifiers import Names
from cascade_asr.data.importers.recordings import Recording, probe_all
from cascade_asr.data.kaldi.data_dir import DataDir
from cascade_asr.data.kaldi.validate import validate
from cascade_asr.errors import DataError
from cascade_asr.files import temporary_beside

CLIP_TOLERANCE_S = 0.1  # an utterance may end this much after its recording
SOURCES = "imported.tsv"  # origin of each utterance; marks a folder that was made here
LONGEST_LABEL = 32  # digits kept of a speaker that is a hexadecimal hash
_HASH = re.compile(rf"[0-9a-f]{{{LONGEST_LABEL + 1},}}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """What the user wants of the audio.

    Attributes:
        rate: in Hz; 0 for that of the files, which must then all have the same.
        channel: channel of multi-channel files for which the manifest names none: counted
            from 1, ``mean``, or None.
        skip_faults: leave faulty lines out instead of stopping.
    """

    rate: int = 0
    channel: int | str | None = None
    skip_faults: bool = False


@dataclass(frozen=True)
class _Part:
    """An entry with its recording, channel and exact times."""

    entry: Entry
    recording: Recording
    channel: int | str | None
    start_s: float
    end_s: float

    @property
    def is_whole(self) -> bool:
        return self.start_s == 0 and self.end_s >= self.recording.duration_s - 0.5 / self.recording.rate


def build(entries: list[Entry], faults: Faults, destination: Path, wishes: Wishes) -> DataDir:
    """Write a data folder; if anything is wrong, nothing is written.

    Args:
        entries: what was read.
        faults: faults found in reading; those of the audio are added.
        destination: the folder; one that was imported before is replaced.
        wishes: what the user wants of the audio.

    Raises:
        DataError: listing all faults, or if no utterance is left.
    """
    check_destination(destination)
    parts = _with_audio(entries, faults, wishes)
    _report(faults, len(parts), wishes.skip_faults)
    rate = _one_rate(parts, wishes.rate)
    data, sources = _tables(parts, rate, destination)
    write_folder(data, sources, destination)
    log.info(
        "%s: %d utterances by %d speakers, %.2f h, %d Hz", destination, len(data.utterances),
        len(set(data.tables["utt2spk"].values())),
        sum(each.end_s - each.start_s for each in parts) / 3600, rate,
    )  # fmt: skip
    return data


def check_destination(destination: Path) -> None:
    if destination.is_symlink() or destination.is_file():
        raise DataError(f"{destination}: exists and is not a folder")
    if destination.is_dir() and any(destination.iterdir()) and not (destination / SOURCES).is_file():
        raise DataError(
            f"{destination}: exists but was not made by import-data; remove it or name another folder"
        )


def _with_audio(entries: list[Entry], faults: Faults, wishes: Wishes) -> list[_Part]:
    # in the order of the audio, so that ids do not depend on the manifest's order
    ordered = sorted(
        entries,
        key=lambda each: (str(each.audio), each.channel or 0, each.start_s, each.end_s or math.inf,
                          each.name or "", each.text),
    )  # fmt: skip
    recordings = probe_all(each.audio for each in ordered)
    parts = []
    clipped = 0
    for entry in ordered:
        recording = recordings[entry.audio]
        if isinstance(recording, str):
            faults.add(entry.place, recording)
            continue
        with faults.at(entry.place):
            parts.append(_part(entry, recording, wishes))
            clipped += entry.end_s is not None and entry.end_s > recording.duration_s
    if clipped:
        log.warning("%d utterances end up to 0.1 s after their recording; cut there", clipped)
    _compare_durations(parts)
    _compare_texts(parts)
    return parts


def _compare_durations(parts: list[_Part]) -> None:
    """Warn if durations that should be those of whole files are not."""
    others = [
        each
        for each in parts
        if each.entry.of_file_s is not None
        and abs(each.entry.of_file_s - each.recording.duration_s) > CLIP_TOLERANCE_S
    ]
    if others:
        first = others[0]
        log.warning(
            "%d utterances have another duration than their file (%s: %g s, but %s lasts %.2f s); the "
            "whole file is taken all the same, because no column says where they start: if one does, "
            "name it, for example --columns start=from",
            len(others), first.entry.place, first.entry.of_file_s, first.recording.path,
            first.recording.duration_s,
        )  # fmt: skip


def _compare_texts(parts: list[_Part]) -> None:
    """Warn if whole files have several texts, as where times are in columns that are not known."""
    first: dict[tuple[Path, int | str | None], _Part] = {}
    others = []
    for each in parts:
        if not each.entry.is_part:
            same = first.setdefault((each.recording.path, each.channel), each)
            others += [(same, each)] if same.entry.text != each.entry.text else []
    if others:
        one, other = others[0]
        log.warning(
            "%d utterances have the same whole file as one with another text (%s and %s: %s); if "
            "columns say where they start and end, in seconds, name them, for example --columns start=from,end=to",
            len(others), one.entry.place, other.entry.place, one.recording.path,
        )  # fmt: skip


def _part(entry: Entry, recording: Recording, wishes: Wishes) -> _Part:
    channel: int | str | None = entry.channel or wishes.channel
    if isinstance(channel, int) and channel > recording.channels:
        if entry.channel is None:
            channel = None  # --channel applies to multi-channel files only
        else:
            raise Fault(f"channel {channel}, but {recording.path} has {recording.channels}")
    if recording.channels == 1:
        channel = None
    elif channel is None:
        raise Fault(
            f"{recording.path} has {recording.channels} channels; give a column 'channel', or "
            "--channel with 1, 2 or mean"
        )
    end_s = recording.duration_s if entry.end_s is None else entry.end_s
    if end_s > recording.duration_s + CLIP_TOLERANCE_S or entry.start_s >= recording.duration_s:
        raise Fault(
            f"{entry.start_s:g} to {end_s:g} s, but {recording.path} lasts {recording.duration_s:.2f} s"
        )
    return _Part(entry, recording, channel, entry.start_s, min(end_s, recording.duration_s))


def _report(faults: Faults, usable: int, skip: bool) -> None:
    if faults.found and not skip:
        count = len(faults.found)
        raise DataError(
            f"{faults.shown()}\n{count} fault{'s' if count > 1 else ''}, nothing written; "
            "--skip-faults leaves such lines out"
        )
    for fault in faults.found[:10]:
        log.warning("left out: %s", fault)
    if faults.found:
        log.warning("%d faulty lines left out, %d utterances kept", len(faults.found), usable)
    if not usable:
        raise DataError("no utterance is left")


def _one_rate(parts: list[_Part], wanted: int) -> int:
    files = Counter({each.recording.path: each.recording.rate for each in parts}.values())
    if wanted:
        lower = sum(count for rate, count in files.items() if rate < wanted)
        if lower:
            log.warning(
                "%d of %d files have less than %d Hz: they contain nothing above half their rate",
                lower, sum(files.values()), wanted,
            )  # fmt: skip
        return wanted
    if len(files) > 1:
        found = ", ".join(f"{count} of {rate} Hz" for rate, count in sorted(files.items()))
        raise DataError(f"files have several sampling rates ({found}); give --sample-rate HZ")
    return next(iter(files))


def _tables(parts: list[_Part], rate: int, destination: Path) -> tuple[DataDir, list[str]]:
    recordings, speakers, utterances = Names(), Names(), Names()
    by_speaker = sorted({each.entry.speaker for each in parts if each.entry.speaker is not None})
    for label in by_speaker:
        speakers.of(label, label[:16] if _HASH.fullmatch(label) else label)
    has_segments = not all(each.is_whole for each in parts)
    names = ["wav.scp", "text", "utt2spk", *(["segments"] if has_segments else [])]
    tables: dict[str, dict[str, str]] = {name: {} for name in names}
    sources = []
    unnamed = 0
    for part in parts:
        entry, audio = part.entry, (part.recording.path, part.channel)
        several = isinstance(part.channel, int)
        recording = recordings.of(
            audio, part.recording.path.stem + (f"-{part.channel}" if several else "")
        )
        unnamed += entry.speaker is None
        speaker = speakers.of(*((entry.speaker, "") if entry.speaker is not None else (audio, recording)))
        name = entry.name or recording + _times(part)
        if name != speaker and not name.startswith(f"{speaker}-"):
            name = f"{speaker}-{name}"
        utterance = utterances.of(len(sources), name)
        line = part.recording.wav_entry(part.channel, rate)
        tables["wav.scp"][recording if has_segments else utterance] = line
        tables["text"][utterance] = entry.text
        tables["utt2spk"][utterance] = speaker
        if has_segments:
            tables["segments"][utterance] = f"{recording} {part.start_s:.6f} {part.end_s:.6f}"
        sources.append("\t".join((utterance, entry.name or "", entry.speaker or "", entry.place)))
    if unnamed:
        log.warning("%d utterances name no speaker; each recording counts as a speaker", unnamed)
    if utterances.changed:
        log.warning(
            "%d utterance ids were already taken and got a number appended; %s/%s says which",
            utterances.changed, destination, SOURCES,
        )  # fmt: skip
    return DataDir(destination, tables), sources


def _times(part: _Part) -> str:
    """Start and end in hundredths of a second, for the id of part of a recording."""
    if part.is_whole:
        return ""
    return f"-{round(part.start_s * 100):07d}-{round(part.end_s * 100):07d}"


def write_folder(data: DataDir, sources: list[str], destination: Path, wav: bool = True) -> None:
    """Write the folder under a temporary name, check it, and only then rename it.

    Raises:
        DataError: listing what is wrong with it; nothing is left then.
    """
    parent = destination.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(destination.absolute())
    try:
        data.write(temporary)
        header = "utterance\tid\tspeaker\tplace"
        content = "\n".join([header, *sorted(sources)]) + "\n"
        (temporary / SOURCES).write_text(content, encoding="utf-8")
        faults = validate(temporary, wav=wav, feats=False, shown=destination)
        if faults:
            raise DataError("\n".join(faults).replace(str(temporary), str(destination)))
        if destination.is_dir():
            old = parent / f".{destination.name}.{os.getpid()}.old"
            destination.rename(old)
            temporary.rename(destination)
            shutil.rmtree(old)
        else:
            temporary.rename(destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
