"""The language model as a scorer in a beam search, ours or ESPnet's, for shallow fusion."""

from __future__ import annotations

import torch
from torch import nn

from cascade_asr.data.tokens import BLANK, SENTENCE_EDGE
from cascade_asr.errors import ConfigError
from cascade_asr.lm.awd_lstm import AWDLSTM, State, full_precision
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.cell import LstmCell
from cascade_asr.networks.fast.packed import Product

BatchScorerInterface = espnet_module("espnet.nets.scorer_interface").BatchScorerInterface

IMPOSSIBLE = -1.0e10  # score of a token that never occurs in a text


class LanguageModelScorer(nn.Module, BatchScorerInterface):
    """Scores the next token of hypotheses, each from its own cached state.

    A state holds (h, c) of every layer after the tokens read so far, so each
    step reads one token, however long the hypothesis is.

    Args:
        model: model trained on text in the tokens of the speech recogniser.
        vocabulary: vocabulary of the model.
        tokens: the recogniser's, ``<blank>`` first, ``<sos/eos>`` last. Their order may
            differ from that of the model's, whose ``<eos>`` is ``<sos/eos>``.

    Raises:
        ConfigError: if the model lacks a token.
    """

    def __init__(self, model: AWDLSTM, vocabulary: Vocabulary, tokens: list[str]) -> None:
        super().__init__()
        self.model = model.eval()
        known = {**vocabulary.ids, SENTENCE_EDGE: vocabulary.eos}
        missing = [token for token in tokens if token not in known and token != BLANK]
        if missing:
            raise ConfigError(
                f"the language model does not know {len(missing)} of {len(tokens)} tokens of the "
                f"recogniser ({' '.join(missing[:5])}); train it on text in these tokens"
            )
        ids = [known.get(token, vocabulary.eos) for token in tokens]
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        impossible = [index for index, token in enumerate(tokens) if token == BLANK]
        self.register_buffer(
            "impossible", torch.tensor(impossible, dtype=torch.int64), persistent=False
        )

    def steps(self) -> LanguageModelSteps:
        """The function that starts scoring the hypotheses for a batch in our own search."""
        return LanguageModelSteps(self)

    def init_state(self, encoder_output: torch.Tensor) -> State:
        """The state before ``<sos>``."""
        return [tuple(each[:, 0] for each in pair) for pair in self.model.initial_state(1)]

    batch_init_state = init_state

    @torch.no_grad()
    def score(
        self, prefix: torch.Tensor, state: State, encoder_output: torch.Tensor
    ) -> tuple[torch.Tensor, State]:
        """Tokens (U,) and the state before the last one to log-probabilities (V,) and new state."""
        scores, states = self.batch_score(prefix.unsqueeze(0), [state], encoder_output)
        return scores[0], states[0]

    @torch.no_grad()
    def batch_score(
        self, prefixes: torch.Tensor, states: list[State], encoder_outputs: torch.Tensor
    ) -> tuple[torch.Tensor, list[State]]:
        """Tokens so far (B, U) and B states to log-probabilities (B, V) and B states."""
        stacked = [
            tuple(torch.stack(parts, dim=1) for parts in zip(*layer, strict=True))
            for layer in zip(*states, strict=True)
        ]  # (h, c) per layer, each (1, B, H)
        raw, _, after = self.model.outputs(self.ids[prefixes[:, -1:]].t(), stacked)
        scores = full_precision(self.model.softmax(raw[0])).log_softmax(dim=1)[:, self.ids]
        scores = scores.index_fill(1, self.impossible, IMPOSSIBLE)
        rows = range(prefixes.size(0))
        return scores, [[tuple(each[:, row] for each in pair) for pair in after] for row in rows]


class LanguageModelSteps:
    """Weights of a language model, prepared for all batches that are searched with it.

    Args:
        scorer: the model, whose weights must not change, and its tokens in the
            recogniser's order.
    """

    def __init__(self, scorer: LanguageModelScorer) -> None:
        model = scorer.model
        self.scorer = scorer
        self.output = Product(model.softmax.weight, model.softmax.bias)
        self.cells = [
            LstmCell(layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0 + layer.bias_hh_l0)
            for layer in model.rnn
        ]

    def __call__(
        self, encoder_output: torch.Tensor, lengths: torch.Tensor, width: int
    ) -> LanguageModelStep:
        """Start scoring ``width`` hypotheses for each utterance of a batch (B, T', H)."""
        return LanguageModelStep(self, encoder_output.size(0) * width)


class LanguageModelStep:
    """Scores the next token of N hypotheses in our own search.

    Args:
        weights: weights of the model.
        hypotheses: N, number of hypotheses.
    """

    def __init__(self, weights: LanguageModelSteps, hypotheses: int) -> None:
        self._of = weights
        # (h, c) per layer, (N, H) each
        self._state = [
            tuple(each[0] for each in pair)
            for pair in weights.scorer.model.initial_state(hypotheses)
        ]

    def scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Last tokens (N,) to log-probabilities of the next ones (N, V)."""
        scorer = self._of.scorer
        hidden = scorer.model.embedding(scorer.ids[tokens])
        for index, cell in enumerate(self._of.cells):
            self._state[index] = cell([hidden], *self._state[index])
            hidden = self._state[index][0]
        scores = full_precision(self._of.output(hidden)).log_softmax(dim=1)
        return scores[:, scorer.ids].index_fill_(1, scorer.impossible, IMPOSSIBLE)

    def select(self, rows: torch.Tensor) -> None:
        """Replace the hypotheses by those of ``rows``, which may be fewer."""
        self._state = [tuple(each.index_select(0, rows) for each in pair) for pair in self._state]

    def keep(self, utterances: torch.Tensor) -> None:
        """Do nothing, as no state belongs to an utterance."""
