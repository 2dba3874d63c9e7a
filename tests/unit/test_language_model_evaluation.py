"""Perplexity, neural cache and shallow fusion against loops over single tokens."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
import yaml

from cascade_asr.errors import ConfigError
from cascade_asr.lm.awd_lstm import AWDLSTM
from cascade_asr.lm.cache import cache_log_probabilities, cache_perplexity
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.evaluate import read_perplexities
from cascade_asr.lm.perplexity import score_text
from cascade_asr.lm.scorer import IMPOSSIBLE, LanguageModelScorer
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.training import checkpoint

V, EOS = 13, 0


def make_model(scale: float = 1.0, vocabulary_size: int = V) -> AWDLSTM:
    """A model with random weights; a larger scale remembers longer."""
    torch.manual_seed(1)
    model = AWDLSTM(vocabulary_size, embedding_size=6, hidden_size=8, num_layers=2).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.uniform_(-scale, scale)
    return model


def make_text(length: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(V, size=length)


@torch.no_grad()
def token_by_token(model: AWDLSTM, tokens: np.ndarray) -> tuple[list[float], list[torch.Tensor]]:
    """Log-probability of each token and the hidden vector that predicts it."""
    state, previous, scores, hidden = model.initial_state(1), EOS, [], []
    for token in tokens:
        raw, _, state = model.outputs(torch.tensor([[previous]]), state)
        logits = model.softmax(raw)[0, 0].double()
        scores.append(float(logits[token] - logits.exp().sum().log()))
        hidden.append(raw[0, 0])
        previous = int(token)
    return scores, hidden


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 50, 300])
def test_each_token_is_scored_once_in_its_context(columns):
    model, tokens = make_model(), make_text(211)
    expected, hidden = token_by_token(model, tokens)
    scored = score_text(model, tokens, EOS, columns, piece=9, keep_hidden=True)
    assert scored.log_probabilities.shape == (211,)
    torch.testing.assert_close(
        scored.log_probabilities, torch.tensor(expected).double(), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(scored.hidden, torch.stack(hidden), rtol=0, atol=1e-5)
    assert scored.perplexity == pytest.approx(math.exp(-np.mean(expected)), rel=1e-5)


def test_perplexity_does_not_depend_on_columns_nor_pieces_when_memory_is_long():
    model, tokens = make_model(), make_text(400)
    with torch.no_grad():  # forget gates near 1: what was read stays for many tokens
        for layer in model.rnn:
            layer.bias_ih_l0[layer.hidden_size : 2 * layer.hidden_size] = 6.0
    exact = math.exp(-np.mean(token_by_token(model, tokens)[0]))
    found = {
        (columns, piece): score_text(model, tokens, EOS, columns, piece).perplexity
        for columns in (1, 2, 10, 40)
        for piece in (7, 70, 1000)
    }
    assert all(value == pytest.approx(exact, rel=1e-5) for value in found.values()), found
    # and it would: columns that start from zero are wrong here
    begun_anew = [token_by_token(model, part)[0] for part in tokens.reshape(40, 10)]
    assert abs(math.exp(-np.mean(begun_anew)) - exact) > 1e-2


def test_a_diverged_model_has_a_perplexity():
    model, tokens = make_model(1e5), make_text(20)
    scored = score_text(model, tokens, EOS, keep_hidden=True)
    assert -scored.log_probabilities.mean() > 710  # exp of which no float64 holds
    assert 1e300 < scored.perplexity < math.inf
    assert 1e300 < cache_perplexity(scored, tokens, 5, 1.0, 0.0) < math.inf


def test_evaluation_draws_no_random_numbers_and_leaves_the_weights():
    model, tokens = make_model(), make_text(50)
    model.train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    random_state = torch.get_rng_state()
    first = score_text(model, tokens, EOS, 4).perplexity
    assert torch.equal(torch.get_rng_state(), random_state)
    assert first == score_text(model, tokens, EOS, 4).perplexity
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("window", [1, 5, 1000])
def test_cache_is_that_of_a_loop(window, monkeypatch):
    monkeypatch.setattr("cascade_asr.lm.cache.BLOCK", 16)
    model, tokens = make_model(), make_text(60)
    theta, weight = 0.7, 0.2
    scores, hidden = token_by_token(model, tokens)
    expected = []
    for now, token in enumerate(tokens):
        probability = math.exp(scores[now])
        past = range(max(0, now - window), now)
        if past:
            similar = [math.exp(theta * float(hidden[now] @ hidden[then])) for then in past]
            pointed = sum(
                s for s, then in zip(similar, past, strict=True) if tokens[then] == token
            )
            probability = (1 - weight) * probability + weight * pointed / sum(similar)
        expected.append(math.log(probability))
    scored = score_text(model, tokens, EOS, 4, keep_hidden=True)
    found = cache_log_probabilities(scored, tokens, window, theta, weight)
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=0, atol=1e-5)
    assert cache_perplexity(scored, tokens, window, theta, weight) == pytest.approx(
        math.exp(-np.mean(expected)), rel=1e-5
    )


def test_a_cache_without_weight_changes_nothing_and_bad_numbers_are_refused():
    model, tokens = make_model(), make_text(40)
    scored = score_text(model, tokens, EOS, 4, keep_hidden=True)
    same = cache_log_probabilities(scored, tokens, 10, 1.0, 0.0)
    torch.testing.assert_close(same, scored.log_probabilities)
    with pytest.raises(ConfigError, match="window is 0, expected 1 or more; weight is 2"):
        cache_log_probabilities(scored, tokens, 0, 1.0, 2)


def test_the_cache_helps_a_text_that_repeats_itself():
    model = make_model(scale=0.3)
    tokens = np.tile(make_text(6), 30)
    scored = score_text(model, tokens, EOS, 4, keep_hidden=True)
    assert cache_perplexity(scored, tokens, 60, 8.0, 0.3) < 0.7 * scored.perplexity


# ---- shallow fusion --------------------------------------------------------------

TOKENS = ["<blank>", "<unk>", "a", "b", "<space>", "<sos/eos>"]


def make_scorer() -> tuple[LanguageModelScorer, AWDLSTM, Vocabulary]:
    vocabulary = Vocabulary(["<eos>", "b", "<unk>", "<space>", "a"])
    model = make_model(vocabulary_size=len(vocabulary))
    return LanguageModelScorer(model, vocabulary, TOKENS), model, vocabulary


def text_score(model: AWDLSTM, vocabulary: Vocabulary, tokens: list[int]) -> float:
    """Log-probability of recogniser tokens and the end, by the model alone."""
    text = vocabulary.encode([[TOKENS[token] for token in tokens]])
    return float(score_text(model, text, vocabulary.eos).log_probabilities.sum())


def test_scores_of_a_prefix_are_those_of_the_model():
    scorer, model, vocabulary = make_scorer()
    prefix, state, total = [5], scorer.init_state(torch.zeros(3, 2)), 0.0
    for token in (2, 4, 3, 1, 5):  # a <space> b <unk> <eos>
        scores, state = scorer.score(torch.tensor(prefix), state, torch.zeros(3, 2))
        assert scores.shape == (6,) and scores[0] == IMPOSSIBLE
        assert float(scores[1:].exp().sum()) == pytest.approx(1.0, abs=1e-5)
        total += float(scores[token])
        prefix.append(token)
    assert total == pytest.approx(text_score(model, vocabulary, [2, 4, 3, 1]), abs=1e-5)


def test_a_batch_of_hypotheses_is_scored_as_each_alone():
    scorer, _, _ = make_scorer()
    encoder_output = torch.zeros(3, 2)
    prefixes = torch.tensor([[5, 2], [5, 3], [5, 4]])
    states = []
    for prefix in prefixes:
        states.append(scorer.score(prefix[:1], scorer.init_state(encoder_output), None)[1])
    alone = [
        scorer.score(prefix, state, encoder_output)
        for prefix, state in zip(prefixes, states, strict=True)
    ]
    scores, after = scorer.batch_score(prefixes, states, encoder_output.expand(3, 3, 2))
    torch.testing.assert_close(scores, torch.stack([each for each, _ in alone]))
    torch.testing.assert_close(after, [state for _, state in alone])


@pytest.mark.parametrize("search", ["BeamSearch", "BatchBeamSearch"])
def test_espnets_beam_search_finds_the_most_likely_text(search):
    scorer, model, vocabulary = make_scorer()
    module = "espnet.nets.batch_beam_search" if "Batch" in search else "espnet.nets.beam_search"
    finder = getattr(espnet_module(module), search)(
        scorers={"lm": scorer},
        weights={"lm": 1.0},
        beam_size=5,
        vocab_size=6,
        sos=5,
        eos=5,
        token_list=TOKENS,
        pre_beam_score_key=None,
    )
    hypotheses = finder(torch.zeros(3, 2))  # up to 3 tokens
    texts = [list(text) for n in range(4) for text in product((1, 2, 3, 4), repeat=n)]
    best = max(texts, key=lambda text: text_score(model, vocabulary, text))
    assert [int(token) for token in hypotheses[0].yseq[1:-1]] == best
    assert float(hypotheses[0].score) == pytest.approx(
        text_score(model, vocabulary, best), abs=1e-4
    )


def test_a_model_of_other_tokens_is_refused():
    model = make_model(vocabulary_size=3)
    with pytest.raises(ConfigError, match=r"does not know 2 of 6 tokens .* \(b <space>\)"):
        LanguageModelScorer(model, Vocabulary(["<eos>", "<unk>", "a"]), TOKENS)


def test_texts_in_other_tokens_are_refused(tmp_path, run_command, monkeypatch):
    """Stage 1 ran again with another --min-count: the ids in dump are not those of the model."""
    monkeypatch.chdir(tmp_path)
    words = [f"w{number}" for number in range(V - 2)]
    experiment = tmp_path / "exp/rnn"
    (experiment / "full").mkdir(parents=True)
    size = {"embedding_size": 6, "hidden_size": 8, "num_layers": 2}
    (experiment / "full/config.yaml").write_text(yaml.safe_dump({"lm_conf": size}))
    checkpoint.save(experiment / "full/model.pth", make_model().state_dict())
    Vocabulary(["<eos>", "<unk>", *words]).write(experiment / "tokens/tokens.txt")
    (tmp_path / "dump/test").mkdir(parents=True)
    np.save(tmp_path / "dump/test/tokens.npy", make_text(20).astype(np.int32))
    command = ("perplexity", "--exp", "exp/rnn", "--dump", "dump", "--models", "full", "--texts", "test")
    Vocabulary(["<eos>", "<unk>", *words[::-1]]).write(tmp_path / "dump/tokens/tokens.txt")
    with pytest.raises(ConfigError, match="13 tokens, but exp/rnn/full was trained with others"):
        run_command(*command)
    assert not (experiment / "full/perplexity.json").exists()
    Vocabulary(["<eos>", "<unk>", *words]).write(tmp_path / "dump/tokens/tokens.txt")
    run_command(*command)
    assert read_perplexities(experiment / "full")["test"]["tokens"] == 20
