"""Every option of an encoder that is accepted keeps its promises; the others are refused by name."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.decoders.attention import ATTENTION_TYPES
from cascade_asr.networks.encoders import ENCODERS, build_encoder

WIDTH = 32
LENGTHS = torch.tensor([40, 83, 25, 61])
SMALL = {"output_size": WIDTH, "attention_heads": 2, "num_blocks": 2}
CONV2D = ["conv2d", "conv2d1", "conv2d2", "conv2d6", "conv2d8"]
ACTIVATIONS = ["hardtanh", "tanh", "relu", "selu", "swish"]
RECURRENT = {"num_layers": [1, 3], "hidden_size": [8], "output_size": [6], "dropout": [0.0, 0.3],
             "rnn_type": ["lstm", "gru"], "bidirectional": [True, False],
             "use_projection": [True, False]}  # fmt: skip
BLOCKS = {"linear_units": [24], "normalize_before": [True, False], "concat_after": [True, False],
          "dropout_rate": [0.1], "positional_dropout_rate": [0.0], "attention_dropout_rate": [0.2],
          "layer_drop_rate": [0.0, 0.3], "qk_norm": [False, True],
          "use_flash_attn": [True]}  # fmt: skip
KERNELS = {"positionwise_layer_type": ["linear", "conv1d", "conv1d-linear"],
           "positionwise_conv_kernel_size": [1, 3]}  # fmt: skip
DISTANCES = {"pos_enc_layer_type": ["rel_pos", "abs_pos", "scaled_abs_pos", "conv"],
             "rel_pos_type": ["legacy", "latest"], "zero_triu": [False, True],
             "max_pos_emb_len": [20, 5000]}  # fmt: skip
OPTIONS = {
    "rnn": RECURRENT | {"subsample": [None, [], [2, 2], [1, 3, 2], [5]]},
    "vgg_rnn": RECURRENT | {"in_channel": [1, 2]},
    "transformer": BLOCKS | KERNELS | {
        "input_layer": [*CONV2D, "conv1d2", "linear", "wav2vec", None],
        "pos_enc_layer_type": ["abs_pos", "conv"],
    },
    "conformer": BLOCKS | KERNELS | DISTANCES | {
        "input_layer": [*CONV2D, "linear", None],
        "selfattention_layer_type": ["rel_selfattn", "selfattn"],
        "activation_type": ACTIVATIONS, "macaron_style": [True, False],
        "use_cnn_module": [True, False], "cnn_module_kernel": [5, 31],
        "stochastic_depth_rate": [0.0, [0.1, 0.5]],
    },
    "e_branchformer": {key: BLOCKS[key] for key in BLOCKS if "_before" not in key
                       and "_after" not in key} | DISTANCES | {
        "input_layer": [*CONV2D, "conv1d1", "conv1d2", "conv1d3", "linear", None],
        "attention_layer_type": ["rel_selfattn", "selfattn", "fast_selfattn"],
        "cgmlp_linear_units": [24], "cgmlp_conv_kernel": [3, 31],
        "use_linear_after_conv": [True, False], "gate_activation": ["identity", *ACTIVATIONS],
        "use_ffn": [True, False], "macaron_ffn": [True, False],
        "ffn_activation_type": ACTIVATIONS, "merge_conv_kernel": [3, 7],
        "gradient_checkpoint_layers": [[], [0, 1]],
        "interctc_layer_idx": [[], None],
    },
}  # fmt: skip


def drawn(name: str, number: int) -> list[dict]:
    """Configurations with each value of each option, and pairs of them at random."""
    options = OPTIONS[name]
    generator = random.Random(name)
    confs = []
    for index in range(number):
        conf = {
            key: values[index % len(values)]
            if generator.random() < 0.5
            else generator.choice(values)
            for key, values in options.items()
        }
        if name not in ("rnn", "vgg_rnn"):
            conf |= SMALL
        kind = conf.get("selfattention_layer_type", conf.get("attention_layer_type"))
        if kind is not None:
            relative = kind == "rel_selfattn"
            allowed = [
                each
                for each in options["pos_enc_layer_type"]
                if ("rel" in each) == relative and not (kind == "fast_selfattn" and each == "conv")
            ]
            conf["pos_enc_layer_type"] = allowed[index % len(allowed)]
        confs.append(conf)
    return confs


CASES = [(name, conf) for name in OPTIONS for conf in drawn(name, 12)]


def test_the_options_are_those_of_the_encoders() -> None:
    from cascade_asr.options.signatures import constructor_signature

    for name, options in OPTIONS.items():
        known = set(constructor_signature(ENCODERS[name])) - set(SMALL)
        untried = known - set(options) - {"input_size"}
        assert untried <= {"padding_idx", "interctc_layer_idx", "interctc_use_conditioning",
                           "ctc_trim", "pos_enc_class", "positionwise_layer_type"}, name  # fmt: skip


@pytest.mark.parametrize(("name", "conf"), CASES)
def test_padding_changes_nothing_whatever_the_options(name: str, conf: dict) -> None:
    torch.manual_seed(1)
    encoder = build_encoder(name, WIDTH, conf).eval()
    for parameter in encoder.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    features = 3 * torch.randn(len(LENGTHS), int(LENGTHS.max()), WIDTH)
    output, lengths = encoder(features, LENGTHS)
    assert lengths.tolist() == encoder.output_lengths(LENGTHS).tolist()
    for row, (before, after) in enumerate(zip(LENGTHS, lengths, strict=True)):
        alone, length = encoder(features[row : row + 1, :before], LENGTHS[row : row + 1])
        assert length.item() == after
        torch.testing.assert_close(output[row, :after], alone[0], rtol=1e-5, atol=2e-5)
        assert (output[row, after:] == 0).all()


def test_the_promise_holds_for_a_convolution_over_positions_in_front_of_all() -> None:
    test_padding_changes_nothing_whatever_the_options(
        "transformer", SMALL | {"input_layer": "wav2vec", "pos_enc_layer_type": "conv"}
    )


@pytest.mark.parametrize(
    ("name", "conf", "message"),
    [
        ("rnn", {"hidden_size": 0}, "encoder_conf.hidden_size is 0, expected 1 or more"),
        (
            "vgg_rnn",
            {"hidden_size": 10**8},
            "encoder_conf.hidden_size is 100000000, expected 65536 or less",
        ),
        ("rnn", {"subsample": [0, 0]}, "encoder_conf.subsample is [0, 0], expected 1 or more"),
        ("rnn", {"rnn_type": "lstmp"}, "encoder_conf.rnn_type: unknown rnn_type: lstmp; expected"),
        ("rnn", {"dropout": float("nan")}, "encoder_conf.dropout: expected finite numbers"),
        ("rnn", {"dropout": 1.5}, "encoder_conf.dropout is 1.5, expected 0 to 1"),
        ("conformer", {"stochastic_depth_rate": 0}, "write 0.0"),
        ("conformer", {"stochastic_depth_rate": [0.1]}, "1 rates for 6 blocks"),
        ("conformer", {"activation_type": "gelu"}, "unknown activation_type: gelu; expected"),
        ("conformer", {"activation_type": "swihs"}, "hardtanh, tanh, relu, selu, swish"),
        ("conformer", {"cnn_module_kernel": 30}, "encoder_conf.cnn_module_kernel: 30 is even"),
        ("transformer", {"output_size": 255, "attention_heads": 5}, "255 is odd"),
        ("transformer", {"output_size": 250}, "output_size 250 cannot be divided among 4 heads"),
        ("transformer", {"input_layer": "embed"}, "unknown input_layer: embed; expected"),
        ("transformer", {"pos_enc_layer_type": "rel_pos"}, "unknown pos_enc_layer_type: rel_pos; expected"),
        ("transformer", {"positionwise_conv_kernel_size": 2}, "2 is even"),
        ("transformer", {"pos_enc_class": "x"}, "leave it out"),
        ("conformer", {"selfattention_layer_type": "selfattn"}, "needs abs_pos or scaled_abs_pos"),
        ("conformer", {"pos_enc_layer_type": "abs_pos"}, "needs rel_pos, not abs_pos"),
        ("e_branchformer", {"merge_conv_kernel": 4}, "4 is even"),
        ("e_branchformer", {"cgmlp_linear_units": 33}, "one half gates the other"),
        ("e_branchformer", {"pos_enc_layer_type": "legacy_rel_pos"}, "latest goes with"),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, conf: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_encoder(name, WIDTH, conf)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ATTENTION_TYPES)
def test_padding_changes_nothing_for_any_attention(kind: str) -> None:
    torch.manual_seed(0)
    att_conf = {"atype": kind, "adim": 8, "aheads": 2, "aconv_chans": 3, "aconv_filts": 2}
    decoder = build_decoder("rnn", 7, 10, {"hidden_size": 8, "att_conf": att_conf}).eval()
    for parameter in decoder.att_list.parameters():
        nn.init.normal_(parameter)
    encoded = 5 * torch.randn(2, 15, 10)
    tokens = torch.randint(1, 6, (2, 5))
    lengths, token_lengths = torch.tensor([15, 9]), torch.tensor([5, 4])
    logits = decoder(encoded, lengths, tokens, token_lengths)
    alone = decoder(encoded[1:, :9], lengths[1:], tokens[1:, :4], token_lengths[1:])
    torch.testing.assert_close(logits[1, :4], alone[0], rtol=1e-6, atol=1e-6)
