"""Log-mel filterbank features, computed by kaldi-native-fbank.

Options are Kaldi's, one ``--name=value`` per line (conf/fbank.conf). Departures
from Kaldi: dither is 0 unless the file asks for it, so that features are the same
in every run, and the default is 80 mel bins, not 23.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np

from cascade_asr.data.kaldi.blanks import read_user_lines
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


WINDOWS = ("povey", "hamming", "hanning", "sine", "rectangular", "blackman")
LARGEST_RATE = 1_000_000  # Hz
LONGEST_MS = 10_000
MOST_BINS = 10_000
LARGEST_INTEGER = (1 << 31) - 1

FEATURE_TYPES = ("kaldi", "espnet2")


def feature_type(path: Path) -> str:
    """Type of features that an option file asks for: ``--feature-type=espnet2``, or Kaldi's.

    Raises:
        ConfigError: if the file is missing, or the type is unknown.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of fbank options")
    for number, line in enumerate(read_user_lines(path), start=1):
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
        ConfigError: with file and line, for every line that is not a known option
            or whose value has the wrong type, and for values that are impossible
            at the sampling rate.
    """
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    problems = []
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of fbank options")
    lines: dict[str, int] = {}
    for number, line in enumerate(read_user_lines(path), start=1):
        line = line.split("#", 1)[0].strip()
        if not line or line == "--feature-type=kaldi":
            continue
        name, equals, value = map(str.strip, line.removeprefix("--").partition("="))
        name = name.replace("_", "-").lower()  # as in Kaldi
        is_flag = isinstance(_value(options, _OPTIONS.get(name, "use_energy")), bool)
        if not line.startswith("--") or not (equals or is_flag):
            problems.append(f"{path}:{number}: expected '--name=value', found '{line}'")
        elif name not in _OPTIONS:
            problems.append(
                f"{path}:{number}: unknown fbank option '--{name}'{nearest(name, _OPTIONS)}"
            )
        else:
            try:
                _assign(options, _OPTIONS[name], value)
                lines[name] = number
            except ValueError as error:
                problems.append(f"{path}:{number}: --{name}={value}: {error}")
    if not problems:
        problems = [
            f"{path}{f':{lines[name]}' if name in lines else ''}: --{name}={value:g}: {fault}"
            if isinstance(value, float | int)
            else f"{path}:{lines[name]}: --{name}={value}: {fault}"
            for name, fault in option_faults(options)
            for value in (_value(options, _OPTIONS[name]),)
        ]
    if problems:
        raise ConfigError("\n".join(problems))
    return options


def option_faults(options: knf.FbankOptions) -> list[tuple[str, str]]:
    """Options that are impossible at this sampling rate, with what is wrong.

    Only the first kind of fault is reported, because further ones may follow from it.
    """
    frame, mel = options.frame_opts, options.mel_opts
    if not 0 < frame.samp_freq <= LARGEST_RATE:
        return [("sample-frequency", f"expected Hz, above 0 and at most {LARGEST_RATE}")]
    rate, nyquist = frame.samp_freq, frame.samp_freq / 2
    window, shift = (int(rate * 0.001 * ms) for ms in (frame.frame_length_ms, frame.frame_shift_ms))
    high = mel.high_freq if mel.high_freq > 0 else nyquist + mel.high_freq
    checks = [
        ("frame-length", window >= 2 and frame.frame_length_ms <= LONGEST_MS,
         f"expected ms, two samples of {rate:g} Hz or more and at most {LONGEST_MS}"),
        ("frame-shift", shift >= 1 and frame.frame_shift_ms <= LONGEST_MS,
         f"expected ms, one sample of {rate:g} Hz or more and at most {LONGEST_MS}"),
        ("window-type", frame.window_type in WINDOWS,
         f"expected {', '.join(WINDOWS)}{nearest(frame.window_type, WINDOWS)}"),
        ("dither", frame.dither >= 0, "expected 0 or more"),
        ("preemphasis-coefficient", 0 <= frame.preemph_coeff <= 1, "expected 0 to 1"),
        ("blackman-coeff", 0 <= frame.blackman_coeff <= 1, "expected 0 to 1"),
        ("energy-floor", options.energy_floor >= 0, "expected 0 or more"),
        ("num-mel-bins", 3 <= mel.num_bins <= MOST_BINS, f"expected 3 to {MOST_BINS}"),
        ("low-freq", 0 <= mel.low_freq < nyquist,
         f"expected 0 Hz to below {nyquist:g}, half the sampling rate"),
        ("high-freq", mel.low_freq < high <= nyquist,
         f"expected more than --low-freq={mel.low_freq:g} and at most {nyquist:g} Hz, half the "
         "sampling rate; 0 is that, and negative values count from there"),
    ]  # fmt: skip
    faults = [(name, fault) for name, holds, fault in checks if not holds]
    if faults:
        return faults
    padded = 1 << (window - 1).bit_length() if frame.round_to_power_of_two else window
    if padded % 2:
        return [("frame-length", f"{window} samples are odd: set --round-to-power-of-two=true")]
    empty = _empty_bins(padded, rate, mel.low_freq, high, mel.num_bins)
    if empty:
        return [("num-mel-bins",
                 f"too many for {rate:g} Hz and frames of {frame.frame_length_ms:g} ms: {empty} bins "
                 "would contain no frequency")]  # fmt: skip
    return []


def _empty_bins(padded: int, rate: float, low: float, high: float, bins: int) -> int:
    """Number of mel bins that contain no frequency of the spectrum."""

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        return 1127.0 * np.log1p(hertz / 700.0)

    edges = np.linspace(*to_mel(np.array([low, high])), bins + 2)
    spectrum = to_mel(np.arange(padded // 2) * rate / padded)
    first = np.searchsorted(spectrum, edges[:-2], side="right")
    end = np.searchsorted(spectrum, edges[2:], side="left")
    return int((first >= end).sum())


def _value(options: knf.FbankOptions, target: str) -> Any:
    for name in target.split("."):
        options = getattr(options, name)
    return options


def parse_flag(text: str) -> bool:
    """Parse a truth value as Kaldi writes it; the empty text of an option without ``=`` is true.

    Raises:
        ValueError: if it is not a truth value.
    """
    lowered = text.lower()
    if lowered not in ("true", "t", "1", "", "false", "f", "0"):
        raise ValueError("expected true or false")
    return lowered in ("true", "t", "1", "")


def _assign(options: knf.FbankOptions, target: str, text: str) -> None:
    *owners, attribute = target.split(".")
    owner = options
    for name in owners:
        owner = getattr(owner, name)
    current = getattr(owner, attribute)
    if isinstance(current, bool):
        value = parse_flag(text)
    else:
        value = type(current)(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("expected a number")
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise ValueError("expected a smaller number")
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
        Features, shape (T, D), float32, natural logarithms of mel energies; T is 0
        if the utterance is shorter than one frame.

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
