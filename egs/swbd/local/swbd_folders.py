"""Data folders of two-channel conversations; either all or none are written."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from swbd_audio import wav_entry
from swbd_transcripts import Utterance

from cascade_asr.data.kaldi.data_dir import DataDir

STAGING = ".prepare_swbd.tmp"
FISHER = "lm/fisher.txt"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedSet:
    """A data folder in memory.

    Attributes:
        data: its tables.
        files: contents of further files, by their paths in the folder.
    """

    data: DataDir
    files: Mapping[str, bytes] = field(default_factory=dict)


def build(
    name: str,
    utterances: Mapping[str, Utterance],
    speakers: Mapping[str, str],
    recordings: Mapping[str, Path],
    upsample: bool,
    genders: Mapping[str, str] | None = None,
) -> DataDir:
    """The tables of one set.

    Args:
        name: name of the set.
        utterances: utterances by id.
        speakers: speakers by side, such as ``sw02001-A``.
        recordings: audio by file name.
        upsample: whether to read the audio as 16 kHz.
        genders: genders by speaker; ``spk2gender`` is made if all are known.
    """
    order = sorted(utterances)
    sides = {each.recording: each for each in utterances.values()}
    tables = {
        "utt2spk": {key: speakers[utterances[key].recording] for key in order},
        "text": {key: utterances[key].text for key in order},
        "segments": {key: _segment(utterances[key]) for key in order},
        "wav.scp": {
            side: wav_entry(recordings[sides[side].file], sides[side].side, upsample)
            for side in sorted(sides)
        },
        "reco2file_and_channel": {
            side: f"{sides[side].file} {sides[side].side}" for side in sorted(sides)
        },
    }
    present = set(tables["utt2spk"].values())
    if genders and present <= genders.keys():
        tables["spk2gender"] = {speaker: genders[speaker] for speaker in sorted(present)}
    return DataDir(Path(name), tables)


def segments_table(utterances: Mapping[str, Utterance]) -> str:
    """The file ``segments`` of these utterances."""
    return "".join(f"{key} {_segment(utterances[key])}\n" for key in sorted(utterances))


def _segment(each: Utterance) -> str:
    return f"{each.recording} {round(each.start_s, 6)} {round(each.end_s, 6)}"


def hours(utterances: Iterable[Utterance]) -> float:
    """Total duration in hours."""
    return sum(each.end_s - each.start_s for each in utterances) / 3600


def write_all(outdir: Path, sets: Mapping[str, PreparedSet], fisher: Iterable[str] | None) -> None:
    """Write everything under temporary names, then move it into place.

    Args:
        outdir: where to write a folder for each set; an old one of that name is replaced.
        sets: sets by name.
        fisher: sentences for ``lm/fisher.txt``.
    """
    with _staging(outdir) as staging:
        for name, prepared in sets.items():
            prepared.data.write(staging / name)
            for path, content in prepared.files.items():
                target = staging / name / path
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content)
        if fisher is not None:
            count = _write_lines(staging / FISHER, fisher)
        for name in sets:
            shutil.rmtree(outdir / name, ignore_errors=True)
            (staging / name).rename(outdir / name)
        if fisher is not None:
            (outdir / FISHER).parent.mkdir(exist_ok=True)
            (staging / FISHER).replace(outdir / FISHER)
            log.info("%s: %d sentences", outdir / FISHER, count)
    for name, prepared in sets.items():
        speakers = len(set(prepared.data.tables["utt2spk"].values()))
        log.info("%s: %d utterances, %d speakers", name, len(prepared.data.utterances), speakers)


def _write_lines(path: Path, lines: Iterable[str]) -> int:
    path.parent.mkdir()
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for line in lines:
            stream.write(f"{line}\n")
            count += 1
    return count


@contextmanager
def _staging(outdir: Path) -> Iterator[Path]:
    """A temporary folder in ``outdir``; it is removed afterwards, as are leftovers of killed runs."""
    was_there = outdir.is_dir()
    folder = outdir / STAGING
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_there and not any(outdir.iterdir()):
            outdir.rmdir()
