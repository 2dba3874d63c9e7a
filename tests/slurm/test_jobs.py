"""Cascade stages as Slurm jobs, with each fault of a cluster injected."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import ROOT, TINY_CONFIG, environment, make_dump, write_yaml
from private_slurm import PrivateSlurm, cluster, wait_until  # noqa: F401 (a fixture)

CUTS = {"cuts": ["decoder", "encoder.rnn1"]}
SLOW = {"CASCADE_ASR_TEST_PAUSE_S": "0.3"}


class Recipe:
    """A folder with a tiny experiment, whose jobs go to a private Slurm."""

    def __init__(self, folder: Path, slurm: PrivateSlurm, dump: Path, config: dict | None = None):
        self.folder, self.slurm, self.dump = folder, slurm, dump
        self.exp = folder / "exp" / "tiny"
        self.train_config = write_yaml(folder / "train.yaml", {**TINY_CONFIG, **(config or {})})
        self.cascade_config = write_yaml(folder / "cascade.yaml", CUTS)
        self.environment = {
            **environment(),
            "SLURM_CONF": slurm.environment["SLURM_CONF"],
            "PATH": f"{environment()['PATH']}:{slurm.environment['PATH']}",
        }

    @property
    def training_options(self) -> list[str]:
        return [
            "--dump", str(self.dump), "--train-set", "train", "--dev-set", "dev", "--ngpu", "0",
            "--train-config", str(self.train_config), "--cascade-config", str(self.cascade_config),
        ]  # fmt: skip

    def popen(self, *words: str, **changes: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", *words], cwd=self.folder, env={**self.environment, **changes},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def jobs(self, *words: str, status: int = 0, **changes: str) -> str:
        """Run cascade_asr.cli.jobs to its end; what it printed."""
        process = self.popen("cascade_asr.cli.jobs", *words, **changes)
        output, errors = process.communicate(timeout=240)
        assert process.returncode == status, output + errors
        return output + errors

    def submit(self, *words: str, status: int = 0, **changes: str) -> str:
        options = ["--exp", "exp/tiny", "--job-options", "--mem 1000M --time 5"]
        return self.jobs("submit", *words, *options, "--", *self.training_options,
                         status=status, **changes)  # fmt: skip

    def local(self, *words: str) -> None:
        """Train in this process's machine, without Slurm."""
        process = self.popen("cascade_asr.cli.training", *words, "--exp", "exp/tiny",
                             *self.training_options)  # fmt: skip
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors

    def status(self) -> dict[str, str]:
        """State of each stage as shown."""
        lines = [line.split(None, 2) for line in self.jobs("status").splitlines()[1:]]
        return {words[0]: words[2] for words in lines if words[0] == "full" or words[0][:5] == "stage"}

    def wait(self, stage: str, state: str, seconds: float = 90) -> str:
        def seen() -> str:
            shown = self.status().get(stage, "")
            return shown if shown.startswith(state) else ""

        try:
            return wait_until(seen, seconds, f"{stage} {state}", 0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.status()}\n{self.log(stage)}") from None

    def record(self, stage: str) -> dict:
        return json.loads((self.exp / "jobs" / stage / "job.json").read_text())

    def job(self, stage: str) -> str:
        return self.record(stage)["ids"][-1]

    def log(self, stage: str) -> str:
        path = self.exp / "jobs" / stage / "log"
        return path.read_text() if path.is_file() else ""

    def weights(self, stage: str) -> dict[str, torch.Tensor]:
        return torch.load(self.exp / stage / "model.pth", weights_only=True)


def identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(scope="module")
def local(tmp_path_factory, cluster, dump) -> Recipe:  # noqa: F811
    """The same experiment without Slurm, to compare with."""
    recipe = Recipe(tmp_path_factory.mktemp("local"), cluster, dump)
    recipe.local("full")
    recipe.local("cascade")
    return recipe


@pytest.fixture
def recipe(tmp_path, cluster, dump) -> Recipe:  # noqa: F811
    return Recipe(tmp_path, cluster, dump)


def test_a_chain_of_jobs_ends_as_the_same_training_without_slurm(recipe, local):
    recipe.submit("full")
    printed = recipe.submit("cascade", "--follow")
    assert f"stage1: job {recipe.job('stage1')}, afterok:{recipe.job('full')}" in printed
    assert "stage2: queued (Dependency)" in printed and "stage2: done" in printed
    assert recipe.status() == {"full": "done", "stage1": "done", "stage2": "done"}
    for stage in ("full", "stage1", "stage2"):
        assert identical(recipe.weights(stage), local.weights(stage)), stage
    selection = [(each.exp / "selection.json").read_text() for each in (recipe, local)]
    assert selection[0] == selection[1]
