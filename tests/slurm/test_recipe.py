"""egs/digits from corpus to report with --cmd slurm, beside the same run without it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY_CONFIG, environment, write_yaml
from private_slurm import cluster  # noqa: F401 (a fixture)

CORPUS = Path(os.environ.get("CORPORA", "/nowhere")) / "free-spoken-digit-dataset.tar.gz"
SIZES = ["--train-strings", "20", "--dev-strings", "6", "--test-strings", "4"]
MODELS = ("full", "stage1", "stage2")


def make_recipe(folder: Path) -> Path:
    """The project with its own copy of egs/digits, so that the user's is not touched."""
    folder.mkdir()
    for name in ("cascade_asr", "utils", "conf", "path.sh"):
        os.symlink(ROOT / name, folder / name)
    recipe = folder / "egs/digits"
    ignored = shutil.ignore_patterns("data", "dump", "exp", "downloads", "__pycache__")
    shutil.copytree(ROOT / "egs/digits", recipe, ignore=ignored)
    cascade = {"cuts": ["decoder", "encoder.rnn1"]}
    write_yaml(recipe / "cascade.yaml", cascade)
    write_yaml(recipe / "tiny.yaml", {**TINY_CONFIG, "max_epoch": 2})
    write_yaml(recipe / "fast.yaml", {"beam_size": 1, "ctc_weight": 0.5, "maxlenratio": 0.3})
    return recipe


def run(recipe: Path, variables: dict[str, str], *more: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [
            "./run.sh", "--fsdd", str(CORPUS), *SIZES, "--train-config", "tiny.yaml",
            "--cascade-config", "cascade.yaml", "--decode-config", "fast.yaml",
            "--nj", "2", "--ngpu", "0", *more,
        ],
        cwd=recipe, env=variables, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.skipif(not CORPUS.is_file(), reason=f"no corpus: CORPORA names no folder with {CORPUS}")
def test_all_stages_give_the_weights_and_word_errors_of_a_local_run(cluster, tmp_path):  # noqa: F811
    variables = environment()
    on_slurm = {
        **variables,
        "SLURM_CONF": cluster.environment["SLURM_CONF"],
        "PATH": f"{variables['PATH']}:{cluster.environment['PATH']}",
    }
    first, second = make_recipe(tmp_path / "local"), make_recipe(tmp_path / "slurm")
    run(first, variables)
    memory = ("--job-options=--mem 1500M",)
    done = run(second, on_slurm, "--cmd", "slurm", *memory, "--stop-stage", "4")  # detached
    assert "stage 4 (cascade stages): submitted" in done.stderr
    assert "afterok:" in done.stderr
    done = run(second, on_slurm, "--cmd", "slurm", *memory, "--stage", "3", "--follow")
    for stage in MODELS:
        assert f"{stage}: done" in done.stderr
        weights = [
            torch.load(recipe / "exp/tiny" / stage / "model.pth", weights_only=True)
            for recipe in (first, second)
        ]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        for name in ("test_seen", "test_unseen"):
            path = f"exp/tiny/{stage}/decode_{name}/score_wer/result.json"
            scores = [json.loads((recipe / path).read_text()) for recipe in (first, second)]
            assert scores[0]["error_rate"] == scores[1]["error_rate"]
    assert (second / "exp/tiny/RESULTS.md").read_text().count("| stage ") == 3
