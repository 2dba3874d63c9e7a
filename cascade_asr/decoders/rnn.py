"""ESPnet's ``rnn`` decoder (LSTM or GRU with attention), faster in training.

The usual location attention (Chorowski et al. 2015, arXiv 1506.07503) runs in
our own loop: mask and projections once per batch, embeddings and output layer
once for all tokens. Other attention types run through ESPnet's modules.

Differences from ESPnet 202511, each on purpose: scheduled sampling acts in
training only and draws from PyTorch's random numbers (ESPnet's: always, and
from Python's, which a resumed training does not restore).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cascade_asr.encoders.masking import valid_positions
from cascade_asr.errors import nearest
from cascade_asr.espnet import espnet_module
from cascade_asr.interfaces import Layer
from cascade_asr.layers import layer_of

_espnet_decoder = espnet_module("espnet2.asr.decoder.rnn_decoder")
_attentions = espnet_module("espnet.nets.pytorch_backend.rnn.attentions")

ATTENTION_TYPES = (
    "location",
    "noatt",
    "dot",
    "add",
    "location2d",
    "location_recurrent",
    "coverage",
    "coverage_location",
    "multi_head_dot",
    "multi_head_add",
    "multi_head_loc",
    "multi_head_multi_res_loc",
)
ATTENTION_SCALING = 2.0  # sharpens the softmax; ESPnet's fixed value


def check_attention(att_conf: Mapping[str, Any]) -> list[str]:
    """Problems of ``att_conf`` that its types do not show: an unknown ``atype``."""
    kind = att_conf.get("atype", "location") if isinstance(att_conf, Mapping) else "location"
    if kind in ATTENTION_TYPES or not isinstance(kind, str):
        return []
    suggestion = nearest(kind, ATTENTION_TYPES) or f"; there are: {', '.join(ATTENTION_TYPES)}"
    return [f"decoder_conf.att_conf.atype: unknown attention '{kind}'{suggestion}"]


@dataclass
class _LocationAttention:
    """Location attention over one batch, with everything that does not change per token."""

    module: nn.Module
    encoder_output: torch.Tensor  # (B, T', H)
    projected: torch.Tensor  # (B, T', A)
    padding: torch.Tensor  # (B, T') bool
    weights: torch.Tensor  # (B, T'), of the previous token

    @classmethod
    def start(
        cls, module: nn.Module, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor
    ) -> _LocationAttention:
        lengths = encoder_lengths.to(encoder_output.device).clamp(min=1)
        valid = valid_positions(lengths, encoder_output.size(1))
        weights = valid.to(encoder_output.dtype) / lengths.unsqueeze(1)
        projected = module.mlp_enc(encoder_output)
        return cls(module, encoder_output, projected, ~valid, weights)

    def step(self, query: torch.Tensor) -> torch.Tensor:
        """(B, Z) decoder state to (B, H) context; updates ``weights``."""
        module = self.module
        convolution = module.loc_conv
        location = nn.functional.conv1d(
            self.weights.unsqueeze(1), convolution.weight.squeeze(2), padding=convolution.padding[1]
        )  # (B, C, T')
        energy = self.projected + module.mlp_dec(query).unsqueeze(1)  # (B, T', A)
        energy = torch.tanh(energy + module.mlp_att(location.transpose(1, 2)))
        energy = module.gvec(energy).squeeze(2).masked_fill(self.padding, -torch.inf)
        self.weights = torch.softmax(ATTENTION_SCALING * energy, dim=1)
        weights = self.weights.to(self.encoder_output.dtype)
        return torch.bmm(weights.unsqueeze(1), self.encoder_output).squeeze(1)


@dataclass
class _EspnetAttention:
    """Any other attention, through ESPnet's module."""

    module: nn.Module
    encoder_output: torch.Tensor
    lengths: list[int]
    state: object = None

    @classmethod
    def start(
        cls, module: nn.Module, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor
    ) -> _EspnetAttention:
        module.reset()
        return cls(module, encoder_output, encoder_lengths.clamp(min=1).tolist())

    def step(self, query: torch.Tensor) -> torch.Tensor:
        context, self.state = self.module(self.encoder_output, self.lengths, query, self.state)
        return context

    @property
    def weights(self) -> torch.Tensor:
        """(B, T') of the last token; the mean over heads where there are several."""
        state = self.state
        if isinstance(self.module, _attentions.AttLoc2D):
            return state[:, -1]  # (B, window, T')
        if isinstance(self.module, (_attentions.AttCov, _attentions.AttCovLoc)):
            return state[-1]  # all tokens so far
        if isinstance(self.module, _attentions.AttLocRec):
            return state[0]  # beside its recurrent state
        if isinstance(state, (list, tuple)):
            return torch.stack(list(state)).mean(dim=0)
        return state


