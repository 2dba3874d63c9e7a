"""Fast operations against their plain references: the same outputs and gradients."""

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
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast import products as products_module
from cascade_asr.networks.fast.cell import LstmCell
from cascade_asr.networks.fast.dropout import activation_and_dropout, dropout
from cascade_asr.networks.fast.inference import PackedLinear, inference_form
from cascade_asr.networks.fast.location import LONGEST_MATRIX, LocationConvolution
from cascade_asr.networks.fast.maps import convolve, valid_relu
from cascade_asr.networks.fast.packed import HAS_ONEDNN
from cascade_asr.networks.fast.products import ROWS, Linear, linear
from cascade_asr.networks.fast.recurrent import run_recurrent
from cascade_asr.networks.fast.shift import relative_shift
from cascade_asr.networks.fast.switch import VARIABLE, is_fast, plain_operations
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.optimization import build_optimizer

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


@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "whole"])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_an_encoder_with_packed_weights(name: str, is_padded: bool) -> None:
    model, batch = speech_model(name).eval(), speech_batch(is_padded)
    form = inference_form(model)
    with plain_operations():
        plain, lengths = model.encode(batch.features, batch.feature_lengths)
    packed, packed_lengths = form.encode(batch.features, batch.feature_lengths)
    assert lengths.tolist() == packed_lengths.tolist()
    torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-5)
    kinds = {type(each).__name__ for each in form.modules()}
    assert not HAS_ONEDNN or "PackedLinear" in kinds
    assert not any(isinstance(each, PackedLinear) for each in model.modules())
    with plain_operations():
        assert not any(isinstance(each, PackedLinear) for each in inference_form(model).modules())


@torch.no_grad()
def test_changed_weights_are_packed_again() -> None:
    layer = nn.Linear(5, 7)
    form, inputs = inference_form(layer), torch.randn(3, 5)
    before = form(inputs)
    layer.weight *= 2
    layer.bias += 1
    torch.testing.assert_close(form(inputs), layer(inputs))
    assert not torch.equal(form(inputs), before)


def test_packed_weights_keep_gradients() -> None:
    layer = nn.Linear(5, 7)
    inference_form(layer)(torch.randn(3, 5)).sum().backward()
    assert layer.weight.grad is not None


@torch.no_grad()
def test_a_cell_is_pytorchs() -> None:
    plain = nn.LSTMCell(5, 6)
    cell = LstmCell(plain.weight_ih, plain.weight_hh, plain.bias_ih + plain.bias_hh)
    inputs, state = torch.randn(4, 5), (torch.randn(4, 6), torch.randn(4, 6))
    found = cell([inputs[:, :2], inputs[:, 2:]], *state)
    for one, other in zip(found, plain(inputs, state), strict=True):
        torch.testing.assert_close(one, other)


def operations(output: torch.Tensor) -> set[str]:
    """Names of everything that a graph computes backward."""
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


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding"),
    [(3, 3, 2, 0), (3, 5, 3, 0), (3, 3, 1, 0), (3, 3, 1, 1), (1, 3, 2, 0), (1, 3, 1, 1)],
)
def test_convolution_over_time_and_frequency(
    channels: int, kernel: int, stride: int, padding: int
) -> None:
    torch.manual_seed(1)
    convolution = nn.Conv2d(channels, 4, kernel, stride, padding)
    maps = torch.randn(2, channels, 17, 12, requires_grad=True)

    def results() -> list[torch.Tensor]:
        output = convolve(convolution, maps)
        leaves = (maps, *convolution.parameters())
        return [output, *torch.autograd.grad(output.square().sum(), leaves)]

    fast = results()
    with plain_operations():
        assert_same(fast, results())
    convolution.weight.requires_grad_(False)  # frozen: no gradient, those of the others stay
    output = convolve(convolution, maps)
    of_maps, of_bias = torch.autograd.grad(output.square().sum(), (maps, convolution.bias))
    assert_same([of_maps, of_bias], [fast[1], fast[3]])


def test_relu_within_the_lengths() -> None:
    torch.manual_seed(1)
    source = torch.randn(3, 2, 6, 4, requires_grad=True)

    def results() -> list[torch.Tensor]:
        output = valid_relu(source * 1.0, torch.tensor([6, 1, 4]))
        return [output, *torch.autograd.grad(output.square().sum(), [source])]

    fast = results()
    with plain_operations():
        assert_same(fast, results())


def test_relative_shift_is_espnets() -> None:
    attention = espnet_module("espnet.nets.pytorch_backend.transformer.attention")
    plain = attention.RelPositionMultiHeadedAttention(2, 8, 0.0)
    for size in (1, 2, 9):
        torch.manual_seed(1)
        scores = torch.randn(3, 2, size, 2 * size - 1, requires_grad=True)
        shifted, expected = relative_shift(scores), plain.rel_shift(scores)
        assert torch.equal(shifted, expected)
        gradients = [torch.autograd.grad(each.pow(3).sum(), scores)[0] for each in (shifted, expected)]
        assert_same([gradients[0]], [gradients[1]])


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("activation", [nn.Identity(), nn.ReLU(), nn.Tanh()])
def test_dropout_keeps_its_rate_and_its_mean(rate: float, activation: nn.Module) -> None:
    torch.manual_seed(1)
    module = nn.Dropout(rate)
    source = torch.rand(1000, 1003, requires_grad=True) + 0.1  # positive: zero is dropped
    output = activation_and_dropout(activation, module, source)
    stays = output != 0
    assert abs(stays.float().mean().item() - (1 - rate)) < 2e-3
    for columns in (stays[:, lane::4] for lane in range(4)):  # each quarter of a number
        assert abs(columns.float().mean().item() - (1 - rate)) < 4e-3
    expected = activation(source) * stays / (1 - rate)
    torch.testing.assert_close(output, expected, rtol=2e-4, atol=0.0)
    weights = torch.randn_like(source)
    torch.testing.assert_close(
        torch.autograd.grad((output * weights).sum(), source)[0],
        torch.autograd.grad((expected * weights).sum(), source)[0], rtol=2e-4, atol=1e-6,
    )  # fmt: skip


