"""egs/digits on a handful of strings, in a separate copy.

PYTEST_DONT_REWRITE: a plugin that tests import too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, copy_recipe, environment, write_yaml
from private_slurm import PrivateSlurm
from tiny_corpus import TINY_CONFIG

ON_SLURM = ("--cmd", "slurm", "--nj", "2", "--job-options=--mem 1500M")
SIZES = ("--train-strings", "20", "--dev-strings", "6", "--test-strings", "4")


@dataclass
class DigitsRun:
    """A call of run.sh that continues while tests do other things.

    Attributes:
        recipe: folder of the recipe.
        process: of run.sh.
        log: what it prints.
    """

    recipe: Path
    process: subprocess.Popen
    log: Path

    def finish(self) -> str:
        """Wait for its success; what it printed."""
        status = self.process.wait(timeout=600)
        printed = self.log.read_text()
        assert status == 0, printed
        return printed

    def stop(self) -> None:
        """Stop it with everything that it has started, if a test has failed before its end."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


def make_recipe(folder: Path) -> Path:
    """The project with its own copy of egs/digits, so that the user's is not touched."""
    recipe = copy_recipe(folder, "digits")
    write_yaml(recipe / "cascade.yaml", {"cuts": ["decoder", "encoder.rnn1"]})
    write_yaml(recipe / "tiny.yaml", {**TINY_CONFIG, "max_epoch": 2})
    write_yaml(recipe / "fast.yaml", {"beam_size": 1, "ctc_weight": 0.5, "maxlenratio": 0.3})
    return recipe


def start(recipe: Path, corpus: Path, *more: str, **changes: str) -> DigitsRun:
    """Start run.sh; ``changes`` are of the environment."""
    log = recipe / f"run{len(list(recipe.glob('run*.log')))}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [
                "./run.sh", "--fsdd", str(corpus), *SIZES, "--train-config", "tiny.yaml",
                "--cascade-config", "cascade.yaml", "--decode-config", "fast.yaml",
                "--ngpu", "0", *more,
            ],
            cwd=recipe, env=environment(**changes), stdout=stream, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    return DigitsRun(recipe, process, log)


@pytest.fixture(scope="session")
def digits_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FSDD if available, else a few synthetic takes in the same layout."""
    archive = Path(os.environ.get("CORPORA", "/nowhere")) / "free-spoken-digit-dataset.tar.gz"
    if archive.is_file():
        return archive
    folder = tmp_path_factory.mktemp("fsdd")
    sys.path.insert(0, str(ROOT / "egs/digits/local"))
    import synthesise_digits

    synthesise_digits.synthesise(folder, takes=(0, 5, 10, 11))
    return folder


@pytest.fixture(scope="session")
def local_digits(
    digits_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DigitsRun]:
    """All stages without Slurm."""
    recipe = make_recipe(tmp_path_factory.mktemp("local_digits"))
    run = start(recipe, digits_corpus, "--nj", "1")
    yield run
    run.stop()


@pytest.fixture(scope="session")
def detached_digits(
    cluster: PrivateSlurm, digits_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DigitsRun]:
    """Stages 0 to 4 with Slurm; the trainings continue after run.sh has ended."""
    recipe = make_recipe(tmp_path_factory.mktemp("detached_digits"))
    run = start(recipe, digits_corpus, *ON_SLURM, "--stop-stage", "4", **cluster.variables)
    yield run
    run.stop()
