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

LENGTH_DEVIATION = 5  # tokens; of the normal distribution of lengths
SHORTEST = 5  # tokens; only the last sequence of an epoch may be shorter
HALF_LENGTH_PROBABILITY = 0.05


@dataclass
class TextBatch:
    """One sequence of each column.

    Attributes:
        inputs: (T, B) int64, the tokens read.
        targets: (T, B) int64, the token after each.
        starts_text: the columns begin here: no hidden state is carried over.
        learning_rate_scale: factor of the learning rate for this update.
        description: where it is, for messages.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    starts_text: bool
    learning_rate_scale: float
    description: str = ""

    def __len__(self) -> int:
        """Tokens to predict."""
        return self.targets.numel()

    @property
    def frames(self) -> int:
        """Tokens to predict, for the record of what was trained."""
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
    """A text to evaluate, all of it.

    Attributes:
        tokens: (N,) token ids.
        eos: id of ``<eos>``.
        columns, piece: how `score_text` reads it; without effect on the result.
        description: for messages.
    """

    tokens: np.ndarray
    eos: int
    columns: int = 10
    piece: int = 70
    description: str = "dev text"
    learning_rate_scale: ClassVar[float] = 1.0

    def __len__(self) -> int:
        """Tokens to predict."""
        return len(self.tokens)

    @property
    def frames(self) -> int:
        """Tokens to predict."""
        return len(self)

    def to(self, device: torch.device) -> WholeText:
        """Itself: pieces are moved as they are read."""
        return self


class WholeTextLoader:
    """The one batch of an evaluation.

    Args:
        text: to evaluate.
    """

    def __init__(self, text: WholeText) -> None:
        self.text = text

    def __len__(self) -> int:
        return 1

    def batches_of(self, epoch: int) -> int:
        """The text is one."""
        return 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[WholeText]:
        """Yield the text."""
        yield self.text


def sequence_lengths(total: int, bptt: int, seed: int, epoch: int) -> list[int]:
    """Lengths that cut ``total`` tokens, the same at every call with these arguments.

    Each is normal(``bptt``, 5), or normal(``bptt``/2, 5) with probability 0.05, at
    least 5; the last one is what is left.

    Args:
        total: tokens of a column.
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

    The text stands in ``batch_size`` columns of equal length; fewer than
    ``batch_size`` tokens at its end are left out, as in the publication. The
    first input of the text is ``<eos>``, the end of a line before it.

    Args:
        tokens: (N,) token ids of the text.
        batch_size: columns, B.
        bptt: usual length of a sequence, in tokens.
        seed: of the lengths.
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
        """Batches of an epoch, on average: epochs differ by a few."""
        mean = self.bptt * (1 - HALF_LENGTH_PROBABILITY / 2)
        return math.ceil(self.column_length / mean)

    def batches_of(self, epoch: int) -> int:
        """Batches of one epoch."""
        return len(sequence_lengths(self.column_length, self.bptt, self.seed, epoch))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TextBatch]:
        """Yield the batches of an epoch in the order of the text.

        Args:
            epoch: counted from 1; decides the lengths.
            start: skip so many batches, which a resumed training has seen.
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
