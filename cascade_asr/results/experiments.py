"""What experiment folders contain, read without PyTorch and in whatever state they are."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.files import read_json
from cascade_asr.training.finished import is_name_of_training
from cascade_asr.training.standing import Standing, read_standing

DONE, RUNNING, STOPPED, KILLED, BEGUN = "done", "running", "stopped", "killed", "begun"
_TRAINING_FILES = ("done.json", "identity.json", "checkpoint.pt", "config.yaml", "progress.json")
SILENT_S = 1800.0  # a training on another host is doubted if silent for this long


@dataclass(frozen=True)
class TrainingFolder:
    """One training of an experiment.

    Attributes:
        directory: its folder, named after the stage.
        state: one of the constants above.
        standing: its progress, if it is running or was killed.
    """

    directory: Path
    state: str
    standing: Standing | None


@dataclass(frozen=True)
class ExperimentFolder:
    """An experiment on disk.

    Attributes:
        directory: ``exp/TAG``.
        trainings: its trainings, in the order in which they run.
        replaced: folders that were set aside.
        metric: dev metric used for selection; empty before selection.json exists.
        selected: name of the best training; empty before selection.json exists.
        dev: value of that metric.
        scores: scores of the selected training on the test sets, by name.
        complete: whether no stage of the cascade or of a control that was begun is left to run.
        changed: when anything in it was last written, in seconds since 1970.
        size: bytes on disk, counting hard-linked files once.
    """

    directory: Path
    trainings: list[TrainingFolder]
    replaced: list[Path]
    metric: str = ""
    selected: str = ""
    dev: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    complete: bool = True
    changed: float = 0.0
    size: int = 0

    @property
    def state(self) -> str:
        """State of the experiment: running, stopped, done, or what is missing."""
        states = [each.state for each in self.trainings]
        for state in (RUNNING, KILLED, STOPPED, BEGUN):
            if state in states:
                return state
        if not self.selected:
            return "nothing selected"
        if not self.complete:
            return "not complete"
        return DONE if self.scores else "trained, not scored"


def find_experiments(folders: Iterable[Path]) -> list[Path]:
    """Find experiment folders: those given, and those in given ``exp`` folders, recipes or clones.

    Args:
        folders: experiments, ``exp`` folders, recipes, or a clone; if empty, the current folder.

    Raises:
        ConfigError: if a given folder is missing, or no experiment is found in it.
    """
    given = list(folders)
    if not given:
        return _in_recipes(Path())
    found: list[Path] = []
    for folder in given:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
        inside = [folder] if is_experiment(folder) else _below(folder) or _in_recipes(folder)
        if not inside:
            raise ConfigError(
                f"{folder}: no experiment; expected a folder such as exp/train, or one with several"
            )
        found += [each for each in inside if each not in found]
    return found


def _in_recipes(folder: Path) -> list[Path]:
    """Experiments of a recipe, of all recipes in ``egs``, or of a clone."""
    here = folder / "exp"
    all_recipes = folder / "egs" if (folder / "egs").is_dir() else folder
    places = [here] if here.is_dir() else sorted(all_recipes.glob("*/exp"))
    return [each for place in places for each in _below(place)]


def _below(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and is_experiment(each))


def is_experiment(folder: Path) -> bool:
    """Whether a folder contains trainings, or a plan for some."""
    if (folder / "selection.json").is_file() or (folder / "plan.json").is_file():
        return True
    return any(_is_training(each) for each in folder.iterdir() if each.is_dir())


def _is_training(folder: Path) -> bool:
    has_file = any((folder / name).is_file() for name in _TRAINING_FILES[:3])
    return has_file and is_name_of_training(folder.name)


def survey(directory: Path) -> ExperimentFolder:
    """Read an experiment; damaged files count as missing."""
    trainings, replaced = [], []
    for folder in sorted(directory.iterdir(), key=_order):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if re.search(r"\.replaced\.\d+$", folder.name):
            replaced.append(folder)
        elif _is_training(folder):
            trainings.append(_training(folder))
    changed, size = _extent(directory)
    selection = read_if_whole(directory / "selection.json")
    chosen = str(selection.get("selected", ""))
    controls = selection.get("controls", {})
    values = {each.get("name"): each.get("value") for each in selection.get("stages", [])}
    return ExperimentFolder(
        directory,
        trainings,
        replaced,
        str(selection.get("metric", "")),
        chosen,
        values.get(chosen),
        read_if_whole(directory / chosen / "scores.json") if chosen else {},
        all(each.get("complete", True) for each in (selection, *controls.values())),
        changed,
        size,
    )


def _training(folder: Path) -> TrainingFolder:
    standing = read_standing(folder)
    if read_if_whole(folder / "done.json") and (folder / "model.pth").is_file():
        return TrainingFolder(folder, DONE, None)
    if standing is not None:
        silent = standing.alive is None and standing.age_s > SILENT_S
        state = KILLED if standing.alive is False or silent else RUNNING
        return TrainingFolder(folder, state, standing)
    has_checkpoint = (folder / "checkpoint.pt").is_file()
    return TrainingFolder(folder, STOPPED if has_checkpoint else BEGUN, None)


def _order(folder: Path) -> tuple[int, str, int]:
    match = re.fullmatch(r"(.*?)(\d*)", folder.name)
    assert match is not None
    rank = {"full": 0, "stage": 1}.get(match[1], 2)
    return rank, match[1], int(match[2] or 0)


def read_if_whole(path: Path) -> dict[str, Any]:
    """Read a JSON file; return an empty object if it is missing or damaged."""
    try:
        return read_json(path) if path.is_file() else {}
    except ConfigError:
        return {}


def size_of(path: Path) -> int:
    """Bytes that a file or a folder takes up on disk; links are not followed."""
    if path.is_symlink() or path.is_file():
        return path.lstat().st_blocks * 512
    return _extent(path)[1]


def _extent(directory: Path) -> tuple[float, int]:
    """Latest change and bytes on disk of all files below a folder."""
    changed, size, seen = 0.0, 0, set()
    for entry in _files(directory):
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        changed = max(changed, status.st_mtime)
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            size += status.st_blocks * 512
    return changed, size


def _files(directory: str | Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                else:
                    yield entry
    except OSError:
        return


def size_words(size: float) -> str:
    """A number of bytes in readable form.

    >>> size_words(1_234_000), size_words(0)
    ('1.2 MB', '0 KB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e3:.0f} KB"


def duration_words(seconds: float) -> str:
    """Seconds in readable form, in at most two units.

    >>> duration_words(42), duration_words(200), duration_words(7260), duration_words(180000)
    ('42 s', '3 min', '2 h 1 min', '2 d 2 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def age_words(changed: float) -> str:
    """How long ago a time, in seconds since 1970, was."""
    return f"{duration_words(max(time.time() - changed, 0))} ago"
