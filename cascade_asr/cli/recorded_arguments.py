"""What an experiment was trained with, kept in its folder: ``arguments.json``.

``plan`` and ``redo`` read from there what they are not told. Paths are those of the
recipe's folder, which is remembered relative to the experiment: a clone may be moved.
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
CHOICES = ("controls", "cascade_stages")  # what a recipe trains of the plan
RESOURCES = ("ngpu", "processes", "nodes", "threads")
DEFAULT_TASK = "speech"
NEEDED = ("dump", "train_set", "dev_set", "train_config")


@dataclass(frozen=True)
class Recorded:
    """What ``arguments.json`` says.

    Attributes:
        recipe: folder that the paths are relative to.
        values: by the names of the options.
    """

    recipe: Path
    values: dict[str, Any]

    def words(self, *names: str) -> list[str]:
        """The options as words of a command line."""
        given = {name: self.values.get(name) for name in names}
        return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()
                if value not in (None, "")]  # fmt: skip


def record_arguments(arguments: argparse.Namespace) -> None:
    """Write what a training was started with.

    One branch of several, or full training alone, says nothing about what else is
    trained: that stays as it was recorded before.
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
    """What an experiment was trained with.

    Raises:
        ConfigError: if it does not say so, or its recipe is not where it was.
    """
    path = experiment / NAME
    if not path.is_file():
        if not experiment.is_dir():
            raise ConfigError(f"{experiment}: no such experiment; 'cascade-asr list' shows them")
        raise ConfigError(
            f"{path}: not found, so the options of the experiment are not known; stage 2 of its "
            "recipe writes it: ./run.sh --stage 2 --stop-stage 2. An experiment of "
            "cascade_asr.Cascade has its options in its script: cascade.plan is the plan there, "
            "and cascade.run() trains what is missing"
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
    """Fill in what the command line lacks, and go to the recipe's folder where that is another.

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
