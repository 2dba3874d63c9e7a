"""Frozen means frozen: parameters, running statistics, dropout, and the proof of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from cascade_asr.data.loader import Batch
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError, TrainingError
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.networks.layer import Layer, layer_of
from cascade_asr.speech.model import ASRModel
from cascade_asr.training.freezing import (
    check_unchanged,
    find_layer,
    fingerprint,
    freeze,
    set_training_mode,
    tensor_digest,
    trainable_parameters,
)

WIDTH, DROPOUT = 20, 0.3
CONFORMER = (
    "conformer",
    {
        "output_size": 16, "attention_heads": 2, "num_blocks": 3, "linear_units": 24,
        "macaron_style": True, "cnn_module_kernel": 3, "dropout_rate": DROPOUT,
        "attention_dropout_rate": DROPOUT, "positional_dropout_rate": DROPOUT,
    },
)  # fmt: skip
BLSTM = ("vgg_rnn", {"num_layers": 2, "hidden_size": 8, "output_size": 12, "dropout": DROPOUT})
LSTM_DECODER = {"hidden_size": 12, "dropout": DROPOUT}


@pytest.fixture
def tokenizer(tmp_path) -> Tokenizer:
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\nb\nc\n<sos/eos>\n")
    return Tokenizer(tmp_path / "tokens.txt")


def model_of(tokenizer: Tokenizer, encoder: tuple[str, dict], ctc_dropout: float = 0.0) -> ASRModel:
    torch.manual_seed(1)
    name, conf = encoder
    network = build_encoder(name, WIDTH, conf)
    width = network.output_size()
    return ASRModel(
        tokenizer,
        network,
        build_decoder("rnn", len(tokenizer.tokens), width, LSTM_DECODER),
        CTC(len(tokenizer.tokens), width, dropout_rate=ctc_dropout),
        ctc_weight=0.5,
    )


def batches(count: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(7)
    for index in range(count):
        lengths = torch.tensor([30, 26, 20])
        yield Batch(
            [f"u{index}-{row}" for row in range(3)],
            3 + torch.randn(3, 30, WIDTH, generator=generator),
            lengths,
            torch.tensor([[2, 3, 4], [3, 2, -1], [4, -1, -1]]),
            torch.tensor([3, 2, 1]),
        )


def layers_between(model: ASRModel, first: str, last: str) -> list[Layer]:
    layers = model.layers()
    return layers[find_layer(layers, first) : find_layer(layers, last) + 1]


def names_of(layers: list[Layer]) -> set[str]:
    return {name for layer in layers for name in (*layer.parameters, *layer.buffers)}


def train(
    model: ASRModel, frozen: list[Layer], updates: int = 3, frozen_dropout: bool = True
) -> None:
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=0.01, weight_decay=0.1)
    for batch in batches(updates):
        set_training_mode(model, frozen, frozen_dropout)
        loss, _ = model(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        model(batch)


# ---- parameters ---------------------------------------------------------------


def test_a_stale_gradient_and_weight_decay_move_a_frozen_weight_but_not_ours(tokenizer):
    """First the trap itself: requires_grad=False with an optimizer that holds the weight."""
    (batch,) = batches(1)
    for ours in (False, True):
        model = model_of(tokenizer, BLSTM)
        model.train()
        model(batch)[0].backward()  # leaves gradients
        frozen = layers_between(model, "classifier", "classifier")
        before = fingerprint(model, frozen)
        if ours:
            freeze(model, frozen)
            held = trainable_parameters(model)
        else:
            model.decoder.requires_grad_(False)
            model.ctc.requires_grad_(False)
            held = list(model.parameters())
        optimizer = torch.optim.SGD(held, lr=0.1, weight_decay=0.1, momentum=0.9)
        optimizer.step()
        moved = [
            name for name, digest in fingerprint(model, frozen).items() if digest != before[name]
        ]
        assert moved == [] if ours else len(moved) == len(before)


def test_freeze_returns_names_in_model_order_and_drops_their_gradients(tokenizer):
    model = model_of(tokenizer, BLSTM)
    (batch,) = batches(1)
    model(batch)[0].backward()
    frozen = freeze(model, layers_between(model, "encoder.rnn1", "classifier"))
    order = [name for name, _ in model.named_parameters()]
    assert frozen == [name for name in order if name in set(frozen)]
    assert {name.split(".")[0] for name in frozen} == {"encoder", "decoder", "ctc"}
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name not in frozen)
        assert (parameter.grad is None) == (name in frozen), name
    assert len(trainable_parameters(model)) == len(order) - len(frozen)


# ---- running statistics ---------------------------------------------------------


def test_batchnorm_statistics_of_frozen_blocks_stay_and_of_trained_ones_move(tokenizer):
    model = model_of(tokenizer, CONFORMER)
    frozen = layers_between(model, "encoder.block1", "encoder.block1")
    freeze(model, frozen)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, frozen)
    after = model.state_dict()
    statistics = [name for name in after if "running_" in name or "num_batches" in name]
    assert len(statistics) == 9
    for name in statistics:
        assert torch.equal(before[name], after[name]) == ("encoders.1." in name), name
    for name in names_of(frozen):
        assert torch.equal(before[name], after[name]), name


def test_the_trap_requires_grad_alone_moves_batchnorm_statistics(tokenizer):
    model = model_of(tokenizer, CONFORMER)
    frozen = layers_between(model, "encoder.block1", "encoder.block1")
    freeze(model, frozen)
    before = fingerprint(model, frozen)
    model.train()
    for batch in batches(1):
        model(batch)
    with pytest.raises(
        TrainingError, match="frozen tensors changed .*encoders.1.conv_module.norm.running_mean"
    ):
        check_unchanged(before, fingerprint(model, frozen))


def test_a_frozen_network_trains_again_as_a_whole_after_evaluation(tokenizer):
    """Each change of mode starts from the whole model: nothing stays in evaluation."""
    model = model_of(tokenizer, CONFORMER)
    set_training_mode(model, model.layers(), frozen_dropout=False)
    assert not all(module.training for module in model.modules())
    set_training_mode(model, [], frozen_dropout=True)
    assert all(module.training for module in model.modules())


# ---- dropout ----------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [BLSTM, CONFORMER], ids=["blstm", "conformer"])
def test_frozen_dropout_switches_the_dropout_of_frozen_layers_and_no_other(tokenizer, encoder):
    model = model_of(tokenizer, encoder, ctc_dropout=DROPOUT)
    layers = model.layers()
    for cut in range(1, len(layers)):
        frozen = layers[cut:]
        silent = {name for layer in frozen for name in layer.dropouts}
        for frozen_dropout in (True, False):
            set_training_mode(model, frozen, frozen_dropout)
            for name, module in model.named_modules():
                if isinstance(module, nn.Dropout):
                    assert module.training == (frozen_dropout or name not in silent), name


@pytest.mark.parametrize("encoder", [BLSTM, CONFORMER], ids=["blstm", "conformer"])
def test_frozen_dropout_off_makes_the_frozen_layers_deterministic(tokenizer, encoder):
    model = model_of(tokenizer, encoder, ctc_dropout=DROPOUT)
    (batch,) = batches(1)
    losses = {}
    for frozen_dropout in (True, False):
        set_training_mode(model, model.layers(), frozen_dropout)
        losses[frozen_dropout] = {float(model(batch)[0].detach()) for _ in range(3)}
    assert len(losses[True]) == 3
    assert len(losses[False]) == 1


def test_a_frozen_lstm_stays_in_training_mode(tokenizer):
    model = model_of(tokenizer, BLSTM)
    set_training_mode(model, model.layers(), frozen_dropout=False)
    recurrent = [m for m in model.modules() if isinstance(m, (nn.LSTM, nn.LSTMCell))]
    assert len(recurrent) == 3
    assert all(module.training for module in recurrent)


# ---- the proof ----------------------------------------------------------------------


def test_the_fingerprint_sees_one_bit_of_any_parameter_or_buffer(tokenizer):
    model = model_of(tokenizer, CONFORMER)
    layers = model.layers()
    before = fingerprint(model, layers)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    assert set(before) == set(tensors)
    for name in before:
        bits = tensors[name].detach().view(-1).view(torch.uint8)
        bits[-1] ^= 1
        after = fingerprint(model, layers)
        assert [key for key in after if after[key] != before[key]] == [name]
        with pytest.raises(TrainingError, match=f"frozen tensors changed during training: {name};"):
            check_unchanged(before, after)
        bits[-1] ^= 1
    check_unchanged(before, fingerprint(model, layers))


def test_a_tensor_that_is_gone_has_changed():
    with pytest.raises(TrainingError, match="changed during training: b;"):
        check_unchanged({"a": "1", "b": "2"}, {"a": "1"})


def test_the_digest_tells_shapes_types_and_signed_zeros_apart():
    zero = torch.zeros(4)
    others = [
        zero.view(2, 2),
        zero.int(),
        -zero,
        torch.zeros(0),
        torch.zeros(0, 4),
        torch.zeros(()),
    ]
    assert len({tensor_digest(tensor) for tensor in [zero, *others]}) == 7
    transposed = torch.arange(6.0).view(2, 3).t()
    assert tensor_digest(transposed) == tensor_digest(transposed.contiguous())
    assert tensor_digest(zero.bfloat16()) != tensor_digest(zero.half())


# ---- names ---------------------------------------------------------------------------


def test_a_layer_is_found_by_its_name_and_by_what_else_users_call_it(tokenizer):
    layers = model_of(tokenizer, BLSTM).layers()
    assert [layer.name for layer in layers] == [
        "encoder.conv1", "encoder.conv2", "encoder.rnn0", "encoder.rnn1", "classifier",
    ]  # fmt: skip
    assert find_layer(layers, "encoder.rnn0") == 2
    assert (
        find_layer(layers, "decoder")
        == find_layer(layers, "ctc")
        == find_layer(layers, "classifier")
        == 4
    )


def test_a_wrong_name_lists_the_layers_that_exist_top_first(tokenizer):
    layers = model_of(tokenizer, BLSTM).layers()
    with pytest.raises(ConfigError) as caught:
        find_layer(layers, "decodr")
    assert str(caught.value) == (
        "no layer 'decodr'; did you mean 'decoder'?; this model has: classifier (= ctc + decoder), "
        "encoder.rnn1, encoder.rnn0, encoder.conv2, encoder.conv1"
    )


class Attending(nn.Module):
    """A user's network of PyTorch's own layers, which have dropout as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(4, 2, 8, dropout=DROPOUT, batch_first=True)
        self.recurrent = nn.LSTM(4, 4, num_layers=2, dropout=DROPOUT)
        self.output = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.output(self.recurrent(self.attention(inputs))[0])


@pytest.mark.parametrize("first", ["attention", "recurrent"])
def test_dropout_without_a_submodule_is_turned_off_too(first: str):
    network = Attending()
    part = getattr(network, first)
    layer = layer_of(network, first, [first])
    freeze(network, [layer])
    inputs = torch.randn(2, 9, 4, requires_grad=True)

    def outputs() -> list[torch.Tensor]:
        return [each[0] if isinstance(each, tuple) else each for each in (part(inputs), part(inputs))]

    set_training_mode(network, [layer], frozen_dropout=True)
    one, other = outputs()
    assert not torch.equal(one, other)
    set_training_mode(network, [layer], frozen_dropout=False)
    one, other = outputs()
    assert torch.equal(one, other)
    one.sum().backward()  # what is below can be trained
    assert inputs.grad.abs().sum() > 0
