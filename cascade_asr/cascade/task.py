"""What a cascade asks of a task: one kind of model on the data of one experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from cascade_asr.networks.layer import Layer
from cascade_asr.options.assignments import Assignments
from cascade_asr.training.protocols import CascadeModel


class Task(Protocol):
    """One kind of model on the data of one experiment: all that a cascade asks of it."""

    directory: Path  # exp/TAG
    kind: str  # what is trained, for messages: "speech" or "text"

    def adopt(self) -> None:
        """Copy what its models need (tokens, statistics) into the experiment."""

    def data_digest(self) -> str:
        """Hash of everything that a model sees in training and selection."""

    def load_config(
        self, path: Path, given: Assignments | None = None
    ) -> tuple[Any, list[str]]:
        """A training configuration and notes on keys without effect.

        Args:
            path: of the YAML file.
            given: options of the command line, over the file's.
        """

    def check_config(self, config: Any, where: str) -> None:
        """Raise ConfigError with every problem that shows without a model."""

    def build_model(self, config: Any, seed: int) -> CascadeModel:
        """A model with new weights, a function of ``seed``."""

    def stage_layers(
        self, model: CascadeModel, config: Any, grain: str, tying: str | None
    ) -> tuple[Any, list[Layer]]:
        """The configuration and the layers, bottom to top, of the cascade's stages.

        They differ from full training's where tied weights are untied.

        Args:
            model: of full training.
            config: of full training.
            grain: ``layer``, ``module`` or ``fine``.
            tying: what happens to tied weights: ``untie``, ``freeze``, ``train``.

        Raises:
            ConfigError: if the model has tied weights and ``tying`` is None, or
                the other way round.
        """

    def default_select(self, model: CascadeModel) -> list[str]:
        """The dev metric used for model selection, and ``min`` or ``max``."""

    def loaders(
        self, model: CascadeModel, config: Any, rank: int, world_size: int, directory: Path
    ) -> tuple[Any, Any]:
        """Batches of the training and of the dev set.

        The first rank writes lists of what is left out into ``directory``.
        """

    def trial_batches(self, model: CascadeModel, config: Any) -> list[Any]:
        """Few items each of the longest and of the shortest batch, to try a step with."""

    def describe_data(self, model: CascadeModel, config: Any) -> list[str]:
        """What training would see, in lines for a person."""

    def updates_per_epoch(self, model: CascadeModel, config: Any) -> int:
        """Updates of the weights in one epoch."""

    def check_same_outputs(self, other: Path) -> None:
        """Raise ConfigError unless a model in ``other`` predicts the same tokens."""

    def differences(self, trained: Any, given: Any, reads_input: bool) -> list[str]:
        """Options of ``given`` with which weights would compute something else.

        Args:
            trained: the configuration that the weights were trained with.
            given: the one that they are to be used with.
            reads_input: the weights are those of the lowest layer too.
        """
