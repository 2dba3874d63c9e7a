"""What a finished stage leaves on disk: its completion marker and its origin."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.files import file_digest, read_json, write_json
from cascade_asr.version import __version__

logger = logging.getLogger(__name__)

EXPECTED = "expected a folder such as exp/TAG/full"
_COUNTS = ("seconds", "cpu_seconds", "updates", "frames", "convergence")  # of lineage.json in done.json


@dataclass(frozen=True)
class DoneStage:
    """A finished stage, as described by its ``done.json``.

    Attributes:
        directory: folder of the stage.
        digest: digest of everything that decided the result.
        model_sha256: checksum of ``model.pth``.
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
        directory: folder of the stage.
        verify: read the weights and compare their checksum.

    If ``done.json`` is damaged, ``lineage.json``, which is written just before it,
    replaces it; without that the stage is not finished.

    Raises:
        ConfigError: if the weights are missing or are not those of the marker.
    """
    path = directory / "done.json"
    if not path.is_file():
        return None
    done = _read_marker(path, "digest") or restored(directory)
    if done is None:
        logger.warning(
            "%s: damaged, and lineage.json cannot replace it: the stage counts as not finished; "
            "run it again: the folder is kept as %s.replaced.N",
            path,
            directory.name,
        )
        return None
    if not done.model_path.is_file():
        raise ConfigError(
            f"{done.model_path} is missing although {path} exists; restore it, or train again: "
            f"mv {directory} {directory}.damaged, then run the stage"
        )
    if verify and file_digest(done.model_path) != done.model_sha256:
        raise ConfigError(
            f"{done.model_path}: checksum differs from {path}: the file was changed or damaged; "
            f"restore it, or train again: mv {directory} {directory}.damaged, then run the stage"
        )
    return done


def _read_marker(path: Path, digest: str) -> DoneStage | None:
    """A stage from ``done.json`` or ``lineage.json``; None if the file is damaged."""
    try:
        content = read_json(path)
        metrics = {str(name): float(value) for name, value in content["metrics"].items()}
        return DoneStage(
            path.parent, str(content[digest]), str(content["model_sha256"]), metrics
        )
    except (ConfigError, KeyError, TypeError, AttributeError, ValueError):
        return None


def restored(directory: Path) -> DoneStage | None:
    """A finished stage whose ``done.json`` is damaged or missing, from its other files."""
    done = _read_marker(directory / "lineage.json", "config")
    if done is None or not done.model_path.is_file():
        return None
    if file_digest(done.model_path) != done.model_sha256:
        return None
    logger.warning(
        "%s/done.json: missing or damaged; lineage.json and model.pth are intact", directory
    )
    return done


def repair_marker(done: DoneStage) -> None:
    """Rewrite ``done.json`` from ``lineage.json`` if it is damaged or missing."""
    path = done.directory / "done.json"
    if _read_marker(path, "digest") is not None:
        return
    lineage = read_json(done.directory / "lineage.json")
    kept = {name: lineage[name] for name in _COUNTS if name in lineage}
    marker = {"stage": lineage["stage"], "digest": done.digest, "metrics": done.metrics}
    write_json(path, {**marker, "model_sha256": done.model_sha256, **kept})


def require_done(directory: Path, needed_by: str, verify: bool = True) -> DoneStage:
    """The finished stage that another one starts from.

    Raises:
        ConfigError: saying what to run, if it is not finished, or which folder to name, if it
            is an experiment.
    """
    done = read_done(directory, verify=verify)
    selection = directory / "selection.json"
    if done is None and selection.is_file():
        raise ConfigError(
            f"{directory}: an experiment; {needed_by} needs one of its trainings, such as "
            f"{directory / str(read_json(selection).get('selected', 'full'))}, which dev selected"
        )
    if done is None and not is_name_of_training(directory.name):
        raise ConfigError(f"{needed_by} needs a training: {directory} is none; {EXPECTED}")
    if done is None:
        stage, what = how_to_run(directory.name)
        raise ConfigError(
            f"{needed_by} needs {stage}: {directory}/done.json not found; run {what} first"
        )
    return done


def is_name_of_training(name: str) -> bool:
    """Whether a folder could be that of a training: ``full``, ``stage1``, ``best-of-n2``."""
    return bool(re.fullmatch(r"full|[a-z][a-z-]*\d+", name.split(".replaced.")[0]))


def how_to_run(name: str) -> tuple[str, str]:
    """A training in words, and the options of run.sh that run it."""
    if name == "full":
        return "full training", "--stage 3 --stop-stage 3"
    branch, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
    if branch == "stage":
        return f"cascade stage {number}", f"--stage 4 --cascade-stages {number}"
    return name, f"--stage 4 --controls {branch}"


def read_lineage(directory: Path) -> dict[str, Any]:
    """The ``lineage.json`` of a training that ``selection.json`` names.

    Raises:
        ConfigError: if it has none, because it is being trained again or was interrupted then.
    """
    path = directory / "lineage.json"
    if not path.is_file():
        what, command = how_to_run(directory.name)
        raise ConfigError(
            f"{directory}: {what} is not finished, although selection.json names it: it is being "
            f"trained again, or was interrupted in that; wait for it, or run {command}"
        )
    return read_json(path)


def remove_leftovers(directory: Path) -> None:
    """Remove what only an unfinished stage needs, in case it was killed before doing so."""
    for path in (*directory.glob("epoch*.pth"), *directory.glob(".*.tmp")):
        path.unlink(missing_ok=True)
    (directory / "checkpoint.pt").unlink(missing_ok=True)


def imported_from(directory: Path) -> str:
    """The weights that a training's folder was imported from, without training; empty if none."""
    path = directory / "lineage.json"
    try:
        return str(read_json(path).get("imported_weights") or "") if path.is_file() else ""
    except ConfigError:  # damaged; whoever needs it will say so
        return ""


def set_aside(directory: Path) -> Path:
    """Rename a stage's folder to ``NAME.replaced.N``; trained models are never deleted."""
    number = 1
    while (target := directory.with_name(f"{directory.name}.replaced.{number}")).exists():
        number += 1
    directory.rename(target)
    return target


def code_version() -> str:
    """Release, and git commit if there is one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # a compute node may have no git, and the stage is already trained
        return __version__
    return f"{__version__} {done.stdout.strip()}".strip()


def source_within(experiment: Path, lineage: Mapping[str, Any]) -> str | None:
    """Name of the training in an experiment that another training in it started from.

    If the experiment's folder has been renamed since, the weights decide.

    Args:
        experiment: folder of both trainings.
        lineage: content of ``lineage.json`` of the training that started from the other.

    Returns:
        The name; None if it started from new weights or from elsewhere.
    """
    if not lineage.get("source"):
        return None
    source = Path(lineage["source"])
    folder = experiment / source.name
    if not (folder / "lineage.json").is_file():
        return None
    recipe = experiment.absolute().parent.parent  # paths are relative to it
    if folder.resolve() in ((recipe / source).resolve(), source.resolve()):
        return source.name
    weights = read_json(folder / "lineage.json").get("model_sha256")
    return source.name if weights and weights == lineage.get("source_model_sha256") else None
