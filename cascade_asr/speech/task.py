"""Speech recognition as a task of the cascade: model, data and transfer of one experiment."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cascade_asr.data.batches import padding_share
from cascade_asr.data.loader import Batch, BatchLoader, collate
from cascade_asr.data.manifest import read_manifest
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.files import atomic_write
from cascade_asr.networks.layer import Layer
from cascade_asr.options.assignments import Assignments
from cascade_asr.speech.build import build_model, check_config
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.differences import differences
from cascade_asr.speech.loading import feature_dimension, make_loader, plan_loader
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.experiment import Experiment

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

    def adopt(self) -> None:
        """Copy tokens and normalisation statistics into the experiment."""
        self.experiment.adopt()

    def data_digest(self) -> str:
        """Hash of texts, lengths and features of both sets."""
        return self.experiment.data_digest()

    def load_config(
        self, path: Path, given: Assignments | None = None
    ) -> tuple[TrainConfig, list[str]]:
        """A configuration with ESPnet2's keys."""
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
        self, model: ASRModel, config: TrainConfig, grain: str, tying: str | None
    ) -> tuple[TrainConfig, list[Layer]]:
        """The layers of the model; nothing is tied in it.

        Raises:
            ConfigError: if ``tying`` is given.
        """
        if tying is not None:
            raise ConfigError(f"tying: {tying}: this model has no tied weights; leave it out")
        return config, model.layers(grain)

    def default_select(self, model: ASRModel) -> list[str]:
        """WER of the best CTC path; the decoder's accuracy where there is no CTC layer."""
        return ["wer_ctc", "min"] if model.ctc is not None else ["acc", "max"]

    def loaders(
        self, model: ASRModel, config: TrainConfig, rank: int, world_size: int, directory: Path
    ) -> tuple[BatchLoader, BatchLoader]:
        """Batches of both sets; what is too short for its text is listed in ``directory``."""
        experiment = self.experiment
        loaders = []
        for name in (experiment.train_set, experiment.dev_set):
            plan = plan_loader(model, config, experiment, name)
            if rank == 0:
                _write_dropped(directory, name, plan.dropped)
            training = name == experiment.train_set
            loaders.append(make_loader(plan, config, training, rank, world_size))
        return loaders[0], loaders[1]

    def trial_batches(self, model: ASRModel, config: TrainConfig) -> list[Batch]:
        """The longest and the shortest utterance, each with another one of its batch.

        Raises:
            DataError: if their features cannot be read.
        """
        plan = plan_loader(model, config, self.experiment, self.experiment.train_set)
        frames = plan.dataset.manifest.frames
        batches = []
        for extreme in (int(frames.argmax()), int(frames.argmin())):
            members = next(batch for batch in plan.batches if extreme in batch)
            others = sorted(set(members.tolist()) - {extreme}, key=lambda index: frames[index])
            batch = collate([plan.dataset[index] for index in (extreme, *others[:1])])
            if isinstance(batch, DataError):
                raise batch
            batches.append(batch)
        return batches

    def describe_data(self, model: ASRModel, config: TrainConfig) -> list[str]:
        """A line a set, and the first utterances that are dropped."""
        lines = []
        for name in (self.experiment.train_set, self.experiment.dev_set):
            plan = plan_loader(model, config, self.experiment, name)
            frames = plan.dataset.manifest.frames
            padding = 100 * padding_share(plan.batches, frames)
            lines.append(
                f"{name}: {len(plan.dataset)} utterances, {len(plan.dropped)} dropped as too short "
                f"for their text, {len(plan.batches)} batches, {padding:.1f} % padding, longest "
                f"{frames.max()} frames"
            )
            lines += [
                f"  dropped {utterance}: {available} encoder frames, {needed} needed"
                for utterance, available, needed in plan.dropped[:10]
            ]
        return lines

    def updates_per_epoch(self, model: ASRModel, config: TrainConfig) -> int:
        """Batches of the training set, divided by ``accum_grad``."""
        plan = plan_loader(model, config, self.experiment, self.experiment.train_set)
        return math.ceil(len(plan.batches) / config.accum_grad)

    def check_same_outputs(self, other: Path) -> None:
        """Require the tokens of a model in another folder to be ours.

        Raises:
            ConfigError: if they differ, or are not there.
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


def _write_dropped(directory: Path, name: str, dropped: list[tuple[str, int, int]]) -> None:
    """List the utterances whose text does not fit into their frames."""
    if not dropped:
        return
    path = directory / f"dropped_{name}.tsv"
    with atomic_write(path) as stream:
        stream.write("utterance\tencoder_frames\tframes_needed\n")
        stream.writelines(f"{name}\t{frames}\t{needed}\n" for name, frames, needed in dropped)
    logger.warning(
        "%d utterances of %s are too short for their text and are dropped; listed in %s",
        len(dropped),
        name,
        path,
    )
