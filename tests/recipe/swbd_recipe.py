"""The recipe egs/swbd as a user calls it, with a network of seconds."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import copy_recipe, environment, write_yaml

TINY = {
    "encoder": "transformer",
    "encoder_conf": {"output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 2},
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 64, "num_blocks": 1},
    "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1},
    "normalize": "global_mvn",
    "specaug": "specaug",
    "specaug_conf": {"apply_time_warp": True, "time_warp_window": 5,
                     "apply_freq_mask": True, "freq_mask_width_range": [0, 10],
                     "apply_time_mask": True, "time_mask_width_range": [0, 4]},
    "optim": "adam",
    "optim_conf": {"lr": 2.0e-3},
    "scheduler": "warmuplr",
    "scheduler_conf": {"warmup_steps": 20},
    "best_model_criterion": [["valid", "acc", "max"]],
    "keep_nbest_models": 2,
    "accum_grad": 2,
    "precision": "bf16-mixed",
    "max_epoch": 3,
    "batch_type": "numel",
    "batch_bins": 100_000,
    "num_workers": 0,
    "use_tensorboard": False,
}  # fmt: skip

TINY_LM = {
    "lm_conf": {"embedding_size": 16, "hidden_size": 32, "num_layers": 2, "output_size": 32,
                "tie_weights": False, "input_dropout": 0.0, "output_dropout": 0.0},
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_size": 4,
    "bptt": 40,
    "max_epoch": 3,
}  # fmt: skip


def make_recipe(folder: Path) -> Path:
    """The project with its own copy of egs/swbd, with small configurations beside its own."""
    recipe = copy_recipe(folder, "swbd")
    write_yaml(recipe / "tiny.yaml", TINY)
    write_yaml(recipe / "tiny_lm.yaml", TINY_LM)
    write_yaml(recipe / "cuts.yaml", {"cuts": ["encoder.block1"], "train": {"max_epoch": 1}})
    write_yaml(recipe / "fast.yaml", {"beam_size": 2, "ctc_weight": 0.5, "maxlenratio": 0.3})
    return recipe


def run(recipe: Path, *options: str) -> subprocess.CompletedProcess:
    """``./run.sh`` with the small configurations."""
    return call(recipe, "./run.sh", "--train-config", "tiny.yaml", "--cascade-config", "cuts.yaml",
                "--decode-config", "fast.yaml", "--vocabulary-size", "60",
                "--dev-utterances", "20", "--max-repeats", "6",
                "--nj", "1", "--ngpu", "0", *options)  # fmt: skip


def call(recipe: Path, *words: str) -> subprocess.CompletedProcess:
    """A command in the recipe's folder."""
    return subprocess.run(
        words, cwd=recipe, env=environment(), capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
