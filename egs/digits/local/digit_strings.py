"""Strings of connected digits, assembled from recordings of single digits.

Speaker and take alone decide which set a recording belongs to, so no recording is
ever in two sets. Everything random depends only on the seed, not on the order of
files or on Python's hash seed.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from fsdd import DIGITS, SAMPLE_RATE, Recording

from cascade_asr.errors import DataError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SETS = ("train", "dev", "test_seen", "test_unseen")
SPEECH_LEVEL_DBFS = -24.0  # RMS of a recording after levelling
LEVEL_SPREAD_DB = 3.0  # by which the level is then raised or lowered at most


@dataclass(frozen=True)
class Mixing:
    """How recordings become one utterance; each pair is (smallest, largest)."""

    digits: tuple[int, int] = (3, 6)
    pause_ms: tuple[float, float] = (20.0, 120.0)
    snr_db: tuple[float, float] = (15.0, 30.0)


@dataclass(frozen=True)
class DigitString:
    """A planned utterance: who says what, from which recordings."""

    utterance: str
    recordings: tuple[Recording, ...]

    @property
    def speaker(self) -> str:
        """The speaker, who is the same for all recordings of a string."""
        return self.recordings[0].speaker

    @property
    def text(self) -> str:
        """Such as ``seven three one``."""
        return " ".join(WORDS[recording.digit] for recording in self.recordings)


def set_of(recording: Recording, unseen_speakers: tuple[str, ...]) -> str:
    """The set that a recording belongs to."""
    if recording.speaker in unseen_speakers:
        return "test_unseen"
    if recording.take < 5:
        return "test_seen"
    return "dev" if recording.take < 10 else "train"


def split(
    recordings: list[Recording], unseen_speakers: tuple[str, ...]
) -> dict[str, dict[str, list[Recording]]]:
    """Sort recordings into sets, and within each set by speaker.

    Raises:
        DataError: if a speaker has no recording of some digit in some set.
    """
    sets: dict[str, dict[str, list[Recording]]] = {name: {} for name in SETS}
    for recording in sorted(recordings):
        of_set = sets[set_of(recording, unseen_speakers)]
        of_set.setdefault(recording.speaker, []).append(recording)
    seen_speakers = {speaker for name in SETS[:3] for speaker in sets[name]}
    for name in SETS:
        for speaker in sorted(seen_speakers if name != "test_unseen" else unseen_speakers):
            digits = {recording.digit for recording in sets[name].get(speaker, [])}
            lacking = sorted(set(range(DIGITS)) - digits)
            if lacking:
                raise DataError(
                    f"the corpus has no recording of {WORDS[lacking[0]]} by {speaker} for {name} "
                    f"({len(lacking)} of {DIGITS} digits missing); get the complete corpus"
                )
    return sets


def deal(
    name: str, speakers: Mapping[str, list[Recording]], count: int, seed: int, mixing: Mixing
) -> list[DigitString]:
    """Draw the strings of one set.

    Speakers take turns. Each has a deck of all his or her recordings, reshuffled when
    it is used up, so that all recordings are used equally often (to within one).

    Raises:
        DataError: if there are fewer strings than speakers.
    """
    if count < len(speakers):
        raise DataError(f"{name}: {count} strings are too few for {len(speakers)} speakers")
    turns = sorted(speakers)
    decks = {speaker: _deck(speakers[speaker], f"{seed} {name} {speaker}") for speaker in turns}
    lengths = random.Random(f"{seed} {name} lengths")
    strings = []
    for number in range(count):
        speaker = turns[number % len(turns)]
        recordings = tuple(next(decks[speaker]) for _ in range(lengths.randint(*mixing.digits)))
        strings.append(DigitString(f"{speaker}-{name}{number:04d}", recordings))
    return strings


def _deck(recordings: list[Recording], key: str) -> Iterator[Recording]:
    shuffle = random.Random(key).shuffle
    deck = sorted(recordings)
    while True:
        shuffle(deck)
        yield from deck


def mix(
    string: DigitString, audio: Mapping[Recording, np.ndarray], seed: int, mixing: Mixing
) -> np.ndarray:
    """Concatenate the recordings of a string, with pauses and background noise.

    Recordings are first brought to the same level (their original levels differ by
    35 dB, and some would be lost in the noise), then changed by up to
    `LEVEL_SPREAD_DB`. The noise has a constant level and a random spectral tilt.

    Returns:
        (samples,) int16 at `fsdd.SAMPLE_RATE`.
    """
    key = hashlib.sha256(f"{seed} {string.utterance}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(key[:8], "big"))
    pieces = [_pause(generator, mixing)]
    for recording in string.recordings:
        level_db = SPEECH_LEVEL_DBFS + generator.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB)
        pieces += [_levelled(audio[recording], level_db), _pause(generator, mixing)]
    speech = np.concatenate(pieces)
    noise_db = SPEECH_LEVEL_DBFS - generator.uniform(*mixing.snr_db)
    tilt = generator.uniform(-0.5, 0.9)
    white = generator.standard_normal(len(speech) + 1)
    noise = (white[1:] + tilt * white[:-1]) / math.sqrt(1 + tilt * tilt)
    mixed = speech + noise * (32768 * 10 ** (noise_db / 20))
    return np.clip(np.rint(mixed), -32768, 32767).astype(np.int16)


def _pause(generator: np.random.Generator, mixing: Mixing) -> np.ndarray:
    return np.zeros(round(generator.uniform(*mixing.pause_ms) * SAMPLE_RATE / 1000))


def _levelled(samples: np.ndarray, level_db: float) -> np.ndarray:
    """(samples,) int16 to float64 with the given RMS in dBFS; silence stays silence."""
    # Summed in integers, which is exact and hence the same on every machine.
    energy = int(np.sum(samples.astype(np.int64) ** 2))
    if energy == 0:
        return samples.astype(np.float64)
    return samples * (32768 * 10 ** (level_db / 20) / math.sqrt(energy / len(samples)))
