"""ESPnet's normalisation of each utterance, independent of padding.

Intended difference from ESPnet 202511: there, once the mean is subtracted, the
padding holds its negative, which enters the variance. An utterance decoded in a
batch is then scaled differently from the same utterance alone.
"""

from __future__ import annotations

import torch

from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.masking import zero_padding

_espnet = espnet_module("espnet2.layers.utterance_mvn")


class UtteranceMVN(_espnet.UtteranceMVN):
    """Zero mean for each utterance, and unit variance if asked for."""

    def forward(
        self, x: torch.Tensor, ilens: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, T, D) and lengths (B,) to normalised ones, zero in the padding."""
        if ilens is None:
            ilens = torch.full((x.size(0),), x.size(1), device=x.device)
        features = zero_padding(x, ilens)
        counts = ilens.to(features).view(-1, 1, 1)
        mean = features.sum(dim=1, keepdim=True) / counts
        centred = zero_padding(features - mean, ilens)
        if self.norm_means:
            features = centred
        if self.norm_vars:
            variance = centred.pow(2).sum(dim=1, keepdim=True) / counts
            features = features / variance.sqrt().clamp(min=self.eps)
        return features, ilens
