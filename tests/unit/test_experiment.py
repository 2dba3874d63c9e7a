"""An experiment: its copy of tokens, usable utterances, seeds, normalisation, data digest."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_corpus import TINY_CONFIG, make_dump

from cascade_asr.cascade.options import stage_seed
from cascade_asr.data.loader import UtteranceDataset, collate
from cascade_asr.data.manifest import Manifest, read_manifest
from cascade_asr.data.tokens import Tokenizer, write_token_directory
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.utterance_mvn import UtteranceMVN
from cascade_asr.speech.build import build_model, check_config
from cascade_asr.speech.config import ModelConf, TrainConfig, load_train_config
from cascade_asr.speech.loading import (
    feature_dimension,
    make_loader,
    plan_loader,
    usable_utterances,
)
from cascade_asr.training import checkpoint
from cascade_asr.training.experiment import SELECTION_LOCK, Experiment, kept_with
from cascade_asr.training.lock import Locked, take

BLOCKS = {"output_size": 8, "attention_heads": 2, "num_blocks": 1, "linear_units": 8}
RECURRENT = {"num_layers": 1, "hidden_size": 4, "output_size": 6}
ENCODERS = {
    "rnn": RECURRENT | {"subsample": [2]},
    "vgg_rnn": RECURRENT,
    "transformer": BLOCKS,
    "conformer": BLOCKS,
    "e_branchformer": BLOCKS | {"cgmlp_linear_units": 8},
}
DECODERS = {"rnn": {"hidden_size": 6}, "transformer": {"attention_heads": 2, "num_blocks": 1}}


def config_of(
    encoder: str = "rnn", decoder: str = "rnn", weight: float = 0.5, **changes
) -> TrainConfig:
    return TrainConfig(
        encoder=encoder,
        encoder_conf=ENCODERS[encoder],
        decoder=decoder,
        decoder_conf=DECODERS[decoder],
        model_conf=ModelConf(ctc_weight=weight),
        **changes,
    )


@pytest.fixture(scope="module")
def experiment(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    made = Experiment(tmp_path_factory.mktemp("experiment") / "exp", dump, "train", "dev")
    made.adopt()
    return made


@pytest.fixture(scope="module")
def tokenizer(experiment: Experiment) -> Tokenizer:
    return Tokenizer.from_directory(experiment.tokens)


def built(experiment, tokenizer, config: TrainConfig, seed: int = 1):
    return build_model(config, tokenizer, 8, experiment.global_cmvn, seed)


# ---- tokens of the experiment -------------------------------------------------------


def test_an_experiment_keeps_its_own_tokens(dump: Path, tmp_path: Path):
    own = tmp_path / "dump"
    shutil.copytree(dump, own)
    experiment = Experiment(tmp_path / "exp", own, "train", "dev")
    experiment.adopt()
    experiment.adopt()  # the same again
    assert (experiment.tokens / "tokens.txt").read_bytes() == (
        own / "tokens/tokens.txt"
    ).read_bytes()
    assert experiment.global_cmvn.read_bytes() == (own / "train/cmvn.npz").read_bytes()
    write_token_directory(own / "tokens", ["other letters"], "char")
    with pytest.raises(
        ConfigError, match="exp holds models with other tokens than .*use another --tag"
    ):
        experiment.adopt()
    shutil.rmtree(own / "tokens")
    with pytest.raises(ConfigError, match="tokens.txt: no tokens; run stage 2"):
        experiment.adopt()


def test_what_earlier_tokens_left_behind_locks_nobody_out(dump: Path, tmp_path: Path):
    """Folders in which pieces had been tried before had their model beside the characters."""
    own = tmp_path / "dump"
    shutil.copytree(dump / "tokens", own / "tokens")
    experiment = Experiment(tmp_path / "exp", own, "train", "dev")
    experiment.adopt()
    texts = ["ab cd", "dc ba", "abcd dcba"]
    write_token_directory(own / "tokens", texts, "bpe", 8)
    with pytest.raises(ConfigError) as caught:
        experiment.adopt()
    assert "there char, 8 tokens, here bpe, 10 tokens; give the token options" in str(caught.value)
    write_token_directory(own / "tokens", ["abcd abcd"], "char")  # the same again?
    assert not (own / "tokens/bpe.model").exists()
    shutil.copyfile(experiment.tokens / "tokens.txt", own / "tokens/tokens.txt")
    (own / "tokens/bpe.model").write_bytes(b"left over")
    experiment.adopt()
    (own / "tokens/tokens.json").write_text('{"token_type": "bpe", "bpe_model": "bpe.model"}')
    with pytest.raises(ConfigError, match="holds models with other tokens"):
        experiment.adopt()


def test_trainings_of_one_experiment_may_start_at_the_same_moment(dump: Path, tmp_path: Path):
    """Full training and ``longer``, or the stages of two branches, as jobs of a cluster."""
    for attempt in range(20):
        experiment = Experiment(tmp_path / f"exp{attempt}", dump, "train", "dev")
        barrier = threading.Barrier(8)

        def start(_, experiment=experiment, barrier=barrier):
            barrier.wait()
            experiment.adopt()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(start, range(8)))
        names = {path.name for path in experiment.directory.iterdir()}
        assert names == {"tokens", "cmvn.npz"}
        assert {path.name for path in experiment.tokens.iterdir()} == {
            path.name for path in (dump / "tokens").iterdir()
        }


def test_another_piece_model_with_the_same_list_is_another(dump: Path, tmp_path: Path):
    """Two models may have the same pieces with different scores, and then split texts differently."""
    own = tmp_path / "dump"
    shutil.copytree(dump / "tokens", own / "tokens")
    (own / "tokens/bpe.model").write_bytes(b"scores")
    experiment = Experiment(tmp_path / "exp", own, "train", "dev")
    experiment.adopt()
    (own / "tokens/bpe.model").write_bytes(b"others")
    with pytest.raises(ConfigError, match="holds models with other tokens"):
        experiment.adopt()


def test_the_data_digest_sees_texts_and_features(tmp_path: Path, dump: Path):
    own = tmp_path / "dump"
    shutil.copytree(dump, own)
    experiment = Experiment(tmp_path / "exp", own, "train", "dev")
    digests = [Experiment(tmp_path, dump, "train", "dev").data_digest(), experiment.data_digest()]
    assert digests[0] == digests[1]
    shutil.copyfile(dump / "test/cmvn.npz", own / "dev/cmvn.npz")  # other features
    digests.append(experiment.data_digest())
    text = (own / "train/manifest.tsv").read_text()
    (own / "train/manifest.tsv").write_text(text.replace("\ts0\t", "\ts9\t", 1))
    digests.append(experiment.data_digest())
    assert len(set(digests)) == 3


# ---- which utterances can be used ------------------------------------------------------


class Halving:
    """An encoder whose lengths are all that matters."""

    def output_lengths(self, lengths: torch.Tensor) -> torch.Tensor:
        return lengths // 2


class Network:
    """A model whose encoder and CTC are all that matters here."""

    encoder = Halving()

    def __init__(self, ctc: bool) -> None:
        self.ctc = object() if ctc else None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 24), st.lists(st.integers(1, 3), max_size=9)), min_size=1),
    st.booleans(),
)
def test_usable_utterances_are_those_of_a_naive_loop(utterances, ctc: bool):
    lengths = [len(tokens) for _, tokens in utterances]
    manifest = Manifest(
        [f"u{index}" for index in range(len(utterances))],
        ["s"] * len(utterances),
        ["x.ark:5"] * len(utterances),
        np.array([frames for frames, _ in utterances], dtype=np.int64),
        np.array([token for _, tokens in utterances for token in tokens], dtype=np.int64),
        np.cumsum(lengths, dtype=np.int64),
        Path("manifest.tsv"),
    )
    usable, dropped = usable_utterances(manifest, Network(ctc))
    expected, unusable = [], []
    for index, (frames, tokens) in enumerate(utterances):
        repeats = sum(a == b for a, b in zip(tokens, tokens[1:], strict=False))
        needed = max(1, len(tokens) + repeats) if ctc else 1
        if frames // 2 >= needed:
            expected.append(index)
        else:
            unusable.append((f"u{index}", frames // 2, needed))
    assert usable.tolist() == expected
    assert dropped == unusable


def test_a_dropped_utterance_would_have_an_infinite_ctc_loss(experiment, tokenizer):
    """The rule is that of the loss itself: with one frame fewer no path fits."""
    tokens = torch.tensor([[3, 3, 4]])  # needs 4 frames
    for frames, fits in ((4, True), (3, False)):
        scores = torch.zeros(frames, 1, 8).log_softmax(2)
        loss = torch.nn.functional.ctc_loss(
            scores, tokens, torch.tensor([frames]), torch.tensor([3]), reduction="sum"
        )
        assert bool(loss.isfinite()) == fits


def test_a_plan_lists_what_is_dropped_and_refuses_to_drop_everything(experiment, tokenizer):
    config = config_of("transformer", normalize="utterance_mvn")
    plan = plan_loader(built(experiment, tokenizer, config), config, experiment, "train")
    dropped = {utterance for utterance, _, _ in plan.dropped}
    assert len(dropped) == 1 and len(plan.dataset) == 59
    assert not dropped & set(plan.dataset.manifest.utterances)
    assert sum(map(len, plan.batches)) == 59
    narrow = dataclasses.replace(config, encoder_conf=BLOCKS | {"input_layer": "conv2d8"})
    with pytest.raises(
        DataError, match="no utterance is long enough for its text after the encoder"
    ):
        plan_loader(built(experiment, tokenizer, narrow), narrow, experiment, "train")


def test_valid_batch_bins_are_for_the_dev_set_only(experiment, tokenizer):
    config = config_of(batch_type="numel", batch_bins=100_000, valid_batch_bins=1)
    model = built(experiment, tokenizer, config)
    train, dev = (plan_loader(model, config, experiment, name) for name in ("train", "dev"))
    assert len(train.batches) == 1 and len(dev.batches) == 12
    assert make_loader(train, config, True).seed == config.seed
    assert make_loader(dev, config, False).seed is None


# ---- seeds --------------------------------------------------------------------------------


@pytest.mark.parametrize("init", [None, "chainer", "xavier_uniform"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_weights_are_a_function_of_the_seed(experiment, tokenizer, encoder: str, init):
    config = config_of(encoder, "transformer" if "former" in encoder else "rnn", init=init)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    first = built(experiment, tokenizer, config, 1).state_dict()
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers are not used"
    torch.manual_seed(5)
    again = built(experiment, tokenizer, config, 1).state_dict()
    other = built(experiment, tokenizer, config, stage_seed(1, 1)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    matrices = [name for name, tensor in first.items() if tensor.dim() > 1]
    assert matrices
    for name in matrices:
        assert not torch.equal(first[name], other[name]), name
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in first.values())


# ---- normalisation -------------------------------------------------------------------------


def normalised(experiment: Experiment, tokenizer: Tokenizer, **changes) -> dict[str, np.ndarray]:
    """Normalised features of the whole training set, as the encoder gets them, by utterance."""
    config = config_of(**changes)
    model = built(experiment, tokenizer, config).eval()
    given = {}

    def remember(_, inputs):
        given["features"], given["lengths"] = inputs

    model.encoder.register_forward_pre_hook(remember)
    result = {}
    for batch in make_loader(plan_loader(model, config, experiment, "train"), config, False).epoch(
        1
    ):
        model.encode(batch.features, batch.feature_lengths)
        for row, name in enumerate(batch.utterances):
            result[name] = given["features"][row, : given["lengths"][row]].numpy()
    return result


def test_global_normalisation_makes_the_whole_set_standard(experiment, tokenizer):
    features = np.concatenate(
        list(normalised(experiment, tokenizer, normalize="global_mvn").values())
    )
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)


def test_utterance_normalisation_centres_each_utterance_whatever_it_is_padded_to(
    experiment, tokenizer
):
    result = normalised(experiment, tokenizer, normalize="utterance_mvn")
    assert len(result) == 60
    for features in result.values():
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("means", [True, False])
@pytest.mark.parametrize("variances", [True, False])
def test_utterance_normalisation_is_espnets_without_padding_whatever_the_padding_holds(
    means: bool, variances: bool
):
    """ESPnet's own variance counts the padding once the mean is subtracted."""
    ours = UtteranceMVN(means, variances)
    theirs = espnet_module("espnet2.layers.utterance_mvn").UtteranceMVN(means, variances)
    features = torch.randn(3, 30, 4, generator=torch.Generator().manual_seed(1)) * 3 + 5
    lengths = torch.tensor([30, 11, 1])
    together, _ = ours(features.clone(), lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, _ = theirs(features[row : row + 1, :length].clone(), lengths[row : row + 1])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-6, atol=1e-5)
        assert not together[row, length:].any()


