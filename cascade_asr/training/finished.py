"""What a stage leaves on disk: its marker of completion and its origin."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr import __version__
from cascade_asr.errors import ConfigError
from cascade_asr.files import read_json
from cascade_asr.training import checkpoint


@dataclass(frozen=True)
class DoneStage:
    """A finished stage, as its ``done.json`` tells.

    Attributes:
        directory: of the stage.
        digest: of everything that decided the result.
        model_sha256: of ``model.pth``.
        metrics: dev metrics of the averaged model.
    """

    directory: Path
    digest: str
    model_sha256: str
    metrics: dict[str, float]

    @property
    def model_path(self) -> Path:
        """The averaged weights."""
        return self.directory / "model.pth"


def read_done(directory: Path, verify: bool = False) -> DoneStage | None:
    """The finished stage in ``directory``, or None.

    Args:
        directory: of the stage.
        verify: read the weights and compare their checksum.

    Raises:
        ConfigError: if the weights are missing or are not those of the marker.
    """
    path = directory / "done.json"
    if not path.is_file():
        return None
    content = read_json(path)
    done = DoneStage(directory, content["digest"], content["model_sha256"], content["metrics"])
    if not done.model_path.is_file():
        raise ConfigError(f"{done.model_path} is missing although {path} exists; remove {path}")
    if verify and checkpoint.file_digest(done.model_path) != done.model_sha256:
        raise ConfigError(
            f"{done.model_path}: checksum differs from {path}: the file was changed or damaged; "
            f"remove {directory} to train it again"
        )
    return done


def require_done(directory: Path, needed_by: str) -> DoneStage:
    """The finished stage that another one starts from.

    Raises:
        ConfigError: if it is not finished, with what to run.
    """
    done = read_done(directory, verify=True)
    if done is None:
        stage, what = _how_to_run(directory.name)
        raise ConfigError(
            f"{needed_by} needs {stage}: {directory}/done.json not found; run {what} first"
        )
    return done


def _how_to_run(name: str) -> tuple[str, str]:
    """A training in words, and the options of run.sh that make it."""
    if name == "full":
        return "full training", "--stage 3 --stop-stage 3"
    branch, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
    if branch == "stage":
        return f"cascade stage {number}", f"--stage 4 --cascade-stages {number}"
    return name, f"--stage 4 --controls {branch}"


def remove_leftovers(directory: Path) -> None:
    """Remove what only an unfinished stage needs; a kill may have come before that."""
    for path in (*directory.glob("epoch*.pth"), *directory.glob(".*.tmp")):
        path.unlink(missing_ok=True)
    (directory / "checkpoint.pt").unlink(missing_ok=True)


def set_aside(directory: Path) -> Path:
    """Rename a stage's folder to ``NAME.replaced.N``; trained models are never deleted."""
    number = 1
    while (target := directory.with_name(f"{directory.name}.replaced.{number}")).exists():
        number += 1
    directory.rename(target)
    return target


def changed_keys(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """``key: old -> new`` for every leaf that differs."""
    changes = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            changes.append(f"{prefix}{key}: {old} -> {new}")
    return changes


def code_version() -> str:
    """Release, and git commit where there is one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # a computing node may have no git, and the stage is trained already
        return __version__
    return f"{__version__} {done.stdout.strip()}".strip()
