"""slurm.pl as a process that tests start, observe and stop."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import ROOT
from private_slurm import PrivateSlurm, wait_until

SLURM_PL = ROOT / "utils" / "slurm.pl"


def start(slurm: PrivateSlurm, folder: Path, *arguments: str, **changes: str) -> subprocess.Popen:
    """Start slurm.pl; ``changes`` are of the environment."""
    return subprocess.Popen(
        [SLURM_PL, *arguments], cwd=folder, env={**slurm.environment, **changes},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def running_job(slurm: PrivateSlurm, prefix: str) -> str:
    """Id of a job whose name begins with ``prefix``, once it runs."""

    def find() -> str:
        lines = slurm.run("squeue", "-h", "-t", "running", "-o", "%A %j").stdout.splitlines()
        return next((line.split()[0] for line in lines if line.split()[1].startswith(prefix)), "")

    return wait_until(find, 20, "a running job")


def line_with(process: subprocess.Popen, text: str) -> str:
    """What a process says on stderr, up to a line with ``text``."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


def check_cause(runner: subprocess.Popen, cause: str, log: Path) -> None:
    """slurm.pl fails within 15 s and reports the cause, as does its log."""
    _, message = runner.communicate(timeout=15)
    assert runner.returncode == 1, message
    assert f"the command failed: {cause}" in message, message
    last = log.read_text().splitlines()[-1]
    assert cause in last, last