def test_speaker_normalisation_makes_each_speaker_standard(experiment, tokenizer):
    result = normalised(experiment, tokenizer, normalize="speaker_mvn")
    for speaker in ("s0", "s1"):
        each = [value for name, value in result.items() if name.startswith(speaker)]
        features = np.concatenate(each)
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)


def test_without_normalisation_features_arrive_as_they_are(experiment, tokenizer):
    manifest = read_manifest(experiment.manifest_path("train"))
    dataset = UtteranceDataset(manifest, 8)
    result = normalised(experiment, tokenizer, normalize=None)
    for index in range(len(dataset)):
        name, features, _ = dataset[index]
        np.testing.assert_array_equal(result[name], features)


def test_a_model_carries_its_own_global_statistics(
    experiment, tokenizer, dump: Path, tmp_path: Path
):
    """Decoding loads them from model.pth, whatever cmvn.npz contains by then."""
    config = config_of(normalize="global_mvn")
    model = built(experiment, tokenizer, config)
    checkpoint.save(tmp_path / "model.pth", model.state_dict())
    other = make_dump(tmp_path / "other", train=4, dev=2, seed=9)
    loaded = build_model(config, tokenizer, 8, other / "train/cmvn.npz", 1)
    batch = collate([UtteranceDataset(read_manifest(dump / "dev/manifest.tsv"), 8)[0]])
    inputs = (batch.features, batch.feature_lengths)
    assert not torch.equal(loaded.eval().encode(*inputs)[0], model.eval().encode(*inputs)[0])
    checkpoint.load_weights(loaded, checkpoint.load(tmp_path / "model.pth"), tmp_path)
    assert torch.equal(loaded.encode(*inputs)[0], model.encode(*inputs)[0])