class RNNDecoder(_espnet_decoder.RNNDecoder):
    """Predicts tokens one after another, attending to the encoder output."""

    unsupported = {"num_encs": ((1,), "there is one encoder")}
    nested = {"att_conf": (_espnet_decoder.build_attention_list, ("eprojs", "dunits"))}

    def forward(
        self,
        encoder_output: torch.Tensor,
        encoder_lengths: torch.Tensor,
        tokens_in: torch.Tensor,
        tokens_in_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """(B, T', H), (B,), (B, U) int64 from <sos>, (B,) to logits (B, U, V), 0 in the padding."""
        hidden, _ = self._run(encoder_output, encoder_lengths, tokens_in)
        logits = self.output(hidden)
        lengths = tokens_in_lengths.to(logits.device)
        return logits.masked_fill(~valid_positions(lengths, logits.size(1)).unsqueeze(2), 0.0)

    @torch.no_grad()
    def attention_weights(
        self,
        encoder_output: torch.Tensor,
        encoder_lengths: torch.Tensor,
        tokens_in: torch.Tensor,
        tokens_in_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Where each token attends: (B, U, T') float, rows sum to 1, 0 in the padding."""
        _, weights = self._run(encoder_output, encoder_lengths, tokens_in)
        lengths = tokens_in_lengths.to(weights.device)
        return weights.masked_fill(~valid_positions(lengths, weights.size(1)).unsqueeze(2), 0.0)

    def _run(
        self, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor, tokens_in: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden vectors (B, U, Z) in front of the output layer, weights (B, U, T')."""
        module = self.att_list[0]
        is_location = type(module) is _attentions.AttLoc
        kind = _LocationAttention if is_location else _EspnetAttention
        attention = kind.start(module, encoder_output, encoder_lengths)
        embedded = self.dropout_emb(self.embed(tokens_in.clamp(min=0)))  # (B, U, Z)

        hidden = [self.zero_state(encoder_output) for _ in range(self.dlayers)]
        cells = [self.zero_state(encoder_output) for _ in range(self.dlayers)]
        outputs, weights = [], []
        for index in range(tokens_in.size(1)):
            context = attention.step(self.dropout_dec[0](hidden[0]))
            if index > 0 and self._samples():
                sampled = self.output(outputs[-1]).argmax(dim=1)
                token = self.dropout_emb(self.embed(sampled))
            else:
                token = embedded[:, index]
            token = torch.cat([token, context.to(token.dtype)], dim=1)
            hidden, cells = self.rnn_forward(token, list(hidden), list(cells), hidden, cells)
            output = self.dropout_dec[-1](hidden[-1])
            if self.context_residual:
                output = torch.cat([output, context.to(output.dtype)], dim=1)
            outputs.append(output)
            weights.append(attention.weights.detach())
        return torch.stack(outputs, dim=1), torch.stack(weights, dim=1)

    def _samples(self) -> bool:
        """Whether this step takes the decoder's own guess instead of the true token."""
        probability = self.sampling_probability if self.training else 0.0
        return probability > 0.0 and torch.rand(()).item() < probability

    def layers(self) -> list[Layer]:
        """``embed``, ``attention``, ``rnn0``, ``rnn1``, ..., ``output``, bottom to top."""
        recurrent = [
            layer_of(
                self,
                f"rnn{index}",
                [f"decoder.{index}"],
                dropouts=[f"dropout_dec.{index}"],
                aliases=[f"decoder.{index}"],
            )
            for index in range(self.dlayers)
        ]
        return [
            layer_of(self, "embed", ["embed"], dropouts=["dropout_emb"]),
            layer_of(self, "attention", ["att_list"], aliases=["att_list"]),
            *recurrent,
            layer_of(self, "output", ["output"]),
        ]