def test_dropout_follows_the_seed_whatever_the_number_of_threads_and_stops_in_evaluation() -> None:
    module, sequence = nn.Dropout(0.3), torch.ones(50, 33)

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropout(module, sequence)

    first = drawn(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert torch.equal(drawn(1), first)
    torch.set_num_threads(threads)
    assert not torch.equal(drawn(2), first)
    for rate, expected in ((0.0, sequence), (1.0, torch.zeros_like(sequence))):
        assert torch.equal(dropout(nn.Dropout(rate), sequence), expected)
    assert dropout(module.eval(), sequence) is sequence


OWN = r"_ValidReLU|_Collect|_Step|_Blockwise|_Convolution|_DroppedReLU"  # what the switch must turn off


def test_the_switch_turns_all_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def own_operations() -> set[str]:
        batch = speech_batch(is_padded=True)
        loss = speech_model("vgg_rnn")(batch)[0] + speech_model("transformer")(batch)[0]
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


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_an_optimizer_in_one_pass_moves_the_weights_as_the_plain_one(kind: str) -> None:
    def trained(in_one_pass: bool, **options) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(1)
        network = nn.Linear(9, 5)
        conf = {"lr": 0.1, "weight_decay": 0.01, **options}
        optimizer = build_optimizer(network.parameters(), kind, conf, in_one_pass)
        for _ in range(5):
            network(torch.randn(4, 9)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return network, optimizer

    network, optimizer = trained(in_one_pass=True)
    plain, plain_optimizer = trained(in_one_pass=False)
    assert optimizer.defaults["fused"] and not plain_optimizer.defaults["fused"]
    assert_same(list(network.parameters()), list(plain.parameters()))
    assert not trained(in_one_pass=True, foreach=True)[1].defaults["fused"]  # chosen by the user


def products(size: int, columns: int, rows: int, is_dense: bool) -> list[torch.Tensor]:
    """A linear layer's output and gradients; without gaps in memory, or of parts of wider matrices."""
    torch.manual_seed(1)
    wider = 0 if is_dense else 5
    inputs = torch.randn(rows, size + wider, requires_grad=True)
    weight = torch.randn(columns, size + wider, requires_grad=True)
    bias = torch.randn(columns, requires_grad=True)
    output = linear(inputs[:, :size], weight[:, :size], bias)
    output_gradient = torch.randn(rows, columns + wider)[:, :columns]
    gradients = torch.autograd.grad(output, [inputs, weight, bias], output_gradient)
    return [output.detach(), *gradients]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
@pytest.mark.parametrize("is_dense", [True, False], ids=["dense", "with gaps"])
@pytest.mark.parametrize("rows", [8, 128, 150])
@pytest.mark.parametrize(("size", "columns"), [(160, 200), (200, 160)])
def test_products_by_onednn(monkeypatch, size: int, columns: int, rows: int, is_dense: bool) -> None:
    monkeypatch.setattr(products_module, "prefers_onednn", lambda: True)
    monkeypatch.setattr(products_module, "FEWEST_MULTIPLICATIONS", 1)
    calls = []
    onednn = products_module._onednn
    monkeypatch.setattr(
        products_module, "_onednn", lambda *matrices: calls.append(1) or onednn(*matrices)
    )
    fast = products(size, columns, rows, is_dense)
    assert len(calls) == (2 if rows < ROWS else 3)  # too few rows for oneDNN's weight gradient
    with plain_operations():
        assert_same(fast, products(size, columns, rows, is_dense))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_a_frozen_layer_costs_no_weight_gradient(monkeypatch) -> None:
    monkeypatch.setattr(products_module, "prefers_onednn", lambda: True)
    monkeypatch.setattr(products_module, "FEWEST_MULTIPLICATIONS", 1)
    layer = Linear(96, 96).requires_grad_(False)
    monkeypatch.setattr(products_module, "weight_gradient", None)  # calling it would raise
    inputs = torch.randn(128, 96, requires_grad=True)
    layer(inputs).sum().backward()
    torch.testing.assert_close(inputs.grad, layer.weight.sum(dim=0).expand_as(inputs))


def test_linear_layers_of_every_network_take_the_fast_product() -> None:
    for name in MODELS:
        plain = [key for key, module in speech_model(name).named_modules() if type(module) is nn.Linear]
        assert plain == [], name


@pytest.mark.parametrize("kernel", [3, 5])
def test_relu_behind_a_convolution_overwrites_it_and_keeps_its_layout(kernel: int) -> None:
    convolution = nn.Conv2d(1, 4, kernel, padding=kernel // 2)
    maps = convolve(convolution, torch.randn(2, 1, 17, 12))  # channels-last, but not without AVX-512
    place, layout = maps.data_ptr(), maps.stride()
    output = valid_relu(maps, torch.tensor([17, 9]))
    assert (output.data_ptr(), output.stride()) == (place, layout)
    assert "CopySlices" not in operations(output)  # which would copy the maps back and forth
