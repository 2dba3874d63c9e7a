"""The data of one training of a recogniser."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cascade_asr.data.batches import padding_share
from cascade_asr.data.loader import Batch, BatchLoader, collate
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write
from cascade_asr.speech.config import TrainConfig
from cascade_asr.speech.loading import LoaderPlan, make_loader, plan_loader
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.protocols import Ranks

logger = logging.getLogger(__name__)

SHOWN_DROPPED = 10  # dropped utterances listed in a description


@dataclass(frozen=True)
class SpeechData:
    """The training and the dev set as a model and its options see them; a `TrainingData`.

    Attributes:
        model: its subsampling decides which utterances are long enough.
        config: decides the batches.
        experiment: names the sets.
        ranks: decides the share of this process.
    """

    model: ASRModel
    config: TrainConfig
    experiment: Experiment
    ranks: Ranks

    @cached_property
    def _plans(self) -> dict[str, LoaderPlan]:
        names = (self.experiment.train_set, self.experiment.dev_set)
        return {
            name: plan_loader(self.model, self.config, self.experiment, name) for name in names
        }

    @property
    def _train_plan(self) -> LoaderPlan:
        return self._plans[self.experiment.train_set]

    @cached_property
    def train(self) -> BatchLoader:
        """Batches of the training set, shuffled."""
        return make_loader(self._train_plan, self.config, True, *self.ranks)

    @cached_property
    def dev(self) -> BatchLoader:
        """Batches of the dev set."""
        return make_loader(self._plans[self.experiment.dev_set], self.config, False, *self.ranks)

    @property
    def updates_per_epoch(self) -> int:
        """Number of batches of the training set, divided by ``accum_grad``."""
        return math.ceil(len(self._train_plan.batches) / self.config.accum_grad)

    @property
    def description(self) -> list[str]:
        """One line per set, and the first utterances that are dropped."""
        lines = []
        for name, plan in self._plans.items():
            frames = plan.dataset.manifest.frames
            padding = 100 * padding_share(plan.batches, frames)
            lines.append(
                f"{name}: {len(plan.dataset)} utterances, {len(plan.dropped)} dropped as too short "
                f"for their text, {len(plan.batches)} batches, {padding:.1f} % padding, longest "
                f"{frames.max()} frames"
            )
            lines += [
                f"  dropped {utterance}: {available} encoder frames, {needed} needed"
                for utterance, available, needed in plan.dropped[:SHOWN_DROPPED]
            ]
        return lines

    def trial_batches(self) -> list[Batch]:
        """The longest and the shortest utterance, each with another one from its batch.

        Raises:
            DataError: if their features cannot be read.
        """
        plan = self._train_plan
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

    def record(self, directory: Path) -> None:
        """Write a list of the utterances whose text does not fit into their frames."""
        for name, plan in self._plans.items():
            if not plan.dropped:
                continue
            path = directory / f"dropped_{name}.tsv"
            with atomic_write(path) as stream:
                stream.write("utterance\tencoder_frames\tframes_needed\n")
                stream.writelines("\t".join(map(str, each)) + "\n" for each in plan.dropped)
            logger.warning(
                "%d utterances of %s are too short for their text and are dropped; listed in %s",
                len(plan.dropped),
                name,
                path,
            )
