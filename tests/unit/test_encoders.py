"""Encoders: shapes, padding, dropout, batch statistics, configuration errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.networks.encoders import ENCODERS, build_encoder
from cascade_asr.networks.encoders.padding import PaddedBatch
from cascade_asr.networks.fast.recurrent import _run_packed, run_recurrent

WIDTH = 20
LENGTHS = torch.tensor([30, 61, 17, 44])
RECURRENT = {"num_layers": 2, "hidden_size": 10, "output_size": 12}
BLOCKS = {"output_size": 16, "attention_heads": 2, "num_blocks": 2}

CONFIGURATIONS = [
    ("vgg_rnn", RECURRENT),
    ("vgg_rnn", RECURRENT | {"use_projection": False, "rnn_type": "gru"}),
    ("rnn", RECURRENT | {"subsample": [2, 3]}),
    ("rnn", RECURRENT | {"use_projection": False}),
    *[
        ("transformer", BLOCKS | {"linear_units": 24, "input_layer": layer})
        for layer in ("conv2d", "conv2d1", "conv2d2", "conv2d6", "conv2d8", "linear", "conv1d2")
    ],
    ("conformer", BLOCKS | {"linear_units": 24, "macaron_style": True}),
    ("conformer", BLOCKS | {"linear_units": 24, "rel_pos_type": "latest"}),
    ("conformer", BLOCKS | {"linear_units": 24, "positionwise_layer_type": "conv1d"}),
    ("e_branchformer", BLOCKS | {"cgmlp_linear_units": 24, "use_ffn": True, "linear_units": 24}),
    ("e_branchformer", BLOCKS | {"cgmlp_linear_units": 24, "rel_pos_type": "legacy"}),
]
NAMED = [pytest.param(*each, id=f"{each[0]}-{index}") for index, each in enumerate(CONFIGURATIONS)]
PAPER_NETWORKS = [NAMED[0], NAMED[3], NAMED[4], NAMED[12], NAMED[14]]


def build(name: str, conf: dict) -> nn.Module:
    """An encoder in which every weight matters: no unit scales, no zero biases."""
    torch.manual_seed(1)
    encoder = build_encoder(name, WIDTH, conf)
    for parameter in encoder.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    return encoder


def padded_batch() -> torch.Tensor:
    """Four utterances whose padding is not zero, so that a leak shows."""
    torch.manual_seed(2)
    return 3 * torch.randn(len(LENGTHS), int(LENGTHS.max()), WIDTH)


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_the_padding_changes_nothing(name: str, conf: dict) -> None:
    encoder = build(name, conf).eval()
    features = padded_batch()
    output, lengths = encoder(features, LENGTHS)

    assert lengths.dtype == torch.int64
    assert lengths.tolist() == encoder.output_lengths(LENGTHS).tolist()
    assert output.shape == (4, int(lengths.max()), encoder.output_size())
    for row, (before, after) in enumerate(zip(LENGTHS, lengths, strict=True)):
        alone, length = encoder(features[row : row + 1, :before], LENGTHS[row : row + 1])
        assert length.item() == after
        torch.testing.assert_close(output[row, :after], alone[0], rtol=0, atol=1e-5)
        assert (output[row, after:] == 0).all()


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_the_padding_gets_no_gradient(name: str, conf: dict) -> None:
    encoder = build(name, conf).eval()
    features = padded_batch().requires_grad_()
    output, _ = encoder(features, LENGTHS)
    output.square().sum().backward()

    for row, length in enumerate(LENGTHS):
        assert (features.grad[row, length:] == 0).all()
        assert (features.grad[row, :5] != 0).any()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_an_utterance_that_is_too_short_harms_nobody(name: str, conf: dict) -> None:
    encoder = build(name, conf).eval()
    features = padded_batch()
    lengths = LENGTHS.clone()
    lengths[0] = 1
    output, output_lengths = encoder(features, lengths)
    expected, expected_lengths = encoder(features[1:], lengths[1:])

    assert output_lengths[0] == encoder.output_lengths(lengths)[0]
    torch.testing.assert_close(output[1:], expected, rtol=0, atol=1e-5)
    assert output_lengths[1:].tolist() == expected_lengths.tolist()
    assert output.isfinite().all()
    assert encoder(features[:, :1], torch.ones(4, dtype=torch.long))[0].isfinite().all()


def test_output_lengths() -> None:
    expected = {
        "linear": [0, 1, 6, 7, 16],
        "conv2d": [0, 0, 0, 1, 3],
        "conv2d2": [0, 0, 0, 1, 5],
        "conv2d6": [0, 0, 0, 0, 1],
        "conv2d8": [0, 0, 0, 0, 1],
    }
    lengths = torch.tensor([0, 1, 6, 7, 16])
    for layer, result in expected.items():
        encoder = build_encoder("transformer", WIDTH, BLOCKS | {"input_layer": layer})
        assert encoder.output_lengths(lengths).tolist() == result, layer
    vgg = build_encoder("vgg_rnn", WIDTH, RECURRENT)
    assert vgg.output_lengths(lengths).tolist() == [0, 1, 2, 2, 4]
    rnn = build_encoder("rnn", WIDTH, RECURRENT | {"subsample": [2, 2]})
    assert rnn.output_lengths(lengths).tolist() == [0, 1, 2, 2, 4]


@pytest.mark.parametrize(("name", "conf"), PAPER_NETWORKS)
def test_bfloat16_autocast(name: str, conf: dict) -> None:
    encoder = build(name, conf)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, lengths = encoder(padded_batch(), LENGTHS)
        output.float().square().mean().backward()
    assert output.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_layers_of_a_fused_network_run_one_by_one_give_the_same(kind: type) -> None:
    torch.manual_seed(1)
    network = kind(WIDTH, 8, num_layers=3, bidirectional=True, batch_first=True)
    features = padded_batch()
    off = [nn.Dropout(0.0), nn.Dropout(0.0)]
    output = run_recurrent(network, features, LENGTHS, off)
    packed = nn.utils.rnn.pack_padded_sequence(
        features, LENGTHS, batch_first=True, enforce_sorted=False
    )
    expected, _ = nn.utils.rnn.pad_packed_sequence(network(packed)[0], batch_first=True)
    # what runs on a GPU, here on the CPU: fused, and layer by layer
    fused = _run_packed(network, range(3), features, LENGTHS, dropout=0.0)
    stepwise = features
    for layer in range(3):
        stepwise = _run_packed(network, [layer], stepwise, LENGTHS, dropout=0.0)
    for row, length in enumerate(LENGTHS):
        for result in (output, fused, stepwise):
            torch.testing.assert_close(result[row, :length], expected[row, :length])


def test_frozen_lstm_passes_gradients_on_and_gets_none() -> None:
    encoder = build("vgg_rnn", RECURRENT)
    frozen = set(encoder.layers()[2].parameters)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name not in frozen)
    encoder(padded_batch(), LENGTHS)[0].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name


def test_batch_statistics_leave_the_padding_out() -> None:
    torch.manual_seed(1)
    sequence = torch.randn(2, 5, 3, requires_grad=True)
    lengths = torch.tensor([5, 2])
    norm, reference = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    batch = PaddedBatch(lengths, 5, sequence.device)
    output = batch.batch_norm(norm, sequence)
    valid = torch.cat([sequence[0], sequence[1, :2]])
    expected = reference(valid)

    torch.testing.assert_close(torch.cat([output[0], output[1, :2]]), expected)
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    torch.testing.assert_close(norm.running_var, reference.running_var)
    assert norm.num_batches_tracked == 1
    norm.eval()
    batch.batch_norm(norm, sequence)
    torch.testing.assert_close(norm.running_mean, reference.running_mean)


def test_conformer_statistics_do_not_depend_on_the_padding() -> None:
    statistics = []
    for padding in (0, 40):
        conf = {"linear_units": 24, "dropout_rate": 0.0, "positional_dropout_rate": 0.0}
        encoder = build("conformer", BLOCKS | conf)
        features = nn.functional.pad(padded_batch(), (0, 0, 0, padding), value=7.0)
        encoder(features, LENGTHS)
        statistics.append(torch.cat([buffer.flatten() for buffer in encoder.buffers()]))
    torch.testing.assert_close(*statistics)


def test_layer_drop_and_stochastic_depth_act_in_training_only() -> None:
    conf = BLOCKS | {"linear_units": 24, "dropout_rate": 0.0, "positional_dropout_rate": 0.0}
    features = padded_batch()
    for option in ("layer_drop_rate", "stochastic_depth_rate"):
        encoder = build("conformer", conf | {option: 0.5, "use_cnn_module": False})
        torch.manual_seed(3)
        outputs = [encoder(features, LENGTHS)[0] for _ in range(8)]
        assert any(not torch.equal(outputs[0], output) for output in outputs[1:]), option
        encoder.eval()
        assert torch.equal(encoder(features, LENGTHS)[0], encoder(features, LENGTHS)[0])


def test_gradient_checkpointing_changes_nothing() -> None:
    conf = BLOCKS | {"cgmlp_linear_units": 24}
    gradients = []
    for checkpointed in ([], [0, 1, 2]):
        encoder = build("e_branchformer", conf | {"gradient_checkpoint_layers": checkpointed})
        torch.manual_seed(4)
        encoder(padded_batch(), LENGTHS)[0].square().sum().backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    torch.testing.assert_close(*gradients)


def test_configuration_errors_come_all_at_once() -> None:
    conf = {"hiden_size": 3, "num_layers": 4.0, "dropout": "a", "bidirectional": 1}
    with pytest.raises(ConfigError) as error:
        build_encoder("vgg_rnn", WIDTH, conf)
    message = str(error.value)
    assert "encoder_conf.hiden_size: no such option; did you mean 'hidden_size'?" in message
    assert "encoder_conf.num_layers: expected a whole number, got 4.0; write 4" in message
    assert "encoder_conf.dropout: expected a number, got 'a'" in message
    assert "encoder_conf.bidirectional: expected true or false, got 1" in message

    with pytest.raises(ConfigError, match="unknown encoder 'vgg_rn'; did you mean 'vgg_rnn'"):
        build_encoder("vgg_rn", WIDTH, {})
    with pytest.raises(ConfigError, match="unknown input_layer: conv3d"):
        build_encoder("transformer", WIDTH, {"input_layer": "conv3d"})
    with pytest.raises(ConfigError, match=r"interctc_layer_idx: \[1\] is not supported"):
        build_encoder("conformer", WIDTH, {"interctc_layer_idx": [1]})
    with pytest.raises(ConfigError, match="input_size: set by the program; remove it"):
        build_encoder("rnn", WIDTH, {"input_size": 20})


def test_whole_numbers_are_numbers() -> None:
    assert build_encoder("rnn", WIDTH, RECURRENT | {"dropout": 0}) is not None


def test_names_are_espnet2s() -> None:
    assert set(ENCODERS) == {"vgg_rnn", "rnn", "transformer", "conformer", "e_branchformer"}


def test_espnets_own_notices_do_not_reach_our_logs(caplog) -> None:
    with caplog.at_level("INFO"):
        ENCODERS["e_branchformer"](input_size=WIDTH, **BLOCKS)
        assert "Gradient checkpoint layers" in caplog.text
        caplog.clear()
        build_encoder("e_branchformer", WIDTH, BLOCKS)
    assert not caplog.records
