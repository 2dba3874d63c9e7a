"""ESPnet's ``transformer``, ``conformer`` and ``e_branchformer`` encoders.

Intended differences from ESPnet 202511:

- an utterance's output does not depend on the batch that it is padded into;
  it is what ESPnet gives for the utterance alone;
- batch normalisation counts only valid frames;
- ``layer_drop_rate`` has an effect in all three (ESPnet: only in E-Branchformer);
- attention runs in PyTorch's fused kernels, so ``use_flash_attn`` changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cascade_asr.networks.bounds import (
    CHOSEN_BY_NAME,
    COUNT,
    KERNEL,
    PROBABILITY,
    WIDTH,
    even_kernels,
    one_of,
    undivided_width,
)
from cascade_asr.networks.encoders.blocks import (
    conformer_block,
    e_branchformer_block,
    transformer_block,
)
from cascade_asr.networks.encoders.padding import PaddedBatch
from cascade_asr.networks.encoders.subsampling import embedded_lengths, run_embed
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.layer import Layer, layer_of
from cascade_asr.networks.lower_layers import State, Step, run_layers
from cascade_asr.networks.masking import zero_padding
from cascade_asr.networks.observation import observed

_NO_INTERMEDIATE_CTC = "intermediate CTC does not exist here"
_ACTIVATIONS = ("hardtanh", "tanh", "relu", "selu", "swish")
_CONV2D = ("conv2d", "conv2d1", "conv2d2", "conv2d6", "conv2d8")
_POSITIONWISE = ("linear", "conv1d", "conv1d-linear")
_POSITIONS = ("rel_pos", "legacy_rel_pos", "abs_pos", "scaled_abs_pos", "conv")
_CONVOLUTIONAL_GROUPS = 16  # groups of ESPnet's convolutional position embedding


class _SelfAttentionEncoder(nn.Module):
    """An input layer ``embed``, blocks ``encoders``, and usually ``after_norm``."""

    unsupported = {
        "interctc_layer_idx": (([], None), _NO_INTERMEDIATE_CTC),
        "interctc_use_conditioning": ((False,), _NO_INTERMEDIATE_CTC),
        "ctc_trim": ((False,), _NO_INTERMEDIATE_CTC),
        "pos_enc_class": ((), CHOSEN_BY_NAME),
        "positionwise_layer_type": one_of(*_POSITIONWISE),
    }
    bounds = {
        "output_size": (2, WIDTH[1]),
        "linear_units": WIDTH,
        "cgmlp_linear_units": (2, WIDTH[1]),
        "attention_heads": COUNT,
        "num_blocks": COUNT,
        "cnn_module_kernel": KERNEL,
        "cgmlp_conv_kernel": KERNEL,
        "merge_conv_kernel": KERNEL,
        "positionwise_conv_kernel_size": KERNEL,
        "max_pos_emb_len": (1, 10_000_000),
        "dropout_rate": PROBABILITY,
        "positional_dropout_rate": PROBABILITY,
        "attention_dropout_rate": PROBABILITY,
        "layer_drop_rate": PROBABILITY,
        "stochastic_depth_rate": PROBABILITY,
        "gradient_checkpoint_layers": (0, COUNT[1]),
    }
    run_block: Callable

    @classmethod
    def relations(cls, conf: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(key, problem) of values that do not go together."""
        kernels = ("cnn_module_kernel", "cgmlp_conv_kernel", "merge_conv_kernel",
                   "positionwise_conv_kernel_size")  # fmt: skip
        problems = even_kernels(conf, kernels)
        problems += undivided_width(conf, "output_size", 256, "attention_heads", 4)
        width = conf.get("output_size", 256)
        if conf.get("pos_enc_layer_type") == "conv" and width % _CONVOLUTIONAL_GROUPS:
            problems.append(
                ("output_size", f"{width} is not a multiple of {_CONVOLUTIONAL_GROUPS}, which "
                 "pos_enc_layer_type: conv needs")
            )
        elif conf.get("pos_enc_layer_type") != "conv" and width % 2:
            problems.append(("output_size", f"{width} is odd; encoded positions come in pairs"))
        rates = conf.get("stochastic_depth_rate", 0.0)
        if type(rates) is int:
            problems.append(("stochastic_depth_rate", f"expected a number or a list, got {rates}; "
                             f"write {float(rates)}"))  # fmt: skip
        blocks = conf.get("num_blocks", 6)  # all encoders with such rates have this default
        if isinstance(rates, (list, tuple)) and len(rates) != blocks:
            problems.append(("stochastic_depth_rate", f"{len(rates)} rates for {blocks} blocks"))
        if conf.get("cgmlp_linear_units", 2) % 2:
            problems.append(("cgmlp_linear_units", "is odd; one half gates the other"))
        return problems

    @classmethod
    def _positions_and_attention(
        cls, conf: Mapping[str, Any], attention: str, version: str
    ) -> list[tuple[str, str]]:
        """Problems with relative attention and position encodings that do not go together.

        Args:
            conf: ``encoder_conf``.
            attention: key of the kind of attention; its default is ``rel_selfattn``.
            version: default of ``rel_pos_type``.
        """
        kind = conf.get(attention, "rel_selfattn")
        positions = conf.get("pos_enc_layer_type", "rel_pos")
        version = conf.get("rel_pos_type", version)
        if ("rel_" in kind) != ("rel_" in positions):
            expected = "rel_pos" if "rel_" in kind else "abs_pos or scaled_abs_pos"
            return [("pos_enc_layer_type", f"{attention}: {kind} needs {expected}, not {positions}")]
        if kind == "fast_selfattn" and positions == "conv":
            return [("pos_enc_layer_type", f"{kind} needs abs_pos or scaled_abs_pos")]
        if version == "latest" and "legacy" in kind + positions:
            return [("rel_pos_type", "latest goes with rel_selfattn and rel_pos; write legacy")]
        return []

    def __init__(self, *args, use_flash_attn: bool = True, **kwargs) -> None:
        super().__init__(*args, use_flash_attn=False, **kwargs)
        # without parameters, so that the state dict stays ESPnet's
        self.layer_drops = nn.ModuleList(
            nn.Dropout(self.encoders.layer_drop_rate) for _ in self.encoders
        )
        self.stochastic_depths = nn.ModuleList(
            nn.Dropout(getattr(block, "stochastic_depth_rate", 0.0)) for block in self.encoders
        )

    @property
    def skips_blocks(self) -> bool:
        """Whether an update in training may leave out a block, whose weights get no gradient."""
        return any(each.p > 0.0 for each in (*self.layer_drops, *self.stochastic_depths))

    def output_lengths(self, feature_lengths: torch.Tensor) -> torch.Tensor:
        """T' for each T, (B,) int64; 0 if T is too short."""
        return embedded_lengths(self.embed, feature_lengths)

    def forward(
        self, features: torch.Tensor, feature_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) and (B,) to (B, T', H), zero beyond the returned (B,) int64 lengths."""
        lengths = feature_lengths.long().cpu()
        shared: list[PaddedBatch] = []
        steps: list[tuple[str, Step]] = [("embed", self._run_embed)]
        steps += [
            (f"block{index}", partial(self._run_block, index, shared))
            for index in range(len(self.encoders))
        ]
        sequence, _, lengths = run_layers(steps, (features, lengths))
        if self._has_after_norm():
            sequence = self.after_norm(sequence)
        return zero_padding(sequence, lengths), lengths.to(features.device)

    def _run_embed(self, features: torch.Tensor, lengths: torch.Tensor) -> State:
        """The input layer: sequence, positions or None, and lengths on the CPU."""
        arguments = (self.embed, features, lengths)
        if 0 in getattr(self, "gradient_checkpoint_layers", ()):
            state = checkpoint(run_embed, *arguments, use_reentrant=False)
        else:
            state = run_embed(*arguments)
        observed("embed", state[0])
        return state

    def _run_block(
        self,
        index: int,
        shared: list[PaddedBatch],
        sequence: torch.Tensor,
        positions: torch.Tensor | None,
        lengths: torch.Tensor,
    ) -> State:
        """Run one block; the batch's padding is put into ``shared``, or taken from it."""
        if not shared:
            shared.append(PaddedBatch(lengths, sequence.size(1), sequence.device))
        branch_scale = self._branch_scale(index)
        if branch_scale is None:
            return sequence, positions, lengths
        arguments = (self.encoders[index], sequence, positions, shared[0], branch_scale)
        if index + 1 in getattr(self, "gradient_checkpoint_layers", ()):
            sequence = checkpoint(self.run_block, *arguments, use_reentrant=False)
        else:
            sequence = self.run_block(*arguments)
        observed(f"block{index}", sequence)
        return sequence, positions, lengths

    def _branch_scale(self, index: int) -> float | None:
        """Factor of a block's residual branches; None if the block is skipped this time."""
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
    """Draw, with the module's probability, whether a whole block is skipped."""
    return drop.training and drop.p > 0.0 and torch.rand(()).item() < drop.p


class TransformerEncoder(
    _SelfAttentionEncoder,
    espnet_module("espnet2.asr.encoder.transformer_encoder").TransformerEncoder,
):
    """Self-attention blocks."""

    unsupported = _SelfAttentionEncoder.unsupported | {
        "input_layer": one_of(*_CONV2D, "conv1d2", "linear", "wav2vec", None),
        "pos_enc_layer_type": one_of("abs_pos", "conv"),
    }
    run_block = staticmethod(transformer_block)


class ConformerEncoder(
    _SelfAttentionEncoder,
    espnet_module("espnet2.asr.encoder.conformer_encoder").ConformerEncoder,
):
    """Self-attention blocks with a convolution over time."""

    unsupported = _SelfAttentionEncoder.unsupported | {
        "input_layer": one_of(*_CONV2D, "linear", None),
        "pos_enc_layer_type": one_of(*_POSITIONS),
        "selfattention_layer_type": one_of("rel_selfattn", "legacy_rel_selfattn", "selfattn"),
        "rel_pos_type": one_of("legacy", "latest"),
        "activation_type": one_of(*_ACTIVATIONS),
    }

    @classmethod
    def relations(cls, conf: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(key, problem) of values that do not go together."""
        return super().relations(conf) + cls._positions_and_attention(
            conf, "selfattention_layer_type", "legacy"
        )
    run_block = staticmethod(conformer_block)


class EBranchformerEncoder(
    _SelfAttentionEncoder,
    espnet_module("espnet2.asr.encoder.e_branchformer_encoder").EBranchformerEncoder,
):
    """Self-attention parallel to a convolutional MLP in each block."""

    unsupported = _SelfAttentionEncoder.unsupported | {
        "input_layer": one_of(*_CONV2D, "conv1d1", "conv1d2", "conv1d3", "linear", None),
        "pos_enc_layer_type": one_of(*_POSITIONS),
        "attention_layer_type": one_of(
            "rel_selfattn", "legacy_rel_selfattn", "selfattn", "fast_selfattn"
        ),
        "rel_pos_type": one_of("legacy", "latest"),
        "ffn_activation_type": one_of(*_ACTIVATIONS),
        "gate_activation": one_of("identity", *_ACTIVATIONS),
        "positionwise_layer_type": one_of("linear"),
    }

    @classmethod
    def relations(cls, conf: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(key, problem) of values that do not go together."""
        return super().relations(conf) + cls._positions_and_attention(
            conf, "attention_layer_type", "latest"
        )
    run_block = staticmethod(e_branchformer_block)
