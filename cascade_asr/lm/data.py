"""The data of one training of a language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from cascade_asr.lm.batches import TextBatch, TextLoader, WholeText, WholeTextLoader
from cascade_asr.lm.config import LMConfig
from cascade_asr.lm.corpus import Vocabulary


@dataclass(frozen=True)
class TextData:
    """The training and the dev text; a `TrainingData`.

    Attributes:
        texts: token ids (N,) of each text, by name.
        train_set, dev_set: names of the two texts.
        vocabulary: vocabulary of the ids.
        config: decides the batches.
    """

    texts: Mapping[str, np.ndarray]
    train_set: str
    dev_set: str
    vocabulary: Vocabulary
    config: LMConfig

    @cached_property
    def train(self) -> TextLoader:
        """Sequences of the training text."""
        config, tokens = self.config, self.texts[self.train_set]
        return TextLoader(tokens, config.batch_size, config.bptt, config.seed, self.vocabulary.eos)

    @cached_property
    def dev(self) -> WholeTextLoader:
        """The dev text as a whole."""
        tokens = self.texts[self.dev_set]
        return WholeTextLoader(WholeText(tokens, self.vocabulary.eos, self.config.valid_batch_size))

    @property
    def updates_per_epoch(self) -> int:
        """Number of sequences in the training text, averaged over epochs."""
        return len(self.train)

    @property
    def description(self) -> list[str]:
        """One line per text."""
        return [
            f"vocabulary: {len(self.vocabulary)} tokens",
            (
                f"{self.train_set}: {len(self.texts[self.train_set])} tokens in "
                f"{self.config.batch_size} columns of {self.train.column_length}, about "
                f"{len(self.train)} updates per epoch"
            ),
            f"{self.dev_set}: {len(self.texts[self.dev_set])} tokens",
        ]

    def trial_batches(self) -> list[TextBatch]:
        """The longest and the shortest sequence of the first epoch, in two columns.

        Both read the beginning of the text, so that no state is needed.
        """
        lengths = [len(batch.inputs) for batch in self.train.epoch(1)]
        first = next(iter(self.train.epoch(1)))
        columns = min(2, self.config.batch_size)
        tokens = torch.from_numpy(self.texts[self.train_set].astype(np.int64))
        batches = []
        for length in (max(lengths), min(lengths)):
            stream = tokens[: columns * length + 1]
            stream = stream[: (len(stream) - 1) // columns * columns + 1]
            shape = (columns, -1)
            batches.append(
                dataclasses.replace(
                    first,
                    inputs=stream[:-1].view(shape).t().contiguous(),
                    targets=stream[1:].view(shape).t().contiguous(),
                    description=f"the first {len(stream) - 1} tokens",
                )
            )
        return [batch for batch in batches if len(batch)]

    def record(self, directory: Path) -> None:
        """Write nothing, because nothing of a text is left out."""
