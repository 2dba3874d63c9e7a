"""Commands of the package, each in a separate process that has already imported PyTorch.

Importing PyTorch takes three seconds of processor time, which a hundred tests of commands
would spend a hundred times. A server that has imported it, and done nothing else, forks a
process for each command, which then runs as ``python -m`` would run it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "torch",
    "lightning_fabric",
    "cascade_asr.speech.task",
    "cascade_asr.lm.task",
    "cascade_asr.training.trainer",
)
_context = multiprocessing.get_context("forkserver")


def run(
    words: Sequence[str], environment: Mapping[str, str], folder: Path | None, timeout: float
) -> subprocess.CompletedProcess:
    """Run ``python -m WORDS``.

    Args:
        words: module and arguments.
        environment: environment of the process; that of the first command decides what is
            read only when Python starts or PyTorch is imported, such as ``OMP_NUM_THREADS``.
        folder: folder in which it runs.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: if it takes longer; it is killed.
    """
    with tempfile.TemporaryDirectory() as place:
        process = _start(words, environment, folder or Path.cwd(), place)
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(words), timeout)
        outputs = [Path(place, name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(list(words), process.exitcode, *outputs)


def _start(
    words: Sequence[str], environment: Mapping[str, str], folder: Path, place: str
) -> multiprocessing.process.BaseProcess:
    """Start the process; the server, which starts with the first one, has its environment."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        _context.set_forkserver_preload(list(PRELOADED))
        process = _context.Process(
            target=_execute, args=(list(words), dict(environment), str(folder), place)
        )
        process.start()
        return process
    finally:
        os.environ.clear()
        os.environ.update(before)


def _execute(words: list[str], environment: dict[str, str], folder: str, place: str) -> None:
    """What the new process does."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(place, name), os.O_WRONLY | os.O_CREAT), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