def test_missing_statistics_say_what_to_run(tokenizer, tmp_path: Path):
    with pytest.raises(ConfigError, match="cmvn.npz: no global CMVN statistics; run stage 1"):
        build_model(config_of(normalize="global_mvn"), tokenizer, 8, tmp_path / "cmvn.npz", 1)


# ---- configuration ---------------------------------------------------------------------------


def test_the_configuration_of_a_stage_is_read_back_as_it_was(tmp_path: Path):
    """Decoding builds its model from config.yaml."""
    config = config_of(
        optim_conf={"eps": 1e-8, "betas": [0.9, 0.98]}, patience=None, grad_clip=float("inf"),
        init="chainer", short_first_epochs=1, scheduler="warmuplr",
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    assert load_train_config(tmp_path / "config.yaml")[0] == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed is -1, expected 0 or more"),
        ({"fold_length": [0, 150]}, "fold_length is [0, 150], expected two numbers of 1 or more"),
        ({"fold_length": [800]}, "fold_length is [800], expected two numbers"),
        ({"patience": -1}, "patience is -1, expected 0 or more"),
        ({"keep_nbest_models": 0}, "keep_nbest_models is 0, expected 1 or more"),
        ({"num_workers": -1}, "num_workers is -1, expected 0 or more"),
        ({"specaug": "specaug"}, "specaug_conf: Either one of"),
        ({"optim_conf": {"lr": -1.0}}, "optim adadelta, optim_conf: Invalid learning rate: -1.0"),
        (
            {"scheduler": "onecyclelr"},
            "scheduler onecyclelr, scheduler_conf: optimizer must support",
        ),
        (
            {"optim": "adam", "scheduler": "epsdecay", "scheduler_conf": {"mode": "up"}},
            "scheduler_conf",
        ),
        ({"model_conf": ModelConf(lsm_weight=1.5)}, "lsm_weight is 1.5, expected 0 to below 1"),
    ],
)
def test_values_that_would_fail_later_are_refused(changes: dict, message: str):
    with pytest.raises(ConfigError) as caught:
        check_config(dataclasses.replace(config_of(), **changes), "train.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("train.yaml: ")


def test_the_tests_own_configuration_is_accepted(dump: Path, tmp_path: Path):
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(TINY_CONFIG))
    check_config(load_train_config(tmp_path / "train.yaml")[0], "train.yaml")
    assert feature_dimension(read_manifest(dump / "train/manifest.tsv")) == 8


