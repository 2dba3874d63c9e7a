"""Speed perturbation of data folders by sox pipes."""

from __future__ import annotations

import os
import shlex

from cascade_asr.data.kaldi.data_dir import DataDir
from cascade_asr.data.kaldi.tables import parse_segment
from cascade_asr.data.kaldi.validate import ARCHIVE_ENTRY, value_fault
from cascade_asr.data.wav_header import read_wav_header
from cascade_asr.errors import DataError

_AS_WAV = "python -m cascade_asr.cli.sphere"  # read_audio reads the file itself instead
_SOX = "sox -R -D"  # without random dither: the same features in every run


def perturb_speed(data: DataDir, factor: float) -> DataDir:
    """Describe the same utterances spoken ``factor`` times as fast, with sox pipes.

    Ids of utterances, speakers and recordings get the prefix ``sp0.9-``, times
    are divided by the factor, and features are left out. ``utt2uniq`` keeps
    the original utterance (Ko et al., "Audio augmentation for speech recognition",
    Interspeech 2015). At speed 1, audio and times stay as they are, and the prefix is
    ``sp1.0-``, as recipes write it for Kaldi's tool of that name.

    Raises:
        DataError: for a factor that is not positive, a folder without wav.scp, audio
            inside an archive, or a segment or duration that is malformed.
    """
    if not 0 < factor < 10:
        raise DataError(f"cannot perturb speed by {factor:g}; expected, for example, 0.9 or 1.1")
    if "wav.scp" not in data.tables:
        raise DataError(f"{data.path}/wav.scp: missing; speed is changed in the audio")
    prefix = "sp1.0-" if factor == 1 else f"sp{factor:g}-"
    original = data.tables.get("utt2uniq", {})
    tables = {"utt2uniq": {prefix + name: original.get(name, name) for name in data.utterances}}
    for name, table in data.tables.items():
        if name in ("feats.scp", "vad.scp", "cmvn.scp", "utt2num_frames", "utt2uniq"):
            continue
        for key, value in table.items():
            if name in ("segments", "utt2dur", "reco2dur") and (fault := value_fault(name, value)):
                raise DataError(f"{data.path}/{name}: '{key}': {fault}; run utils/fix_data_dir.sh {data.path}")
        changed = {prefix + key: value for key, value in table.items()}
        if name == "utt2spk" or (name == "segments" and factor == 1):
            changed = {key: prefix + value for key, value in changed.items()}
        elif factor == 1:
            pass
        elif name in ("utt2dur", "reco2dur"):
            changed = {key: f"{float(value) / factor:.6f}" for key, value in changed.items()}
        elif name == "segments":
            changed = {key: prefix + _faster(value, factor) for key, value in changed.items()}
        elif name == "wav.scp":
            changed = {key: _sox_pipe(value, factor) for key, value in changed.items()}
        tables[name] = changed
    return DataDir(data.path, tables)


def _faster(segment: str, factor: float) -> str:
    recording, start_s, end_s = parse_segment(segment)
    end = "-1" if end_s is None else f"{end_s / factor:.6f}"
    return f"{recording} {start_s / factor:.6f} {end}"


def _sox_pipe(audio: str, factor: float) -> str:
    if audio.endswith("|"):
        return f"{audio} {_SOX} -t wav - -t wav - speed {factor:g} |"
    if ARCHIVE_ENTRY.match(audio) and not os.path.exists(audio):
        raise DataError(f"wav.scp: cannot change the speed of '{audio}', a part of an archive")
    if _is_read_by_sox(audio):
        kind = "-t wav " if audio.lower().endswith(".wav") else ""
        return f"{_SOX} {kind}{shlex.quote(audio)} -t wav - speed {factor:g} |"
    return f"{_AS_WAV} {shlex.quote(audio)} | {_SOX} -t wav - -t wav - speed {factor:g} |"


def _is_read_by_sox(audio: str) -> bool:
    """Whether a file is plain WAV; SPHERE, MP3 and the like are read as they are at speed 1."""
    try:
        with open(audio, "rb") as stream:
            if stream.read(4) == b"RIFF":
                header = read_wav_header(stream)
                return header is None or header.declared is not None or header.data_start is None
            return False
    except OSError:
        return True  # sox will report it
