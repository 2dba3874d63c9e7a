"""LSTM and GRU layers over padded batches, in any order of lengths.

On a CPU each direction runs separately over the padded batch, the backward one
over utterances reversed within their own lengths: the values are those of packed
sequences, in a fraction of the time (bench/bench_networks.py). On a GPU cuDNN takes
packed sequences directly. Both call PyTorch's kernel directly, with some of a
network's weights; the plain form calls ``nn.LSTM`` or ``nn.GRU`` itself.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from cascade_asr.networks.fast.inference import PackedLSTM
from cascade_asr.networks.fast.packed import acts
from cascade_asr.networks.fast.switch import is_fast
from cascade_asr.networks.masking import valid_positions

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # as the kernel takes them


def run_recurrent(
    network: nn.RNNBase,
    sequence: torch.Tensor,
    lengths: torch.Tensor,
    dropouts: list[nn.Dropout],
    layers: range | None = None,
) -> torch.Tensor:
    """Run the layers of an LSTM or GRU, each utterance within its own length.

    Args:
        network: ``nn.LSTM`` or ``nn.GRU`` with ``batch_first`` and biases.
        sequence: (B, T, D).
        lengths: (B,) int64 on the CPU.
        dropouts: modules applied between the layers, one fewer than layers.
            The network's own dropout rate is not used.
        layers: the layers to run; None for all. Dropout follows each except the last.

    Returns:
        (B, T, H x directions). Values beyond a length are undefined.
    """
    layers = range(network.num_layers) if layers is None else layers
    if is_fast() and sequence.is_cuda and _same_state(dropouts):
        active = dropouts[0].p if dropouts and dropouts[0].training else 0.0
        sequence = _run_packed(network, layers, sequence, lengths, active)
        is_last = layers.stop == network.num_layers
        return sequence if is_last else dropouts[layers.stop - 1](sequence)
    for layer in layers:
        if not is_fast():
            sequence = _run_plain(network, layer, sequence, lengths)
        elif sequence.is_cuda:
            sequence = _run_packed(network, [layer], sequence, lengths, dropout=0.0)
        else:
            sequence = _run_padded(network, layer, sequence, lengths)
        if layer < network.num_layers - 1:
            sequence = dropouts[layer](sequence)
    return sequence


def _run_plain(
    network: nn.RNNBase, layer: int, sequence: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """One layer through PyTorch's own module, on packed sequences."""
    kind = nn.LSTM if isinstance(network, nn.LSTM) else nn.GRU
    with torch.device("meta"):  # only its forward pass is used, not its weights
        module = kind(
            sequence.size(2),
            network.hidden_size,
            batch_first=True,
            bidirectional=network.bidirectional,
        )
    names = [name for name, _ in module.named_parameters()]
    weights = {name: getattr(network, name.replace("_l0", f"_l{layer}")) for name in names}
    sequence = sequence.to(network.weight_ih_l0.dtype)
    packed = pack_padded_sequence(
        sequence, lengths.clamp(min=1), batch_first=True, enforce_sorted=False
    )
    with torch.autocast(sequence.device.type, enabled=False):
        packed, _ = functional_call(module, weights, (packed,))
    return pad_packed_sequence(packed, batch_first=True, total_length=sequence.size(1))[0]


def _weights(network: nn.RNNBase, layer: int, is_backward: bool) -> list[torch.Tensor]:
    """Weights of one direction of a layer, in the kernel's order."""
    suffix = f"_l{layer}" + ("_reverse" if is_backward else "")
    return [getattr(network, kind + suffix) for kind in KINDS]


def _same_state(dropouts: list[nn.Dropout]) -> bool:
    return len({(dropout.training, dropout.p) for dropout in dropouts}) <= 1


def _run_packed(
    network: nn.RNNBase,
    layers: range | list[int],
    sequence: torch.Tensor,
    lengths: torch.Tensor,
    dropout: float,
) -> torch.Tensor:
    packed = pack_padded_sequence(
        sequence, lengths.clamp(min=1), batch_first=True, enforce_sorted=False
    )
    directions = (False, True) if network.bidirectional else (False,)
    weights = [
        weight
        for layer in layers
        for direction in directions
        for weight in _weights(network, layer, direction)
    ]
    output = _call(
        network,
        (packed.data, packed.batch_sizes),
        _zero_state(network, packed.data, len(layers), sequence.size(0)),
        weights,
        (True, len(layers), dropout, torch.is_grad_enabled(), network.bidirectional),
    )
    packed = PackedSequence(
        output, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
    )
    return pad_packed_sequence(packed, batch_first=True, total_length=sequence.size(1))[0]


