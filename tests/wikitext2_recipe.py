"""The recipe egs/wikitext2 with a network that trains in seconds, in a separate copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from conftest import copy_recipe, environment, write_yaml

TINY = {
    "lm_conf": {
        "embedding_size": 12, "hidden_size": 16, "num_layers": 2, "embedding_dropout": 0.05,
        "input_dropout": 0.1, "hidden_dropout": 0.1, "output_dropout": 0.1, "weight_drop": 0.1,
    },
    "batch_size": 4, "bptt": 10, "grad_clip": 1.0, "max_epoch": 5, "log_interval": 20,
    "optim_conf": {"lr": 6.0, "nonmonotone_interval": 1}, "use_tensorboard": False,
}  # fmt: skip
CASCADE = {"tying": "untie", "cuts": ["softmax", "rnn.1"], "train": {"max_epoch": 1}}


def make_corpus(folder: Path, names: tuple[str, str, str], lines: int = 400) -> Path:
    """Sentences in which each word follows from the previous one, and blank lines."""
    folder.mkdir()
    random = np.random.default_rng(1)
    words = ["the", "cat", "<unk>", "sat", "on", "a", "mat", "today"]
    for name, count in zip(names, (lines, lines // 4, lines // 4), strict=True):
        text = []
        for _ in range(count):
            start, length = int(random.integers(8)), int(random.integers(0, 12))
            text.append(" ".join(words[(start + 3 * n) % 8] for n in range(length)))
        (folder / name).write_text("".join(f" {line} \n" for line in text))
    return folder


def make_recipe(folder: Path) -> Path:
    """The project with its own copy of egs/wikitext2, with small configurations."""
    directory = copy_recipe(folder, "wikitext2")
    write_yaml(directory / "tiny.yaml", TINY)
    write_yaml(directory / "cascade.yaml", CASCADE)
    write_yaml(directory / "evaluate.yaml", {"batch_size": 3, "cache_window": 20})
    return directory


def run(recipe: Path, *arguments: str | Path, **changes: str) -> subprocess.CompletedProcess:
    """``./run.sh`` with the small configurations; ``changes`` are of the environment."""
    return subprocess.run(
        [
            "./run.sh", "--train-config", "tiny.yaml", "--cascade-config", "cascade.yaml",
            "--evaluate-config", "evaluate.yaml", "--ngpu", "0", "--seed", "5",
            *map(str, arguments),
        ],
        cwd=recipe, capture_output=True, text=True, env=environment(**changes), timeout=900,
        check=False,
    )  # fmt: skip
