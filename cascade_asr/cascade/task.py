"""What a cascade requires of a task: one kind of model on the data of one experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from cascade_asr.networks.layer import Layer, Layering
from cascade_asr.options.assignments import Assignments
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training.protocols import (
    ONE_RANK,
    CascadeModel,
    Ranks,
    TrainingData,
)

Options = TypeVar("Options", bound=TrainingOptions)


class Task(Protocol[Options]):
    """One kind of model on the data of one experiment: all that a cascade requires of it."""

    directory: Path  # exp/TAG
    kind: str  # what is trained, for messages: "speech" or "text"

    def adopt(self, update: bool = True) -> None:
        """Copy what its models need (tokens, statistics) into the experiment.

        Args:
            update: also replace what it has by that of the data as they are now.
        """

    def data_digest(self) -> str:
        """Hash of all data that a model sees in training and selection."""

    def load_config(
        self, path: Path, given: Assignments | None = None
    ) -> tuple[Options, list[str]]:
        """A training configuration and notes on keys without effect.

        Args:
            path: path of the YAML file.
            given: options of the command line, which override the file's.
        """

    def check_config(self, config: Options, where: str) -> None:
        """Raise ConfigError with every problem that can be found without a model."""

    def build_model(self, config: Options, seed: int) -> CascadeModel:
        """A model with new weights, a function of ``seed``."""

    def stage_layers(
        self, model: CascadeModel, config: Options, layering: Layering
    ) -> tuple[Options, list[Layer]]:
        """The configuration and the layers, bottom to top, of the cascade's stages.

        Both may differ from full training's, if the stages have a different network.

        Args:
            model: model of full training.
            config: options of full training.
            layering: how the cascade divides the model into layers.

        Raises:
            ConfigError: if the model cannot be divided like that.
        """

    def default_select(self, model: CascadeModel) -> list[str]:
        """The dev metric used for model selection, and ``min`` or ``max``."""

    def data(self, model: CascadeModel, config: Options, ranks: Ranks = ONE_RANK) -> TrainingData:
        """What a training with these options sees."""

    def check_same_outputs(self, other: Path) -> None:
        """Raise ConfigError unless a model in ``other`` predicts the same tokens."""

    def differences(self, trained: Options, given: Options, reads_input: bool) -> list[str]:
        """Options of ``given`` with which the weights would compute something different.

        Args:
            trained: the configuration that the weights were trained with.
            given: the one that they are to be used with.
            reads_input: the weights include those of the lowest layer.
        """
