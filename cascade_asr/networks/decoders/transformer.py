"""ESPnet's ``transformer`` decoder through PyTorch's fused attention.

Differences from ESPnet 202511: ``layer_drop_rate`` has an effect (ESPnet's has none),
and ``use_flash_attn`` changes nothing. As a scorer in a beam search (``score``,
``batch_score``) it is ESPnet's own.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cascade_asr.networks.bounds import CHOSEN_BY_NAME, COUNT, PROBABILITY, WIDTH
from cascade_asr.networks.encoders.attention import attend
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.dropout import activation_and_dropout, dropout
from cascade_asr.networks.layer import Layer, layer_of
from cascade_asr.networks.masking import valid_positions


class TransformerDecoder(
    espnet_module("espnet2.asr.decoder.transformer_decoder").TransformerDecoder
):
    """Self-attention over the tokens so far, and attention to the encoder output."""

    unsupported = {
        "input_layer": (("embed",), "tokens are embedded"),
        "use_output_layer": ((True,), "the decoder gives logits"),
        "pos_enc_class": ((), CHOSEN_BY_NAME),
    }
    bounds = {
        "attention_heads": COUNT,
        "linear_units": WIDTH,
        "num_blocks": COUNT,
        "dropout_rate": PROBABILITY,
        "positional_dropout_rate": PROBABILITY,
        "self_attention_dropout_rate": PROBABILITY,
        "src_attention_dropout_rate": PROBABILITY,
        "layer_drop_rate": PROBABILITY,
        "gradient_checkpoint_layers": (0, COUNT[1]),
    }

    def __init__(self, *args, use_flash_attn: bool = True, **kwargs) -> None:
        super().__init__(*args, use_flash_attn=False, **kwargs)
        # without parameters, so that the state dict stays ESPnet's
        self.layer_drops = nn.ModuleList(
            nn.Dropout(self.decoders.layer_drop_rate) for _ in self.decoders
        )

    @property
    def skips_blocks(self) -> bool:
        """Whether an update in training may leave out a block, whose weights get no gradient."""
        return any(each.p > 0.0 for each in self.layer_drops)

    def forward(
        self,
        encoder_output: torch.Tensor,
        encoder_lengths: torch.Tensor,
        tokens_in: torch.Tensor,
        tokens_in_lengths: torch.Tensor,
    ) -> torch.Tensor:
        """(B, T', H), (B,), (B, U) int64 from <sos>, (B,) to logits (B, U, V), 0 in the padding."""
        memory_mask = _memory_mask(encoder_output, encoder_lengths)
        hidden = self._run(self.decoders, encoder_output, memory_mask, tokens_in)
        if self.normalize_before:
            hidden = self.after_norm(hidden)
        logits = self.output_layer(hidden)
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
        """Attention weights of each token in the last block, mean over heads: (B, U, T') float.

        Rows sum to 1 and are 0 in the padding.
        """
        memory_mask = _memory_mask(encoder_output, encoder_lengths)
        *below, top = self.decoders
        hidden = self._run(below, encoder_output, memory_mask, tokens_in)
        query = _source_query(top, hidden)
        query, key, _ = top.src_attn.forward_qkv(query, encoder_output, encoder_output)
        scores = torch.matmul(query, key.transpose(-2, -1)).float() / top.src_attn.d_k**0.5
        weights = scores.masked_fill(~memory_mask, -torch.inf).softmax(dim=-1).mean(dim=1)
        lengths = tokens_in_lengths.to(weights.device)
        return weights.masked_fill(~valid_positions(lengths, weights.size(1)).unsqueeze(2), 0.0)

    def _run(
        self,
        blocks: nn.Module | list[nn.Module],
        memory: torch.Tensor,
        memory_mask: torch.Tensor,
        tokens_in: torch.Tensor,
    ) -> torch.Tensor:
        """Run embedded tokens through some blocks, (B, U, H)."""
        hidden = self.embed(tokens_in.clamp(min=0))
        for index, block in enumerate(blocks):
            drop = self.layer_drops[index]
            if drop.training and drop.p > 0.0 and torch.rand(()).item() < drop.p:
                continue
            arguments = (block, hidden, memory, memory_mask)
            if index + 1 in self.gradient_checkpoint_layers:
                hidden = checkpoint(_block, *arguments, use_reentrant=False)
            else:
                hidden = _block(*arguments)
        return hidden

    def layers(self) -> list[Layer]:
        """``embed``, ``block0``, ``block1``, ..., ``after_norm``, ``output``, bottom to top."""
        blocks = [
            layer_of(
                self,
                f"block{index}",
                [f"decoders.{index}"],
                dropouts=[f"layer_drops.{index}"],
                aliases=[f"decoders.{index}"],
            )
            for index in range(len(self.decoders))
        ]
        norm = [layer_of(self, "after_norm", ["after_norm"])] if self.normalize_before else []
        embed = layer_of(self, "embed", ["embed"])
        return [embed, *blocks, *norm, layer_of(self, "output", ["output_layer"])]


def _memory_mask(encoder_output: torch.Tensor, encoder_lengths: torch.Tensor) -> torch.Tensor:
    """(B, 1, 1, T') bool, True where the encoder output is valid."""
    lengths = encoder_lengths.to(encoder_output.device).clamp(min=1)  # so that no softmax is empty
    return valid_positions(lengths, encoder_output.size(1))[:, None, None, :]


def _block(
    block: nn.Module, hidden: torch.Tensor, memory: torch.Tensor, memory_mask: torch.Tensor
) -> torch.Tensor:
    """ESPnet's ``DecoderLayer`` over all tokens at once.

    Each token attends to itself and earlier ones; as the padding comes last, no
    valid token sees it.
    """
    hidden = _attended_to_tokens(block, hidden)
    query = _before(block, block.norm2, hidden)
    attended = _attention(block.src_attn, query, memory, memory_mask)
    hidden = _joined(block, hidden, query, attended, "concat_linear2")
    hidden = _after(block, block.norm2, hidden)
    inner = _before(block, block.norm3, hidden)
    hidden = hidden + dropout(block.dropout, _feed_forward(block.feed_forward, inner))
    return _after(block, block.norm3, hidden)


def _feed_forward(module: nn.Module, inner: torch.Tensor) -> torch.Tensor:
    hidden = activation_and_dropout(module.activation, module.dropout, module.w_1(inner))
    return module.w_2(hidden)


def _source_query(block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """The query of a block's attention to the encoder output."""
    return _before(block, block.norm2, _attended_to_tokens(block, hidden))


def _attended_to_tokens(block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    query = _before(block, block.norm1, hidden)
    attended = _attention(block.self_attn, query, query, None, is_causal=True)
    hidden = _joined(block, hidden, query, attended, "concat_linear1")
    return _after(block, block.norm1, hidden)


def _attention(module, query, memory, mask, is_causal: bool = False) -> torch.Tensor:
    return attend(module, *module.forward_qkv(query, memory, memory), mask, is_causal)


def _joined(block, hidden, query, attended, concat_linear: str) -> torch.Tensor:
    if block.concat_after:
        return hidden + getattr(block, concat_linear)(torch.cat([query, attended], dim=2))
    return hidden + dropout(block.dropout, attended)


def _before(block, norm, hidden):
    return norm(hidden) if block.normalize_before else hidden


def _after(block, norm, hidden):
    return hidden if block.normalize_before else norm(hidden)
