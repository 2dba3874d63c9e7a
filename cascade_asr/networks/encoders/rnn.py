"""ESPnet's ``rnn`` and ``vgg_rnn`` encoders, independent of padding and faster.

Intended differences from ESPnet 202511:

- utterances may come in any order of lengths;
- an utterance's output does not depend on the batch that it is padded into
  (ESPnet's VGG block lets the padding leak in through its biases);
- dropout between projected layers is active only in training (ESPnet's is always on).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from cascade_asr.networks.bounds import COUNT, PROBABILITY, WIDTH, one_of
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.maps import goes_alone, valid_convolution
from cascade_asr.networks.fast.recurrent import run_recurrent
from cascade_asr.networks.layer import Layer, layer_of
from cascade_asr.networks.lower_layers import Step, is_kept, run_layers
from cascade_asr.networks.masking import valid_positions, zero_padding
from cascade_asr.networks.observation import observed

_espnet_rnn = espnet_module("espnet2.asr.encoder.rnn_encoder")
_espnet_vgg_rnn = espnet_module("espnet2.asr.encoder.vgg_rnn_encoder")


class _RecurrentEncoder(nn.Module):
    """The common part of both encoders; the recurrent stack is the last entry of ``enc``."""

    # a frame of padding costs little compared with a step of the recurrence, which all share
    least_filled = 0.75
    unsupported = {"rnn_type": one_of("lstm", "gru")}
    bounds = {
        "num_layers": COUNT,
        "hidden_size": WIDTH,
        "output_size": WIDTH,
        "dropout": PROBABILITY,
        "in_channel": (1, 64),
        "subsample": (1, 1_000),
    }

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        rate = self.enc[-1].dropout if self.use_projection else self.enc[-1].nbrnn.dropout
        between = range(self._number_of_recurrent_layers() - 1)
        # without parameters, so that the state dict stays ESPnet's
        self.recurrent_dropouts = nn.ModuleList(nn.Dropout(rate) for _ in between)

    def _number_of_recurrent_layers(self) -> int:
        stack = self.enc[-1]
        return stack.elayers if self.use_projection else stack.nbrnn.num_layers

    def _subsampling(self) -> list[int]:
        """For each recurrent layer, n such that every n-th frame is kept after it."""
        if self.use_projection:
            return [int(factor) for factor in self.enc[-1].subsample[1:]]
        return [1] * self._number_of_recurrent_layers()

    def _input_lengths(self, feature_lengths: torch.Tensor) -> torch.Tensor:
        return feature_lengths

    def output_lengths(self, feature_lengths: torch.Tensor) -> torch.Tensor:
        """T' for each T, (B,) int64; 0 if T is too short."""
        lengths = self._input_lengths(feature_lengths)
        for factor in self._subsampling():
            lengths = (lengths + 1) // factor if factor > 1 else lengths
        return lengths

    def _stack_steps(self) -> list[tuple[str, Step]]:
        """The recurrent layers; the first takes (B, T, D) and (B,) lengths on the CPU."""
        numbers = range(self._number_of_recurrent_layers())
        if self.use_projection:
            return [(f"rnn{index}", partial(self._projected, index)) for index in numbers]
        if not is_kept():  # a GPU runs all layers at once
            return [("", partial(self._unprojected, numbers))]
        return [
            (f"rnn{index}", partial(self._unprojected, range(index, index + 1)))
            for index in numbers
        ]

    def _unprojected(
        self, layers: range, sequence: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        stack = self.enc[-1]
        sequence = run_recurrent(
            stack.nbrnn, sequence, lengths, list(self.recurrent_dropouts), layers
        )
        if layers.stop == self._number_of_recurrent_layers():
            sequence = torch.tanh(stack.l_last(sequence))
        return sequence, lengths

    def _projected(
        self, index: int, sequence: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        stack, factor = self.enc[-1], self._subsampling()[index]
        network = getattr(stack, f"{self._projected_name()}{index}")
        sequence = run_recurrent(network, sequence, lengths, [])
        if factor > 1:
            lengths = (lengths + 1) // factor
            sequence = sequence[:, ::factor][:, : max(1, int(lengths.max()))]
        sequence = getattr(stack, f"bt{index}")(sequence)
        if index < stack.elayers - 1:
            sequence = torch.tanh(self.recurrent_dropouts[index](sequence))
        return sequence, lengths

    def _projected_name(self) -> str:
        return "birnn" if self.bidirectional else "rnn"

    def _recurrent_layers(self) -> list[Layer]:
        prefix = f"enc.{len(self.enc) - 1}"
        number = self._number_of_recurrent_layers()
        layers = []
        for index in range(number):
            if self.use_projection:
                owners = [f"{prefix}.{self._projected_name()}{index}", f"{prefix}.bt{index}"]
            else:
                owners = [
                    f"{prefix}.nbrnn.{kind}_l{index}{direction}"
                    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                    for direction in ("", "_reverse")
                ]
                owners += [f"{prefix}.l_last"] if index == number - 1 else []
            dropouts = [f"recurrent_dropouts.{index}"] if index < number - 1 else []
            layers.append(layer_of(self, f"rnn{index}", owners, dropouts=dropouts))
        return layers

    def classifier_layers(self) -> list[str]:
        """Names of the layers that go with the classifier: none."""
        return []


class RNNEncoder(_RecurrentEncoder, _espnet_rnn.RNNEncoder):
    """LSTM or GRU layers, optionally with projection and subsampling."""

    def forward(
        self, features: torch.Tensor, feature_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) and (B,) to (B, T', H), zero beyond the returned (B,) int64 lengths."""
        lengths = feature_lengths.long().cpu()
        features = features[:, : max(1, int(lengths.max()))]
        output, lengths = run_layers(self._stack_steps(), (features, lengths))
        return zero_padding(output, lengths), lengths.to(features.device)

    def layers(self) -> list[Layer]:
        """``rnn0``, ``rnn1``, ..., bottom to top."""
        return self._recurrent_layers()


class VGGRNNEncoder(_RecurrentEncoder, _espnet_vgg_rnn.VGGRNNEncoder):
    """Two blocks of convolutions that keep a quarter of the frames, then LSTM layers."""

    def _input_lengths(self, feature_lengths: torch.Tensor) -> torch.Tensor:
        return (feature_lengths + 3) // 4  # two poolings by 2, each rounding up

    def forward(
        self, features: torch.Tensor, feature_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) and (B,) to (B, T', H), zero beyond the returned (B,) int64 lengths."""
        lengths = feature_lengths.long().cpu()
        features = features[:, : max(1, int(lengths.max()))]
        convolutions: list[tuple[str, Step]] = [("conv1", self._lower), ("conv2", self._upper)]
        if len(features) > 1 and goes_alone(self.enc[0].conv1_1, features):
            convolutions = [("", self._one_by_one)]
        output, lengths = run_layers([*convolutions, *self._stack_steps()], (features, lengths))
        return zero_padding(output, lengths), lengths.to(features.device)

    def _one_by_one(
        self, features: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both blocks, for each utterance separately: (B, T, D) to (B, T/4, 128 x D/4)."""
        outputs = [
            self._upper(*self._lower(features[row : row + 1, : max(1, length)], lengths[[row]]))[0]
            for row, length in enumerate(lengths.tolist())
        ]
        sequence = pad_sequence([each[0] for each in outputs], batch_first=True)
        return sequence, self._input_lengths(lengths)

    def _lower(
        self, features: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D) to maps (B, 64, T/2, D/2), sizes rounded up."""
        block = self.enc[0]
        batch, frames, width = features.shape
        maps = features.view(batch, frames, block.in_channel, width // block.in_channel)
        maps = maps.transpose(1, 2)  # (B, C, T, D)
        if bool((lengths < frames).any()):
            maps = maps * valid_positions(lengths, frames).to(maps)[:, None, :, None]
        return self._convolve("conv1", (block.conv1_1, block.conv1_2), maps, lengths)

    def _upper(
        self, maps: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps (B, 64, T, D) to (B, T/2, 128 x D/2), sizes rounded up."""
        block = self.enc[0]
        convolutions = (block.conv2_1, block.conv2_2)
        maps, lengths = self._convolve("conv2", convolutions, maps, lengths)
        maps = maps.transpose(1, 2)  # (B, T', C, D')
        sequence = maps.reshape(len(maps), maps.size(1), -1)
        return sequence[:, : max(1, int(lengths.max()))], lengths

    def _convolve(
        self,
        name: str,
        convolutions: tuple[nn.Conv2d, ...],
        maps: torch.Tensor,
        lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for convolution in convolutions:
            maps = valid_convolution(convolution, maps, lengths)
        maps = functional.max_pool2d(maps, 2, stride=2, ceil_mode=True)
        observed(name, maps.transpose(1, 2))
        return maps, (lengths + 1) // 2

    def layers(self) -> list[Layer]:
        """``conv1``, ``conv2``, ``rnn0``, ``rnn1``, ..., bottom to top."""
        convolutions = [
            layer_of(self, f"conv{block}", [f"enc.0.conv{block}_1", f"enc.0.conv{block}_2"])
            for block in (1, 2)
        ]
        return convolutions + self._recurrent_layers()
