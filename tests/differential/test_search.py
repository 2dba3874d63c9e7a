"""Our beam search against ESPnet's: the same hypotheses in the same order, the same scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cascade_asr.data.tokens import Tokenizer
from cascade_asr.lm.awd_lstm import AWDLSTM
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.scorer import LanguageModelScorer
from cascade_asr.networks.espnet import espnet_module, quiet_espnet
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import ModelConf, TrainConfig
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.search.build import build_search
from cascade_asr.speech.search.hypothesis import Hypothesis

pytestmark = pytest.mark.filterwarnings("ignore")
LETTERS = "abcdefghijklmnopq"
TOKENS = ["<blank>", "<unk>", *LETTERS, "<space>", "<sos/eos>"]
TOLERANCE = 1e-4
SEED = 0
JUNK = -1.0e6  # CTC holds worse hypotheses for impossible; float32 has no scores there
DECODERS = {
    "transformer": {"attention_heads": 2, "linear_units": 16, "num_blocks": 2},
    "transformer_post": {"attention_heads": 2, "linear_units": 16, "num_blocks": 2,
                         "normalize_before": False, "concat_after": True, "qk_norm": True},
    "rnn": {"hidden_size": 12, "att_conf": {"adim": 8, "aconv_chans": 3, "aconv_filts": 5}},
    "rnn_gru": {"rnn_type": "gru", "num_layers": 2, "hidden_size": 12, "context_residual": True,
                "att_conf": {"adim": 8, "aconv_chans": 3, "aconv_filts": 5}},
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    path.write_text("".join(f"{token}\n" for token in TOKENS))
    return Tokenizer(path)


def model_of(tokenizer: Tokenizer, decoder: str, seed: int) -> ASRModel:
    """A network with scores as far apart as a trained one's, which ends its texts."""
    config = TrainConfig(
        encoder="transformer",
        encoder_conf={"output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 1,
                      "input_layer": "linear"},
        decoder=decoder.split("_")[0],
        decoder_conf=DECODERS[decoder],
        model_conf=ModelConf(ctc_weight=0.5),
        normalize=None,
    )  # fmt: skip
    model = build_model(config, tokenizer, 8, Path("unused"), seed).eval()
    output = model.decoder.output_layer if decoder.startswith("tr") else model.decoder.output
    with torch.no_grad():
        model.ctc.ctc_lo.weight *= 6
        model.ctc.ctc_lo.bias[0] += 3
        output.weight *= 4
        output.bias[-1] += 1.5
        output.bias[0] -= 8  # no text has a blank
    return model


def language_model_of(seed: int) -> LanguageModelScorer:
    torch.manual_seed(seed)
    model = AWDLSTM(len(TOKENS), embedding_size=6, hidden_size=8, num_layers=2)
    with torch.no_grad():
        model.softmax.weight *= 20
    vocabulary = Vocabulary(TOKENS[1:] + ["<blank>"], "<sos/eos>")
    return LanguageModelScorer(model, vocabulary, TOKENS).eval()


@torch.no_grad()
def espnet_hypotheses(
    model: ASRModel, config: DecodeConfig, encoder_output: torch.Tensor, language_model=None
) -> list:
    """What ESPnet's ``asr_inference`` finds: scorers, weights and kind of search as there."""
    scorers = {
        "decoder": model.decoder,
        "ctc": espnet_module("espnet.nets.scorers.ctc").CTCPrefixScorer(
            ctc=model.ctc, eos=model.sentence_edge
        ),
        "length_bonus": espnet_module("espnet.nets.scorers.length_bonus").LengthBonus(len(TOKENS)),
        "lm": language_model,
    }
    weights = {"decoder": 1.0 - config.ctc_weight, "ctc": config.ctc_weight,
               "lm": config.lm_weight, "length_bonus": config.penalty}  # fmt: skip
    search = espnet_module("espnet.nets.beam_search").BeamSearch(
        beam_size=config.beam_size,
        weights=weights,
        scorers=scorers,
        sos=model.sentence_edge,
        eos=model.sentence_edge,
        vocab_size=len(TOKENS),
        token_list=TOKENS,
        pre_beam_score_key=None if config.ctc_weight == 1.0 else "full",
    ).eval()
    batch = espnet_module("espnet.nets.scorer_interface").BatchScorerInterface
    if all(isinstance(each, batch) for each in search.full_scorers.values()):
        search.__class__ = espnet_module("espnet.nets.batch_beam_search").BatchBeamSearch
    with quiet_espnet():
        return search(encoder_output, config.maxlenratio, config.minlenratio)


