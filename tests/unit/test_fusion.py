"""A language model in the beam search: its share of the score, and what it needs."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
import yaml
from conftest import run_here, write_yaml

from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.files import file_digest, write_json
from cascade_asr.lm.fusion import load_fusion_scorer
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import ModelConf, TrainConfig
from cascade_asr.speech.decode_config import DecodeConfig, load_decode_config
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.recogniser import Recognizer
from cascade_asr.training import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")
TOKENS = ["<blank>", "<unk>", "a", "b", "<space>", "<sos/eos>"]
EDGE = len(TOKENS) - 1
LM_CONF = {"embedding_size": 6, "hidden_size": 8, "num_layers": 2, "output_size": 8,
           "tie_weights": False}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    path.write_text("".join(f"{token}\n" for token in TOKENS))
    return Tokenizer(path)


def recogniser_of(tokenizer: Tokenizer, ctc_weight: float, seed: int = 0) -> ASRModel:
    config = TrainConfig(
        encoder="rnn",
        encoder_conf={"num_layers": 1, "hidden_size": 6, "output_size": 6, "subsample": [1]},
        decoder="rnn",
        decoder_conf={"hidden_size": 6, "att_conf": {"atype": "dot", "adim": 4}},
        model_conf=ModelConf(ctc_weight=ctc_weight),
        normalize=None,
    )
    model = build_model(config, tokenizer, 4, Path("unused"), seed).eval()
    with torch.no_grad():
        model.ctc.ctc_lo.weight *= 4
    return model


def write_language_model(folder: Path, tokens: list[str], seed: int = 0) -> LanguageModel:
    """A finished training of a language model, in the layout of exp/TAG."""
    torch.manual_seed(seed)
    model = LanguageModel(len(tokens), **LM_CONF).eval()
    with torch.no_grad():
        model.softmax.weight *= 20
    directory = folder / "full"
    directory.mkdir(parents=True)
    (folder / "tokens").mkdir()
    (folder / "tokens/tokens.txt").write_text("".join(f"{token}\n" for token in tokens))
    (directory / "config.yaml").write_text(yaml.safe_dump({"lm_conf": LM_CONF}))
    checkpoint.save(directory / "model.pth", model.state_dict())
    content = {"digest": "", "model_sha256": file_digest(directory / "model.pth"),
               "metrics": {}}  # fmt: skip
    write_json(directory / "done.json", content)
    return model


@torch.no_grad()
def language_score(model: LanguageModel, text: list[int]) -> float:
    """Log-probability of a text with its end, in one pass, by the model itself."""
    tokens = torch.tensor([EDGE, *text, EDGE])
    raw, _, _ = model.outputs(tokens[:-1, None], model.initial_state(1))
    scores = model.softmax(raw[:, 0]).log_softmax(dim=1)
    return float(scores[torch.arange(len(text) + 1), tokens[1:]].sum())


def fused(model: ASRModel, config: DecodeConfig) -> Recognizer:
    """The recogniser with the language model that its options name."""
    scorer = None
    if config.lm_weight > 0.0:
        scorer = load_fusion_scorer(Path(config.lm), model.tokenizer.tokens)
    return Recognizer(model, config, scorer)


@torch.no_grad()
def ctc_scores(model: ASRModel, features: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Log-probability of every text under CTC, by the sum over all paths."""
    encoded, _ = model.encode(features[None], torch.tensor([len(features)]))
    probability = model.ctc.ctc_lo(encoded)[0].double().softmax(dim=1).tolist()
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(len(TOKENS)), repeat=len(features)):
        text = tuple(token for token, _ in itertools.groupby(path) if token)
        product = math.prod(probability[frame][token] for frame, token in enumerate(path))
        total[text] = total.get(text, 0.0) + product
    return {text: math.log(value) for text, value in total.items() if EDGE not in text}


