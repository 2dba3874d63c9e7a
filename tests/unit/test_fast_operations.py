"""Fast operations beside their plain references: the same outputs and gradients."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from torch import nn

from cascade_asr.data.loader import Batch
from cascade_asr.lm.batches import TextBatch
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.networks.fast.location import LONGEST_MATRIX, LocationConvolution
from cascade_asr.networks.fast.recurrent import run_recurrent
from cascade_asr.networks.fast.switch import VARIABLE, is_fast, plain_operations
from cascade_asr.speech.model import ASRModel

WIDTH, VOCABULARY, HIDDEN = 20, 30, 16
LENGTHS = torch.tensor([90, 61, 33, 77])
TOKEN_LENGTHS = torch.tensor([7, 5, 2, 6])
LOCATION = {"atype": "location", "adim": 12, "aconv_chans": 4, "aconv_filts": 6}
RNN_DECODER = ("rnn", {"hidden_size": 16, "num_layers": 2, "att_conf": LOCATION})
TRANSFORMER_DECODER = ("transformer", {"num_blocks": 2, "linear_units": 24})
RECURRENT = {"num_layers": 2, "hidden_size": 10, "output_size": HIDDEN}
BLOCKS = {"output_size": HIDDEN, "attention_heads": 2, "num_blocks": 2, "linear_units": 24}

MODELS = {
    "vgg_rnn": ("vgg_rnn", RECURRENT, RNN_DECODER),
    "vgg_rnn gru": ("vgg_rnn", RECURRENT | {"use_projection": False, "rnn_type": "gru"}, RNN_DECODER),
    "rnn": ("rnn", RECURRENT | {"subsample": [1, 2, 1]}, RNN_DECODER),
    "rnn one direction": ("rnn", RECURRENT | {"bidirectional": False}, RNN_DECODER),
    "transformer": ("transformer", BLOCKS, TRANSFORMER_DECODER),
    "conformer": ("conformer", BLOCKS | {"macaron_style": True}, TRANSFORMER_DECODER),
    "conformer latest": ("conformer", BLOCKS | {"rel_pos_type": "latest"}, TRANSFORMER_DECODER),
    "e_branchformer": (
        "e_branchformer",
        BLOCKS | {"use_ffn": True, "macaron_ffn": True, "cgmlp_linear_units": 24},
        TRANSFORMER_DECODER,
    ),
}


def speech_model(name: str) -> ASRModel:
    encoder, encoder_conf, (decoder, decoder_conf) = MODELS[name]
    torch.manual_seed(1)
    return ASRModel(
        SimpleNamespace(tokens=[str(each) for each in range(VOCABULARY)]),
        build_encoder(encoder, WIDTH, encoder_conf),
        build_decoder(decoder, VOCABULARY, HIDDEN, decoder_conf),
        CTC(odim=VOCABULARY, encoder_output_size=HIDDEN),
        ctc_weight=0.3,
        lsm_weight=0.1,
    )


def speech_batch(is_padded: bool) -> Batch:
    torch.manual_seed(2)
    lengths = LENGTHS if is_padded else torch.full_like(LENGTHS, 90)
    valid = torch.arange(90) < lengths.unsqueeze(1)
    features = torch.randn(4, 90, WIDTH) * valid.unsqueeze(2)
    tokens = torch.randint(2, VOCABULARY - 1, (4, 7))
    tokens = tokens.masked_fill(torch.arange(7) >= TOKEN_LENGTHS.unsqueeze(1), -1)
    return Batch(["a", "b", "c", "d"], features, lengths, tokens, TOKEN_LENGTHS)


def loss_and_gradients(model: nn.Module, batch) -> list[torch.Tensor]:
    """Training mode, with the same random numbers each time."""
    torch.manual_seed(3)
    model.train()
    for module in model.modules():  # the fast forms draw dropout in another order
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    loss, _ = model(batch)
    parameters = list(model.parameters())
    return [loss.detach(), *torch.autograd.grad(loss, parameters, allow_unused=True)]


def assert_same(fast: list, plain: list) -> None:
    for one, other in zip(fast, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)


def operations(output: torch.Tensor) -> set[str]:
    """Names of all that a graph computes backward."""
    found, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [before for before, _ in node.next_functions]
    return {type(node).__name__ for node in found}


@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "whole"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_the_same_with_fast_and_plain_operations(name: str, is_padded: bool) -> None:
    model, batch = speech_model(name), speech_batch(is_padded)
    fast = loss_and_gradients(model, batch)
    with plain_operations():
        plain = loss_and_gradients(model, batch)
    assert_same(fast, plain)


def test_a_language_model_learns_the_same_with_fast_and_plain_operations() -> None:
    torch.manual_seed(1)
    model = LanguageModel(40, embedding_size=12, hidden_size=14, num_layers=2, weight_drop=0.3)
    tokens = torch.randint(0, 40, (15, 3))
    batch = TextBatch(tokens, tokens.roll(-1, 0), True, 1.0)
    fast = loss_and_gradients(model, batch)
    with plain_operations():
        plain = loss_and_gradients(model, batch)
    assert_same(fast, plain)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_recurrent_layers(kind: type[nn.RNNBase], bidirectional: bool) -> None:
    torch.manual_seed(1)
    network = kind(5, 6, 2, batch_first=True, bidirectional=bidirectional)
    sequence = torch.randn(3, 9, 5, requires_grad=True)
    lengths = torch.tensor([4, 9, 7])
    leaves = [sequence, *network.parameters()]

    def results() -> list[torch.Tensor]:
        output = run_recurrent(network, sequence, lengths, [nn.Dropout(0.0)])
        valid = torch.cat([output[row, :length] for row, length in enumerate(lengths)])
        return [valid, *torch.autograd.grad(valid.square().sum(), leaves)]

    fast = results()
    with plain_operations():
        assert_same(fast, results())


@pytest.mark.parametrize("frames", [3, 50, LONGEST_MATRIX + 1])
def test_location_convolution(frames: int) -> None:
    torch.manual_seed(1)
    convolution = nn.Conv2d(1, 4, (1, 13), padding=(0, 6), bias=False)
    weights = torch.rand(2, frames, requires_grad=True)

    def results() -> list[torch.Tensor]:
        located = LocationConvolution(convolution, frames)(weights)
        leaves = (weights, convolution.weight)
        return [located, *torch.autograd.grad(located.square().sum(), leaves)]

    fast = results()
    with plain_operations():
        assert_same(fast, results())


OWN = r"_ValidReLU|_Collect|_Step|_Blockwise"  # what the switch must turn off


def test_the_switch_turns_all_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def own_operations() -> set[str]:
        loss, _ = speech_model("vgg_rnn")(speech_batch(is_padded=True))
        tokens = torch.zeros(4, 2, dtype=torch.int64)
        text_loss, _ = LanguageModel(9, 4, 4)(TextBatch(tokens, tokens, True, 1.0))
        names = operations(loss) | operations(text_loss)
        return {match[0] for name in names if (match := re.search(OWN, name))}

    assert own_operations() == set(OWN.split("|"))
    with plain_operations():
        assert own_operations() == set()
    monkeypatch.setenv(VARIABLE, "1")
    assert not is_fast()
    assert own_operations() == set()
    monkeypatch.setenv(VARIABLE, "0")
    assert is_fast()


def test_private_parts_of_torch_are_used_in_fast_operations_alone() -> None:
    private = re.compile(r"_VF\b|_flat_weights|torch\._C\b|torch\.nn\.functional\._|torch\.ops\b")
    package = ROOT / "cascade_asr"
    users = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if private.search(path.read_text(encoding="utf-8"))
        and path.parent != package / "networks/fast"
    ]
    assert users == []
