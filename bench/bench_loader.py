"""How fast batches are read, for comparison with training steps.

    python bench/bench_loader.py [--utterances 2000] [--workers 0,1]

Utterances of 200 to 400 frames of 80 features in one float32 archive, in batches of about
8 x 400 frames. The second epoch is timed, when the archive is in the system's memory; the
time per batch is what a training step with as many frames must take for loading to keep up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import kaldiio
import numpy as np

from cascade_asr.data.batches import BatchOptions, plan_batches
from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.data.loader import BatchLoader, UtteranceDataset
from cascade_asr.data.manifest import read_manifest
from cascade_asr.data.sets import write_set
from cascade_asr.data.tokens import write_token_directory

DIMENSION = 80
TEXT = "the quick brown fox jumps over the lazy dog"


def make_set(folder: Path, utterances: int) -> Path:
    """Archive, tables and manifest of one set."""
    random = np.random.default_rng(0)
    directory = folder / "train"
    directory.mkdir()
    names = [f"s-{index:06d}" for index in range(utterances)]
    frames = random.integers(200, 401, utterances)
    with kaldiio.WriteHelper(f"ark,scp:{directory}/feats.ark,{directory}/feats.scp") as writer:
        for name, count in zip(names, frames.tolist(), strict=True):
            writer(name, random.normal(size=(count, DIMENSION)).astype(np.float32))
    write_table(directory / "text", dict.fromkeys(names, TEXT))
    write_table(directory / "utt2spk", dict.fromkeys(names, "s"))
    write_table(
        directory / "utt2num_frames", dict(zip(names, map(str, frames.tolist()), strict=True))
    )
    write_set(directory, write_token_directory(folder / "tokens", [TEXT], "char"), required=False)
    return directory


def main() -> None:
    """Print one line per number of reading processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--utterances", type=int, default=2000)
    parser.add_argument("--workers", default="0,1", help="reading processes (num_workers)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        manifest = read_manifest(make_set(Path(name), options.utterances) / "manifest.tsv")
        plan = plan_batches(
            manifest.frames,
            manifest.token_lengths,
            DIMENSION,
            BatchOptions("numel", batch_bins=8 * 400 * DIMENSION),
        )
        for workers in map(int, options.workers.split(",")):
            loader = BatchLoader(UtteranceDataset(manifest, DIMENSION), plan, 1, workers)
            sum(len(batch) for batch in loader.epoch(1))
            began = time.perf_counter()
            frames = sum(batch.frames for batch in loader.epoch(2))
            seconds = time.perf_counter() - began
            print(
                f"{workers} processes: {len(manifest) / seconds:.0f} utterances/s, "
                f"{frames / seconds:.0f} frames/s, {1000 * seconds / len(plan):.1f} ms a batch",
                flush=True,
            )


if __name__ == "__main__":
    main()
