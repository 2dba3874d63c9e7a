"""The language model as the trainer sees it: a loss per batch, a state between batches."""

from __future__ import annotations

from typing import Any

import torch

from cascade_asr.lm.awd_lstm import AWDLSTM, State, full_precision
from cascade_asr.lm.batches import TextBatch, WholeText
from cascade_asr.lm.perplexity import perplexity_of, score_text
from cascade_asr.networks.fast.cross_entropy import softmax_cross_entropy
from cascade_asr.training.protocols import Statistics


class LanguageModel(AWDLSTM):
    """An AWD-LSTM that computes its training loss and carries its hidden state.

    It is a `cascade_asr.training.protocols.CascadeModel`, and the same network as
    `AWDLSTM`, with the same names in its state dict.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._carried: State | None = None

    def forward(self, batch: TextBatch | WholeText) -> tuple[torch.Tensor, Statistics]:
        """The loss of a batch, summed over its tokens, and what to log.

        In training the hidden state continues from the previous batch, without its
        gradient. ``loss`` in the statistics is the cross entropy in nats,
        without penalties. In evaluation the batch is a whole text.
        """
        if isinstance(batch, WholeText):
            return self._evaluate(batch)
        state = self._state_before(batch)
        raw, dropped, state = self.outputs(batch.inputs, state)
        self._carried = [(hidden.detach(), cell.detach()) for hidden, cell in state]
        cross_entropy = softmax_cross_entropy(
            dropped.flatten(0, 1), self.softmax.weight, self.softmax.bias, batch.targets.flatten()
        )
        penalties = self.penalties(full_precision(raw), full_precision(dropped))
        loss = cross_entropy + len(batch) * penalties
        return loss, {"loss": (cross_entropy.detach(), float(len(batch)))}

    def _evaluate(self, text: WholeText) -> tuple[torch.Tensor, Statistics]:
        scored = score_text(self, text.tokens, text.eos, text.columns, text.piece)
        loss = -scored.log_probabilities.sum()
        return loss, {"loss": (loss, float(len(text)))}

    def metric_names(self, split: str) -> list[str]:
        """Names of the metrics that are logged for ``train`` or ``valid``."""
        return ["loss", "perplexity"]

    def derived_metrics(self, means: dict[str, float]) -> dict[str, float]:
        """Perplexity, which is not a mean but follows from one."""
        if "loss" not in means:
            return {}
        return {"perplexity": perplexity_of(means["loss"])}

    # ---- the state that is carried from batch to batch ------------------------

    def _state_before(self, batch: TextBatch) -> State:
        if batch.starts_text:
            return self.initial_state(batch.inputs.size(1))
        assert self._carried is not None, "no state: a text was entered in its middle"
        return self._carried

    def training_state(self) -> list[list[torch.Tensor]]:
        """What a checkpoint keeps besides the weights: the carried hidden state."""
        return [list(pair) for pair in self._carried or []]

    def load_training_state(self, state: list[list[torch.Tensor]]) -> None:
        """Continue from `training_state`."""
        device = self.softmax.bias.device
        self._carried = [(h.to(device), c.to(device)) for h, c in state] or None