def _run_padded(
    network: nn.RNNBase, layer: int, sequence: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    directions = 2 if network.bidirectional else 1
    if isinstance(network, PackedLSTM) and acts(network.weight_hh_l0, sequence):
        outputs = [
            _run_packed_weights(network, layer, bool(direction), sequence, lengths)
            for direction in range(directions)
        ]
        return torch.cat(outputs, dim=2) if directions == 2 else outputs[0]
    with torch.autocast("cpu", enabled=False):
        sequence = sequence.to(network.weight_ih_l0.dtype)
        outputs = []
        for direction in range(directions):
            weights = _weights(network, layer, bool(direction))
            # the last flags: one layer, no dropout, gradients, one direction, batch first
            flags = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
            state = _zero_state(network, sequence, 1, sequence.size(0), directions=1)
            steps = _reverse(sequence, lengths) if direction else sequence
            output = _call(network, (steps,), state, weights, flags)
            outputs.append(_reverse(output, lengths) if direction else output)
    return torch.cat(outputs, dim=2) if directions == 2 else outputs[0]


def _run_packed_weights(
    network: PackedLSTM,
    layer: int,
    is_backward: bool,
    sequence: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    run = network.layer((layer, is_backward), _weights(network, layer, is_backward))
    if not is_backward or bool((lengths == sequence.size(1)).all()):
        return run(sequence.transpose(0, 1), is_backward).transpose(0, 1)
    batch, size, _ = sequence.shape
    position = torch.arange(size).unsqueeze(1)  # (T, 1)
    place = torch.where(position < lengths, lengths - 1 - position, position)  # (T, B)
    rows = torch.arange(batch) * size + place
    steps = sequence.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, (size, batch))
    output = run(steps).flatten(0, 1)  # (T x B, H)
    rows = (place * batch + torch.arange(batch)).t().flatten()  # back, to where each was taken from
    return output.index_select(0, rows).unflatten(0, (batch, size))


def _zero_state(
    network: nn.RNNBase,
    sequence: torch.Tensor,
    layers: int,
    batch: int,
    directions: int | None = None,
) -> torch.Tensor:
    directions = directions or (2 if network.bidirectional else 1)
    return sequence.new_zeros(layers * directions, batch, network.hidden_size)


def _call(
    network: nn.RNNBase,
    steps: tuple[torch.Tensor, ...],
    state: torch.Tensor,
    weights: list[torch.Tensor],
    flags: tuple,
) -> torch.Tensor:
    """PyTorch's recurrent kernel; its train flag is on whenever gradients are.

    (cuDNN cannot run backward through a call without that flag.)
    """
    if isinstance(network, nn.LSTM):
        return torch.lstm(*steps, (state, state), weights, *flags)[0]
    return torch.gru(*steps, state, weights, *flags)[0]


def _reverse(sequence: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverse each utterance within its length; the padding stays after it."""
    size = sequence.size(1)
    if bool((lengths == size).all()):
        return sequence.flip(1)
    position = torch.arange(size)
    reversed_position = torch.where(
        valid_positions(lengths, size), lengths.unsqueeze(1) - 1 - position, position
    )
    return sequence.gather(1, reversed_position.unsqueeze(2).expand_as(sequence))


def run_lstm_layer(
    inputs: torch.Tensor,
    state: tuple[torch.Tensor, torch.Tensor],
    weights: list[torch.Tensor],
    training: bool,
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """One LSTM layer whose weights need not be parameters, in one direction.

    Args:
        inputs: (T, B, D).
        state: (h, c) before it, each (1, B, H).
        weights: in the order of `KINDS`.
        training: whether cuDNN prepares for a backward pass.

    Returns:
        (T, B, H) and the state after it.
    """
    if is_fast():
        output, hidden, cell = torch.lstm(
            inputs, state, weights, True, 1, 0.0, training, False, False
        )
        return output, (hidden, cell)
    with torch.device("meta"):
        module = nn.LSTM(inputs.size(2), state[0].size(2)).train(training)
    named = {f"{kind}_l0": weight for kind, weight in zip(KINDS, weights, strict=True)}
    return functional_call(module, named, (inputs, state))
