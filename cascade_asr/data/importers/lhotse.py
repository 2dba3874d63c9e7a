"""Lhotse manifests: recordings with supervisions, or cuts; JSON lines, gzipped or not.

The fields are those that ``lhotse`` writes (see "Representing a corpus" in its
documentation); lhotse itself is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr.data.importers.entries import (
    Entry,
    Fault,
    Faults,
    clean_text,
    existing,
    refuse_half_characters,
    resolve_audio,
    seconds,
)
from cascade_asr.data.importers.rows import Row, read_rows
from cascade_asr.errors import DataError


@dataclass(frozen=True)
class Source:
    """A recording: its files, each with the channels (counted from 0) that it contains."""

    files: tuple[tuple[Path, tuple[int, ...]], ...]

    def find(self, channel: object) -> tuple[Path, int | None]:
        """The file that has a channel, and the channel's number in the file, counted from 1.

        Raises:
            Fault: if no file has it, or several channels are asked for.
        """
        if isinstance(channel, list):
            if len(channel) != 1:
                raise Fault(f"channels {channel}: expected one channel")
            channel = channel[0]
        if channel is None:
            channel = 0
        for path, channels in self.files:
            if channel in channels:
                return path, channels.index(channel) + 1 if len(channels) > 1 else None
        raise Fault(f"channel {channel} is not in the recording")


def read_lhotse(
    path: Path, faults: Faults, recordings: Path | None = None, root: Path | None = None
) -> list[Entry]:
    """Entries of a manifest of cuts, or of supervisions and their recordings.

    Args:
        path: ``cuts.jsonl.gz`` or ``supervisions.jsonl.gz``.
        faults: to add to.
        recordings: ``recordings.jsonl.gz``, for supervisions.
        root: folder that relative paths start from; None: the manifest's, else the current
            folder, which is what lhotse uses.

    Raises:
        DataError: if a manifest is missing or of the wrong kind.
    """
    rows = read_rows(existing(path), faults)
    first = rows[0][1] if rows else {}
    if "sources" in first:
        raise DataError(
            f"{path}: a manifest of recordings, which has no texts; give the one of supervisions, "
            f"and this one with --recordings"
        )
    if rows and not ("recording_id" in first or "supervisions" in first or "tracks" in first):
        raise DataError(f"{path}: neither lhotse cuts nor supervisions")
    folders = [root] if root else [path.absolute().parent, Path.cwd()]
    known: dict[str, Source] = {}
    if "recording_id" in first:
        if recordings is None:
            raise DataError(f"{path}: supervisions; give the manifest of their recordings with --recordings")
        known = _read_recordings(recordings, faults, root)
    entries: list[Entry] = []
    for place, row in rows:
        with faults.at(place), _as_lhotse_writes():
            if "recording_id" in first:
                entries.append(_of_supervision(place, row, known))
            else:
                entries += _of_cut(place, row, folders)
    return entries


@contextmanager
def _as_lhotse_writes() -> Iterator[None]:
    """Turn the error at a value that lhotse would not write into a `Fault`."""
    try:
        yield
    except (TypeError, AttributeError, ValueError) as error:
        raise Fault(f"not as lhotse writes it ({error})") from None


def _read_recordings(path: Path, faults: Faults, root: Path | None) -> dict[str, Source]:
    folders = [root] if root else [path.absolute().parent, Path.cwd()]
    found = {}
    for place, row in read_rows(existing(path), faults):
        with faults.at(place), _as_lhotse_writes():
            name = str(_needed(row, "id"))
            if name in found:
                raise Fault(f"recording '{name}' appears here a second time")
            found[name] = _source(row, folders)
    return found


def _needed(row: Row, name: str) -> Any:
    if row.get(name) is None:
        raise Fault(f"no '{name}'")
    return row[name]


def _source(recording: Row, folders: list[Path]) -> Source:
    transforms = recording.get("transforms") or []
    # a changed rate alone is the business of --sample-rate; the times are the same
    if not all(isinstance(each, dict) and each.get("name") == "Resample" for each in transforms):
        raise Fault(
            "the recording has transforms (such as a changed speed), which are not applied here; "
            "save the audio (cuts.save_audios) and import that"
        )
    files = []
    for each in _needed(recording, "sources"):
        if not isinstance(each, dict):
            raise Fault(f"expected a JSON object as source, found {each!r}")
        if each.get("type") != "file":
            raise Fault(f"a source of type '{each.get('type')}'; only files are read")
        channels = tuple(each.get("channels") or (0,))
        files.append((resolve_audio(str(_needed(each, "source")), folders), channels))
    return Source(tuple(files))


def _of_supervision(place: str, row: Row, known: dict[str, Source]) -> Entry:
    recording = str(_needed(row, "recording_id"))
    if recording not in known:
        raise Fault(f"recording '{recording}' is not in the manifest of recordings")
    return _entry(place, row, known[recording], 0.0)


def _of_cut(place: str, cut: Row, folders: list[Path]) -> list[Entry]:
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "Cut", "MultiCut"):
        raise Fault(f"a {kind}, which mixes or pads recordings; save its audio (cuts.save_audios)")
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        raise Fault("a cut with features only, without its recording")
    supervisions = cut.get("supervisions") or []
    if not supervisions:
        raise Fault("a cut without a supervision has no text")
    source = _source(recording, folders)
    offset_s = seconds(_needed(cut, "start"), "start") or 0.0
    return [
        _entry(place, {"channel": cut.get("channel"), **each}, source, offset_s)
        for each in supervisions
    ]


def _entry(place: str, row: Row, source: Source, offset_s: float) -> Entry:
    """Entry of one supervision, whose start counts from ``offset_s`` of the recording."""
    text = clean_text(row.get("text"))
    try:
        start_s = offset_s + float(_needed(row, "start"))  # may be negative where a cut begins inside
        duration_s = seconds(_needed(row, "duration"), "duration") or 0.0
    except (TypeError, ValueError):
        raise Fault(f"start '{row.get('start')}': expected seconds") from None
    if not start_s >= -0.001 or duration_s <= 0:
        raise Fault(f"start {start_s:g} and duration {duration_s:g}: expected 0 or more, and above 0")
    path, channel = source.find(row.get("channel"))
    speaker, name = (None if row.get(key) in (None, "") else str(row[key]) for key in ("speaker", "id"))
    for label, what in ((speaker, "speaker"), (name, "id")):
        refuse_half_characters(label or "", what)
    start_s = round(max(start_s, 0.0), 6)
    return Entry(
        place, path, text,
        speaker, name, start_s, round(start_s + duration_s, 6), channel, is_part=True,
    )  # fmt: skip
