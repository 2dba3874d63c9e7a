"""What can be deleted of experiments and recipes: replaced folders, leftovers, states, features."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.data.kaldi.tables import scan_table
from cascade_asr.results.experiments import (
    DONE,
    RUNNING,
    ExperimentFolder,
    TrainingFolder,
    is_experiment,
    read_if_whole,
    size_of,
    survey,
)
from cascade_asr.training.lock import held, holder

REPLACED, LEFTOVERS, STATE, FEATURES = "replaced", "leftovers", "state", "features"
KINDS = (REPLACED, LEFTOVERS, STATE, FEATURES)
OLD_S = 24 * 3600.0  # a temporary file not written to for this long is abandoned
_REPLACED = re.compile(r"\.replaced\.\d+$")
_ARCHIVE = re.compile(r"fbank\.\d+\.(ark|scp)$")


@dataclass(frozen=True)
class Item:
    """Something that can be deleted.

    Attributes:
        kind: one of `KINDS`.
        name: its name in the list.
        paths: its files and folders.
        lock: lock of the training that they belong to, which must not be running; or None.
    """

    kind: str
    name: str
    paths: tuple[Path, ...]
    lock: Path | None = None

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(size_of(path) for path in self.paths)


def items_of(
    experiments: list[ExperimentFolder], in_use: Callable[[Path], bool]
) -> Iterator[Item]:
    """Everything that can be deleted of some experiments and of their recipes.

    Args:
        experiments: the experiments on disk.
        in_use: whether jobs of the experiment in a folder are running or waiting on a cluster.
    """
    for experiment in experiments:
        yield from _of_experiment(experiment, in_use(experiment.directory))
    recipes = dict.fromkeys(
        each.directory.absolute().parent.parent
        for each in experiments
        if each.directory.absolute().parent.name == "exp"
    )
    for recipe in recipes:
        yield from _features(recipe, in_use)


def _of_experiment(experiment: ExperimentFolder, has_jobs: bool) -> Iterator[Item]:
    sources = _sources(experiment)
    for folder in experiment.replaced:
        if folder.resolve() not in sources:
            yield Item(REPLACED, str(folder), (folder,))
    names = {each.directory.name for each in experiment.trainings if is_running(each)}
    for training in experiment.trainings:
        if training.directory.name not in names:
            yield from _of_training(training, has_jobs)
    for path in _temporary(experiment.directory, names, has_jobs):
        yield Item(LEFTOVERS, str(path), (path,))


def _of_training(training: TrainingFolder, has_jobs: bool) -> Iterator[Item]:
    folder = training.directory
    state = tuple(_matching(folder, ("checkpoint.pt", "epoch*.pth")))
    rest = tuple(_matching(folder, (".*.tmp", ".*.partial")))
    if training.state == DONE:
        state, rest = (), (*state, *rest)
    elif has_jobs:  # one of them may be about to start or resume
        return
    for kind, paths in ((LEFTOVERS, rest), (STATE, state)):
        if paths:
            yield Item(kind, f"{folder}: {_listed(paths)}", paths, lock_of(folder))


def _temporary(directory: Path, running: set[str], has_jobs: bool) -> Iterator[Path]:
    """What killed processes left in the experiment's folder and in the decoding folders."""
    if running or has_jobs:
        return
    for pattern in (".*.tmp", ".*.partial", "*/decode_*/.*.tmp"):
        for path in sorted(directory.glob(pattern)):
            if not _REPLACED.search(path.parent.name) and time.time() - _changed(path) > OLD_S:
                yield path


def _changed(path: Path) -> float:
    """When a file, or the newest file of a folder, was last written; the present if unknown."""
    try:
        times = [path.lstat().st_mtime]
        if path.is_dir() and not path.is_symlink():
            times += [each.lstat().st_mtime for each in path.rglob("*")]
        return max(times)
    except OSError:
        return time.time()


def _features(recipe: Path, in_use: Callable[[Path], bool]) -> Iterator[Item]:
    """Archives of a recipe's dump, unless an experiment of the recipe is running or has jobs.

    Those that a data folder names as features that it was given stay: no stage computes them.
    """
    dump = recipe / "dump"
    if not dump.is_dir() or dump.is_symlink():  # behind a link, others may read it too
        return
    for folder in sorted((recipe / "exp").iterdir()):
        if folder.is_dir() and is_experiment(folder):
            if in_use(folder) or any(map(is_running, survey(folder).trainings)):
                return
    given = _archives_of_data(recipe)
    for folder in sorted(dump.iterdir()):
        if folder.is_symlink() or not folder.is_dir():
            continue
        archives = [path for path in sorted(folder.iterdir()) if _ARCHIVE.match(path.name)]
        if given.intersection(path.resolve() for path in archives):
            continue
        if any(path.suffix == ".ark" for path in archives):
            table = folder / "feats.scp"
            paths = (*archives, *([table] if table.is_file() else []))
            yield Item(FEATURES, f"{folder}: {len(paths)} files", paths)


def _archives_of_data(recipe: Path) -> set[Path]:
    """Archives in the feats.scp of data folders, of this recipe and of those beside it."""
    found = set()
    for path in recipe.parent.glob("*/data/*/feats.scp"):
        entries = scan_table(path).values.values() if path.is_file() else ()
        archives = {entry.rpartition(":")[0] for entry in entries}
        found |= {(path.parents[2] / each).resolve() for each in archives}
    return found


def is_running(training: TrainingFolder) -> bool:
    """Whether a process is training there, judged by its entry or its lock."""
    return training.state == RUNNING or bool(holder(lock_of(training.directory)))


def lock_of(training: Path) -> Path:
    """The lock that a process holds while it writes to a training's folder."""
    return training.with_name(f".{training.name}.lock")


def _sources(experiment: ExperimentFolder) -> set[Path]:
    """Folders that trainings of an experiment, or of one beside it, name as their sources."""
    beside = experiment.directory.absolute().parent
    found = set()
    for name in ("lineage.json", "identity.json"):
        for path in beside.glob(f"*/*/{name}"):
            source = read_if_whole(path).get("source")
            if isinstance(source, str):
                found |= {(place / source).resolve() for place in (beside.parent, Path.cwd())}
    return found


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _listed(paths: tuple[Path, ...]) -> str:
    return ", ".join(path.name for path in paths[:3]) + ", …" * (len(paths) > 3)


def remove(item: Item) -> None:
    """Delete the files and folders of an item; of a link, only the link itself is deleted.

    Raises:
        Locked: if the training that they belong to has started to run.
        OSError: if something cannot be deleted.
    """
    with ExitStack() as stack:
        if item.lock is not None:
            stack.enter_context(held(item.lock, str(item.paths[0].parent)))
        for path in item.paths:
            assert path.name != "model.pth", path  # models are only deleted with a replaced folder
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            else:
                assert item.kind == REPLACED or path.name.startswith("."), path
                shutil.rmtree(path)
