"""Durations of the utterances of a data folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cascade_asr.data.audio.audio import read_audio
from cascade_asr.data.importers.entries import Fault
from cascade_asr.data.importers.recordings import THREADS, probe
from cascade_asr.data.kaldi.data_dir import DataDir
from cascade_asr.data.kaldi.validate import DEFAULT_FRAME_SHIFT_S, value_fault
from cascade_asr.errors import DataError


def durations_s(data: DataDir, frame_shift_s: float = DEFAULT_FRAME_SHIFT_S) -> dict[str, float]:
    """Seconds of each utterance, from its segment or else from the header of its audio file.

    A command in wav.scp is run, and the samples that it prints are counted. Where features
    are all that a folder has, their frames are.

    Args:
        data: the folder.
        frame_shift_s: of features, where the folder has no file ``frame_shift``.

    Raises:
        DataError: naming the first recordings that cannot be read, or an utterance that
            begins after its recording's end, or if there is neither audio nor features.
    """
    if "wav.scp" not in data.tables and "segments" not in data.tables and "feats.scp" in data.tables:
        return _of_features(data, frame_shift_s)
    segments = {name: data.segment(name) for name in data.utterances}
    open_ended = sorted({each.recording for each in segments.values() if each.end_s is None})
    entries = data.tables.get("wav.scp", {})
    missing = [name for name in open_ended if name not in entries]
    if missing:
        raise DataError(f"{data.path}/wav.scp: {len(missing)} recordings are not in it, such as '{missing[0]}'")
    with ThreadPoolExecutor(THREADS) as pool:
        read = dict(zip(open_ended, pool.map(lambda name: _length(entries[name]), open_ended), strict=True))
    faults = [f"{data.path}/wav.scp: '{name}': {told}" for name, told in read.items() if isinstance(told, str)]
    if faults:
        raise DataError("\n".join(faults[:20]))
    seconds = {
        name: (read[each.recording] if each.end_s is None else each.end_s) - each.start_s
        for name, each in segments.items()
    }
    beyond = [name for name, length in seconds.items() if length <= 0]
    if beyond:
        each = segments[beyond[0]]
        raise DataError(
            f"{data.path}/segments: {len(beyond)} utterances begin after the end of their recording, "
            f"such as '{beyond[0]}', at {each.start_s:g} s of {read[each.recording]:.2f} s of '{each.recording}'"
        )
    return seconds


def _of_features(data: DataDir, frame_shift_s: float) -> dict[str, float]:
    """Seconds of each utterance's frames."""
    from cascade_asr.data.features.cmvn import load_features
    from cascade_asr.data.features.frame_shift import told_frame_shift_s

    shift_s = told_frame_shift_s(data.path) or frame_shift_s
    entries, counts = data.tables["feats.scp"], data.tables.get("utt2num_frames", {})
    missing = [name for name in data.utterances if name not in entries]
    if missing:
        raise DataError(f"{data.path}/feats.scp: {len(missing)} utterances are not in it, such as '{missing[0]}'")
    frames = {
        name: int(counts[name])
        if name in counts and not value_fault("utt2num_frames", counts[name])
        else len(load_features(entries[name], name))
        for name in data.utterances
    }
    return {name: shift_s * count for name, count in frames.items()}


def _length(entry: str) -> float | str:
    """Seconds of a recording, or why it cannot be read."""
    try:
        if not entry.endswith("|") and Path(entry).is_file():
            return probe(Path(entry)).duration_s
        samples, rate = read_audio(entry)
        return len(samples) / rate
    except (DataError, Fault) as fault:
        return str(fault)
