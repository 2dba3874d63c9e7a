"""egs/an4 as a user calls it: real speech of mini_an4 through all stages, and cepstra."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import kaldiio
import pytest
from conftest import ROOT, copy_recipe, environment, write_yaml

from cascade_asr.data.kaldi.tables import read_table

CORPORA = Path(os.environ.get("CORPORA") or ROOT.parent / "shared/corpora")
MINI, CEPSTRA = CORPORA / "mini_an4.tar.gz", CORPORA / "an4_mfcc.tar.gz"
TINY = {
    "encoder": "rnn",
    "encoder_conf": {"num_layers": 2, "hidden_size": 16, "output_size": 16, "subsample": [2, 2]},
    "model_conf": {"ctc_weight": 1.0},
    "init": "chainer",
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_type": "sorted",
    "batch_size": 4,
    "max_epoch": 1,
    "keep_nbest_models": 1,
    "num_workers": 0,
    "use_tensorboard": False,
}


def make_recipe(folder: Path) -> Path:
    recipe = copy_recipe(folder, "an4")
    write_yaml(recipe / "tiny.yaml", TINY)
    write_yaml(recipe / "cuts.yaml", {"cuts": ["ctc"]})
    return recipe


def run(recipe: Path, *options: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["./run.sh", "--train-config", "tiny.yaml", "--cascade-config", "cuts.yaml",
         "--decode-config", "conf/decode_ctc.yaml", "--nj", "1", "--ngpu", "0",
         *map(str, options)],
        cwd=recipe, env=environment(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.skipif(not MINI.is_file(), reason="CORPORA holds no mini_an4.tar.gz")
def test_real_speech_from_the_archive_to_the_table(tmp_path: Path):
    recipe = make_recipe(tmp_path)
    done = run(recipe, "--an4", MINI, "--dev-utterances", "1", "--speed-perturb-factors", "0.9")
    assert done.returncode == 0, done.stderr
    assert "AN4 has 948: results cannot be compared" in done.stderr
    train = read_table(recipe / "dump/train_nodev_sp/text")
    assert len(train) == 8 and train["mwhw-an152-b"] == train["sp0.9-mwhw-an152-b"] == "START"
    assert read_table(recipe / "dump/train_dev/text").popitem()[0].startswith("fash-an251")
    entry = read_table(recipe / "dump/test/feats.scp")["fcaw-cen8-b"]
    assert kaldiio.load_mat(entry).shape[1] == 80
    table = (recipe / "exp/tiny/RESULTS.md").read_text()
    assert "test WER" in table and "stage 1" in table


@pytest.mark.skipif(not CEPSTRA.is_file(), reason="CORPORA holds no an4_mfcc.tar.gz")
def test_cepstra_come_with_deltas(tmp_path: Path):
    recipe = make_recipe(tmp_path)
    refused = run(recipe, "--an4-mfcc", CEPSTRA, "--speed-perturb-factors", "0.9")
    assert refused.returncode == 1 and "cepstra cannot be perturbed" in refused.stderr
    both = run(recipe, "--an4-mfcc", CEPSTRA, "--an4", MINI)
    assert both.returncode == 1 and "give one of them" in both.stderr
    done = run(recipe, "--an4-mfcc", CEPSTRA, "--stop-stage", "2", "--token-type", "bpe")
    assert done.returncode == 0, done.stderr
    entries = read_table(recipe / "dump/test/feats.scp")
    assert len(entries) == 130
    assert kaldiio.load_mat(next(iter(entries.values()))).shape[1] == 39
    assert len((recipe / "dump/tokens/tokens.txt").read_text().split("\n")) - 1 == 32
    other = run(recipe, "--an4-mfcc", CEPSTRA, "--stop-stage", "1", "--add-deltas", "false")
    assert "stage 1 (features): " in other.stderr and "already done" in other.stderr
    entries = read_table(recipe / "dump/test/feats.scp")
    assert kaldiio.load_mat(next(iter(entries.values()))).shape[1] == 13
