"""A user's module and data as a task for the cascade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset

from cascade_asr.errors import ConfigError
from cascade_asr.library.data import ItemBatch, ItemLoader, digest
from cascade_asr.library.network import Measure, MeasuredNetwork
from cascade_asr.networks.layer import Layer, Layering
from cascade_asr.options.assignments import Assignments
from cascade_asr.options.schema import from_mapping, option
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.checks import check_training_options
from cascade_asr.training.protocols import ONE_RANK, Ranks
from cascade_asr.yaml_file import read_yaml


@dataclass
class ModuleOptions(TrainingOptions):
    """How to train a user's module."""

    batch_size: int = option(32, "items per batch", least=1)


@dataclass(frozen=True)
class ModuleData:
    """The datasets as a training sees them; a `TrainingData`.

    Attributes:
        train_items, dev_items: datasets of (input, target) pairs.
        config: decides the batches.
        ranks: decides the share of this process.
    """

    train_items: Dataset
    dev_items: Dataset
    config: ModuleOptions
    ranks: Ranks

    @cached_property
    def train(self) -> ItemLoader:
        """Shuffled batches of the training items."""
        return ItemLoader(
            self.train_items, self.config.batch_size, self.config.seed, *self.ranks
        )

    @cached_property
    def dev(self) -> ItemLoader:
        """The dev items in their order."""
        return ItemLoader(self.dev_items, self.config.batch_size, None, *self.ranks)

    @property
    def _batches(self) -> int:
        """Number of batches per epoch, over all ranks."""
        return len(ItemLoader(self.train_items, self.config.batch_size))

    @property
    def updates_per_epoch(self) -> int:
        """Number of batches of the training items, divided by ``accum_grad``."""
        return -(-self._batches // self.config.accum_grad)

    @property
    def description(self) -> list[str]:
        """One line per dataset."""
        return [
            f"train: {len(self.train_items)} items, {self._batches} batches",
            f"dev: {len(self.dev_items)} items",
        ]

    def trial_batches(self) -> list[ItemBatch]:
        """The first two training items, as all items have the same size."""
        return [next(ItemLoader(self.train_items, min(2, self.config.batch_size)).epoch(1))]

    def record(self, directory: Path) -> None:
        """Write nothing, because nothing of a dataset is left out."""


@dataclass(frozen=True)
class ModuleTask:
    """A user's module on the user's datasets; a `cascade_asr.cascade.task.Task`.

    Attributes:
        directory: folder of the experiment.
        build: makes the module with new weights, drawn from torch's random state.
        measure, metrics, layer_names: see `MeasuredNetwork`.
        train, dev: datasets of (input, target) pairs.
        select: dev metric and ``min`` or ``max``.
    """

    directory: Path
    build: Callable[[], nn.Module]
    measure: Measure
    metrics: tuple[str, ...]
    train: Dataset
    dev: Dataset
    select: tuple[str, str]
    layer_names: Sequence[str | Sequence[str]] | None = None
    kind = "module"

    def adopt(self, update: bool = True) -> None:
        """Make the experiment's folder; a module needs nothing else."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.directory}: cannot be made: {error.strerror}") from error

    @cached_property
    def _digest(self) -> str:
        return f"{digest(self.train, 'train')}-{digest(self.dev, 'dev')}"

    def data_digest(self) -> str:
        """Hash of all items of both datasets."""
        return self._digest

    def load_config(
        self, path: Path, given: Assignments | None = None
    ) -> tuple[ModuleOptions, list[str]]:
        """Training options from a YAML file."""
        content, lines = read_yaml(path)
        content = given.put_into(content) if given else content
        return from_mapping(ModuleOptions, content, str(path), lines), []

    def check_config(self, config: ModuleOptions, where: str) -> None:
        """Check optimizer, schedule and numbers."""
        problems = check_training_options(config)
        if problems:
            raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems))

    def build_model(self, config: ModuleOptions, seed: int) -> MeasuredNetwork:
        """The module with new weights; the caller's random state is not changed.

        Raises:
            ConfigError: if ``build`` is a module itself, or makes something else.
        """
        expected = "expected a function or class that returns a new module when it is called"
        if isinstance(self.build, torch.nn.Module) or not callable(self.build):
            raise ConfigError(f"build: {expected}, found {type(self.build).__name__}")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = self.build()
        if not isinstance(network, torch.nn.Module):
            raise ConfigError(f"build: {expected}; it returns {type(network).__name__}")
        if lazy := [name for name, each in network.named_parameters() if is_lazy(each)]:
            raise ConfigError(
                f"build: the module has no weights yet in {', '.join(lazy)}; give its lazy layers their "
                "sizes, or let build call the module once"
            )
        return MeasuredNetwork(network, self.measure, self.metrics, self.layer_names)

    def stage_layers(
        self, model: MeasuredNetwork, config: ModuleOptions, layering: Layering
    ) -> tuple[ModuleOptions, list[Layer]]:
        """The layers of the module, input to output.

        Raises:
            ConfigError: for options that concern other kinds of model.
        """
        if layering.grain != "layer":
            raise ConfigError(f"grain: {layering.grain}: a user's module has only the grain layer")
        layering.require_nothing_tied("a user's module")
        return config, model.layers()

    def default_select(self, model: MeasuredNetwork) -> list[str]:
        """The metric that was given when the cascade was made."""
        return list(self.select)

    def data(
        self, model: MeasuredNetwork, config: ModuleOptions, ranks: Ranks = ONE_RANK
    ) -> ModuleData:
        """The user's datasets."""
        return ModuleData(self.train, self.dev, config, ranks)

    def check_same_outputs(self, other: Any) -> None:
        """Require nothing: outputs are the user's business, and shapes are compared anyway."""

    def differences(self, trained: Any, given: Any, reads_input: bool) -> list[str]:
        """None, because no training option changes what a user's module computes."""
        return []