@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_that_of_both_models_by_hand(seed: int, tokenizer, tmp_path: Path):
    model = recogniser_of(tokenizer, 1.0, seed)
    language_model = write_language_model(tmp_path / "lm", TOKENS, seed)
    features = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))
    expected = {
        tokenizer.decode(text): score + 0.7 * language_score(language_model, list(text))
        for text, score in ctc_scores(model, features).items()
    }
    config = DecodeConfig(beam_size=5, lm_weight=0.7, lm=str(tmp_path / "lm/full"))
    text, score = fused(model, config).recognize(features)
    assert score == pytest.approx(expected[text], abs=1e-4)
    best = sorted(expected.values(), reverse=True)
    assert score >= best[3]  # a beam of 5 may lose the best, which is seldom far ahead


def test_the_language_model_decides_where_it_weighs_more(tokenizer, tmp_path: Path):
    model = recogniser_of(tokenizer, 0.5)
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    lm = str(tmp_path / "lm/full")
    language_model = write_language_model(tmp_path / "lm", TOKENS, 1)

    def score_of(weight: float) -> float:
        config = DecodeConfig(beam_size=4, lm_weight=weight, lm=lm, maxlenratio=0.5)
        text, _ = fused(model, config).recognize(features)
        return language_score(language_model, tokenizer.encode(text))

    assert score_of(20.0) > score_of(0.0) + 0.1


def test_other_orders_of_tokens_give_the_same(tokenizer, tmp_path: Path):
    write_language_model(tmp_path / "lm", TOKENS)
    shuffled = ["<sos/eos>", "b", "<unk>", "<space>", "a", "<blank>"]
    write_language_model(tmp_path / "other", shuffled)
    order = [TOKENS.index(token) for token in shuffled]
    weights = checkpoint.load(tmp_path / "lm/full/model.pth")
    for name in ("embedding.weight", "softmax.weight", "softmax.bias"):
        weights[name] = weights[name][order]
    checkpoint.save(tmp_path / "other/full/model.pth", weights)
    content = {"digest": "", "metrics": {},
               "model_sha256": file_digest(tmp_path / "other/full/model.pth")}  # fmt: skip
    write_json(tmp_path / "other/full/done.json", content)
    features = torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
    results = [
        fused(
            recogniser_of(tokenizer, 0.5),
            DecodeConfig(beam_size=4, lm_weight=0.5, lm=str(tmp_path / name / "full")),
        ).recognize(features)
        for name in ("lm", "other")
    ]
    assert results[0][0] == results[1][0]
    assert results[0][1] == pytest.approx(results[1][1], abs=1e-4)


def test_what_is_missing_is_named(tokenizer, tmp_path: Path, monkeypatch):
    model = recogniser_of(tokenizer, 0.5)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"lm: exp/lm/full: no such folder in {tmp_path}; .* whole path"):
        fused(model, DecodeConfig(lm_weight=0.5, lm="exp/lm/full"))
    with pytest.raises(ConfigError, match="lm: .*/lm/full: no such folder; expected a trained"):
        fused(model, DecodeConfig(lm_weight=0.5, lm=str(tmp_path / "lm/full")))
    write_language_model(tmp_path / "words", [*TOKENS[:2], "the", "<sos/eos>"])
    write_json(tmp_path / "words/selection.json", {"selected": "stage2"})
    with pytest.raises(ConfigError, match="words: an experiment; .* one of its trainings.* /.*/stage2,"):
        fused(model, DecodeConfig(lm_weight=0.5, lm=str(tmp_path / "words")))
    options = write_yaml(tmp_path / "lm.yaml", {"lm_weight": 0.5, "lm": str(tmp_path / "words")})
    with pytest.raises(ConfigError, match="words: an experiment; .* one of its trainings.* /.*/stage2,"):
        run_here("decode", "--config", options, "--model", "m", "--set", "s", "--outdir", tmp_path / "out")
    with pytest.raises(ConfigError, match="does not know 3 of 6 tokens of the recogniser .a b"):
        fused(model, DecodeConfig(lm_weight=0.5, lm=str(tmp_path / "words/full")))
    path = tmp_path / "decode.yaml"
    path.write_text("lm_weight: 0.5\nctc_weight: 2\n")
    with pytest.raises(ConfigError) as caught:
        load_decode_config(path)
    assert "ctc_weight is 2.0, expected 0 to 1" in str(caught.value)
    assert "lm_weight needs lm: the folder of a language model" in str(caught.value)