def compare(ours: list[Hypothesis], theirs: list, weights_case: str) -> int:
    """Compare both lists in order, except near ties; return how many were compared."""
    theirs = [(each.yseq[1:].tolist(), float(each.score), each.scores) for each in theirs]
    theirs = [each for each in theirs if each[1] > JUNK]
    ours = [each for each in ours if each.score > JUNK]
    assert len(ours) == len(theirs), weights_case
    scores = {tuple(tokens): score for tokens, score, _ in theirs}
    parts = {tuple(tokens): part for tokens, _, part in theirs}
    for hypothesis, (_, score, _) in zip(ours, theirs, strict=True):
        assert hypothesis.score == pytest.approx(score, abs=TOLERANCE), weights_case
        assert scores[tuple(hypothesis.tokens)] == pytest.approx(hypothesis.score, abs=TOLERANCE)
        for name, value in hypothesis.parts.items():
            expected = float(parts[tuple(hypothesis.tokens)][name])
            assert value == pytest.approx(expected, abs=10 * TOLERANCE), name
    return len(ours)


CASES = [
    {"ctc_weight": 0.3},
    {"ctc_weight": 0.0},
    {"ctc_weight": 1.0},
    {"ctc_weight": 0.3, "beam_size": 1},
    {"ctc_weight": 0.5, "beam_size": 2, "penalty": 0.7},
    {"ctc_weight": 0.3, "beam_size": 10, "penalty": -0.5},
    {"ctc_weight": 0.3, "beam_size": 16},  # no pre-beam: 24 candidates of 21
    {"ctc_weight": 1.0, "penalty": 1.0},
    {"ctc_weight": 0.3, "maxlenratio": 0.3},
    {"ctc_weight": 0.0, "maxlenratio": 1.5, "penalty": 1.0},
    {"ctc_weight": 0.3, "maxlenratio": -4.0},
    {"ctc_weight": 0.3, "minlenratio": 0.4},
    {"ctc_weight": 0.3, "maxlenratio": 0.5, "minlenratio": -3.0},
    {"ctc_weight": 0.3, "maxlenratio": 0.2, "minlenratio": 0.5},  # again with less
]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_the_same_hypotheses(decoder: str, case: dict, tokenizer: Tokenizer):
    config = DecodeConfig(**{"beam_size": 5, **case})
    model = model_of(tokenizer, decoder, SEED)
    generator = torch.Generator().manual_seed(SEED)
    features = torch.randn(3, 18, 8, generator=generator) * 2
    encoder_output, lengths = model.encode(features, torch.tensor([18, 7, 12]))
    together = build_search(model, config)(encoder_output, lengths)
    compared = 0
    for row, length in enumerate(lengths.tolist()):
        one = encoder_output[row, :length]
        theirs = espnet_hypotheses(model, config, one)
        compared += compare(together[row], theirs, f"{row}")
        alone = build_search(model, config)(one.unsqueeze(0), lengths[row : row + 1])
        compare(alone[0], theirs, f"{row} alone")
    assert compared >= 1


@pytest.mark.parametrize("decoder", ["transformer", "rnn"])
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3, 1.0])
@torch.no_grad()
def test_the_same_hypotheses_with_a_language_model(
    decoder: str, ctc_weight: float, tokenizer: Tokenizer
):
    config = DecodeConfig(beam_size=5, ctc_weight=ctc_weight, lm_weight=0.4, penalty=0.5, lm="x")
    model, language_model = model_of(tokenizer, decoder, 1), language_model_of(1)
    encoder_output, lengths = model.encode(torch.randn(2, 14, 8) * 2, torch.tensor([14, 9]))
    found = build_search(model, config, language_model)(encoder_output, lengths)
    for row, length in enumerate(lengths.tolist()):
        theirs = espnet_hypotheses(model, config, encoder_output[row, :length], language_model)
        assert compare(found[row], theirs, str(row)) > 1
