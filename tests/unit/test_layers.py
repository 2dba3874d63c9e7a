"""Layers: complete, disjoint, in data-flow order, and each one's dropout can be switched off."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder

WIDTH, VOCABULARY = 20, 9
LENGTHS = torch.tensor([30, 61, 44])
RECURRENT = {"num_layers": 3, "hidden_size": 10, "output_size": 12, "dropout": 0.3}
BLOCKS = {
    "output_size": 16, "attention_heads": 2, "num_blocks": 2, "dropout_rate": 0.3,
    "attention_dropout_rate": 0.3, "positional_dropout_rate": 0.3,
}  # fmt: skip
FEED = {"linear_units": 24}

ENCODERS = {
    "vgg_rnn": ("vgg_rnn", RECURRENT, ["conv1", "conv2", "rnn0", "rnn1", "rnn2"]),
    "vgg_rnn-unprojected": (
        "vgg_rnn", RECURRENT | {"use_projection": False},
        ["conv1", "conv2", "rnn0", "rnn1", "rnn2"],
    ),
    "rnn": ("rnn", RECURRENT, ["rnn0", "rnn1", "rnn2"]),
    "rnn-unprojected-gru": (
        "rnn", RECURRENT | {"use_projection": False, "rnn_type": "gru"}, ["rnn0", "rnn1", "rnn2"],
    ),
    "rnn-forward": (
        "rnn", RECURRENT | {"use_projection": False, "bidirectional": False},
        ["rnn0", "rnn1", "rnn2"],
    ),
    "transformer": ("transformer", BLOCKS | FEED, ["embed", "block0", "block1", "after_norm"]),
    "transformer-postnorm": (
        "transformer", BLOCKS | FEED | {"normalize_before": False}, ["embed", "block0", "block1"],
    ),
    "conformer": (
        "conformer", BLOCKS | FEED | {"macaron_style": True},
        ["embed", "block0", "block1", "after_norm"],
    ),
    "e_branchformer": (
        "e_branchformer",
        BLOCKS | FEED | {"cgmlp_linear_units": 24, "use_ffn": True, "macaron_ffn": True},
        ["embed", "block0", "block1", "after_norm"],
    ),
}  # fmt: skip
DECODERS = {
    "rnn": (
        "rnn", {"num_layers": 2, "hidden_size": 12, "dropout": 0.3},
        ["embed", "attention", "rnn0", "rnn1", "output"],
    ),
    "transformer": (
        "transformer",
        {"num_blocks": 2, "attention_heads": 2, "linear_units": 24, "dropout_rate": 0.3,
         "self_attention_dropout_rate": 0.3, "src_attention_dropout_rate": 0.3,
         "positional_dropout_rate": 0.3},
        ["embed", "block0", "block1", "after_norm", "output"],
    ),
}  # fmt: skip


def encoder_of(case: str) -> nn.Module:
    torch.manual_seed(1)
    name, conf, _ = ENCODERS[case]
    return build_encoder(name, WIDTH, conf)


def decoder_of(case: str) -> nn.Module:
    torch.manual_seed(1)
    name, conf, _ = DECODERS[case]
    return build_decoder(name, VOCABULARY, 12, conf)


def run_encoder(encoder: nn.Module) -> torch.Tensor:
    torch.manual_seed(2)
    features = torch.randn(3, 61, WIDTH)
    torch.seed()
    return encoder(features, LENGTHS)[0]


def run_decoder(decoder: nn.Module) -> torch.Tensor:
    torch.manual_seed(2)
    memory = torch.randn(2, 7, 12)
    torch.seed()
    tokens = torch.tensor([[8, 1, 2, 3], [8, 4, 5, 5]])
    return decoder(memory, torch.tensor([7, 5]), tokens, torch.tensor([4, 3]))


NETWORKS = [
    *[pytest.param(encoder_of, run_encoder, ENCODERS, case, id=case) for case in ENCODERS],
    *[pytest.param(decoder_of, run_decoder, DECODERS, case, id=f"{case}-decoder")
      for case in DECODERS],
]  # fmt: skip


@pytest.mark.parametrize(("build", "run", "cases", "case"), NETWORKS)
def test_each_parameter_and_buffer_is_in_one_layer(build, run, cases, case) -> None:
    network = build(case)
    layers = network.layers()
    assert [layer.name for layer in layers] == cases[case][2]
    parameters = [name for layer in layers for name in layer.parameters]
    buffers = [name for layer in layers for name in layer.buffers]
    assert sorted(parameters) == sorted(name for name, _ in network.named_parameters())
    assert sorted(buffers) == sorted(name for name, _ in network.named_buffers())


@pytest.mark.parametrize("case", ENCODERS)
def test_gradients_arrive_from_the_top_layer_to_the_bottom(case: str) -> None:
    """Backpropagation visits layers against the data flow: this proves their order."""
    encoder = encoder_of(case)
    owner = {name: index for index, layer in enumerate(encoder.layers())
             for name in layer.parameters}  # fmt: skip
    arrived: list[int] = []
    for name, parameter in encoder.named_parameters():
        parameter.register_hook(lambda _, index=owner[name]: arrived.append(index))
    run_encoder(encoder).square().sum().backward()
    assert sorted(set(arrived)) == list(range(len(encoder.layers())))
    assert arrived == sorted(arrived, reverse=True)


def test_gradients_arrive_in_order_in_the_transformer_decoder() -> None:
    decoder = decoder_of("transformer")
    arrived: list[str] = []
    for layer in decoder.layers():
        for name in layer.parameters:
            parameter = decoder.get_parameter(name)
            parameter.register_hook(lambda _, name=layer.name: arrived.append(name))
    run_decoder(decoder).square().sum().backward()
    assert list(dict.fromkeys(arrived)) == ["output", "after_norm", "block1", "block0", "embed"]


@pytest.mark.parametrize(("build", "run", "cases", "case"), NETWORKS)
def test_each_dropout_belongs_to_one_layer(build, run, cases, case) -> None:
    network = build(case)
    dropouts = [name for layer in network.layers() for name in layer.dropouts]
    modules = [name for name, module in network.named_modules() if isinstance(module, _DropoutNd)]
    assert sorted(dropouts) == sorted(modules)


@pytest.mark.parametrize(("build", "run", "cases", "case"), NETWORKS)
def test_all_randomness_is_in_the_dropouts(build, run, cases, case) -> None:
    network = build(case)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    assert not torch.equal(run(network), run(network))
    for layer in network.layers():
        for name in layer.dropouts:
            network.get_submodule(name).eval()
    silent = run(network)
    assert torch.equal(silent, run(network))
    torch.testing.assert_close(silent, run(network.eval()), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("build", "run", "cases", "case"), NETWORKS)
def test_each_dropout_acts_by_itself(build, run, cases, case) -> None:
    network = build(case).eval()
    quiet = run(network)
    for layer in network.layers():
        for name in layer.dropouts:
            dropout = network.get_submodule(name)
            if dropout.p == 0.0:
                continue
            dropout.train()
            assert not torch.equal(run(network), quiet), f"{name} of {layer.name} does nothing"
            dropout.eval()


def test_users_may_write_espnets_names() -> None:
    layers = encoder_of("conformer").layers()
    assert layers[1].aliases == ("encoders.0",)
    assert encoder_of("conformer").classifier_layers() == ["after_norm"]
    assert encoder_of("vgg_rnn").classifier_layers() == []
    assert layers[1].prefixed("encoder").aliases == ("encoder.encoders.0",)


def test_a_layer_does_not_claim_names_that_only_begin_alike() -> None:
    encoder = build_encoder("rnn", WIDTH, RECURRENT | {"num_layers": 11, "subsample": None})
    layers = encoder.layers()
    assert all("birnn1." in name or "bt1." in name for name in layers[1].parameters)
    assert len(layers[1].parameters) == len(layers[10].parameters) == 10
