"""Two-channel telephone recordings: where they are, how long they are, how to read them."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from swbd_transcripts import Utterance

from cascade_asr.data.audio.audio import CLIP_TOLERANCE_S
from cascade_asr.data.audio.corpus_files import read_headers, shown
from cascade_asr.data.audio.sphere import frame_count
from cascade_asr.errors import ConfigError, DataError

SAMPLE_RATE = 8000  # Hz
ROUNDING_S = 1e-6
AUDIO_SUFFIX = ".sph"
CHANNELS = {"A": 1, "B": 2}
UPSAMPLE = "sox -R -D -t wav - -r 16000 -t wav - |"  # as deterministic as the rest

log = logging.getLogger(__name__)


def find_recordings(files: Iterable[Path], pattern: re.Pattern[str]) -> dict[str, Path]:
    """SPHERE files by lower-case name without suffix, if it matches a pattern.

    Raises:
        DataError: if two files have the same name.
    """
    found: dict[str, Path] = {}
    for path in files:
        name = path.stem.lower()
        if path.suffix.lower() != AUDIO_SUFFIX or not pattern.fullmatch(name):
            continue
        other = found.setdefault(name, path)
        if not other.samefile(path):
            raise DataError(f"recording {name} is both {other} and {path}; remove one")
    return found


def with_audio(
    name: str, utterances: Mapping[str, Utterance], recordings: Mapping[str, Path], allowed: bool
) -> dict[str, Utterance]:
    """Utterances whose recording exists.

    Args:
        name: name of the set.
        utterances: utterances by id.
        recordings: recordings by file name.
        allowed: whether other utterances may be left out.

    Raises:
        DataError: with the number of missing recordings and the first of them.
    """
    needed = sorted({each.file for each in utterances.values()})
    missing = [file for file in needed if file not in recordings]
    if missing:
        first = next(each for each in utterances.values() if each.file == missing[0])
        message = (
            f"{name}: {len(missing)} of {len(needed)} files missing, first: {missing[0]}.sph "
            f"({first.shown_place})"
        )
        if not allowed or len(missing) == len(needed):
            raise DataError(f"{message}; copy them, or use --allow-missing to continue without")
        log.warning("%s; left out: %s", message, shown(missing))
    lost = set(missing)
    return {key: each for key, each in utterances.items() if each.file not in lost}


def durations_of(recordings: Mapping[str, Path]) -> dict[str, float]:
    """Seconds of each recording, by its header and size.

    Raises:
        DataError: naming the first unusable file.
    """
    headers = read_headers(recordings.values(), SAMPLE_RATE, len(CHANNELS))
    durations, doubled = {}, []
    for name, path in recordings.items():
        frames = frame_count(headers[path])
        if frames < headers[path].sample_count:
            doubled.append(path)
        durations[name] = frames / SAMPLE_RATE
    if doubled:
        log.warning(
            "%d files whose sample_count is the total of both channels, such as %s",
            len(doubled), doubled[0],
        )  # fmt: skip
    return durations


def clip(
    name: str,
    utterances: Mapping[str, Utterance],
    durations: Mapping[str, float],
    allowed: bool | None = None,
) -> dict[str, Utterance]:
    """Clip segments that end slightly after their recordings.

    Args:
        name: of the set.
        utterances: by id.
        durations: of the recordings in seconds.
        allowed: whether segments that end far behind are left out, by --allow-missing;
            None where they must not, because all of the set is scored.

    Raises:
        DataError: for a segment that ends more than 0.1 s after its recording, or begins there.
    """
    clipped: dict[str, Utterance] = {}
    beyond, lost = [], []
    for key, each in utterances.items():
        length_s = durations[each.file]
        if each.end_s <= length_s:
            clipped[key] = each
        elif each.start_s < length_s >= each.end_s - CLIP_TOLERANCE_S - ROUNDING_S:
            clipped[key] = each._replace(end_s=length_s)
            beyond.append(key)
        else:
            lost.append(key)
    if lost:
        first = utterances[lost[0]]
        message = (
            f"{first.shown_place}: {lost[0]} ends at {first.end_s:.2f} s but {first.file} ends at "
            f"{durations[first.file]:.2f} s ({len(lost)} of {len(utterances)} segments end so)"
        )
        if not allowed:
            remedy = "" if allowed is None else " --allow-missing leaves them out"
            raise DataError(f"{message}; is this the recording of that transcript?{remedy}")
        log.warning("%s: %s; left out", name, message)
    if beyond:
        log.warning(
            "%s: %d segments end up to %.1f s after their recording and were clipped: %s",
            name, len(beyond), CLIP_TOLERANCE_S, shown(beyond),
        )  # fmt: skip
    return clipped


def wav_entry(path: Path, side: str, upsample: bool) -> str:
    """The wav.scp entry that reads one side of a recording."""
    channel = CHANNELS[side]
    command = f"python -m cascade_asr.cli.sphere --channel {channel} {shlex.quote(str(path))} |"
    return f"{command} {UPSAMPLE}" if upsample else command


def require_sox() -> None:
    """Raise a `ConfigError` if sox, which --upsample needs, is not installed."""
    if shutil.which("sox") is None:
        raise ConfigError("--upsample needs sox, which is not on PATH; install it")
