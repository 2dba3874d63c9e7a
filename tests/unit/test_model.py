"""The hybrid model: its extremes agree, its losses are the textbook's, padding changes nothing."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from cascade_asr.data.loader import Batch
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.speech.build import build_model, check_config
from cascade_asr.speech.config import ModelConf, TrainConfig
from cascade_asr.speech.model import ASRModel, add_sentence_edges, error_statistics

WIDTH = 20
TOKENS = ["<blank>", "<unk>", "a", "b", "<space>", "<sos/eos>"]
BLOCKS = {"output_size": 16, "attention_heads": 2, "num_blocks": 2, "linear_units": 24}
RECURRENT = {"num_layers": 2, "hidden_size": 8, "output_size": 12}
NETWORKS = {
    "vgg_rnn": ("vgg_rnn", RECURRENT, "rnn", {"hidden_size": 12}),
    "rnn": ("rnn", RECURRENT | {"use_projection": False}, "rnn", {"hidden_size": 12}),
    "transformer": ("transformer", BLOCKS, "transformer", {"num_blocks": 1, "attention_heads": 2}),
    "conformer": ("conformer", BLOCKS, "rnn", {"hidden_size": 12}),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    path.write_text("".join(f"{token}\n" for token in TOKENS))
    return Tokenizer(path)


def model_of(
    tokenizer: Tokenizer, network: str = "transformer", weight: float = 0.5, **changes
) -> ASRModel:
    encoder, encoder_conf, decoder, decoder_conf = NETWORKS[network]
    model_conf = {
        name: changes.pop(name)
        for name in ("lsm_weight", "length_normalized_loss")
        if name in changes
    }
    config = TrainConfig(
        encoder=encoder, encoder_conf=encoder_conf, decoder=decoder, decoder_conf=decoder_conf,
        model_conf=ModelConf(ctc_weight=weight, **model_conf), **{"normalize": None} | changes,
    )  # fmt: skip
    check_config(config, "test")
    return build_model(config, tokenizer, WIDTH, Path("unused"), seed=3)


def some_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    lengths, tokens = [50, 37, 20], [[2, 3, 4, 2, 2], [3, 4, 3], [2]]
    features = torch.zeros(3, 50, WIDTH)
    for row, length in enumerate(lengths):
        features[row, :length] = torch.randn(length, WIDTH, generator=generator)
    padded = torch.full((3, 5), -1)
    for row, each in enumerate(tokens):
        padded[row, : len(each)] = torch.tensor(each)
    return Batch(
        ["u0", "u1", "u2"],
        features,
        torch.tensor(lengths),
        padded,
        torch.tensor(list(map(len, tokens))),
    )


def single(batch: Batch, row: int) -> Batch:
    frames, tokens = batch.feature_lengths[row], batch.token_lengths[row]
    return Batch(
        [batch.utterances[row]], batch.features[row : row + 1, :frames], frames[None],
        batch.tokens[row : row + 1, :tokens], tokens[None],
    )  # fmt: skip


def values(statistics: dict) -> dict[str, float]:
    return {name: float(total) / weight for name, (total, weight) in statistics.items()}


# ---- the objective ------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.3, 0.5, 0.9])
def test_the_loss_is_the_weighted_sum_of_both(tokenizer, weight: float):
    model, batch = model_of(tokenizer, weight=weight).eval(), some_batch()
    loss, statistics = model(batch)
    mean = values(statistics)
    assert mean["loss"] == pytest.approx(
        weight * mean["loss_ctc"] + (1 - weight) * mean["loss_att"]
    )
    assert loss.item() == pytest.approx(3 * mean["loss"])


def test_pure_ctc_and_pure_attention_are_the_ends_of_the_hybrid(tokenizer):
    """With the same weights each extreme gives its part of the hybrid loss."""
    hybrid, batch = model_of(tokenizer).eval(), some_batch()
    parts = values(hybrid(batch)[1])
    for weight, name, absent in ((1.0, "loss_ctc", "decoder."), (0.0, "loss_att", "ctc.")):
        end = model_of(tokenizer, weight=weight).eval()
        weights = {
            key: each for key, each in hybrid.state_dict().items() if not key.startswith(absent)
        }
        assert set(end.state_dict()) == set(weights)
        end.load_state_dict(weights)
        statistics = values(end(batch)[1])
        assert statistics["loss"] == pytest.approx(parts[name], rel=1e-6)
        assert statistics["loss"] == statistics[name]
    assert "acc" not in values(model_of(tokenizer, weight=1.0).eval()(batch)[1])
    assert "wer_ctc" not in values(model_of(tokenizer, weight=0.0).eval()(batch)[1])


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_metrics_are_those_that_were_announced(tokenizer, weight: float):
    model, batch = model_of(tokenizer, weight=weight), some_batch()
    for split, mode in (("train", True), ("valid", False)):
        model.train(mode)
        assert set(model(batch)[1]) == set(model.metric_names(split))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("normalized", [False, True])
def test_the_attention_loss_is_the_label_smoothed_divergence_by_hand(
    tokenizer, smoothing, normalized
):
    model = model_of(
        tokenizer, weight=0.0, lsm_weight=smoothing, length_normalized_loss=normalized
    ).eval()
    batch = some_batch()
    encoded, lengths = model.encode(batch.features, batch.feature_lengths)
    tokens_in, _ = add_sentence_edges(batch.tokens, len(TOKENS) - 1)
    logits = model.decoder(encoded, lengths, tokens_in, batch.token_lengths + 1)
    divergence, tokens, right = 0.0, 0, 0
    for row, each in enumerate([[2, 3, 4, 2, 2, 5], [3, 4, 3, 5], [2, 5]]):
        for position, target in enumerate(each):
            log_probability = logits[row, position].double().log_softmax(dim=0)
            wanted = [smoothing / (len(TOKENS) - 1)] * len(TOKENS)
            wanted[target] = 1 - smoothing
            divergence += sum(
                p * (math.log(p) - q)
                for p, q in zip(wanted, log_probability.tolist(), strict=True)
                if p
            )
            tokens += 1
            right += int(log_probability.argmax()) == target
    loss, statistics = model(batch)
    per_utterance = divergence / (tokens if normalized else 3)
    assert values(statistics)["loss_att"] == pytest.approx(per_utterance, rel=1e-5)
    assert loss.item() == pytest.approx(3 * per_utterance, rel=1e-5)
    assert values(statistics)["acc"] == pytest.approx(right / tokens)


def test_the_ctc_loss_is_the_sum_over_all_paths_by_hand(tokenizer):
    """Every path over few frames is tried; those that collapse to the text count."""
    model = model_of(tokenizer, weight=1.0).eval()
    batch = single(some_batch(), 2)
    batch.features, batch.feature_lengths = batch.features[:, :19], torch.tensor([19])
    encoded, lengths = model.encode(batch.features, batch.feature_lengths)
    assert int(lengths) == 4
    probability = model.ctc.ctc_lo(encoded)[0].double().softmax(dim=1).tolist()
    total = 0.0
    for path in itertools.product(range(len(TOKENS)), repeat=4):
        if [token for token, _ in itertools.groupby(path) if token] == [2]:
            total += math.prod(probability[frame][token] for frame, token in enumerate(path))
    assert model(batch)[0].item() == pytest.approx(-math.log(total), rel=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("normalize", [None, "utterance_mvn"])
def test_a_padded_batch_loses_what_its_utterances_lose(tokenizer, network: str, normalize):
    model, batch = model_of(tokenizer, network, normalize=normalize).eval(), some_batch()
    together, statistics = model(batch)
    alone = [model(single(batch, row)) for row in range(3)]
    assert together.item() == pytest.approx(sum(loss.item() for loss, _ in alone), rel=1e-5)
    for name in statistics:
        total = sum(float(each[name][0]) for _, each in alone)
        assert float(statistics[name][0]) == pytest.approx(total, rel=1e-5, abs=1e-5), name
        assert statistics[name][1] == sum(each[name][1] for _, each in alone), name


def test_batches_do_not_change_the_features_they_are_given(tokenizer):
    augmented = {"specaug": "specaug", "specaug_conf": {"time_mask_width_range": 9}}
    model = model_of(tokenizer, normalize="utterance_mvn", **augmented).train()
    batch = some_batch()
    before = batch.features.clone()
    model(batch)
    assert torch.equal(batch.features, before)


def test_specaugment_acts_in_training_only(tokenizer):
    conf = {"apply_time_mask": True, "time_mask_width_range": [5, 10], "num_time_mask": 2,
            "apply_freq_mask": False, "apply_time_warp": False}  # fmt: skip
    model = model_of(tokenizer, specaug="specaug", specaug_conf=conf)
    batch = some_batch()
    losses = {
        mode: {float(model.train(mode)(batch)[0].detach()) for _ in range(3)}
        for mode in (True, False)
    }
    assert len(losses[True]) == 3 and len(losses[False]) == 1


# ---- targets and paths -----------------------------------------------------------------


def test_sentence_edges_by_hand():
    tokens = torch.tensor([[7, 8, 9], [4, -1, -1], [-1, -1, -1]])
    tokens_in, tokens_out = add_sentence_edges(tokens, 5)
    assert tokens_in.tolist() == [[5, 7, 8, 9], [5, 4, 5, 5], [5, 5, 5, 5]]
    assert tokens_out.tolist() == [[7, 8, 9, 5], [4, 5, -1, -1], [5, -1, -1, -1]]


def test_the_best_path_has_no_repeats_and_no_blanks(tokenizer):
    model = model_of(tokenizer, weight=1.0)
    paths = [[0, 2, 2, 0, 2, 3, 3, 0], [3, 3, 4, 4, 0, 0, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0]]
    with torch.no_grad():  # each frame is its own one-hot score
        model.ctc.ctc_lo = nn.Identity()
    scores = torch.nn.functional.one_hot(torch.tensor(paths), len(TOKENS)).float()
    assert model.ctc_best_paths(scores, torch.tensor([8, 5, 8])) == [[2, 2, 3], [3, 4], []]


def test_error_rates_by_hand():
    statistics = error_statistics(["ab cd", "a", " "], ["ab xd e", "", "b"], "_ctc")
    # words: 1 substitution, 1 insertion, 1 deletion of 3; letters: c->x, +' e', -a of 6
    assert values(statistics) == pytest.approx({"wer_ctc": 100.0, "cer_ctc": 100 * 4 / 6})
    assert error_statistics([" "], ["a"], "_ctc") == {}


# ---- layers and names --------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [None, "utterance_mvn", "global_mvn"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_layers_hold_everything_but_normalisation_once(
    tokenizer, network, normalize, dump: Path
):
    encoder, encoder_conf, decoder, decoder_conf = NETWORKS[network]
    config = TrainConfig(
        encoder=encoder, encoder_conf=encoder_conf, decoder=decoder, decoder_conf=decoder_conf,
        normalize=normalize, ctc_conf={"dropout_rate": 0.1},
    )  # fmt: skip
    model = build_model(config, tokenizer, 8, dump / "train/cmvn.npz", seed=3)
    layers = model.layers()
    held = [name for layer in layers for name in (*layer.parameters, *layer.buffers)]
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    assert len(held) == len(set(held))
    assert set(names) - set(held) == {name for name in names if name.startswith("normalize.")}
    assert (normalize == "global_mvn") == any(name.startswith("normalize.") for name in names)
    dropouts = [name for layer in layers for name in layer.dropouts]
    assert sorted(dropouts) == sorted(
        name for name, module in model.named_modules() if isinstance(module, _DropoutNd)
    )
    assert layers[-1].name == "classifier"
    assert {name.split(".")[0] for name in layers[-1].parameters} >= {"ctc", "decoder"}
    assert all(layer.name.startswith("encoder.") for layer in layers[:-1])
    called = [name for layer in layers for name in (layer.name, *layer.aliases)]
    assert len(called) == len(set(called)) and all("." not in name[-1] for name in called)


def test_the_state_dict_has_espnet2s_names(tokenizer, dump: Path):
    """As in an ESPnetASRModel of the same configuration (202511), whose top level they are."""
    config = TrainConfig(
        encoder="transformer", encoder_conf=BLOCKS, decoder="rnn", decoder_conf={"hidden_size": 12},
        normalize="global_mvn",
    )  # fmt: skip
    names = set(build_model(config, tokenizer, 8, dump / "train/cmvn.npz", seed=3).state_dict())
    expected = {
        "normalize.mean", "normalize.std",
        "encoder.embed.conv.0.weight", "encoder.embed.out.0.weight",
        "encoder.encoders.0.self_attn.linear_q.weight", "encoder.encoders.1.feed_forward.w_2.bias",
        "encoder.encoders.1.norm1.weight", "encoder.after_norm.weight",
        "decoder.embed.weight", "decoder.decoder.0.weight_ih", "decoder.output.bias",
        "decoder.att_list.0.mlp_enc.weight", "ctc.ctc_lo.weight", "ctc.ctc_lo.bias",
    }  # fmt: skip
    assert expected <= names
    assert {name.split(".")[0] for name in names} == {"normalize", "encoder", "decoder", "ctc"}


def test_after_norm_belongs_to_the_classifier(tokenizer):
    layers = model_of(tokenizer, "transformer").layers()
    assert [layer.name for layer in layers] == [
        "encoder.embed", "encoder.block0", "encoder.block1", "classifier",
    ]  # fmt: skip
    assert "encoder.after_norm.weight" in layers[-1].parameters
    assert {"ctc", "decoder", "encoder.after_norm"} <= set(layers[-1].aliases)


def test_an_unknown_scheme_of_initial_weights_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="init: .*xavier_unifrm"):
        model_of(tokenizer, init="xavier_unifrm")


def test_words_of_the_dev_error_rate_are_those_of_sclite():
    """A no-break space is a letter of its word, a tab is a blank; empty texts count."""
    statistics = error_statistics(
        ["10\u00a0000 a b", "x", "", "\t"], ["10 000\ta\vb", "", "q", "r"], "_ctc"
    )
    assert statistics["wer_ctc"] == (300.0, 4.0)
    assert statistics["cer_ctc"][1] == 11.0
