"""Log-mel features as ESPnet2's default frontend computes them from a waveform.

For cascades that start from an ESPnet2 model that reads waveforms: its frontend
has no weights, so the same features can be computed once, in stage 1. An option
file (``--fbank-config``) chooses them with the line ``--feature-type=espnet2``:

    --feature-type=espnet2
    --fs=16000
    --n-fft=512
    --hop-length=160
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_asr.data.features.fbank import parse_flag
from cascade_asr.data.kaldi.blanks import read_user_lines
from cascade_asr.errors import ConfigError, DataError, nearest
from cascade_asr.options.types import convert, describe, from_text, hints_of

FULL_SCALE = 32768.0  # ESPnet2 reads audio as numbers between -1 and 1
SMALLEST = 1e-10  # floor of mel energies, before the logarithm


@dataclass(frozen=True)
class LogMelOptions:
    """Options of ESPnet2's ``frontend: default``, with its names and defaults.

    Attributes:
        fs: sampling rate in Hz.
        n_fft, win_length, hop_length: in samples; a win_length of None is n_fft.
        window: hann, hamming, blackman, bartlett; None is rectangular.
        n_mels: D.
        fmin, fmax: in Hz; None is 0 and half the rate.
        htk: HTK's mel scale instead of Slaney's.
    """

    fs: int = 16000
    n_fft: int = 512
    win_length: int | None = None
    hop_length: int = 128
    window: str | None = "hann"
    n_mels: int = 80
    fmin: int | None = None
    fmax: int | None = None
    htk: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, expected 1 or more"
            for name in ("fs", "n_fft", "hop_length", "n_mels")
            if (value := getattr(self, name)) < 1
        ]
        if self.window is not None and not hasattr(torch, f"{self.window}_window"):
            problems.append(f"window: unknown window '{self.window}'")
        if self.win_length is not None and not 1 <= self.win_length <= self.n_fft:
            problems.append(f"win_length is {self.win_length}, expected 1 to n_fft ({self.n_fft})")
        lowest, highest = self.fmin or 0, self.fs / 2 if self.fmax is None else self.fmax
        if not 0 <= lowest < highest <= self.fs / 2:
            problems.append(
                f"fmin is {lowest} and fmax {highest:g} Hz, expected 0 <= fmin < fmax <= "
                f"{self.fs / 2:g}, half the sampling rate"
            )
        if problems:
            raise ValueError("; ".join(problems))


def _options(path: Path) -> list[tuple[int, str, str]]:
    """(line, name, value) of each ``--name=value``."""
    found = []
    for number, line in enumerate(read_user_lines(path), start=1):
        line = line.split("#", 1)[0].strip()
        if line:
            name, _, value = line.removeprefix("--").partition("=")
            found.append((number, name, value))
    return found


def read_log_mel_options(path: Path) -> LogMelOptions:
    """Read an option file.

    Raises:
        ConfigError: with file and line, for every line that is not a known option
            or whose value has the wrong type.
    """
    hints = hints_of(LogMelOptions)
    values: dict[str, Any] = {}
    problems = []
    if not path.is_file():
        raise ConfigError(f"{path}: no such file of feature options")
    for number, name, text in _options(path):
        key = name.replace("-", "_")
        if name == "feature-type":
            continue
        if key not in hints:
            known = [each.replace("_", "-") for each in hints]
            problems.append(f"{path}:{number}: unknown option '--{name}'{nearest(name, known)}")
            continue
        try:
            hint = hints[key]
            values[key] = parse_flag(text) if hint is bool else from_text(text, hint)
        except ValueError as error:
            problems.append(f"{path}:{number}: --{name}={text}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        return LogMelOptions(**values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def option_lines(options: LogMelOptions) -> list[str]:
    """The lines of an option file."""
    lines = ["--feature-type=espnet2"]
    for name, value in dataclasses.asdict(options).items():
        text = {None: "none", True: "true", False: "false"}.get(value, value)
        lines.append(f"--{name.replace('_', '-')}={value if type(value) is int else text}")
    return lines


def from_frontend_conf(conf: Mapping[str, Any]) -> LogMelOptions:
    """Options from ESPnet2's ``frontend_conf``.

    Raises:
        ValueError: naming what is not supported: several channels, enhancement, a
            transform other than the default.
    """
    values = dict(conf)
    enhancement = values.pop("frontend_conf", None) or {}
    problems = [f"frontend_conf.{key}" for key in ("use_wpe", "use_beamformer") if enhancement.get(key)]
    for key, usual in (("center", True), ("normalized", False), ("onesided", True),
                       ("apply_stft", True)):  # fmt: skip
        if values.pop(key, usual) != usual:
            problems.append(key)
    known = {each.name for each in dataclasses.fields(LogMelOptions)}
    problems += [key for key in values if key not in known]
    if problems:
        raise ValueError(f"{', '.join(problems)}: not supported")
    if isinstance(values.get("fs"), str):
        values["fs"] = _rate(values["fs"])
    hints = hints_of(LogMelOptions)
    values = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value  # fmin: 80.0
        for key, value in values.items()
    }
    wrong = [
        f"{key}: expected {describe(hints[key])}, found {value!r}"
        for key, value in values.items()
        if not convert(value, hints[key], exact=True)[0]
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
    return LogMelOptions(**values)


def _rate(text: str) -> int:
    """Sampling rate in Hz; ESPnet2 writes 16 kHz as 16k."""
    lowered = text.strip().lower().removesuffix("hz")
    factor = 1000 if lowered.endswith("k") else 1
    return int(float(lowered.removesuffix("k")) * factor)


def mel_matrix(options: LogMelOptions) -> torch.Tensor:
    """Triangular filters of equal area (Slaney's Auditory Toolbox), (n_fft / 2 + 1, D) float32."""
    highest = options.fs / 2 if options.fmax is None else options.fmax
    ends = _to_mel(np.array([options.fmin or 0.0, highest], dtype=np.float64), options.htk)
    edges = _to_hertz(np.linspace(*ends, options.n_mels + 2), options.htk)
    bins = np.fft.rfftfreq(options.n_fft, 1.0 / options.fs)
    distances = edges[:, None] - bins[None, :]
    widths = np.diff(edges)
    rising = -distances[:-2] / widths[:-1, None]
    falling = distances[2:] / widths[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(filters.T.copy())


LINEAR_BELOW_HZ, HZ_PER_MEL, LOG_STEP = 1000.0, 200.0 / 3, np.log(6.4) / 27.0


def _to_mel(hertz: np.ndarray, htk: bool) -> np.ndarray:
    if htk:
        return 2595.0 * np.log10(1.0 + hertz / 700.0)
    corner = LINEAR_BELOW_HZ / HZ_PER_MEL
    above = corner + np.log(np.maximum(hertz, LINEAR_BELOW_HZ) / LINEAR_BELOW_HZ) / LOG_STEP
    return np.where(hertz < LINEAR_BELOW_HZ, hertz / HZ_PER_MEL, above)


def _to_hertz(mel: np.ndarray, htk: bool) -> np.ndarray:
    if htk:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    corner = LINEAR_BELOW_HZ / HZ_PER_MEL
    above = LINEAR_BELOW_HZ * np.exp(LOG_STEP * (np.maximum(mel, corner) - corner))
    return np.where(mel < corner, mel * HZ_PER_MEL, above)


def compute_log_mel(
    samples: np.ndarray, rate: int, options: LogMelOptions, utterance: str
) -> np.ndarray:
    """Compute the features of one utterance, as ESPnet2 does for a single one.

    Args:
        samples: shape (frames of audio,), float32 in the range ±32768.
        rate: sampling rate of ``samples`` in Hz.
        options: as from `read_log_mel_options`.
        utterance: its id, for the messages.

    Returns:
        Features, shape (T, D), float32; T is 0 if the utterance is shorter than half
        a window, because it cannot be mirrored at its ends.

    Raises:
        DataError: if the rate is not the model's.
    """
    if rate != options.fs:
        raise DataError(
            f"utterance '{utterance}': {rate} Hz, the features expect {options.fs}; resample in "
            f"wav.scp ('sox FILE -r {options.fs} -t wav - |')"
        )
    if len(samples) <= options.n_fft // 2:
        return np.zeros((0, options.n_mels), dtype=np.float32)
    length = options.win_length or options.n_fft
    window = None
    if options.window is not None:
        window = getattr(torch, f"{options.window}_window")(length)
    spectrum = torch.stft(
        torch.from_numpy(samples / np.float32(FULL_SCALE)),
        options.n_fft,
        options.hop_length,
        length,
        window,
        return_complex=True,
    )  # (n_fft / 2 + 1, T)
    power = (spectrum.real**2 + spectrum.imag**2).T
    return (power @ _filters(options)).clamp(min=SMALLEST).log().numpy()


_known_filters: dict[LogMelOptions, torch.Tensor] = {}


def _filters(options: LogMelOptions) -> torch.Tensor:
    if options not in _known_filters:
        _known_filters[options] = mel_matrix(options)
    return _known_filters[options]
