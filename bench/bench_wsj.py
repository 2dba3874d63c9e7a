"""Stages 0 and 1 of egs/wsj on a corpus of realistic size: processor time, projected.

    python bench/bench_wsj.py [--files 37416] [--extracted 150]

Stage 0 runs on discs with as many utterances as LDC's (all are links to one file of
7.8 s, WSJ's mean). Stage 1 runs on some of them, in one process. Times are processor
times, which change little on a busy machine; a file server adds its own time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from processor_time import measured

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from sphere_files import write_sphere

RATE = 16000
MEAN_S = 7.8  # 81 h in 37,416 utterances
CORES = 16
UTTERANCES_A_SPEAKER = 132  # 37,416 by 283 speakers
WORDS = "THE COMPANY SAID IT EXPECTS TO REPORT A LOSS FOR THE THIRD QUARTER OF THIS YEAR"


def make_discs(folder: Path, files: int) -> None:
    """Links to one shortened recording in LDC's layout, with index and transcripts."""
    random = np.random.default_rng(0)
    noise = np.cumsum(random.normal(0, 60, int(MEAN_S * RATE)))
    samples = np.clip(noise - noise.mean(), -20000, 20000).astype(np.int16)
    audio = write_sphere(folder / "one.wv1", samples, RATE, "pcm,embedded-shorten-v2.00")
    second = write_sphere(folder / "one.wv2", samples[:1], RATE)
    discs = folder / "discs"
    index = []
    for number in range(files):
        speaker = f"{100 + number // UTTERANCES_A_SPEAKER:03d}"
        utterance = f"{speaker}c{number // 50 % 100:02d}{number % 50:02d}"
        path = f"wsj0/si_tr_s/{speaker}/{utterance}.wv1"
        link = discs / "11-1.1" / path
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(audio, link)
        os.link(second, link.with_suffix(".wv2"))
        dots = discs / f"11-10.1/wsj0/transcrp/dots/si_tr_s/{speaker}/{utterance[:6]}00.dot"
        dots.parent.mkdir(parents=True, exist_ok=True)
        with dots.open("a") as stream:
            stream.write(f"{WORDS} ({utterance})\n")
        index.append(f"11_1_1:{path}\n")
    path = discs / "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx"
    path.parent.mkdir(parents=True)
    path.write_text("".join(index))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--files", type=int, default=37416, help="utterances of stage 0")
    parser.add_argument("--extracted", type=int, default=150, help="utterances of stage 1")
    arguments = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LC_ALL": "C"}
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_discs(folder, arguments.files)
        prepare = [sys.executable, str(ROOT / "egs/wsj/local/prepare_wsj.py"), "--wsj",
                   f"{folder}/discs", "--outdir", f"{folder}/data", "--sets", "train_si84"]  # fmt: skip
        with measured("stage 0", results):
            subprocess.run(prepare, env=environment, check=True)
        part, dump = folder / "part", folder / "dump"
        part.mkdir()
        fbank = [sys.executable, "-m", "cascade_asr.cli.fbank", "--config",
                 str(ROOT / "egs/wsj/conf/fbank.conf"), str(part), str(dump / "fbank.1")]  # fmt: skip
        for count in (1, 1 + arguments.extracted):
            for table in ("wav.scp", "text", "utt2spk"):
                lines = (folder / f"data/train_si84/{table}").read_text().splitlines(keepends=True)
                (part / table).write_text("".join(lines[:count]))
            with measured(f"stage 1, features of {count}", results):
                subprocess.run(fbank, env=environment, check=True)
            join = [sys.executable, "-m", "cascade_asr.cli.dump", str(part), str(dump)]
            with measured(f"stage 1, statistics of {count}", results):
                subprocess.run([*join, "--jobs", "1"], env=environment, check=True)
        bytes_each = (dump / "fbank.1.ark").stat().st_size / (1 + arguments.extracted)
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    _, *rest = results.values()
    features, statistics = ((rest[i + 2] - rest[i]) / arguments.extracted for i in (0, 1))
    minutes = (features * 37416 / CORES + statistics * 37416) / 60  # statistics: one process
    print(f"stage 0: {1e6 * results['stage 0'] / arguments.files:.0f} us an utterance")
    print(
        f"stage 1: {1000 * features:.0f} ms an utterance, then {1000 * statistics:.1f} ms in one "
        f"process; 37416 on {CORES} cores: {minutes:.1f} minutes; "
        f"{bytes_each * 37416 / 1e9:.2f} GB of features"
    )
    print(f"largest process: {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
