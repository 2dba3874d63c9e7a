"""Stage 0 of egs/swbd on corpora of realistic size: processor time and memory.

    python bench/bench_swbd.py [--sides 4870] [--fisher-files 11699]

Transcripts have as many segments as LDC's, with random words from a Zipf distribution
over 20,000, one in twenty of them marked. Recordings are headers followed by holes, so
that the tree takes 0.2 GB. A file server adds its own time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from sphere_files import header

SEGMENTS = 264333  # of 4870 sides
RATE = 8000
CALL_S = 390  # with silence
WORDS = 20000
MARKED = 0.05  # share of the words
WORDS_A_SEGMENT = 11.5  # 3.1 million words
FISHER_LINES = 190  # per conversation: 2.2 million in 11,699
MARKS = ("[laughter-{}]", "{}_1", "[{}/or]", "-[a]{}", "{}[b]-", "{{{}}}")


def make_texts(
    random: np.random.Generator, count: int, mean: float, marks: float
) -> list[str]:
    """Segments of words, some of them marked; a tenth is ``uh-huh``."""
    lengths = 1 + random.geometric(1 / mean, count)
    ranks = np.minimum(random.zipf(1.25, int(lengths.sum())), WORDS) - 1
    marked = random.random(len(ranks)) < marks
    words = [f"w{number}" for number in range(WORDS)]
    texts, place = [], 0
    for number, length in enumerate(lengths):
        chosen = [
            MARKS[ranks[each] % len(MARKS)].format(words[ranks[each]])
            if marked[each]
            else words[ranks[each]]
            for each in range(place, place + length)
        ]
        texts.append("uh-huh" if number % 10 == 0 else " ".join(chosen))
        place += length
    return texts


def make_switchboard(folder: Path, sides: int) -> None:
    """Recordings with holes, and transcripts with silence between the segments."""
    segments = SEGMENTS * sides // 4870
    texts = make_texts(np.random.default_rng(0), segments, WORDS_A_SEGMENT, MARKED)
    frames = CALL_S * RATE
    head = header({
        "channel_count": 2, "sample_count": frames, "sample_rate": RATE, "sample_n_bytes": 1,
        "sample_byte_format": "1", "sample_coding": "ulaw",
    })  # fmt: skip
    share = np.array_split(np.arange(segments), sides)
    for side, chosen in enumerate(share):
        conversation, letter = f"{2001 + side // 2:04d}", "AB"[side % 2]
        if letter == "A":
            audio = folder / f"swb1_d{1 + side // 1400}/data/sw0{conversation}.sph"
            audio.parent.mkdir(parents=True, exist_ok=True)
            audio.write_bytes(head)
            os.truncate(audio, 1024 + 2 * frames)
        lines, start, step = [], 0.0, CALL_S / (2 * len(chosen) + 1)
        for text in ["[silence]", *(x for number in chosen for x in (texts[number], "[silence]"))]:
            name = f"sw{conversation}{letter}-ms98-a-{len(lines) + 1:04d}"
            lines.append(f"{name} {start:.6f} {start + step:.6f} {text}\n")
            start += step
        name = f"{conversation[:2]}/{conversation}/sw{conversation}{letter}-ms98-a-trans.text"
        path = folder / "swb_ms98_transcriptions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
    dictionary = "".join(f"w{number} w ah {number % 40}\n" for number in range(WORDS))
    (folder / "swb_ms98_transcriptions/sw-ms98-dict.text").write_text(dictionary)


def make_fisher(folder: Path, files: int) -> None:
    """Transcripts of conversations; every file has the same words."""
    texts = make_texts(np.random.default_rng(1), FISHER_LINES, 9, marks=0)
    lines = "".join(
        f"{2 * number}.38 {2 * number + 1}.78 {'AB'[number % 2]}: {text}\n"
        for number, text in enumerate(texts)
    )
    for number in range(1, files + 1):
        path = folder / f"data/trans/{number // 100:03d}/fe_03_{number:05d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# fe_03_{number:05d}.sph\n# Transcribed by a program\n\n{lines}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, default=4870, help="of Switchboard")
    parser.add_argument("--fisher-files", type=int, default=11699, help="0: without Fisher")
    arguments = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_switchboard(folder / "swb1", arguments.sides)
        dev_utterances = max(1, 4000 * arguments.sides // 4870)
        command = [sys.executable, str(ROOT / "egs/swbd/local/prepare_swbd.py"), "--swbd",
                   f"{folder}/swb1", "--outdir", f"{folder}/data", "--sets", "train_nodup",
                   "train_dev", "--dev-utterances", str(dev_utterances)]  # fmt: skip
        if arguments.fisher_files:
            make_fisher(folder / "fisher", arguments.fisher_files)
            command += ["--fisher", f"{folder}/fisher"]
        start = time.monotonic()
        subprocess.run(command, env=environment, check=True)
        wall = time.monotonic() - start
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"stage 0: {usage.ru_utime + usage.ru_stime:.1f} s of processor time, {wall:.1f} s passed, "
        f"{usage.ru_maxrss / 1024:.0f} MB"
    )


if __name__ == "__main__":
    main()
