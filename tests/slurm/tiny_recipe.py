"""A tiny experiment whose stages are Slurm jobs, and ways to catch its trainings.

PYTEST_DONT_REWRITE: a plugin that tests import too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from conftest import environment, write_yaml
from private_slurm import PrivateSlurm, is_alive, wait_until
from tiny_corpus import TINY_CONFIG

from cascade_asr.jobs.options import SlurmConf, find_slurm_conf, parse_job_options
from cascade_asr.jobs.submission import Submitter
from cascade_asr.jobs.tasks import TRAINING, full_task, planned_tasks, with_devices

CUTS = {"cuts": ["decoder", "encoder.rnn1"]}
EPOCHS = 2  # of each stage, a second or two
JOB_OPTIONS = "--mem 1000M --time 5 "


class Recipe:
    """A folder with a tiny experiment, whose jobs go to a private Slurm."""

    def __init__(
        self,
        folder: Path,
        slurm: PrivateSlurm,
        dump: Path,
        config: dict | None = None,
        cascade: dict | None = None,
    ) -> None:
        self.folder, self.slurm, self.dump = folder, slurm, dump
        self.exp = folder / "exp" / "tiny"
        config = {**TINY_CONFIG, "max_epoch": EPOCHS, **(config or {})}
        self.train_config = write_yaml(folder / "train.yaml", config)
        self.cascade_config = write_yaml(folder / "cascade.yaml", {**CUTS, **(cascade or {})})
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

    def submit(self, *words: str, status: int = 0, options: str = "") -> str:
        """Submit as a user does; what was printed."""
        return self.jobs(
            "submit", *words, "--exp", "exp/tiny", "--job-options", JOB_OPTIONS + options,
            *self.training_options, status=status,
        )  # fmt: skip

    def queue(self, *names: str, options: str = "", more: tuple[str, ...] = ()) -> None:
        """Submit without the check of the configurations, which takes seconds.

        Args:
            names: of the trainings.
            options: of the jobs.
            more: options of the trainings.
        """
        given = parse_job_options((JOB_OPTIONS + options).split())
        words, devices = with_devices([*self.training_options, *more], given)
        with self.inside():
            experiment = Path("exp/tiny")
            command = [*TRAINING, "--exp", str(experiment), *words]
            tasks = [full_task(command)]
            if names != ("full",):
                tasks += planned_tasks(experiment, "all", "all", command)
            submitter = Submitter(
                experiment, {**devices, **given}, SlurmConf.read(find_slurm_conf())
            )
            submitter.submit([task for task in tasks if task.training in names])

    @contextmanager
    def inside(self) -> Iterator[None]:
        """In the recipe's folder and environment."""
        place, variables = Path.cwd(), dict(os.environ)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(variables)
            os.chdir(place)

    def adopt(self, other: Recipe, *names: str) -> Recipe:
        """Copy the plan of the same experiment from elsewhere, and what it has trained."""
        self.exp.mkdir(parents=True)
        shutil.copy(other.exp / "plan.json", self.exp)
        for name in names:
            shutil.copytree(other.exp / name, self.exp / name)
        return self

    def local(self, *words: str) -> None:
        """Train in this process's machine, without Slurm."""
        process = self.popen("cascade_asr.cli.training", *words, "--exp", "exp/tiny",
                             *self.training_options)  # fmt: skip
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors

    def status(self) -> dict[str, str]:
        """State of each stage as shown."""
        lines = [line.split(None, 2) for line in self.jobs("status").splitlines()[1:]]
        return {words[0]: words[2] for words in lines if words[1].isdigit()}

    def wait(self, stage: str, state: str, seconds: float = 400) -> str:
        """Wait until a stage's state, as shown, begins with ``state``."""
        said = self.exp / "jobs" / stage / "state.json"
        looked: tuple[float, int] = (0.0, 0)

        def seen() -> str:
            """Asks when the job has printed something, else every other second."""
            nonlocal looked
            written = said.stat().st_mtime_ns if said.is_file() else 0
            if looked[1] == written and time.monotonic() < looked[0] + 2:
                return ""
            looked = (time.monotonic(), written)
            shown = self.status().get(stage, "")
            return shown if shown.startswith(state) else ""

        try:
            return wait_until(seen, seconds, f"{stage} {state}")
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

    def trainers(self, job: str) -> list[int]:
        """Process ids of the trainings of a job."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode().split("\0")
                if words[1:3] != ["-m", "cascade_asr.cli.training"]:
                    continue
                variables = path.with_name("environ").read_bytes().decode().split("\0")
                number = int(path.parent.name)
                if f"SLURM_JOB_ID={job}" in variables and f"PWD={self.folder}" in variables:
                    found.append(number)
            except (OSError, IndexError):
                continue
        return [number for number in found if is_alive(number)]

    def hold(self, stage: str, updates: int = 12) -> int:
        """Stop a training's process in the middle; its id."""
        history = self.exp / stage / "history.jsonl"

        def well_under_way() -> bool:
            return history.is_file() and history.read_text().count('"train"') >= updates

        wait_until(well_under_way, 300, f"{stage} to train", 0.02)
        (process,) = self.trainers(self.job(stage))
        os.kill(process, signal.SIGSTOP)
        assert not (self.exp / stage / "done.json").exists()
        return process

    def start_again(self, stage: str) -> None:
        """Wait for the second attempt; skips the minutes that a requeued job has to wait."""
        attempt = self.exp / "jobs" / stage / "attempt"
        words = ["scontrol", "update", f"jobid={self.job(stage)}", "starttime=now"]

        def has_begun() -> bool:
            if self.slurm.state(self.job(stage)) == "PENDING":
                self.slurm.run(*words, check=False)
            return json.loads(attempt.read_text())["number"] == 2

        wait_until(has_begun, 300, f"a second attempt of {stage}", 0.5)


@pytest.fixture(scope="session")
def local(tmp_path_factory, cluster, dump) -> Recipe:
    """The experiment without Slurm, to compare with."""
    recipe = Recipe(tmp_path_factory.mktemp("local"), cluster, dump)
    recipe.local("check")
    recipe.local("full")
    recipe.local("cascade")
    return recipe


def release(process: int) -> None:
    """Let a held process continue."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


def has_pending(process: int, number: int) -> bool:
    """Has a signal come that a held process has not seen yet, or ended it?"""
    if not is_alive(process):
        return True
    status = Path(f"/proc/{process}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line[:7] in ("SigPnd:", "ShdPnd:")]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """The same tensors, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
