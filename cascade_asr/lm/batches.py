"""Text as B parallel columns, cut into sequences of random length.

Merity et al. 2018, section 4.1 and 5: the length of a sequence is drawn from a
normal distribution around ``bptt``, sometimes around half of it, and the
learning rate of its update is scaled by length / ``bptt``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from cascade_asr.errors import DataError

LENGTH_DEVIATION = 5  # tokens; standard deviation of the normal distribution of lengths
SHORTEST = 5  # tokens; only the last sequence of an epoch may be shorter
HALF_LENGTH_PROBABILITY = 0.05


@dataclass
class TextBatch:
    """One sequence of each column.

    Attributes:
        inputs: (T, B) int64, the tokens read.
        targets: (T, B) int64, the token after each.
        starts_text: the columns begin here, so no hidden state is carried over.
        learning_rate_scale: factor of the learning rate for this update.
        description: its position, for messages.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    starts_text: bool
    learning_rate_scale: float
    description: str = ""

    def __len__(self) -> int:
        """Number of tokens to predict."""
        return self.targets.numel()

    @property
    def frames(self) -> int:
        """Number of tokens to predict, for the record of what was trained."""
        return len(self)

    def to(self, device: torch.device) -> TextBatch:
        """The batch on ``device``."""
        return TextBatch(
            self.inputs.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.starts_text,
            self.learning_rate_scale,
            self.description,
        )


@dataclass
class WholeText:
    """A whole text to evaluate.

    Attributes:
        tokens: (N,) token ids.
        eos: id of ``<eos>``.
        columns, piece: how `score_text` reads it; they do not affect the result.
        description: description for messages.
    """

    tokens: np.ndarray
    eos: int
    columns: int = 10
    piece: int = 70
    description: str = "dev text"
    learning_rate_scale: ClassVar[float] = 1.0

    def __len__(self) -> int:
        """Number of tokens to predict."""
        return len(self.tokens)

    @property
    def frames(self) -> int:
        """Number of tokens to predict."""
        return len(self)

    def to(self, device: torch.device) -> WholeText:
        """The text itself: pieces are moved as they are read."""
        return self


class WholeTextLoader:
    """The single batch of an evaluation.

    Args:
        text: text to evaluate.
    """

    def __init__(self, text: WholeText) -> None:
        self.text = text

    def __len__(self) -> int:
        return 1

    def batches_of(self, epoch: int) -> int:
        """One, which is the text."""
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[WholeText]:
        """Yield the text."""
        yield self.text


def sequence_lengths(total: int, bptt: int, seed: int, epoch: int) -> list[int]:
    """Lengths into which ``total`` tokens are cut, the same for the same arguments.

    Each is drawn from normal(``bptt``, 5), or with probability 0.05 from
    normal(``bptt``/2, 5), and is at least 5; the last one is what is left.

    Args:
        total: tokens in a column.
        bptt: usual length, in tokens.
        seed, epoch: decide what is drawn; epochs are counted from 1.
    """
    random = np.random.default_rng([seed, epoch])
    lengths = []
    while total > 0:
        mean = bptt / 2 if random.random() < HALF_LENGTH_PROBABILITY else bptt
        length = min(total, max(SHORTEST, int(random.normal(mean, LENGTH_DEVIATION))))
        lengths.append(length)
        total -= length
    return lengths


class TextLoader:
    """The training batches of a text, epoch by epoch, from any position.

    The text is arranged in ``batch_size`` columns of equal length; up to
    ``batch_size`` - 1 tokens at its end are left out, as in the paper. The
    first input is ``<eos>``, as the end of a preceding line.

    Args:
        tokens: (N,) token ids of the text.
        batch_size: B, number of columns.
        bptt: usual length of a sequence, in tokens.
        seed: seed of the lengths.
        eos: id of ``<eos>``.

    Raises:
        DataError: if the text has fewer tokens than columns.
    """

    def __init__(
        self, tokens: np.ndarray, batch_size: int, bptt: int, seed: int, eos: int
    ) -> None:
        self.column_length = len(tokens) // batch_size
        if self.column_length == 0:
            raise DataError(
                f"a text of {len(tokens)} tokens does not fill {batch_size} columns; "
                "lower batch_size"
            )
        used = self.column_length * batch_size
        stream = torch.from_numpy(np.concatenate([[eos], tokens[:used]]).astype(np.int64))
        shape = (batch_size, self.column_length)
        self._inputs = stream[:-1].view(shape).t().contiguous()  # (N/B, B)
        self._targets = stream[1:].view(shape).t().contiguous()
        self.bptt = bptt
        self.seed = seed

    def __len__(self) -> int:
        """Average number of batches per epoch; epochs differ by a few."""
        mean = self.bptt * (1 - HALF_LENGTH_PROBABILITY / 2)
        return math.ceil(self.column_length / mean)

    def batches_of(self, epoch: int) -> int:
        """Number of batches in one epoch."""
        return len(sequence_lengths(self.column_length, self.bptt, self.seed, epoch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TextBatch]:
        """Yield the batches of an epoch in the order of the text.

        Args:
            epoch: counted from 1; decides the lengths.
            start: number of batches to skip, which a resumed training has seen.
        """
        begin = 0
        lengths = sequence_lengths(self.column_length, self.bptt, self.seed, epoch)
        for index, length in enumerate(lengths):
            if index >= start:
                rows = slice(begin, begin + length)
                yield TextBatch(
                    self._inputs[rows],
                    self._targets[rows],
                    starts_text=index == 0,
                    learning_rate_scale=length / self.bptt,
                    description=f"tokens {begin} to {begin + length - 1} of each column",
                )
            begin += length
