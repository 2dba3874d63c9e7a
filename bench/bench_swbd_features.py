"""Stage 1 of egs/swbd, as recorded and at another speed: processor time, projected.

    python bench/bench_swbd_features.py [--sides 8]

Features of some conversation sides of 385 s with 54 segments of 4.3 s each, which are
Switchboard's means, in one process; the start of Python is subtracted. Times are processor
times, which change little on a busy machine; a file server adds its own time.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from processor_time import measured

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from sphere_files import sphere_bytes
from swbd_tree import ulaw

RATE = 8000
CALL_S = 385
SEGMENTS, SEGMENT_S = 54, 4.26  # 264,333 of 313 h, by 4870 sides
SIDES = 4870
SPEEDS = 3
CORES = 16


def make_corpus(folder: Path, conversations: int) -> None:
    """Links to one recording, and transcripts, in LDC's layout."""
    random = np.random.default_rng(0)
    samples = np.cumsum(random.normal(0, 60, (CALL_S * RATE, 2)), axis=0)
    samples = np.clip(samples - samples.mean(axis=0), -20000, 20000).astype(np.int16)
    one = folder / "one.sph"
    one.write_bytes(sphere_bytes(ulaw(samples), RATE, "ulaw"))
    (folder / "swbd/data").mkdir(parents=True)
    for number in range(2001, 2001 + conversations):
        os.link(one, folder / f"swbd/data/sw0{number}.sph")
        for side in "AB":
            name = f"sw{number}{side}-ms98-a"
            starts = [segment * CALL_S / SEGMENTS for segment in range(SEGMENTS)]
            lines = (f"{name}-{i:04d} {start:.6f} {start + SEGMENT_S:.6f} so i went home {i}\n"
                     for i, start in enumerate(starts))  # fmt: skip
            path = folder / f"swbd/swb_ms98_transcriptions/{name[2:4]}/{number}/{name}-trans.text"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines))


def take_sides(data: Path, part: Path, sides: int) -> None:
    """The first recordings of a data folder with all their segments."""
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    recordings = (data / "wav.scp").read_text().splitlines(keepends=True)[:sides]
    (part / "wav.scp").write_text("".join(recordings))
    names = {line.split()[0] for line in recordings}
    segments = (data / "segments").read_text().splitlines(keepends=True)
    segments = [line for line in segments if line.split()[1] in names]
    (part / "segments").write_text("".join(segments))
    utterances = {line.split()[0] for line in segments}
    for table in ("text", "utt2spk"):
        lines = (data / table).read_text().splitlines(keepends=True)
        (part / table).write_text("".join(each for each in lines if each.split()[0] in utterances))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sides", type=int, default=8, help="whose features are computed")
    sides = parser.parse_args().sides
    path = f"{Path(sys.executable).parent}:{ROOT}/utils:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LC_ALL": "C",
                   "PATH": path}  # fmt: skip
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        part, dump = folder / "part", folder / "dump"
        make_corpus(folder, sides)
        data = {"as recorded": folder / "data/train_nodup", "at another speed": folder / "data/sp"}

        def run(*words: str | Path) -> None:
            subprocess.run(list(map(str, words)), env=environment, check=True)

        run(sys.executable, ROOT / "egs/swbd/local/prepare_swbd.py", "--swbd", folder / "swbd",
            "--outdir", folder / "data", "--sets", "train_nodup", "--dev-utterances", 1,
            "--max-repeats", 10**6)  # fmt: skip
        run("perturb_data_dir_speed.sh", 0.9, *data.values())
        for kind, source in data.items():
            for count in (1, 1 + sides):
                take_sides(source, part, count)
                with measured(f"features of {count} sides {kind}", results):
                    run(sys.executable, "-m", "cascade_asr.cli.fbank", "--config",
                        ROOT / "egs/swbd/conf/fbank.conf", part, dump / "fbank.1")  # fmt: skip
                with measured(f"statistics of {count} sides {kind}", results):
                    run(sys.executable, "-m", "cascade_asr.cli.dump", part, dump, "--jobs", 1)
            bytes_a_side = (dump / "fbank.1.ark").stat().st_size / count
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print_projection(results, sides, bytes_a_side)
    print(f"largest process: {peak_mb:.0f} MB")


def print_projection(results: dict[str, float], sides: int, bytes_a_side: float) -> None:
    """Print the projected time of stage 1 for the whole corpus."""

    def a_side(what: str) -> float:
        few, many = (results[what.format(count)] for count in (1, 1 + sides))
        return (many - few) / sides

    plain = a_side("features of {} sides as recorded")
    other = a_side("features of {} sides at another speed")
    statistics = a_side("statistics of {} sides as recorded")
    total_s = SIDES * (plain + (SPEEDS - 1) * other)
    print(f"features: {plain:.2f} s a side as recorded, {other:.2f} s at another speed")
    print(
        f"{SIDES} sides at {SPEEDS} speeds: {total_s / 3600:.1f} h of processor time, "
        f"{total_s / CORES / 60:.0f} minutes on {CORES} processors; then statistics in one process, "
        f"{SIDES * SPEEDS * statistics / 60:.0f} minutes; "
        f"{SIDES * SPEEDS * bytes_a_side / 1e9:.0f} GB of features"
    )


if __name__ == "__main__":
    main()
