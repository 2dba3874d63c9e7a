"""Exact log-probabilities of a text, many tokens at a time.

By definition, the model reads ``<eos>`` and then the text from its first to its
last token, the hidden state is carried from beginning to end, and each of the N
tokens is predicted once. Reading one token at a time would be slow, so the text
is cut into B columns that are read side by side:

1. All columns start from a zero state. For the first column this is already correct;
   the state at the end of each piece (``piece`` tokens) is remembered.
2. Every other column is read again from the state in which its left neighbour
   ended, until its state agrees with the remembered one to within ``TOLERANCE``,
   because an LSTM forgets. From there on the first reading was correct.
3. A column that never agreed has a new end state, and its right neighbour is read
   again. After at most B rounds nothing is left to do.

Columns are padded to equal length with tokens that are neither predicted nor
passed on. So no token is left out, none is predicted without its context, and
the result does not depend on B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cascade_asr.lm.awd_lstm import AWDLSTM, State, full_precision

TOLERANCE = 1e-6  # absolute, for hidden states and cells
FILLING = -100  # target of a position beyond the end of the text


@dataclass
class ScoredText:
    """A text as a model sees it.

    Attributes:
        log_probabilities: (N,) float64, natural logarithm, of each token.
        hidden: (N, E) float32, the last LSTM layer's output that predicts each
            token; None if it was not asked for.
    """

    log_probabilities: torch.Tensor
    hidden: torch.Tensor | None

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability of all tokens."""
        return perplexity_of(-float(self.log_probabilities.mean()))


def perplexity_of(nats: float) -> float:
    """exp of a mean negative log-probability, which float64 could not hold above exp(709)."""
    return math.exp(min(nats, 700.0))


@torch.no_grad()
def score_text(
    model: AWDLSTM,
    tokens: np.ndarray,
    eos: int,
    columns: int = 10,
    piece: int = 70,
    keep_hidden: bool = False,
) -> ScoredText:
    """Score each token of a text given all tokens before it.

    Args:
        model: put into evaluation mode; on any device.
        tokens: (N,) token ids, N > 0.
        eos: id of ``<eos>``, which the text follows.
        columns: B, read side by side; does not change the result.
        piece: tokens of a column read in one call; does not change the result.
        keep_hidden: also return hidden vectors, for the cache.
    """
    model.eval()
    return _Reading(model, tokens, eos, min(columns, len(tokens)), piece, keep_hidden).run()


class _Reading:
    """The columns of one text, their states and their results."""

    def __init__(
        self,
        model: AWDLSTM,
        tokens: np.ndarray,
        eos: int,
        columns: int,
        piece: int,
        keep_hidden: bool,
    ) -> None:
        self.model = model
        self.device = model.softmax.bias.device
        self.total = len(tokens)
        length = math.ceil(self.total / columns)
        inputs = np.full(columns * length, eos, dtype=np.int64)
        inputs[1 : self.total] = tokens[:-1]
        targets = np.full(columns * length, FILLING, dtype=np.int64)
        targets[: self.total] = tokens
        self.inputs, self.targets = (
            torch.from_numpy(each.reshape(columns, length)).t().contiguous()
            for each in (inputs, targets)
        )  # (length, B)
        self.pieces = [
            slice(start, min(start + piece, length)) for start in range(0, length, piece)
        ]
        self.losses = torch.zeros(length, columns, dtype=torch.float64)
        self.hidden = None
        if keep_hidden:
            width = model.softmax.in_features
            self.hidden = torch.zeros(length, columns, width)
        self.ends: list[State] = []  # after each piece, all columns

    def run(self) -> ScoredText:
        """Read all columns, and re-read those that began in a wrong state."""
        columns = self.inputs.size(1)
        state = self.model.initial_state(columns)
        everything = torch.arange(columns)
        for index in range(len(self.pieces)):
            state = self._read(index, everything, state)
            self.ends.append(state)
        wrong = everything[1:]
        while len(wrong):
            wrong = self._read_again(wrong)
        order = self.losses.t().flatten()[: self.total]
        hidden = self.hidden
        if hidden is not None:
            hidden = hidden.transpose(0, 1).flatten(0, 1)[: self.total]
        return ScoredText(-order, hidden)

    def _read_again(self, columns: torch.Tensor) -> torch.Tensor:
        """Read columns from their left neighbours' end states.

        Returns:
            The columns whose left neighbour now ends in another state.
        """
        state = _select(self.ends[-1], columns - 1)
        for index in range(len(self.pieces)):
            state = self._read(index, columns, state)
            open_ones = _differs(state, _select(self.ends[index], columns))
            _put(self.ends[index], columns, state)
            columns, state = columns[open_ones], _select(state, open_ones.nonzero().flatten())
            if not len(columns):
                break
        following = columns + 1
        return following[following < self.inputs.size(1)]

    def _read(self, index: int, columns: torch.Tensor, state: State) -> State:
        """Read one piece of some columns and note losses and hidden vectors."""
        rows = self.pieces[index]
        inputs = self.inputs[rows][:, columns].to(self.device)
        targets = self.targets[rows][:, columns].to(self.device)
        raw, _, state = self.model.outputs(inputs, state)
        logits = full_precision(self.model.softmax(raw))  # (T, B, V)
        losses = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=FILLING, reduction="none"
        )
        self.losses[rows, columns] = losses.view(targets.shape).double().cpu()
        if self.hidden is not None:
            self.hidden[rows, columns] = raw.float().cpu()
        return state


def _select(state: State, columns: torch.Tensor) -> State:
    return [tuple(each[:, columns.to(each.device)] for each in pair) for pair in state]


def _put(state: State, columns: torch.Tensor, values: State) -> None:
    for pair, new_pair in zip(state, values, strict=True):
        for each, new in zip(pair, new_pair, strict=True):
            each[:, columns.to(each.device)] = new


def _differs(state: State, other: State) -> torch.Tensor:
    """(B,) bool on the CPU: columns in which any element differs by more than `TOLERANCE`."""
    differs = None
    for pair, other_pair in zip(state, other, strict=True):
        for each, other_each in zip(pair, other_pair, strict=True):
            here = (each - other_each).abs().amax(dim=(0, 2)) > TOLERANCE
            differs = here if differs is None else differs | here
    return differs.cpu()
