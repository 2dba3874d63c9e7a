"""Beam search: the best text of all, whatever the beam; extremes of the hybrid; short utterances."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import ModelConf, TrainConfig
from cascade_asr.speech.decode_config import DecodeConfig, load_decode_config
from cascade_asr.speech.loading import batches_by_length, groups_of_like_lengths
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.recogniser import Recognizer

pytestmark = pytest.mark.filterwarnings("ignore")
TOKENS = ["<blank>", "<unk>", "a", "b", "<space>", "<sos/eos>"]
FRAMES = 4
DECODERS = {
    "rnn": {"hidden_size": 6, "att_conf": {"atype": "location", "adim": 4,
                                           "aconv_chans": 2, "aconv_filts": 3}},
    "transformer": {"attention_heads": 2, "linear_units": 8, "num_blocks": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    path.write_text("".join(f"{token}\n" for token in TOKENS))
    return Tokenizer(path)


def model_of(
    tokenizer: Tokenizer,
    weight: float,
    seed: int,
    input_layer: str = "linear",
    decoder: str = "rnn",
) -> ASRModel:
    """A network of random weights whose CTC scores are far apart."""
    config = TrainConfig(
        encoder="transformer",
        encoder_conf={"output_size": 8, "attention_heads": 2, "linear_units": 8, "num_blocks": 1,
                      "input_layer": input_layer},
        decoder=decoder,
        decoder_conf=DECODERS[decoder],
        model_conf=ModelConf(ctc_weight=weight),
        normalize=None,
    )  # fmt: skip
    model = build_model(config, tokenizer, 8, Path("unused"), seed).eval()
    if model.ctc is not None:
        with torch.no_grad():
            model.ctc.ctc_lo.weight *= 4
    return model


def features_of(seed: int, frames: int = FRAMES) -> torch.Tensor:
    return torch.randn(frames, 8, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def best_of_all(model: ASRModel, features: torch.Tensor) -> tuple[list[int], float]:
    """The most likely token sequence under CTC, by the sum over all of its paths."""
    encoded, _ = model.encode(features[None], torch.tensor([len(features)]))
    probability = model.ctc.ctc_lo(encoded)[0].double().softmax(dim=1).tolist()
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(len(TOKENS)), repeat=len(features)):
        text = tuple(token for token, _ in itertools.groupby(path) if token)
        product = math.prod(probability[frame][token] for frame, token in enumerate(path))
        total[text] = total.get(text, 0.0) + product
    texts = {text: value for text, value in total.items() if len(TOKENS) - 1 not in text}
    best = max(texts, key=texts.__getitem__)
    return list(best), math.log(texts[best])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("beam_size", [4, 5, 6, 20])
def test_pure_ctc_finds_the_best_text_of_all(tokenizer, seed: int, beam_size: int):
    """Also where the beam is as wide as the vocabulary, or wider."""
    model = model_of(tokenizer, 1.0, seed)
    expected, score = best_of_all(model, features_of(seed))
    text, found = Recognizer(model, DecodeConfig(beam_size=beam_size)).recognize(features_of(seed))
    assert text == tokenizer.decode(expected)
    assert found == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_path_is_the_likeliest_of_all_paths(tokenizer, seed: int):
    model, features = model_of(tokenizer, 0.5, seed), features_of(seed)
    with torch.no_grad():
        encoded, _ = model.encode(features[None], torch.tensor([len(features)]))
        probability = model.ctc.ctc_lo(encoded)[0].double().softmax(dim=1).tolist()
    likeliest = max(
        itertools.product(range(len(TOKENS)), repeat=len(features)),
        key=lambda path: math.prod(probability[frame][token] for frame, token in enumerate(path)),
    )
    tokens = [token for token, _ in itertools.groupby(likeliest) if token]
    text, score = Recognizer(model, DecodeConfig(search="ctc_best_path")).recognize(features)
    assert text == tokenizer.decode(tokens)
    expected = sum(math.log(probability[frame][token]) for frame, token in enumerate(likeliest))
    assert score == pytest.approx(expected, abs=1e-4)


def test_a_best_path_needs_ctc_and_takes_no_language_model(tokenizer, tmp_path: Path):
    with pytest.raises(ConfigError, match="ctc_best_path needs a model with a CTC layer"):
        Recognizer(model_of(tokenizer, 0.0, 1), DecodeConfig(search="ctc_best_path"))
    path = tmp_path / "decode.yaml"
    path.write_text("search: ctc_best_path\nlm_weight: 0.5\nlm: exp/lm/full\n")
    with pytest.raises(ConfigError, match="lm_weight needs a search: write search: beam"):
        load_decode_config(path)


def test_models_without_ctc_or_decoder_are_decoded_whatever_the_weight(tokenizer):
    for weight in (0.0, 1.0):
        model, features = model_of(tokenizer, weight, 1), features_of(1, 12)
        results = {
            Recognizer(
                model, DecodeConfig(beam_size=3, ctc_weight=asked, maxlenratio=0.5)
            ).recognize(features)
            for asked in (0.0, 0.3, 1.0)
        }
        assert len(results) == 1


def test_the_ends_of_the_hybrid_are_those_of_its_parts(tokenizer):
    hybrid, features = model_of(tokenizer, 0.5, 2), features_of(2, 9)
    for weight, absent in ((1.0, "decoder."), (0.0, "ctc.")):
        part = model_of(tokenizer, weight, 2)
        part.load_state_dict(
            {
                name: each
                for name, each in hybrid.state_dict().items()
                if not name.startswith(absent)
            }
        )
        config = DecodeConfig(beam_size=3, ctc_weight=weight, maxlenratio=0.7)
        assert Recognizer(hybrid, config).recognize(features) == Recognizer(part, config).recognize(
            features
        )


@pytest.mark.parametrize("frames", [1, 3, 6])
def test_an_utterance_too_short_for_the_encoder_has_no_text(tokenizer, frames: int):
    model = model_of(tokenizer, 0.5, 1, input_layer="conv2d")
    recognizer = Recognizer(model, DecodeConfig(beam_size=3))
    assert recognizer.recognize(features_of(1, frames)) == ("", float("-inf"))


def test_a_penalty_changes_the_length(tokenizer):
    model, features = model_of(tokenizer, 0.5, 1), features_of(1, 20)
    lengths = [
        len(Recognizer(model, DecodeConfig(beam_size=5, penalty=penalty)).recognize(features)[0])
        for penalty in (-5.0, 5.0)
    ]
    assert lengths[0] < lengths[1]


def test_decoding_leaves_the_model_and_the_features_alone(tokenizer):
    model, features = model_of(tokenizer, 0.5, 1), features_of(1, 10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = features.clone()
    recognizer = Recognizer(model, DecodeConfig(beam_size=3))
    first = recognizer.recognize(features)
    assert recognizer.recognize(features) == first, "no state is left from the utterance before"
    assert torch.equal(features, given) and not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("search", ["beam", "ctc_best_path"])
@pytest.mark.parametrize("decoder", ["rnn", "transformer"])
def test_batches_change_nothing(tokenizer, search: str, decoder: str):
    """Also with utterances too short for the encoder among the others, in any order."""
    model = model_of(tokenizer, 0.5, 1, input_layer="conv2d", decoder=decoder)
    recognizer = Recognizer(model, DecodeConfig(search=search, beam_size=3, ctc_weight=0.3))
    features = [features_of(seed, frames) for seed, frames in enumerate((30, 3, 61, 17, 6, 44, 12))]
    alone = [recognizer.recognize(each) for each in features]
    together = recognizer.recognize_batch(features)
    assert [text for text, _ in together] == [text for text, _ in alone]
    assert [score for _, score in together] == pytest.approx([score for _, score in alone], abs=1e-4)
    assert together[1] == ("", float("-inf")) and together[0][1] > float("-inf")
    backwards = recognizer.recognize_batch(features[::-1])[::-1]
    assert [text for text, _ in backwards] == [text for text, _ in together]


def test_lengths_bound_the_text(tokenizer):
    """Above 1 it may be longer than the encoder output; negative it is a number of tokens."""
    model = model_of(tokenizer, 0.5, 1)
    for ratio, longest in ((-2.0, 2), (0.25, 2), (3.0, 24), (-30.0, 30)):
        for weight in (0.0, 0.3, 1.0):
            config = DecodeConfig(
                beam_size=3, ctc_weight=weight, maxlenratio=ratio, penalty=20.0 * (weight == 0.0)
            )
            (hypotheses,) = Recognizer(model, config).hypotheses([features_of(1, 8)])
            lengths = [len(each.tokens) - 1 for each in hypotheses]
            assert max(lengths) <= longest
            assert hypotheses[0].score > -1e6
            if weight == 0.0:
                assert max(lengths) == longest
    config = DecodeConfig(beam_size=3, ctc_weight=0.3, minlenratio=-3.0)
    (hypotheses,) = Recognizer(model, config).hypotheses([features_of(1, 8)])
    assert min(len(each.tokens) - 1 for each in hypotheses) >= 3


def test_values_that_are_no_numbers_are_refused(tmp_path: Path):
    path = tmp_path / "decode.yaml"
    path.write_text("penalty: .nan\nmaxlenratio: .inf\nbatch_frames: 0\n")
    with pytest.raises(ConfigError) as caught:
        load_decode_config(path)
    for expected in ("decode.yaml:1: 'penalty' expects a number", "decode.yaml:2: 'maxlenratio' expects",
                     "batch_frames is 0, expected 1 or more"):  # fmt: skip
        assert expected in str(caught.value)


def test_batches_hold_like_lengths_within_their_bound():
    frames = [10, 50, 30, 30, 200, 9]
    assert batches_by_length(range(6), frames, 100) == [[4], [1, 2], [3, 0, 5]]
    assert batches_by_length([5, 1], frames, 100) == [[1, 5]]
    assert batches_by_length([], frames, 100) == []


def test_utterances_of_like_lengths_are_encoded_together():
    assert groups_of_like_lengths([100, 50, 91, 89, 100, 80], 0.9) == [[0, 4, 2], [3], [5], [1]]
    assert groups_of_like_lengths([3, 1, 2], 0.0) == [[0, 2, 1]]
    assert groups_of_like_lengths([], 0.9) == []
