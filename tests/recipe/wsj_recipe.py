"""The recipe egs/wsj as a user calls it, with a network of seconds."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import wsj_expected as expected
from conftest import ROOT, copy_recipe, environment, write_yaml

TINY = {
    "encoder": "vgg_rnn",
    "encoder_conf": {"num_layers": 2, "hidden_size": 16, "output_size": 16},
    "decoder": "rnn",
    "decoder_conf": {
        "hidden_size": 16,
        "att_conf": {"atype": "location", "adim": 16, "aconv_chans": 2, "aconv_filts": 5},
    },
    "model_conf": {"ctc_weight": 0.5},
    "init": "chainer",
    "normalize": "global_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_type": "sorted",
    "batch_size": 6,
    "max_epoch": 2,
    "keep_nbest_models": 1,
    "num_workers": 0,
    "use_tensorboard": False,
}


TINY_LM = {
    "lm_conf": {"embedding_size": 16, "hidden_size": 32, "num_layers": 1, "output_size": 32,
                "tie_weights": False, "input_dropout": 0.0, "output_dropout": 0.0},
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_size": 4,
    "bptt": 40,
    "max_epoch": 3,
}  # fmt: skip


def make_recipe(folder: Path) -> Path:
    """The project with its own copy of egs/wsj, with small configurations beside its own."""
    recipe = copy_recipe(folder, "wsj")
    write_yaml(recipe / "tiny.yaml", TINY)
    write_yaml(recipe / "tiny_lm.yaml", TINY_LM)
    write_yaml(recipe / "cuts.yaml", {"cuts": ["decoder"], "train": {"max_epoch": 1}})
    write_yaml(recipe / "fast.yaml", {"beam_size": 2, "ctc_weight": 0.5, "maxlenratio": 0.1})
    return recipe


def run(recipe: Path, *options: str) -> subprocess.CompletedProcess:
    """``./run.sh`` with the small configurations."""
    return call(recipe, "./run.sh", "--train-config", "tiny.yaml", "--cascade-config", "cuts.yaml",
                "--decode-config", "fast.yaml", "--nj", "1", "--ngpu", "0", *options)  # fmt: skip


def call(recipe: Path, *words: str) -> subprocess.CompletedProcess:
    """A command in the recipe's folder."""
    return subprocess.run(
        words, cwd=recipe, env=environment(), capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip


def prepare(outdir: Path, *options: str) -> subprocess.CompletedProcess:
    """Stage 0 alone."""
    return subprocess.run(
        [sys.executable, str(ROOT / "egs/wsj/local/prepare_wsj.py"), "--outdir", str(outdir),
         *options],
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def rows(path: Path) -> dict[str, str]:
    pairs = (line.split(" ", 1) for line in path.read_text().splitlines())
    return {pair[0]: pair[1] if pair[1:] else "" for pair in pairs}


def check_data(data: Path, name: str) -> None:
    """A data folder against what was written by hand."""
    table = expected.table(name)
    assert len(table) == expected.COUNTS[name]
    assert rows(data / name / "text") == {key: text for key, (_, text) in table.items()}
    assert rows(data / name / "utt2spk") == {key: speaker for key, (speaker, _) in table.items()}
    speakers: dict[str, list[str]] = {}
    for key, (speaker, _) in table.items():
        speakers.setdefault(speaker, []).append(key)
    assert rows(data / name / "spk2utt") == {key: " ".join(ids) for key, ids in speakers.items()}
    gender = data / name / "spk2gender"
    assert (gender.read_text() if gender.exists() else None) == expected.GENDERS.get(name)
    audio = rows(data / name / "wav.scp")
    assert list(audio) == list(table)
    for key, entry in audio.items():
        *command, path, bar = shlex.split(entry)
        assert (" ".join(command), bar) == ("python -m cascade_asr.cli.sphere", "|")
        assert Path(path).name.lower() == f"{key}.wv1" and Path(path).is_file()
