"""Attention of the RNN decoder over one batch, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from cascade_asr.errors import nearest
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.location import LocationConvolution
from cascade_asr.networks.fast.shared_linear import SharedLinear
from cascade_asr.networks.masking import valid_positions

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
SCALING = 2.0  # sharpens the softmax; ESPnet's fixed value


def check_attention(att_conf: Mapping[str, Any]) -> list[str]:
    """Problems with ``att_conf`` that type checks do not find: an unknown ``atype``."""
    kind = att_conf.get("atype", "location") if isinstance(att_conf, Mapping) else "location"
    if kind in ATTENTION_TYPES or not isinstance(kind, str):
        return []
    suggestion = nearest(kind, ATTENTION_TYPES) or f"; there are: {', '.join(ATTENTION_TYPES)}"
    return [f"decoder_conf.att_conf.atype: unknown attention '{kind}'{suggestion}"]


def has_own_loop(module: nn.Module) -> bool:
    """Whether this attention runs in our own loop; others run in ESPnet's modules."""
    return type(module) is _attentions.AttLoc


def start_attention(
    module: nn.Module, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor
) -> LocationAttention | EspnetAttention:
    """Start attending to a batch: (B, T', H) and (B,)."""
    if has_own_loop(module):
        return LocationAttention(module, encoder_output, encoder_lengths)
    module.reset()
    return EspnetAttention(module, encoder_output, encoder_lengths.clamp(min=1).tolist())


@contextmanager
def closing_hook(hook: RemovableHandle) -> Iterator[None]:
    """Inside, a module's hook is active; afterwards it is removed."""
    try:
        yield
    finally:
        hook.remove()


class LocationAttention:
    """Location attention (Chorowski et al. 2015, arXiv 1506.07503, section 2.2).

    Everything that does not change from token to token is computed once, here.

    Attributes:
        weights: (B, T'), attention weights of the last token. With one encoder output they
            may be set for any number of queries, which then all attend to it.
    """

    def __init__(
        self, module: nn.Module, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor
    ) -> None:
        lengths = encoder_lengths.to(encoder_output.device).clamp(min=1)
        valid = valid_positions(lengths, encoder_output.size(1))
        self._module = module
        self._encoder_output = encoder_output
        self._projected = module.mlp_enc(encoder_output)  # (B, T', A)
        self._query = SharedLinear(module.mlp_dec.weight)
        self._padding = ~valid
        self._locate = LocationConvolution(module.loc_conv, encoder_output.size(1))
        self.weights = valid.to(encoder_output.dtype) / lengths.unsqueeze(1)

    def step(self, query: torch.Tensor) -> torch.Tensor:
        """(B, Z) decoder state to (B, H) context; updates ``weights``."""
        energy = self._projected + self._query(query).unsqueeze(1)  # (B, T', A)
        energy = (energy + self._module.mlp_att(self._locate(self.weights))).tanh_()
        energy = self._module.gvec(energy).squeeze(2).masked_fill(self._padding, -torch.inf)
        self.weights = torch.softmax(SCALING * energy, dim=1)
        weights = self.weights.to(self._encoder_output.dtype)
        return torch.matmul(weights.unsqueeze(1), self._encoder_output).squeeze(1)


@dataclass
class EspnetAttention:
    """Any other attention, through ESPnet's module."""

    module: nn.Module
    encoder_output: torch.Tensor
    lengths: list[int]
    state: Any = None

    def step(self, query: torch.Tensor) -> torch.Tensor:
        """(B, Z) decoder state to (B, H) context; updates ``weights``."""
        with self._without_padding():
            context, self.state = self.module(
                self.encoder_output, self.lengths, query, self.state
            )
        return context

    def _without_padding(self) -> AbstractContextManager:
        """Inside, recurrent location attention takes its maximum over valid frames only.

        Its convolution spills over into the padding; values of the maximum are at
        least 0, so zeros in the padding change no maximum.
        """
        if not isinstance(self.module, _attentions.AttLocRec):
            return nullcontext()
        lengths = torch.tensor(self.lengths, device=self.encoder_output.device)
        valid = valid_positions(lengths, self.encoder_output.size(1))[:, None, None, :]
        return closing_hook(
            self.module.loc_conv.register_forward_hook(
                lambda module, inputs, output: output.masked_fill(~valid, 0.0)
            )
        )

    @property
    def weights(self) -> torch.Tensor:
        """(B, T') of the last token; with several heads, their mean."""
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
