"""The arguments an experiment was trained with, kept in its folder: ``arguments.json``.

``plan`` and ``redo`` read from it what their command line lacks. Paths are relative to the
recipe's folder, which is stored relative to the experiment, so that a clone may be moved.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.files import read_json, write_json
from cascade_asr.results.experiments import read_if_whole

NAME = "arguments.json"
EXPERIMENT = (
    "task", "dump", "train_set", "dev_set", "train_config", "cascade_config", "train_args", "seed",
)  # fmt: skip
PATHS = ("dump", "train_config", "cascade_config")
CHOICES = ("controls", "cascade_stages")  # which part of the plan a recipe trains
RESOURCES = ("ngpu", "processes", "nodes", "threads")
DEFAULT_TASK = "speech"
NEEDED = ("dump", "train_set", "dev_set", "train_config")


@dataclass(frozen=True)
class Recorded:
    """The content of ``arguments.json``.

    Attributes:
        recipe: folder that the paths are relative to.
        values: the options' values, by option name.
    """

    recipe: Path
    values: dict[str, Any]

    def words(self, *names: str) -> list[str]:
        """The options as words of a command line."""
        given = {name: self.values.get(name) for name in names}
        return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()
                if value not in (None, "")]  # fmt: skip


def record_arguments(arguments: argparse.Namespace) -> None:
    """Write the arguments that a training was started with.

    A command that trains one branch of several, or full training alone, says nothing about
    what else is trained: for this, the earlier record stays.
    """
    path = arguments.exp / NAME
    before = read_if_whole(path)
    names = (*EXPERIMENT, *RESOURCES)
    whole = arguments.what == "check" or (arguments.what == "cascade" and not arguments.branch)
    content = {name: before[name] for name in CHOICES if name in before}
    for name in (*names, *(CHOICES if whole else ())):
        value = getattr(arguments, name)
        content[name] = str(value) if isinstance(value, Path) else value
    here = Path.cwd()
    content["recipe"] = os.path.relpath(here, arguments.exp.resolve())
    content["recipe_then"] = str(here)
    if content != before:
        write_json(path, content)


def recorded_arguments(experiment: Path) -> Recorded:
    """Read the arguments an experiment was trained with.

    Raises:
        ConfigError: if they were not recorded, or the recipe is not where it was.
    """
    path = experiment / NAME
    if not path.is_file():
        if not experiment.is_dir():
            raise ConfigError(f"{experiment}: no such experiment; 'cascade-asr list' shows them")
        raise ConfigError(
            f"{path}: not found, so the experiment's options are unknown; stage 2 of its "
            "recipe writes the file: ./run.sh --stage 2 --stop-stage 2. For an experiment of "
            "cascade_asr.Cascade, use its script: cascade.plan holds the plan, and "
            "cascade.run() trains what is missing"
        )
    content = read_json(path)
    missing = [name for name in NEEDED if not content.get(name)]
    if missing:
        raise ConfigError(f"{path}: lacks {', '.join(missing)}; run stage 2 again")
    for recipe in (experiment.resolve() / content.get("recipe", "../.."),
                   Path(content.get("recipe_then", "."))):  # fmt: skip
        if (recipe / content["train_config"]).is_file():
            return Recorded(recipe.resolve(), content)
    raise ConfigError(
        f"{experiment}: its training configuration {content['train_config']} is not in "
        f"{experiment.resolve() / content.get('recipe', '../..')}; put it there, or name it: "
        "--train-config FILE"
    )


def complete(arguments: argparse.Namespace) -> None:
    """Fill in what the command line lacks, and change to the recipe's folder if need be.

    Raises:
        ConfigError: if something is missing and not recorded either.
    """
    if all(getattr(arguments, name) is not None for name in NEEDED):
        arguments.task = arguments.task or DEFAULT_TASK
        return
    recorded = recorded_arguments(arguments.exp)
    given = {name for name in EXPERIMENT if getattr(arguments, name) not in (None, "")}
    if recorded.recipe != Path.cwd().resolve():
        for name in ("exp", *PATHS):
            if name == "exp" or name in given:
                setattr(arguments, name, getattr(arguments, name).resolve())
        os.chdir(recorded.recipe)
        arguments.exp = Path(os.path.relpath(arguments.exp))
    for name in EXPERIMENT:
        value = recorded.values.get(name)
        if name not in given and value is not None:
            setattr(arguments, name, Path(value) if name in PATHS else value)
    arguments.task = arguments.task or DEFAULT_TASK
