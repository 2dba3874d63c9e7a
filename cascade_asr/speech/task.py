"""Speech recognition as a task for the cascade: model, data and transfer of one experiment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cascade_asr.data.manifest import read_manifest
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.networks.layer import Layer, Layering
from cascade_asr.options.assignments import Assignments
from cascade_asr.speech.build import build_model, check_config
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.data import SpeechData
from cascade_asr.speech.differences import differences
from cascade_asr.speech.loading import feature_dimension
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.protocols import ONE_RANK, Ranks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeechTask:
    """A hybrid CTC/attention model on the sets of an experiment; a `Task`.

    Attributes:
        experiment: folders and data.
    """

    experiment: Experiment
    kind = "speech"

    @property
    def directory(self) -> Path:
        """``exp/TAG``."""
        return self.experiment.directory

    def adopt(self, update: bool = True) -> None:
        """Copy tokens and normalisation statistics into the experiment."""
        self.experiment.adopt(update)

    def data_digest(self) -> str:
        """Hash of texts, lengths and features of both sets."""
        return self.experiment.data_digest()

    def load_config(
        self, path: Path, given: Assignments | None = None
    ) -> tuple[TrainConfig, list[str]]:
        """Load a configuration with ESPnet2's keys."""
        return load_train_config(path, given)

    def check_config(self, config: TrainConfig, where: str) -> None:
        """Check a configuration against everything it names."""
        check_config(config, where)

    @cached_property
    def _input_size(self) -> int:
        experiment = self.experiment
        return feature_dimension(read_manifest(experiment.manifest_path(experiment.train_set)))

    def build_model(self, config: TrainConfig, seed: int) -> ASRModel:
        """A model with new weights."""
        tokenizer = Tokenizer.from_directory(self.experiment.tokens)
        return build_model(config, tokenizer, self._input_size, self.experiment.global_cmvn, seed)

    def stage_layers(
        self, model: ASRModel, config: TrainConfig, layering: Layering
    ) -> tuple[TrainConfig, list[Layer]]:
        """The layers of the model; nothing is tied in it.

        Raises:
            ConfigError: if the layering concerns tied weights.
        """
        layering.require_nothing_tied("this model")
        return config, model.layers(layering.grain)

    def default_select(self, model: ASRModel) -> list[str]:
        """WER of the best CTC path; the decoder's accuracy if there is no CTC layer."""
        return ["wer_ctc", "min"] if model.ctc is not None else ["acc", "max"]

    def data(self, model: ASRModel, config: TrainConfig, ranks: Ranks = ONE_RANK) -> SpeechData:
        """The sets of the experiment, without what is too short for its text."""
        return SpeechData(model, config, self.experiment, ranks)

    def check_same_outputs(self, other: Path) -> None:
        """Require the tokens of a model in another folder to be ours.

        Raises:
            ConfigError: if they differ or are missing.
        """
        tokens = self.experiment.tokens / "tokens.txt"
        theirs = other.parent / "tokens" / "tokens.txt"
        if not theirs.is_file() or theirs.read_bytes() != tokens.read_bytes():
            raise ConfigError(
                f"source '{other}': its tokens ({theirs}) are not those of {tokens}; a "
                "classifier can only be transferred to the same tokens"
            )

    def differences(
        self, trained: TrainConfig, given: TrainConfig, reads_input: bool
    ) -> list[str]:
        """Options, such as attention heads, that change what the same weights compute."""
        return differences(trained, given, reads_input)
