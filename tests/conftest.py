"""Shared by several tests: a corpus of seconds, and commands run as users run them."""

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
import pytest
import yaml
from tiny_corpus import make_dump

ROOT = Path(__file__).resolve().parent.parent
# A shell starts background jobs with SIGINT ignored, and so would be all that we start:
# no Ctrl-C could be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


def run_here(name: str, *words: object) -> None:
    """Run ``python -m cascade_asr.cli.NAME`` in this process; its errors are raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, words)])
        patch.setattr("cascade_asr.command.run", lambda main: main())
        runpy.run_module(f"cascade_asr.cli.{name}", run_name="__main__")


@pytest.fixture
def run_command():
    """`run_here`, for tests that need nothing else from this file."""
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