def test_trainings_keep_the_features_that_they_were_made_with(tmp_path: Path):
    """Checking other options of features, or a cascade on other data, replaces the experiment's."""
    experiment = Experiment(tmp_path / "exp", tmp_path / "dump", "train", "dev")
    tokens = tmp_path / "dump/tokens"
    tokens.mkdir(parents=True)
    (tokens / "tokens.txt").write_text("<blank>\n")
    options = tmp_path / "dump/train/fbank.conf"
    options.parent.mkdir()
    options.write_text("--num-mel-bins=8\n")
    experiment.adopt()
    full, begun = tmp_path / "exp/full", tmp_path / "exp/stage1"
    for folder in (full, begun):
        folder.mkdir()
    (full / "model.pth").write_text("weights")
    options.write_text("--num-mel-bins=9\n")
    experiment.adopt()
    assert kept_with(full, "fbank.conf").read_text() == "--num-mel-bins=8\n"
    assert kept_with(begun, "fbank.conf").read_text() == "--num-mel-bins=9\n"
    options.unlink()  # stage 1 with --add-deltas true, or with features of a data folder
    experiment.adopt()
    assert kept_with(full, "fbank.conf").read_text() == "--num-mel-bins=8\n"
    assert not kept_with(begun, "fbank.conf").exists()


def test_features_are_not_replaced_under_a_training(tmp_path: Path):
    """Its next stage would normalise with the statistics of the others."""
    experiment = Experiment(tmp_path / "exp", tmp_path / "dump", "train", "dev")
    (tmp_path / "dump/tokens").mkdir(parents=True)
    (tmp_path / "dump/tokens/tokens.txt").write_text("<blank>\n")
    (tmp_path / "dump/train").mkdir()
    statistics = tmp_path / "dump/train/cmvn.npz"
    statistics.write_bytes(b"these")
    experiment.adopt()
    (tmp_path / "exp" / SELECTION_LOCK).touch()
    lock = take(tmp_path / "exp/.full.lock", "full training")
    experiment.adopt()
    statistics.write_bytes(b"others")
    with pytest.raises(Locked, match=r"has other features than .*cmvn.npz, with which process \d+ on"):
        experiment.adopt()
    assert experiment.global_cmvn.read_bytes() == b"these"
    lock.release()
    experiment.adopt()
    assert experiment.global_cmvn.read_bytes() == b"others"
