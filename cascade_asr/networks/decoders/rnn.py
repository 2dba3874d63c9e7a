"""ESPnet's ``rnn`` decoder (LSTM or GRU with attention), faster in training.

Location attention, the usual one, and LSTM cells run in our own loop:
projections, masks, embeddings and output layer are computed once for all tokens,
and weight gradients are summed in one product. Other attention types run in
ESPnet's modules. As a scorer in a beam search (``score``) it is ESPnet's own.

Intended differences from ESPnet 202511: scheduled sampling is active only in
training and draws from PyTorch's random numbers (ESPnet's is always active and
draws from Python's, which a resumed training does not restore).
"""

from __future__ import annotations

import torch

from cascade_asr.networks.bounds import COUNT, KERNEL, PROBABILITY, WIDTH, one_of
from cascade_asr.networks.decoders.attention import start_attention
from cascade_asr.networks.decoders.cells import GruStack, LstmStack
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.layer import Layer, layer_of
from cascade_asr.networks.masking import valid_positions

_espnet_decoder = espnet_module("espnet2.asr.decoder.rnn_decoder")


class RNNDecoder(_espnet_decoder.RNNDecoder):
    """Predicts one token at a time, attending to the encoder output."""

    unsupported = {
        "num_encs": ((1,), "there is one encoder"),
        "rnn_type": one_of("lstm", "gru"),
    }
    bounds = {
        "num_layers": COUNT,
        "hidden_size": WIDTH,
        "dropout": PROBABILITY,
        "sampling_probability": PROBABILITY,
        "att_conf": {
            "num_att": COUNT,
            "num_encs": (1, 1),
            "aheads": COUNT,
            "adim": WIDTH,
            "awin": KERNEL,
            "aconv_chans": WIDTH,
            "aconv_filts": (0, KERNEL[1]),
        },
    }
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
        """Attention weights of each token: (B, U, T') float, rows sum to 1, 0 in the padding."""
        _, weights = self._run(encoder_output, encoder_lengths, tokens_in)
        lengths = tokens_in_lengths.to(weights.device)
        return weights.masked_fill(~valid_positions(lengths, weights.size(1)).unsqueeze(2), 0.0)

    def _run(
        self, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor, tokens_in: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden vectors (B, U, Z) before the output layer, and weights (B, U, T')."""
        attention = start_attention(self.att_list[0], encoder_output, encoder_lengths)
        cells = (LstmStack if self.dtype == "lstm" else GruStack)(self, encoder_output)
        embedded = self.dropout_emb(self.embed(tokens_in.clamp(min=0)))  # (B, U, Z)
        outputs, weights = [], []
        for index, token in enumerate(cells.prepare(embedded).unbind(dim=1)):
            context = attention.step(self.dropout_dec[0](cells.hidden[0]))
            if index > 0 and self._samples():
                sampled = self.output(outputs[-1]).argmax(dim=1)
                token = cells.prepare(self.dropout_emb(self.embed(sampled)))
            output = self.dropout_dec[-1](cells.step(token, context))
            if self.context_residual:
                output = torch.cat([output, context.to(output.dtype)], dim=1)
            outputs.append(output)
            weights.append(attention.weights.detach())
        return torch.stack(outputs, dim=1), torch.stack(weights, dim=1)

    def _samples(self) -> bool:
        """Whether this step uses the decoder's own guess instead of the true token."""
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
