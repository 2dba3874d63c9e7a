"""ESPnet's ``transformer``, ``conformer`` and ``e_branchformer`` encoders.

Differences from ESPnet 202511, each on purpose:

- an utterance's output does not depend on the batch that it is padded into;
  it is what ESPnet gives for the utterance alone;
- batch normalisation counts valid frames only;
- ``layer_drop_rate`` acts in all three (ESPnet: in E-Branchformer alone);
- attention runs in PyTorch's fused kernels, so ``use_flash_attn`` changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cascade_asr.networks.encoders.blocks import (
    conformer_block,
    e_branchformer_block,
    transformer_block,
)
from cascade_asr.networks.encoders.padding import PaddedBatch
from cascade_asr.networks.encoders.subsampling import embedded_lengths, run_embed
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.layer import Layer, layer_of
from cascade_asr.networks.masking import zero_padding

_NO_INTERMEDIATE_CTC = "intermediate CTC does not exist here"


class _SelfAttentionEncoder(nn.Module):
    """An input layer ``embed``, blocks ``encoders``, and mostly ``after_norm``."""

    unsupported = {
        "interctc_layer_idx": (([], None), _NO_INTERMEDIATE_CTC),
        "interctc_use_conditioning": ((False,), _NO_INTERMEDIATE_CTC),
        "ctc_trim": ((False,), _NO_INTERMEDIATE_CTC),
    }
    run_block: Callable

    def __init__(self, *args, use_flash_attn: bool = True, **kwargs) -> None:
        super().__init__(*args, use_flash_attn=False, **kwargs)
        # without parameters, so that the state dict stays ESPnet's
        self.layer_drops = nn.ModuleList(
            nn.Dropout(self.encoders.layer_drop_rate) for _ in self.encoders
        )
        self.stochastic_depths = nn.ModuleList(
            nn.Dropout(getattr(block, "stochastic_depth_rate", 0.0)) for block in self.encoders
        )

    def output_lengths(self, feature_lengths: torch.Tensor) -> torch.Tensor:
        """T' for each T, (B,) int64; 0 where T is too short."""
        return embedded_lengths(self.embed, feature_lengths)

    def forward(
        self, features: torch.Tensor, feature_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) and (B,) to (B, T', H), zero beyond the returned (B,) int64 lengths."""
        lengths = feature_lengths.long().cpu()
        checkpointed = getattr(self, "gradient_checkpoint_layers", ())
        if 0 in checkpointed:
            sequence, positions, lengths = checkpoint(
                run_embed, self.embed, features, lengths, use_reentrant=False
            )
        else:
            sequence, positions, lengths = run_embed(self.embed, features, lengths)
        batch = PaddedBatch(lengths, sequence.size(1), sequence.device)
        for index, block in enumerate(self.encoders):
            branch_scale = self._branch_scale(index)
            if branch_scale is None:
                continue
            arguments = (block, sequence, positions, batch, branch_scale)
            if index + 1 in checkpointed:
                sequence = checkpoint(self.run_block, *arguments, use_reentrant=False)
            else:
                sequence = self.run_block(*arguments)
        if self._has_after_norm():
            sequence = self.after_norm(sequence)
        return zero_padding(sequence, lengths), lengths.to(features.device)

    def _branch_scale(self, index: int) -> float | None:
        """Factor of a block's residual branches; None where the block is left out this time."""
        if _happens(self.layer_drops[index]) or _happens(self.stochastic_depths[index]):
            return None
        depth = self.stochastic_depths[index]
        return 1.0 / (1.0 - depth.p) if depth.training else 1.0

    def _has_after_norm(self) -> bool:
        return hasattr(self, "after_norm")

    def layers(self) -> list[Layer]:
        """``embed``, ``block0``, ``block1``, ..., ``after_norm``, bottom to top."""
        blocks = [
            layer_of(
                self,
                f"block{index}",
                [f"encoders.{index}"],
                dropouts=[f"layer_drops.{index}", f"stochastic_depths.{index}"],
                aliases=[f"encoders.{index}"],
            )
            for index in range(len(self.encoders))
        ]
        embed = layer_of(self, "embed", ["embed"])
        below = [embed] if embed.parameters else []
        above = [layer_of(self, "after_norm", ["after_norm"])] if self._has_after_norm() else []
        return below + blocks + above

    def classifier_layers(self) -> list[str]:
        """Names of the layers that go with the classifier: the last normalisation."""
        return ["after_norm"] if self._has_after_norm() else []


def _happens(drop: nn.Dropout) -> bool:
    """Draw whether a whole block is left out, with the module's probability."""
    return drop.training and drop.p > 0.0 and torch.rand(()).item() < drop.p


class TransformerEncoder(
    _SelfAttentionEncoder,
    espnet_module("espnet2.asr.encoder.transformer_encoder").TransformerEncoder,
):
    """Self-attention blocks."""

    run_block = staticmethod(transformer_block)


class ConformerEncoder(
    _SelfAttentionEncoder,
    espnet_module("espnet2.asr.encoder.conformer_encoder").ConformerEncoder,
):
    """Self-attention blocks with a convolution over time."""

    run_block = staticmethod(conformer_block)


class EBranchformerEncoder(
    _SelfAttentionEncoder,
    espnet_module("espnet2.asr.encoder.e_branchformer_encoder").EBranchformerEncoder,
):
    """Self-attention beside a convolutional MLP in each block."""

    run_block = staticmethod(e_branchformer_block)
