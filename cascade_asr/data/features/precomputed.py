"""Use the features that a data folder has (``feats.scp``) instead of computing them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import kaldiio
import numpy as np

from cascade_asr.data.features.extraction import SHOWN_FAULTS
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.kaldi.validate import ARCHIVE_ENTRY
from cascade_asr.errors import DataError

_WRITTEN = re.compile(r"fbank\.\d+\.ark")
_RANGE = re.compile(r"\[[\d:,]*\]$")
SPARE_FRAMES = 3  # a range may end this much after its matrix, as in Kaldi


def read_precomputed(directory: Path, output: Path) -> dict[str, str]:
    """Entries of a folder's feats.scp with absolute paths, valid wherever a program runs.

    Args:
        directory: data folder.
        output: folder in which stage 1 writes ``fbank.JOB.ark``, and removes earlier ones.

    Raises:
        DataError: naming the utterances of ``utt2spk`` without an entry, entries that
            are commands, and those in archives that stage 1 would replace or remove.
    """
    path = directory / "feats.scp"
    entries = read_table(path)
    faults = [
        f"{path}: utterance '{name}' has no features; a feats.scp must have all utterances"
        for name in read_table(directory / "utt2spk")
        if name not in entries
    ]
    for name, entry in entries.items():
        if entry.endswith("|") or entry.startswith("|"):
            faults.append(
                f"{path}: utterance '{name}' is a command ('{entry}'), which is not run; write "
                "the features to an archive (copy-feats ark:- ark,scp:feats.ark,feats.scp)"
            )
        elif not entry:
            faults.append(f"{path}: utterance '{name}' has no file")
    absolute = {name: _absolute(entry) for name, entry in entries.items()}
    archives = {name: _archive(entry) for name, entry in absolute.items()}
    written = {each for each in set(archives.values()) if _is_written(Path(each), output)}
    faults += [
        f"{path}: the features of utterance '{name}' are in {archive}, which stage 1 writes itself; "
        "copy them to another folder (copy-feats), or remove this feats.scp to have them computed"
        for name, archive in archives.items()
        if archive in written
    ]
    _raise(path, faults, len(entries))
    return absolute


def _archive(entry: str) -> str:
    """The file of an entry."""
    found = ARCHIVE_ENTRY.match(entry)
    return found["path"] if found else entry


def _is_written(archive: Path, output: Path) -> bool:
    return bool(_WRITTEN.fullmatch(archive.name)) and archive.parent.resolve() == output.resolve()


def _absolute(entry: str) -> str:
    """The same entry with an absolute path."""
    return entry if entry.startswith("/") else str(Path.cwd() / entry)


def check_all(
    path: Path, entries: dict[str, str], use: Callable[[str, np.ndarray], None]
) -> dict[str, int]:
    """Read the features of every utterance, check them, and pass them on.

    Args:
        path: path of the feats.scp, for messages.
        entries: archive entry of each utterance.
        use: called with utterance and features (T, D) float32.

    Returns:
        Number of frames of each utterance.

    Raises:
        DataError: naming the utterances whose features cannot be read, are not a matrix,
            have no frames, are not finite, or have a dimension that most others do not.
    """
    frames: dict[str, int] = {}
    dimensions: dict[str, int] = {}
    faults: list[str] = []
    for name, features, fault in _read(entries):
        if fault:
            faults.append(f"{path}: utterance '{name}': {fault}")
            continue
        frames[name], dimensions[name] = features.shape
        use(name, features)
    counts: dict[int, int] = {}
    for dimension in dimensions.values():
        counts[dimension] = counts.get(dimension, 0) + 1
    if len(counts) > 1:
        usual = max(counts, key=lambda each: (counts[each], each))
        faults += [
            f"{path}: utterance '{name}' has {dimension} dimensions, others have {usual}"
            for name, dimension in dimensions.items()
            if dimension != usual
        ]
    _raise(path, faults, len(entries))
    return frames


def _read(entries: dict[str, str]) -> Iterator[tuple[str, np.ndarray, str]]:
    """Utterance, features, and what is wrong with them, or ""."""
    empty = np.zeros((0, 0), np.float32)
    for name, entry in entries.items():
        try:
            features = kaldiio.load_mat(entry)
        except Exception as error:  # kaldiio raises whatever its parser stumbles on
            where = _RANGE.sub("", entry).rpartition(":")[0] or entry
            missing = "" if Path(where).is_file() or Path(entry).is_file() else ": no such file"
            reason = missing or f" cannot be read ({error or type(error).__name__})"
            yield name, empty, f"{entry}{reason}"
            continue
        if not isinstance(features, np.ndarray) or features.ndim != 2:
            yield name, empty, f"{entry} is not a matrix of frames and dimensions"
        elif not features.size:
            yield name, empty, f"{entry} has no frames"
        elif beyond := _beyond_matrix(entry, features):
            yield name, empty, f"{entry} {beyond}"
        elif not np.isfinite(features).all():
            frame = int(np.argwhere(~np.isfinite(features).all(axis=1))[0, 0])
            yield name, empty, f"{entry} is not finite (NaN or infinity) in frame {frame}"
        else:
            yield name, features.astype(np.float32), ""


def _beyond_matrix(entry: str, features: np.ndarray) -> str:
    """What is wrong with an entry's range, ``[first:last,first:last]``, of which NumPy gives what there is."""
    found = _RANGE.search(entry)
    ranges = found[0][1:-1].split(",") if found else []
    for each, what, count, spare in zip(
        ranges, ("frames", "dimensions"), features.shape, (SPARE_FRAMES, 0), strict=False
    ):
        first, _, last = each.partition(":")
        if first.isdecimal() and last.isdecimal() and count + spare < int(last) - int(first) + 1:
            return f"ends beyond its matrix, which has {int(first) + count} {what}"
    return ""


def _raise(path: Path, faults: list[str], total: int) -> None:
    if not faults:
        return
    more = len(faults) - SHOWN_FAULTS
    shown = faults[:SHOWN_FAULTS] + ([f"and {more} more"] if more > 0 else [])
    raise DataError(f"{path}: {len(faults)} of {total} utterances cannot be used:\n" + "\n".join(shown))
