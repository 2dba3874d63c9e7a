"""Time and memory of stage 2 and the start of training, with as many utterances as Switchboard.

    python bench/bench_manifest.py [--utterances 600000] [--token-type bpe]

The tables are synthetic (words by Zipf's law, durations by a gamma distribution with
Switchboard's mean of 4 s); one real archive stands for all features. Every step is a
separate process, as in a recipe.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kaldiio
import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from cascade_asr.data.features.cmvn import Statistics, write_global_statistics  # noqa: E402

MEAN_FRAMES = 400
FRAMES_A_WORD = 30
DIMENSION = 80
WORDS = 30_000
STEP = """
import json, resource, runpy, sys, time
began = time.process_time()
module, *sys.argv[1:] = json.loads(sys.argv[1])
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as end:
    if end.code:
        raise
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.process_time() - began, peak]), file=sys.stderr)
"""


def make_dump(folder: Path, utterances: int, seed: int = 0) -> None:
    """Make the output of stage 1, with a dev set of 4000 utterances."""
    random = np.random.default_rng(seed)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(random.choice(letters, 1 + random.poisson(4))) for _ in range(WORDS)]
    features = random.normal(size=(MEAN_FRAMES, DIMENSION)).astype(np.float32)
    for name, count in (("train", utterances), ("dev", 4000)):
        directory = folder / name
        directory.mkdir(parents=True)
        with kaldiio.WriteHelper(f"ark,scp:{directory}/one.ark,{directory}/one.scp") as writer:
            writer("one", features)
        entry = (directory / "one.scp").read_text().split()[1]
        statistics = Statistics()
        statistics.add(features)
        write_global_statistics(directory / "cmvn.npz", statistics)
        frames = np.clip(random.gamma(1.2, MEAN_FRAMES / 1.2, count), 20, 1999).astype(int)
        files = {
            table: (directory / table).open("w")
            for table in ("text", "utt2spk", "utt2num_frames", "feats.scp")
        }
        for index, length in enumerate(frames.tolist()):
            side = f"sw{2001 + index // 110:05d}-A"
            utterance = f"{side}_{index % 110 * 500:06d}-{index % 110 * 500 + length:06d}"
            chosen = np.minimum(random.zipf(1.3, max(1, length // FRAMES_A_WORD)) - 1, WORDS - 1)
            line = " ".join(words[each] for each in chosen.tolist())
            values = {"text": line, "utt2spk": side, "utt2num_frames": length, "feats.scp": entry}
            for table, value in values.items():
                files[table].write(f"{utterance} {value}\n")
        for stream in files.values():
            stream.close()


def run(title: str, folder: Path, *command: str) -> float:
    """Run a module as its own process; print and return its processor time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STEP, json.dumps(command)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{title}: status {done.returncode}\n{done.stderr[-2000:]}")
    seconds, peak = json.loads(done.stderr.splitlines()[-1])
    wall = time.monotonic() - began
    print(f"{title:44} {wall:6.1f} s wall {seconds:6.1f} s CPU {peak:7.0f} MB", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=600_000)
    parser.add_argument("--token-type", choices=("char", "bpe"), default="bpe")
    parser.add_argument("--vocabulary-size", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dump(folder / "dump", arguments.utterances)
        (folder / "train.yaml").write_text(
            (ROOT / "egs/swbd/conf/train_transformer.yaml").read_text()
        )
        (folder / "cascade.yaml").write_text(yaml.safe_dump({}))
        total = run(
            "stage 2: tokens and manifests", folder, "cascade_asr.cli.tokens", "dump",
            "--train-set", "train", "--token-type", arguments.token_type, "--vocabulary-size",
            str(arguments.vocabulary_size), "--min-frames", "11", "--max-frames", "1999",
            "--max-characters", "399", "train", "dev",
        )  # fmt: skip
        total += run(
            "stage 2: configurations, model, batches", folder, "cascade_asr.cli.training",
            "check", "--exp", "exp/x", "--dump", "dump", "--train-set", "train", "--dev-set",
            "dev", "--train-config", "train.yaml", "--cascade-config", "cascade.yaml",
        )  # fmt: skip
        print(f"{'together':44} {'':13} {total:6.1f} s CPU")


if __name__ == "__main__":
    main()
