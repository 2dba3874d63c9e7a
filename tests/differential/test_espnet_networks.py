"""Encoders, decoders and CTC against ESPnet's own, with the same weights.

ESPnet's encoders change an utterance's output with the batch, so each
utterance goes through them alone.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.networks.espnet import espnet_module

WIDTH, VOCABULARY = 20, 9
LENGTHS = torch.tensor([30, 61, 17])
RECURRENT = {"num_layers": 2, "hidden_size": 10, "output_size": 12}
BLOCKS = {"output_size": 16, "attention_heads": 2, "num_blocks": 2}
FEED = BLOCKS | {"linear_units": 24}
GATED = FEED | {"cgmlp_linear_units": 24}

CLASSES = {
    "vgg_rnn": "vgg_rnn_encoder.VGGRNNEncoder",
    "rnn": "rnn_encoder.RNNEncoder",
    "transformer": "transformer_encoder.TransformerEncoder",
    "conformer": "conformer_encoder.ConformerEncoder",
    "e_branchformer": "e_branchformer_encoder.EBranchformerEncoder",
}
CASES = [
    ("vgg_rnn", RECURRENT),
    ("vgg_rnn", RECURRENT | {"use_projection": False}),
    ("vgg_rnn", RECURRENT | {"rnn_type": "gru", "bidirectional": False, "in_channel": 2}),
    ("rnn", RECURRENT),
    ("rnn", RECURRENT | {"subsample": [3, 2], "rnn_type": "gru"}),
    ("rnn", RECURRENT | {"use_projection": False, "num_layers": 3}),
    *[("transformer", FEED | {"input_layer": layer})
      for layer in ("conv2d", "conv2d1", "conv2d2", "conv2d6", "conv2d8", "conv1d2", "linear")],
    ("transformer", FEED | {"normalize_before": False, "concat_after": True, "qk_norm": True}),
    ("transformer", FEED | {"positionwise_layer_type": "conv1d-linear",
                            "positionwise_conv_kernel_size": 3, "pos_enc_layer_type": "conv"}),
    ("conformer", FEED),
    ("conformer", FEED | {"macaron_style": True, "rel_pos_type": "latest", "zero_triu": True}),
    ("conformer", FEED | {"selfattention_layer_type": "selfattn", "input_layer": "conv2d6",
                          "pos_enc_layer_type": "scaled_abs_pos"}),
    ("conformer", FEED | {"positionwise_layer_type": "conv1d", "input_layer": "linear"}),
    ("conformer", FEED | {"normalize_before": False, "concat_after": True}),
    ("e_branchformer", GATED),
    ("e_branchformer", GATED | {"use_ffn": True, "macaron_ffn": True, "rel_pos_type": "legacy"}),
    ("e_branchformer", GATED | {"attention_layer_type": "fast_selfattn", "input_layer": "conv1d3",
                                "pos_enc_layer_type": "abs_pos", "gate_activation": "swish",
                                "use_linear_after_conv": True}),
]  # fmt: skip
ATTENTIONS = [
    "location", "noatt", "dot", "add", "location2d", "location_recurrent", "coverage",
    "coverage_location", "multi_head_dot", "multi_head_add", "multi_head_loc",
    "multi_head_multi_res_loc",
]  # fmt: skip


def espnet_class(part: str, path: str) -> type[nn.Module]:
    module, _, name = path.partition(".")
    return getattr(espnet_module(f"espnet2.asr.{part}.{module}"), name)


def make_every_weight_matter(network: nn.Module) -> None:
    for parameter in network.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 1.5)


@pytest.mark.parametrize(("name", "conf"), [
    pytest.param(*case, id=f"{case[0]}-{index}") for index, case in enumerate(CASES)
])  # fmt: skip
def test_encoder_in_a_padded_batch_equals_espnet_on_each_utterance(name: str, conf: dict) -> None:
    torch.manual_seed(1)
    ours = build_encoder(name, WIDTH, conf).eval()
    make_every_weight_matter(ours)
    theirs = espnet_class("encoder", CLASSES[name])(WIDTH, **conf).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())

    features = 3 * torch.randn(len(LENGTHS), int(LENGTHS.max()), WIDTH)
    output, lengths = ours(features, LENGTHS)
    output.square().sum().backward()
    for row, length in enumerate(LENGTHS):
        expected, expected_lengths, _ = theirs(
            features[row : row + 1, :length], LENGTHS[row : row + 1]
        )
        assert lengths[row] == int(expected_lengths[0])
        actual = output[row, : lengths[row]]
        torch.testing.assert_close(actual, expected[0, : lengths[row]], rtol=0, atol=1e-5)
        expected[0, : lengths[row]].square().sum().backward()
    for (key, mine), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(
            mine.grad, their.grad, rtol=1e-3, atol=1e-3, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_state_dict_before_training_is_espnets_for_the_same_seed() -> None:
    for name, conf in CASES:
        torch.manual_seed(5)
        ours = build_encoder(name, WIDTH, conf).state_dict()
        torch.manual_seed(5)
        theirs = espnet_class("encoder", CLASSES[name])(WIDTH, **conf).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name


def decoder_batch(width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.randn(3, 11, width, requires_grad=True),
        torch.tensor([11, 6, 9]),
        torch.randint(0, VOCABULARY, (3, 6)),
        torch.tensor([3, 6, 2]),
    )


def compare_decoders(ours: nn.Module, theirs: nn.Module, is_padded: bool = True) -> None:
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    batch = decoder_batch(14)
    if not is_padded:
        encoder_output, lengths, *tokens = batch
        batch = (encoder_output, torch.full_like(lengths, encoder_output.size(1)), *tokens)
    actual, (expected, _) = ours(*batch), theirs(*batch)
    for row, length in enumerate(batch[3]):
        torch.testing.assert_close(actual[row, :length], expected[row, :length], rtol=0, atol=1e-5)
    valid = (torch.arange(6) < batch[3].unsqueeze(1)).unsqueeze(2)
    actual.square().sum().backward()
    expected.masked_fill(~valid, 0.0).square().sum().backward()
    for (key, mine), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if their.grad is not None:
            torch.testing.assert_close(
                mine.grad, their.grad, rtol=1e-4, atol=1e-5,
                msg=lambda text, key=key: f"{key}: {text}",
            )  # fmt: skip


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_rnn_decoder_equals_espnet(attention: str) -> None:
    torch.manual_seed(1)
    conf = {
        "hidden_size": 10,
        "num_layers": 2,
        "att_conf": {"atype": attention, "adim": 12, "aconv_chans": 3, "aconv_filts": 4},
    }
    ours = build_decoder("rnn", VOCABULARY, 14, conf)
    theirs = espnet_class("decoder", "rnn_decoder.RNNDecoder")(VOCABULARY, 14, **conf)
    # ESPnet's recurrent location attention depends on the padding; ours does not
    compare_decoders(ours, theirs, is_padded=attention != "location_recurrent")


@pytest.mark.parametrize("option", [
    {"rnn_type": "gru"}, {"context_residual": True}, {"num_layers": 3}, {"num_layers": 1},
])  # fmt: skip
def test_rnn_decoder_options_equal_espnet(option: dict) -> None:
    torch.manual_seed(1)
    conf = {"hidden_size": 10} | option
    ours = build_decoder("rnn", VOCABULARY, 14, conf)
    theirs = espnet_class("decoder", "rnn_decoder.RNNDecoder")(VOCABULARY, 14, **conf)
    compare_decoders(ours, theirs)


@pytest.mark.parametrize("option", [
    {}, {"normalize_before": False}, {"concat_after": True}, {"qk_norm": True},
    {"gradient_checkpoint_layers": [1]},
])  # fmt: skip
def test_transformer_decoder_equals_espnet(option: dict) -> None:
    torch.manual_seed(1)
    conf = {"num_blocks": 2, "attention_heads": 2, "linear_units": 24} | option
    ours = build_decoder("transformer", VOCABULARY, 14, conf).eval()
    path = "transformer_decoder.TransformerDecoder"
    compare_decoders(ours, espnet_class("decoder", path)(VOCABULARY, 14, **conf).eval())


def test_transformer_decoder_attention_weights_are_espnets() -> None:
    torch.manual_seed(1)
    conf = {"num_blocks": 2, "attention_heads": 2, "linear_units": 24}
    ours = build_decoder("transformer", VOCABULARY, 14, conf).eval()
    theirs = espnet_class("decoder", "transformer_decoder.TransformerDecoder")(
        VOCABULARY, 14, **conf
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    batch = decoder_batch(14)
    theirs(*batch)
    weights = ours.attention_weights(*batch)
    expected = theirs.decoders[-1].src_attn.attn.mean(dim=1)
    for row, length in enumerate(batch[3]):
        torch.testing.assert_close(weights[row, :length], expected[row, :length])


def test_ctc_equals_espnet() -> None:
    torch.manual_seed(1)
    ours = CTC(VOCABULARY, 14)
    theirs = espnet_module("espnet2.asr.ctc").CTC(VOCABULARY, 14)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.tensor([[1, 2, 3], [4, -1, -1]])
    batch = (torch.randn(2, 8, 14), torch.tensor([8, 5]), tokens, torch.tensor([3, 1]))
    torch.testing.assert_close(ours(*batch), theirs(*batch))
    torch.testing.assert_close(ours.log_softmax(batch[0]), theirs.log_softmax(batch[0]))
    assert torch.equal(ours.argmax(batch[0]), theirs.argmax(batch[0]))


def test_later_espnets_keep_their_modules_elsewhere(tmp_path, monkeypatch) -> None:
    package = tmp_path / "espnet2" / "legacy" / "newer"
    package.mkdir(parents=True)
    (package / "thing.py").write_text("print('Failed to import Flash Attention, x')\nVALUE = 3\n")
    legacy = sys.modules["espnet2"]
    monkeypatch.setattr(legacy, "__path__", [*legacy.__path__, str(tmp_path / "espnet2")])
    assert espnet_module("espnet.newer.thing").VALUE == 3
    with pytest.raises(ModuleNotFoundError):
        espnet_module("espnet.newer.nothing")
    with pytest.raises(ModuleNotFoundError):
        espnet_module("espnet2.nothing")


def test_importing_espnet_prints_nothing() -> None:
    code = "from cascade_asr.networks import encoders, decoders, ctc"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert finished.stdout == ""
    assert "Flash" not in finished.stderr
