"""Log-mel filterbank features, computed by kaldi-native-fbank.

Options are Kaldi's, one ``--name=value`` a line (conf/fbank.conf). Departure
from Kaldi: dither is 0 unless the file asks for it, so that features are the
same at every run.
"""

from __future__ import annotations

from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np

from cascade_asr.errors import ConfigError, DataError, nearest

# Kaldi option name -> path inside kaldi_native_fbank.FbankOptions
_OPTIONS = {
    "sample-frequency": "frame_opts.samp_freq",
    "frame-length": "frame_opts.frame_length_ms",
    "frame-shift": "frame_opts.frame_shift_ms",
    "dither": "frame_opts.dither",
    "preemphasis-coefficient": "frame_opts.preemph_coeff",
    "remove-dc-offset": "frame_opts.remove_dc_offset",
    "window-type": "frame_opts.window_type",
    "round-to-power-of-two": "frame_opts.round_to_power_of_two",
    "blackman-coeff": "frame_opts.blackman_coeff",
    "snip-edges": "frame_opts.snip_edges",
    "num-mel-bins": "mel_opts.num_bins",
    "low-freq": "mel_opts.low_freq",
    "high-freq": "mel_opts.high_freq",
    "htk-mode": "mel_opts.htk_mode",
    "use-energy": "use_energy",
    "energy-floor": "energy_floor",
    "raw-energy": "raw_energy",
    "htk-compat": "htk_compat",
    "use-log-fbank": "use_log_fbank",
    "use-power": "use_power",
}


FEATURE_TYPES = ("kaldi", "espnet2")


def feature_type(path: Path) -> str:
    """Which features an option file asks for: ``--feature-type=espnet2``, or Kaldi's.

    Raises:
        ConfigError: if the file is missing, or there is no such type.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of fbank options")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        name, _, value = line.split("#", 1)[0].strip().partition("=")
        if name == "--feature-type":
            if value not in FEATURE_TYPES:
                raise ConfigError(
                    f"{path}:{number}: --feature-type={value}: expected kaldi (the default), or "
                    "espnet2 for those of its default frontend"
                )
            return value
    return "kaldi"


def read_fbank_options(path: Path) -> knf.FbankOptions:
    """Read a Kaldi option file.

    Raises:
        ConfigError: with file and line, for every line that is no known option
            or whose value has the wrong type.
    """
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    problems = []
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of fbank options")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        line = line.split("#", 1)[0].strip()
        if not line or line == "--feature-type=kaldi":
            continue
        name, equals, value = line.removeprefix("--").partition("=")
        if not line.startswith("--") or not equals:
            problems.append(f"{path}:{number}: expected '--name=value', found '{line}'")
        elif name not in _OPTIONS:
            problems.append(
                f"{path}:{number}: unknown fbank option '--{name}'{nearest(name, _OPTIONS)}"
            )
        else:
            try:
                _assign(options, _OPTIONS[name], value)
            except ValueError as error:
                problems.append(f"{path}:{number}: --{name}={value}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return options


def _assign(options: knf.FbankOptions, target: str, text: str) -> None:
    *owners, attribute = target.split(".")
    owner = options
    for name in owners:
        owner = getattr(owner, name)
    current = getattr(owner, attribute)
    if isinstance(current, bool):
        if text not in ("true", "false"):
            raise ValueError("expected true or false")
        value = text == "true"
    else:
        value = type(current)(text)
    setattr(owner, attribute, value)


def compute_fbank(
    samples: np.ndarray, rate: int, options: knf.FbankOptions, utterance: str
) -> np.ndarray:
    """Compute the features of one utterance.

    Args:
        samples: shape (frames of audio,), float32 in the range ±32768.
        rate: sampling rate of ``samples`` in Hz.
        options: as from `read_fbank_options`.
        utterance: its id, for the messages.

    Returns:
        Features, shape (T, D), float32, natural logarithm of mel energies; T is 0
        where the utterance is shorter than one frame.

    Raises:
        DataError: if the rate is not the recipe's.
    """
    expected = int(options.frame_opts.samp_freq)
    if rate != expected:
        raise DataError(
            f"utterance '{utterance}': {rate} Hz, recipe expects {expected}; resample in wav.scp "
            f"('sox FILE -r {expected} -t wav - |') or set --sample-frequency in the fbank options"
        )
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(rate, samples)
    fbank.input_finished()
    frames = fbank.num_frames_ready
    if frames == 0:
        return np.zeros((0, fbank.dim), dtype=np.float32)
    return np.stack([fbank.get_frame(index) for index in range(frames)])
