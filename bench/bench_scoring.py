"""Time and memory of scoring: sclite, jiwer and this package in one run.

    python bench/bench_scoring.py [--utterances 50000] [--words 20] [--repeat 3]

All three score the same random set with ASR-like errors (20% of the words).
sclite and this package write all reports (.sys .raw .pra .dtl); jiwer only
counts. The tools run in turn, each in a separate process, so that the machine's
load affects all of them alike; the best repetition counts. CPU seconds are user
and system time of the process, peak memory is its maximum resident set.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCLITE = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
ERROR_RATE, SPEAKERS, VOCABULARY = 0.2, 100, 20_000
JIWER = """
import sys, jiwer
def read(path):
    return [line.rsplit("(", 1)[0].strip() for line in open(path, encoding="utf-8")]
output = jiwer.process_words(read(sys.argv[1]), read(sys.argv[2]))
print(output.substitutions, output.deletions, output.insertions)
"""


def write_set(folder: Path, utterances: int, words: int) -> None:
    """Write ref.trn and hyp.trn with Zipf-like words, the same on every machine."""
    draw = random.Random(0)
    vocabulary = [f"w{number}" for number in range(VOCABULARY)]
    weights = [1.0 / (rank + 1) for rank in range(VOCABULARY)]
    with (folder / "ref.trn").open("w") as ref, (folder / "hyp.trn").open("w") as hyp:
        for number in range(utterances):
            reference = draw.choices(vocabulary, weights, k=words)
            hypothesis: list[str] = []
            for word in reference:
                kind = draw.random() / ERROR_RATE
                if kind < 0.2:
                    continue
                hypothesis.append(draw.choice(vocabulary) if kind < 0.8 else word)
                if 0.8 <= kind < 1.0:
                    hypothesis.append(draw.choices(vocabulary, weights)[0])
            identifier = f"(spk{number % SPEAKERS:03d}-{number:06d})"
            ref.write(" ".join(reference) + f" {identifier}\n")
            hyp.write(" ".join(hypothesis) + f" {identifier}\n")


def run(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Run a command to its end; returns seconds, CPU seconds and peak memory in MB."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with status {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def commands() -> dict[str, list[str]]:
    """The commands to compare."""
    sclite = [SCLITE, "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm", "-O", "real"]
    ours = [sys.executable, "-m", "cascade_asr.cli.score", "--outdir", "ours"]
    return {
        "sclite": [*sclite, "-o", "all", "dtl", "-f", "0"],
        "jiwer": [sys.executable, "-c", JIWER, "ref.trn", "hyp.trn"],
        "ours": [*ours, "--ref", "ref.trn", "--hyp", "hyp.trn", "--title", "hyp.trn"],
    }


def main() -> None:
    """Measure, check that the reports agree, and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--utterances", type=int, default=50_000)
    options.add_argument("--words", type=int, default=20, help="per utterance")
    options.add_argument("--repeat", type=int, default=3)
    arguments = options.parse_args()
    if SCLITE is None:
        raise SystemExit("sclite not found; apt-get install sctk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, arguments.utterances, arguments.words)
        (folder / "real").mkdir()
        measured: dict[str, list[tuple[float, float, float]]] = {tool: [] for tool in commands()}
        for _ in range(arguments.repeat):
            for tool, command in commands().items():
                measured[tool].append(run(command, folder))
        for suffix in ("sys", "raw", "pra", "dtl"):
            real = (folder / "real" / f"hyp.trn.{suffix}").read_bytes()
            if real != (folder / "ours" / f"hyp.trn.{suffix}").read_bytes():
                raise SystemExit(f"the .{suffix} reports differ")
    best = {tool: [min(run[i] for run in runs) for i in (0, 1)] for tool, runs in measured.items()}
    print(f"{arguments.utterances} utterances of {arguments.words} words, reports equal")
    print("tool     seconds  of sclite  CPU seconds  of sclite  peak MB")
    for tool, runs in measured.items():
        seconds, cpu = best[tool]
        shares = seconds / best["sclite"][0], cpu / best["sclite"][1]
        peak = max(run[2] for run in runs)
        print(f"{tool:8} {seconds:7.2f} {shares[0]:10.2f} {cpu:12.2f} {shares[1]:10.2f} {peak:8.0f}")


if __name__ == "__main__":
    main()
