"""A stand-in for FSDD: the same layout, spoken by espeak-ng and flite.

Use it if there is neither the corpus nor a network: 10 digits, 6 voices, 50
takes that differ in speed and pitch, 8 kHz, 16 bit, mono. The same versions of
espeak-ng, flite and sox give the same corpus byte for byte. WERs on it show that
the recipe works, but nothing about human speech.

    python local/synthesise_digits.py downloads/synthetic_digits
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from digit_strings import WORDS
from fsdd import DIGITS, SAMPLE_RATE, TAKES, Recording, complete_set

from cascade_asr import command
from cascade_asr.errors import DataError

log = logging.getLogger(__name__)

NAME = "synthetic digits (espeak-ng and flite voices in the layout of FSDD)"
# Speaker name in the corpus: (program, its voice, mean pitch: Hz for flite, 0-99 for espeak-ng).
VOICES = {
    "rms": ("flite", "rms", 100),
    "slt": ("flite", "slt", 170),
    "usm3": ("espeak-ng", "en-us+m3", 45),
    "gbf4": ("espeak-ng", "en-gb+f4", 55),
    "awb": ("flite", "awb", 120),
    "scm2": ("espeak-ng", "en-gb-scotland+m2", 40),
}
SPEAKERS = tuple(VOICES)
UNSEEN_SPEAKERS = ("awb", "scm2")  # both Scottish: an accent that training lacks
PROGRAMS = ("espeak-ng", "flite", "sox")


def synthesise(folder: Path, jobs: int | None = None, takes: Iterable[int] = range(TAKES)) -> None:
    """Write the corpus to ``folder/recordings``, complete or not at all.

    Args:
        folder: created; an earlier corpus there is replaced.
        jobs: programs run at a time; default: the number of cores.
        takes: which of the 50 takes to make.

    Raises:
        DataError: if a program is missing or fails.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise DataError(
            f"cannot synthesise a corpus without {', '.join(missing)}; "
            f"run: apt-get install {' '.join(missing)}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    recordings = [
        Recording(speaker, digit, take)
        for speaker in SPEAKERS
        for take in takes
        for digit in range(DIGITS)
    ]
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as partial:
        target = Path(partial) / "corpus" / "recordings"
        target.mkdir(parents=True)
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
            running = [pool.submit(_speak, recording, target) for recording in recordings]
            try:
                for future in running:
                    future.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        shutil.rmtree(folder, ignore_errors=True)
        target.parent.replace(folder)


def is_complete(folder: Path) -> bool:
    """Whether an earlier run has made the complete corpus."""
    return complete_set(SPEAKERS) <= {path.name for path in (folder / "recordings").glob("*.wav")}


def _speak(recording: Recording, target: Path) -> None:
    """Synthesise one recording; each take has its own speed and pitch."""
    program, voice, pitch = VOICES[recording.speaker]
    # Two steps coprime to 50: all 50 takes differ, and neighbours differ in both.
    speed = 0.80 + 0.45 * (recording.take * 7 % TAKES) / (TAKES - 1)
    pitch = round(pitch * (0.85 + 0.30 * (recording.take * 19 % TAKES) / (TAKES - 1)))
    word = WORDS[recording.digit]
    spoken = target / f"{recording.file_name}.spoken.wav"
    if program == "flite":
        say = ["flite", "-voice", voice, "--setf", f"duration_stretch={1 / speed:.3f}"]
        say += ["--setf", f"int_f0_target_mean={pitch}", "-t", word, "-o", str(spoken)]
    else:
        say = ["espeak-ng", "-v", voice, "-s", str(round(160 * speed)), "-p", str(pitch)]
        say += ["-w", str(spoken), word]
    _call(say)
    # Down to 8 kHz; silence at both ends is cut off, as in FSDD.
    trim = ["silence", "1", "0.02", "0.5%"]
    convert = ["sox", "-R", "-D", str(spoken), "-b", "16", "-c", "1"]
    convert += [str(target / recording.file_name), "rate", str(SAMPLE_RATE)]
    _call([*convert, *trim, "reverse", *trim, "reverse"])
    spoken.unlink()


def _call(arguments: list[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise DataError(f"'{' '.join(arguments)}' failed: {lines[-1]}")


def main() -> None:
    """Parse the command line and write the corpus."""
    parser = argparse.ArgumentParser(description="Synthesise a corpus in the layout of FSDD.")
    parser.add_argument("folder", type=Path, help="where to write recordings/")
    parser.add_argument("--jobs", type=int, help="programs run at a time (default: all cores)")
    options = parser.parse_args()
    synthesise(options.folder, options.jobs)


if __name__ == "__main__":
    command.run(main)
