"""What several tests share: a corpus of seconds, and commands run as users run them."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import forked_commands
import kaldiio
import numpy as np
import pytest
import yaml

from cascade_asr.data.features.cmvn import (
    FeatureStatistics,
    write_global_statistics,
    write_speaker_statistics,
)
from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.data.sets import write_set
from cascade_asr.data.tokens import write_token_directory

ROOT = Path(__file__).resolve().parent.parent
# A shell starts background jobs with SIGINT ignored, and so would be all that we start:
# no Ctrl-C could be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
LETTERS = "abcd"
DIMENSION = 8

TINY_CONFIG = {
    "encoder": "rnn",
    "encoder_conf": {
        "num_layers": 2,
        "hidden_size": 24,
        "output_size": 24,
        "subsample": [1, 2],
        "dropout": 0.1,
    },
    "decoder": "rnn",
    "decoder_conf": {
        "hidden_size": 24,
        "dropout": 0.1,
        "att_conf": {"atype": "location", "adim": 16, "aconv_chans": 2, "aconv_filts": 4},
    },
    "model_conf": {"ctc_weight": 0.5},
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.02},
    "init": "chainer",
    "batch_type": "sorted",
    "batch_size": 4,
    "max_epoch": 2,
    "keep_nbest_models": 2,
    "num_workers": 0,
    "seed": 3,
    "use_tensorboard": False,
    "log_interval": 1,
}


def make_dump(folder: Path, train: int = 60, dev: int = 12, seed: int = 0) -> Path:
    """A dump folder of a language that can be learnt in seconds.

    Each letter is six frames of its own pattern with a little noise; an
    utterance is two or three words of two or three letters.
    """
    random = np.random.default_rng(seed)
    patterns = {letter: random.normal(size=DIMENSION) for letter in LETTERS + " "}
    for name, count in (("train", train), ("dev", dev), ("test", dev)):
        directory = folder / name
        directory.mkdir(parents=True)
        texts, frames, total = {}, {}, FeatureStatistics()
        speakers: dict[str, FeatureStatistics] = {}
        with kaldiio.WriteHelper(f"ark,scp:{directory}/feats.ark,{directory}/raw.scp") as writer:
            for index in range(count):
                speaker = f"s{index % 2}"
                utterance = f"{speaker}-{name}{index:03d}"
                words = [
                    "".join(random.choice(list(LETTERS), random.integers(2, 4)))
                    for _ in range(random.integers(2, 4))
                ]
                text = " ".join(words)
                features = np.repeat([patterns[letter] for letter in text], 6, axis=0)
                features = features + 0.1 * random.normal(size=features.shape)
                writer(utterance, features.astype(np.float32))
                texts[utterance], frames[utterance] = text, str(len(features))
                total.add(features)
                speakers.setdefault(speaker, FeatureStatistics()).add(features)
        entries = dict(line.split() for line in (directory / "raw.scp").read_text().splitlines())
        order = sorted(texts)
        write_table(directory / "feats.scp", {name: entries[name] for name in order})
        write_table(directory / "text", {name: texts[name] for name in order})
        write_table(directory / "utt2spk", {name: name.split("-")[0] for name in order})
        write_table(directory / "utt2num_frames", {name: frames[name] for name in order})
        write_global_statistics(directory / "cmvn.npz", total)
        write_speaker_statistics(directory / "cmvn_speaker.ark", speakers)
    texts = [line.split(None, 1)[1] for line in (folder / "train/text").read_text().splitlines()]
    tokenizer = write_token_directory(folder / "tokens", texts, "char")
    for name in ("train", "dev", "test"):
        write_set(folder / name, tokenizer, required=name != "train")
    return folder


def run_here(name: str, *words: object) -> None:
    """Run ``python -m cascade_asr.cli.NAME`` in this process; its errors are raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, words)])
        patch.setattr("cascade_asr.command.run", lambda main: main())
        runpy.run_module(f"cascade_asr.cli.{name}", run_name="__main__")


@pytest.fixture
def run_command():
    """`run_here`, for tests that need nothing else of this file."""
    return run_here


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump folder that tests only read."""
    return make_dump(tmp_path_factory.mktemp("corpus") / "dump")


def write_yaml(path: Path, content: dict) -> Path:
    """Write a configuration."""
    path.write_text(yaml.safe_dump(content))
    return path


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command: one thread, our package, no colours."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C",
        "PATH": f"{Path(sys.executable).parent}:{ROOT}/utils:{os.environ['PATH']}",
        **changes,
    }


def command(
    *arguments: str | Path, cwd: Path | None = None, stdin: IO[bytes] | None = None
) -> subprocess.CompletedProcess:
    """Run a command of the package to its end, as ``python -m``."""
    if stdin is not None:
        return subprocess.run(
            [sys.executable, "-m", *map(str, arguments)], env=environment(), cwd=cwd, stdin=stdin,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    return forked_commands.run(list(map(str, arguments)), environment(), cwd, timeout=300)


def training_arguments(
    what: str, folder: Path, dump: Path, config: dict, cascade: dict | None = None, *more: str
) -> list[str]:
    """Arguments of ``cascade_asr.cli.training`` for an experiment in ``folder/exp``."""
    arguments = [
        "cascade_asr.cli.training", what,
        "--exp", str(folder / "exp"), "--dump", str(dump),
        "--train-set", "train", "--dev-set", "dev", "--ngpu", "0",
        "--train-config", str(write_yaml(folder / "train.yaml", config)),
    ]  # fmt: skip
    if cascade is not None:
        arguments += ["--cascade-config", str(write_yaml(folder / "cascade.yaml", cascade))]
    return [*arguments, *more]


def link_project(folder: Path) -> None:
    """Make a folder look like the project's root to recipes in it."""
    for name in ("cascade_asr", "utils", "conf", "path.sh"):
        (folder / name).symlink_to(ROOT / name)


def copy_recipe(folder: Path, name: str) -> Path:
    """The project with its own copy of ``egs/NAME``, so that the user's is not touched."""
    link_project(folder)
    recipe = folder / "egs" / name
    ignored = shutil.ignore_patterns("data", "dump", "exp", "downloads", "__pycache__")
    shutil.copytree(ROOT / "egs" / name, recipe, ignore=ignored)
    return recipe
