"""Connectionist temporal classification (CTC) on top of the encoder.

ESPnet's CTC module with two differences: dropout is active only in training
(ESPnet's is always on), and the loss of each utterance is available.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cascade_asr.networks.bounds import PROBABILITY
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.products import use_linear

_BLANK = 0


class CTC(espnet_module("espnet2.asr.ctc").CTC):
    """A linear layer and the CTC loss; takes ESPnet2's ``ctc_conf``.

    Source: Graves et al. 2006, "Connectionist temporal classification".
    """

    unsupported = {
        "ctc_type": (("builtin", "builtin2"), "PyTorch's CTC loss is used; write builtin"),
    }
    bounds = {"dropout_rate": PROBABILITY}

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # without parameters, so that the state dict stays ESPnet's
        self.dropout = nn.Dropout(self.dropout_rate)
        use_linear(self)

    def losses(
        self,
        encoder_output: torch.Tensor,
        encoder_lengths: torch.Tensor,
        tokens: torch.Tensor,
        token_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Negative log-likelihood of each utterance's tokens, in nats.

        Args:
            encoder_output: (B, T', H).
            encoder_lengths: (B,) int64.
            tokens: (B, U) int64, without blanks, padded with -1.
            token_lengths: (B,) int64.

        Returns:
            (B,) float32; 0 for an utterance with fewer frames than its tokens
            need (``zero_infinity``, on by default), which then contributes no gradient.
        """
        logits = self.ctc_lo(self.dropout(encoder_output))
        log_probabilities = logits.float().log_softmax(dim=2).transpose(0, 1)  # (T', B, V)
        return functional.ctc_loss(
            log_probabilities,
            tokens.clamp(min=0),
            encoder_lengths,
            token_lengths,
            blank=_BLANK,
            reduction="none",
            zero_infinity=self.ctc_type == "builtin2" or self.ctc_loss.zero_infinity,
        )

    def forward(
        self,
        encoder_output: torch.Tensor,
        encoder_lengths: torch.Tensor,
        tokens: torch.Tensor,
        token_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Mean of `losses` over the batch; if ``reduce`` is off, each one divided by B."""
        losses = self.losses(encoder_output, encoder_lengths, tokens, token_lengths)
        return losses.mean() if self.reduce else losses / len(losses)
