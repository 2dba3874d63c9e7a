"""Split a Kaldi data folder into parts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from cascade_asr.data.kaldi.data_dir import DataDir, load_data_dir
from cascade_asr.data.kaldi.edit import by_speaker
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.files import temporary_beside

# What stays together, and what that adds to the name of the folder, as in Kaldi.
SUFFIXES = {"speaker": "", "recording": "reco", "utterance": "utt"}


def split(path: Path | str, parts: int, per: str = "speaker") -> Path:
    """Split a data folder into ``splitN/1`` … ``splitN/N`` of about equal size.

    Args:
        path: the folder.
        parts: number of parts.
        per: what is never divided: ``speaker``, ``recording`` (the folder is then
            ``splitNreco``) or ``utterance`` (``splitNutt``).

    Returns:
        The folder that holds the parts; it replaces an earlier one in a single step.

    Raises:
        ConfigError: for another ``per``.
        DataError: if there are fewer speakers (recordings, utterances) than parts.
    """
    if per not in SUFFIXES:
        raise ConfigError(f"cannot split per '{per}'; expected one of {', '.join(SUFFIXES)}")
    path = Path(path)
    data = load_data_dir(path)
    groups = _groups(data, per)
    if not 1 <= parts <= len(groups):
        advice = "" if per == "utterance" else f"; --per-utt splits {per}s too"
        raise DataError(f"{path} has {len(groups)} {per}s: cannot make {parts} parts{advice}")
    destination = path / f"split{parts}{SUFFIXES[per]}"
    temporary = temporary_beside(destination)
    try:
        for number, part in enumerate(_even_parts(groups, parts), 1):
            data.select(part).write(temporary / str(number))
        shutil.rmtree(destination, ignore_errors=True)
        temporary.rename(destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def _groups(data: DataDir, per: str) -> list[list[str]]:
    """Utterances that stay together, in the order of the speakers, recordings or utterances."""
    if per == "speaker":
        return list(by_speaker(data).values())
    groups: dict[str, list[str]] = {}
    for name in sorted(data.utterances):
        groups.setdefault(data.segment(name).recording if per == "recording" else name, []).append(name)
    return [groups[name] for name in sorted(groups)]


def _even_parts(groups: Sequence[Sequence[str]], parts: int) -> Iterable[list[str]]:
    """Cut a list of groups into runs of sizes as even as the groups allow."""
    remaining = sum(map(len, groups))
    position = 0
    for left in range(parts, 0, -1):
        goal = remaining / left
        part = list(groups[position])
        position += 1
        # At least one group must be left for each remaining part.
        while position <= len(groups) - left and len(part) + len(groups[position]) / 2 <= goal:
            part += groups[position]
            position += 1
        if left == 1:
            part += [name for group in groups[position:] for name in group]
        remaining -= len(part)
        yield part
