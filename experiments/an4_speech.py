"""Resynthesise AN4 from its cepstra: speech to try egs/an4's audio pipeline without the audio.

    python experiments/an4_speech.py ~/corpora/an4_mfcc.tar.gz speech/an4
    cd egs/an4 && ./run.sh --an4 ../../speech/an4

Speakers, words and durations are real; the spectral envelope is that of 13 cepstra, the
excitation a pulse train and noise. It sounds like a robot, and error rates on it compare
with nothing but each other.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
from scipy.signal import istft, lfilter, stft

from cascade_asr import command
from cascade_asr.errors import ConfigError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "egs/an4/local"))

import an4  # noqa: E402

RATE, HOP, SIZE = an4.SAMPLE_RATE, 160, 512  # Hz, samples, samples
FILTERS, LOWEST, HIGHEST = 40, 130.0, 6800.0  # Hz; an4/README of the archive
NOISE = 0.3  # share of the excitation
PREEMPHASIS = 0.97  # of the cepstra: Sphinx's default
LOUDNESS = 2000.0  # root mean square of the samples of an utterance


def mel(frequency: np.ndarray | float) -> np.ndarray:
    """Frequency in Hz on the mel scale (O'Shaughnessy)."""
    return 2595 * np.log10(1 + np.asarray(frequency) / 700)


def log_spectrum(cepstra: np.ndarray) -> np.ndarray:
    """Smooth log power spectrum (T, 257) of Sphinx cepstra (T, 13)."""
    order, filters = np.arange(an4.CEPSTRA)[:, None], np.arange(FILTERS)
    forward = np.cos(np.pi * order * (filters + 0.5) / FILTERS) / FILTERS
    energies = cepstra @ np.linalg.pinv(forward).T
    edges = np.linspace(mel(LOWEST), mel(HIGHEST), FILTERS + 2)
    bins = mel(np.linspace(0, RATE / 2, SIZE // 2 + 1))
    return np.stack([np.interp(bins, edges[1:-1], frame) for frame in energies])


def speak(cepstra: np.ndarray, pitch: float, seed: int) -> np.ndarray:
    """Samples, int16, of 10 ms a frame.

    Args:
        cepstra: (T, 13).
        pitch: in Hz.
        seed: of the noise.
    """
    length = len(cepstra) * HOP
    pulses = np.zeros(length)
    pulses[(np.arange(int(length * pitch / RATE)) * RATE / pitch).astype(int)] = (RATE / pitch) ** 0.5
    noise = np.random.default_rng(seed).standard_normal(length)
    excitation = (1 - NOISE) * pulses + NOISE * noise
    _, _, spectrum = stft(excitation, RATE, nperseg=SIZE, noverlap=SIZE - HOP)
    frames = np.clip(np.arange(spectrum.shape[1]), 0, len(cepstra) - 1)
    gain = np.exp(0.5 * log_spectrum(cepstra))[frames].T
    _, samples = istft(spectrum * gain, RATE, nperseg=SIZE, noverlap=SIZE - HOP)
    samples = lfilter([1], [1, -PREEMPHASIS], samples[:length])
    samples *= LOUDNESS / max(np.sqrt(np.mean(samples**2)), 1e-9)
    return np.clip(samples, -32000, 32000).astype(">i2")


def main(words: list[str]) -> None:
    """Write the corpus in CMU's layout, as .raw files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archive", type=Path, help="an4_mfcc.tar.gz")
    parser.add_argument("folder", type=Path, help="new folder for the corpus")
    arguments = parser.parse_args(words)
    if not arguments.archive.is_file():
        raise ConfigError(f"{arguments.archive}: no such file; give an4_mfcc.tar.gz")
    if arguments.folder.exists():
        raise ConfigError(f"{arguments.folder}: exists already; name a new folder")
    partial = arguments.folder.with_name(f"{arguments.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    root = an4.unpack(arguments.archive, partial / "cepstra")
    shutil.copytree(root / "etc", partial / "etc")
    for path in sorted((root / "feat").rglob("*.mfc")):
        seed = zlib.crc32(path.stem.encode())
        pitch = 90 + zlib.crc32(path.parent.name.encode()) % 120
        target = partial / "wav" / path.parent.relative_to(root / "feat") / f"{path.stem}.raw"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(speak(an4.read_cepstra(path), pitch, seed).tobytes())
    shutil.rmtree(partial / "cepstra")
    partial.rename(arguments.folder)


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
