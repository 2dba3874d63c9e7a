"""Decoders and CTC: shapes, padding, sampling, attention weights, losses, errors."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import DECODERS, build_decoder

VOCABULARY, WIDTH = 9, 12
ENCODER_LENGTHS = torch.tensor([11, 6, 9])
TOKEN_LENGTHS = torch.tensor([3, 6, 2])
SMALL_ATTENTION = {"adim": 10, "aconv_chans": 3, "aconv_filts": 4}

CONFIGURATIONS = [
    ("rnn", {"num_layers": 2, "hidden_size": 8, "att_conf": SMALL_ATTENTION}),
    ("rnn", {"rnn_type": "gru", "hidden_size": 8, "att_conf": {"atype": "dot", "adim": 10}}),
    ("rnn", {"hidden_size": 8, "context_residual": True, "att_conf": SMALL_ATTENTION}),
    ("transformer", {"num_blocks": 2, "attention_heads": 2, "linear_units": 16}),
]
NAMED = [pytest.param(*each, id=f"{each[0]}-{index}") for index, each in enumerate(CONFIGURATIONS)]


def build(name: str, conf: dict) -> nn.Module:
    torch.manual_seed(1)
    return build_decoder(name, VOCABULARY, WIDTH, conf)


def padded_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    memory = torch.randn(3, int(ENCODER_LENGTHS.max()), WIDTH)
    tokens = torch.randint(0, VOCABULARY, (3, int(TOKEN_LENGTHS.max())))
    return memory, ENCODER_LENGTHS, tokens, TOKEN_LENGTHS


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_the_padding_changes_nothing(name: str, conf: dict) -> None:
    decoder = build(name, conf).eval()
    memory, memory_lengths, tokens, token_lengths = padded_batch()
    logits = decoder(memory, memory_lengths, tokens, token_lengths)
    weights = decoder.attention_weights(memory, memory_lengths, tokens, token_lengths)

    assert logits.shape == (3, 6, VOCABULARY)
    assert weights.shape == (3, 6, 11)
    for row, (frames, length) in enumerate(zip(memory_lengths, token_lengths, strict=True)):
        alone = (
            memory[row : row + 1, :frames], memory_lengths[row : row + 1],
            tokens[row : row + 1, :length], token_lengths[row : row + 1],
        )  # fmt: skip
        torch.testing.assert_close(logits[row, :length], decoder(*alone)[0], rtol=0, atol=1e-5)
        assert (logits[row, length:] == 0).all()
        torch.testing.assert_close(
            weights[row, :length, :frames], decoder.attention_weights(*alone)[0]
        )
        torch.testing.assert_close(weights[row, :length].sum(dim=1), torch.ones(length))
        assert (weights[row, length:] == 0).all()
        assert (weights[row, :, frames:] == 0).all()


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_a_token_depends_on_those_before_it_alone(name: str, conf: dict) -> None:
    decoder = build(name, conf).eval()
    memory, memory_lengths, tokens, _ = padded_batch()
    lengths = torch.full((3,), 6)
    other = tokens.clone()
    other[:, 3] = (other[:, 3] + 1) % VOCABULARY
    before = decoder(memory, memory_lengths, tokens, lengths)
    after = decoder(memory, memory_lengths, other, lengths)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_tokens_padded_with_minus_one_are_welcome(name: str, conf: dict) -> None:
    decoder = build(name, conf).eval()
    memory, memory_lengths, tokens, token_lengths = padded_batch()
    padding = torch.arange(tokens.size(1)) >= token_lengths.unsqueeze(1)
    torch.testing.assert_close(
        decoder(memory, memory_lengths, tokens.masked_fill(padding, -1), token_lengths),
        decoder(memory, memory_lengths, tokens, token_lengths),
    )


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_scores_step_by_step_are_those_of_the_whole(name: str, conf: dict) -> None:
    decoder = build(name, conf).eval()
    memory, memory_lengths, tokens, token_lengths = padded_batch()
    expected = decoder(memory, memory_lengths, tokens, token_lengths)[1].log_softmax(dim=1)
    state = decoder.init_state(memory[1, :6])
    for step in range(6):
        scores, state = decoder.score(tokens[1, : step + 1], state, memory[1, :6])
        torch.testing.assert_close(scores, expected[step], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "conf"), NAMED)
def test_every_parameter_learns_in_float32_and_bfloat16(name: str, conf: dict) -> None:
    for enabled in (False, True):
        decoder = build(name, conf)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            logits = decoder(*padded_batch())
            logits.float().square().sum().backward()
        assert logits.isfinite().all()
        for key, parameter in decoder.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key


def test_frozen_decoder_passes_gradients_to_the_encoder() -> None:
    for name, conf in CONFIGURATIONS:
        decoder = build(name, conf).requires_grad_(False)
        memory, *rest = padded_batch()
        memory.requires_grad_()
        decoder(memory, *rest).square().sum().backward()
        assert (memory.grad[0] != 0).any()
        assert (memory.grad[1, 6:] == 0).all()


def test_scheduled_sampling_draws_from_torch_in_training_only() -> None:
    conf = CONFIGURATIONS[0][1] | {"sampling_probability": 0.5}
    decoder = build("rnn", conf)
    batch = padded_batch()

    def sample(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        random.seed()
        return decoder(*batch)

    assert torch.equal(sample(3), sample(3))
    assert any(not torch.equal(sample(3), sample(seed)) for seed in range(4, 12))
    decoder.eval()
    assert torch.equal(sample(3), sample(4))


def test_full_sampling_feeds_the_decoder_its_own_guesses() -> None:
    decoder = build("rnn", CONFIGURATIONS[0][1] | {"sampling_probability": 1.0})
    memory, memory_lengths, tokens, _ = padded_batch()
    lengths = torch.full((3,), 6)
    sampled = decoder(memory, memory_lengths, tokens, lengths)
    guesses = torch.cat([tokens[:, :1], sampled.argmax(dim=2)[:, :-1]], dim=1)
    torch.testing.assert_close(decoder.eval()(memory, memory_lengths, guesses, lengths), sampled)


def test_ctc_loss_is_the_sum_over_all_paths() -> None:
    torch.manual_seed(1)
    ctc = CTC(3, 4).eval()
    encoder_output = torch.randn(2, 4, 4)
    tokens = torch.tensor([[1, 2], [2, -1]])
    encoder_lengths, token_lengths = torch.tensor([4, 3]), torch.tensor([2, 1])
    losses = ctc.losses(encoder_output, encoder_lengths, tokens, token_lengths)

    probabilities = ctc.ctc_lo(encoder_output).softmax(dim=2)
    for row in range(2):
        total = 0.0
        wanted = tokens[row, : token_lengths[row]].tolist()
        for path in itertools.product(range(3), repeat=int(encoder_lengths[row])):
            if [token for token, _ in itertools.groupby(path) if token] == wanted:
                steps = [probabilities[row, time, token] for time, token in enumerate(path)]
                total = total + torch.stack(steps).prod()
        torch.testing.assert_close(losses[row], -total.log())
    torch.testing.assert_close(
        ctc(encoder_output, encoder_lengths, tokens, token_lengths), losses.mean()
    )


def test_ctc_loss_of_an_impossible_utterance_is_zero() -> None:
    ctc = CTC(3, 4)
    encoder_output = torch.randn(2, 4, 4, requires_grad=True)
    tokens = torch.tensor([[1, 1], [1, 2]])
    losses = ctc.losses(encoder_output, torch.tensor([2, 0]), tokens, torch.tensor([2, 2]))
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]
    assert (encoder_output.grad == 0).all()


def test_ctc_dropout_acts_in_training_only() -> None:
    ctc = CTC(3, 4, dropout_rate=0.5)
    batch = (torch.randn(1, 9, 4), torch.tensor([9]), torch.tensor([[1]]), torch.tensor([1]))
    assert ctc.losses(*batch) != ctc.losses(*batch)
    ctc.dropout.eval()
    assert ctc.losses(*batch) == ctc.losses(*batch)


def test_configuration_errors_come_all_at_once() -> None:
    attention = {"atype": "locaton", "aconv_chan": 3, "adim": 3.5}
    conf = {"num_encs": 2, "droput": 0.1, "att_conf": attention}
    with pytest.raises(ConfigError) as error:
        build_decoder("rnn", VOCABULARY, WIDTH, conf)
    message = str(error.value)
    assert "decoder_conf.num_encs: 2 is not supported" in message
    assert "decoder_conf.droput: no such option; did you mean 'dropout'?" in message
    assert "att_conf.atype: unknown attention 'locaton'; did you mean 'location'?" in message
    assert "att_conf.aconv_chan: no such option; did you mean 'aconv_chans'?" in message
    assert "decoder_conf.att_conf.adim: expected a whole number, got 3.5" in message
    with pytest.raises(ConfigError, match="unknown decoder 'lstm'; there are: rnn, transformer"):
        build_decoder("lstm", VOCABULARY, WIDTH, {})


def test_names_are_espnet2s() -> None:
    assert set(DECODERS) == {"rnn", "transformer"}


def test_espnets_own_notices_do_not_reach_our_logs(caplog) -> None:
    name, conf = CONFIGURATIONS[3]
    with caplog.at_level("INFO"):
        DECODERS[name](vocab_size=VOCABULARY, encoder_output_size=WIDTH, **conf)
        assert "Gradient checkpoint layers" in caplog.text
        caplog.clear()
        build(name, conf)
    assert not caplog.records
