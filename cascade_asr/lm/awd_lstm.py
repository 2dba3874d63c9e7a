"""The AWD-LSTM language model.

Merity, Keskar, Socher, "Regularizing and Optimizing LSTM Language Models",
ICLR 2018: an LSTM with DropConnect on its recurrent weights, locked dropout
between all parts, dropped words, one matrix for embedding and softmax, and two
penalties on the activations. Axes here: T tokens of a sequence, B columns.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.lm.dropout import EmbeddingDropout, LockedDropout
from cascade_asr.lm.recurrent import DropConnectLSTM, LayerState
from cascade_asr.networks.layer import Layer, layer_of

State = list[LayerState]  # one (h, c) per layer, each (1, B, H of that layer)
INITIAL_RANGE = 0.1  # range of the initial embedding and softmax weights


class AWDLSTM(nn.Module):
    """Predicts each token from all tokens before it.

    Args:
        vocabulary_size: V.
        embedding_size: E, width of the embedding and of the softmax input.
        hidden_size: width of all LSTM layers except the last.
        num_layers: number of LSTM layers.
        output_size: width of the last LSTM layer; None: ``embedding_size``,
            which tied weights need.
        tie_weights: one matrix (V, E) for embedding and softmax.
        embedding_dropout: probability that a word is dropped from a sequence.
        input_dropout: locked dropout of the embeddings.
        hidden_dropout: locked dropout between LSTM layers.
        output_dropout: locked dropout before the softmax.
        weight_drop: DropConnect of the recurrent weights.
        activation_regularization: alpha, weight of the mean square of the
            dropped output of the last LSTM layer.
        temporal_activation_regularization: beta, weight of the mean square of
            the change of that layer's output from token to token.

    Raises:
        ConfigError: for tied weights of different widths.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int = 400,
        hidden_size: int = 1150,
        num_layers: int = 3,
        output_size: int | None = None,
        tie_weights: bool = True,
        embedding_dropout: float = 0.1,
        input_dropout: float = 0.65,
        hidden_dropout: float = 0.2,
        output_dropout: float = 0.4,
        weight_drop: float = 0.5,
        activation_regularization: float = 2.0,
        temporal_activation_regularization: float = 1.0,
    ) -> None:
        super().__init__()
        output_size = output_size or embedding_size
        if tie_weights and output_size != embedding_size:
            raise ConfigError(
                f"tie_weights needs output_size ({output_size}) = embedding_size "
                f"({embedding_size}); leave output_size out, or set tie_weights: false"
            )
        self.vocabulary_size = vocabulary_size
        self.tie_weights = tie_weights
        self.activation_regularization = activation_regularization
        self.temporal_activation_regularization = temporal_activation_regularization
        widths = [embedding_size] + [hidden_size] * (num_layers - 1) + [output_size]
        dropouts = [hidden_dropout] * (num_layers - 1) + [output_dropout]
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.embedding_dropout = EmbeddingDropout(embedding_dropout)
        self.input_dropout = LockedDropout(input_dropout)
        self.rnn = nn.ModuleList(
            DropConnectLSTM(width, next_width, weight_drop)
            for width, next_width in pairwise(widths)
        )
        self.rnn_dropout = nn.ModuleList(LockedDropout(p) for p in dropouts)
        self.softmax = nn.Linear(output_size, vocabulary_size)
        nn.init.uniform_(self.embedding.weight, -INITIAL_RANGE, INITIAL_RANGE)
        nn.init.uniform_(self.softmax.weight, -INITIAL_RANGE, INITIAL_RANGE)
        nn.init.zeros_(self.softmax.bias)
        if tie_weights:
            self.softmax.weight = self.embedding.weight

    def initial_state(self, columns: int) -> State:
        """The state before the first token: zeros."""
        weight = self.softmax.bias
        return [
            (
                weight.new_zeros(1, columns, layer.hidden_size),
                weight.new_zeros(1, columns, layer.hidden_size),
            )
            for layer in self.rnn
        ]

    def outputs(
        self, tokens: torch.Tensor, state: State
    ) -> tuple[torch.Tensor, torch.Tensor, State]:
        """Run a sequence through embedding and LSTM layers.

        Args:
            tokens: (T, B) int64.
            state: state before the first of them.

        Returns:
            Output of the last LSTM layer (T, B, E), the same after dropout, and
            the state after the last token.
        """
        embedded = self.embedding_dropout(tokens, self.embedding(tokens), self.vocabulary_size)
        dropped = self.input_dropout(embedded)
        raw, after = dropped, []
        for layer, dropout, before in zip(self.rnn, self.rnn_dropout, state, strict=True):
            raw, layer_state = layer(dropped, before)
            dropped = dropout(raw)
            after.append(layer_state)
        return raw, dropped, after

    def forward(self, tokens: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Tokens (T, B) and the state before them to logits (T, B, V) and the state after."""
        _, dropped, state = self.outputs(tokens, state)
        return self.softmax(dropped), state

    def penalties(self, raw: torch.Tensor, dropped: torch.Tensor) -> torch.Tensor:
        """AR + TAR (section 4.6) of the last layer's output (T, B, E), before and after dropout."""
        penalty = raw.new_zeros(())
        if self.activation_regularization:
            penalty = penalty + self.activation_regularization * dropped.pow(2).mean()
        if self.temporal_activation_regularization and raw.size(0) > 1:
            change = raw[1:] - raw[:-1]
            penalty = penalty + self.temporal_activation_regularization * change.pow(2).mean()
        return penalty

    def layers(self, tying: str | None = None) -> list[Layer]:
        """``embedding``, ``rnn.0``, ``rnn.1``, ..., ``softmax``, bottom to top.

        With tied weights the top layer is the bottom one, and the shared matrix can
        belong to only one of them.

        Args:
            tying: what to do with tied weights: ``freeze`` puts the matrix into the
                softmax layer, where a top-down cascade freezes it first; there is
                then no layer ``embedding``, which becomes another name for ``softmax``.
                ``train`` (and None) puts it into the embedding layer, where such
                a cascade trains it to the end.
        """
        assert tying in (None, "freeze", "train"), tying
        dropouts = ["embedding_dropout", "input_dropout"]
        recurrent = [
            layer_of(self, f"rnn.{index}", [f"rnn.{index}"], dropouts=[f"rnn_dropout.{index}"])
            for index in range(len(self.rnn))
        ]
        if self.tie_weights and tying == "freeze":
            owners = ["embedding", "softmax"]
            top = layer_of(self, "softmax", owners, dropouts=dropouts, aliases=["embedding"])
            return [*recurrent, top]
        bottom = layer_of(self, "embedding", ["embedding"], dropouts=dropouts)
        return [bottom, *recurrent, layer_of(self, "softmax", ["softmax"])]


def full_precision(values: torch.Tensor) -> torch.Tensor:
    """Half-precision values as float32; others unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
