"""Configurations: ESPnet2's files work, and every mistake is reported with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.cascade.options import load_cascade_config, override, stage_seed
from cascade_asr.errors import ConfigError
from cascade_asr.speech.build import check_config
from cascade_asr.speech.config import TrainConfig, load_train_config

ESPNET2_STYLE = """\
# an ESPnet2 training file of an RNN recipe
init: xavier_uniform
batch_type: folded
batch_size: 30
accum_grad: 1
max_epoch: 20
patience: 3
val_scheduler_criterion:
    - valid
    - acc
best_model_criterion:
-   - valid
    - acc
    - max
keep_nbest_models: [1, 5]
num_att_plot: 0
encoder: vgg_rnn
encoder_conf:
    rnn_type: lstm
    bidirectional: true
    use_projection: true
    num_layers: 4
    hidden_size: 1024
    output_size: 1024
decoder: rnn
decoder_conf:
    num_layers: 2
    hidden_size: 1024
    sampling_probability: 0
    att_conf:
        atype: location
        adim: 1024
        aconv_chans: 10
        aconv_filts: 100
model_conf:
    ctc_weight: 0.5
    report_cer: false
optim: adadelta
optim_conf:
    lr: 1.0
    rho: 0.95
    eps: 1.0e-08
    weight_decay: 0
scheduler: reducelronplateau
scheduler_conf:
    mode: max
    patience: 1
    factor: 0.5
use_amp: true
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return path


def test_an_espnet2_file_works_and_what_has_no_effect_is_told(tmp_path: Path):
    path = written(tmp_path, ESPNET2_STYLE)
    config, notes = load_train_config(path)
    check_config(config, str(path))
    assert config.encoder_conf["hidden_size"] == 1024
    assert config.keep_nbest_models == 5
    assert config.precision == "16-mixed"
    assert config.val_scheduler_criterion == ["valid", "acc"]
    assert [note.split(":")[1] for note in notes] == ["16", "37"]
    assert "'num_att_plot' has no effect" in notes[0]


def test_all_problems_come_at_once_with_line_and_nearest_name(tmp_path: Path):
    path = written(
        tmp_path, "max_epoc: 3\nbatch_bins: many\nmodel_conf:\n  ctc_weigt: 1\nseed: 1.5\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_train_config(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}:1: unknown key 'max_epoc'; did you mean 'max_epoch'?"
    assert lines[1].startswith(f"{path}:2: 'batch_bins' expects an integer")
    assert lines[2] == f"{path}:4: unknown key 'model_conf.ctc_weigt'; did you mean 'ctc_weight'?"
    assert lines[3].startswith(f"{path}:5: 'seed' expects an integer") and len(lines) == 4


@pytest.mark.parametrize(
    "text, message",
    [
        ("seed: 1\nseed: 2\n", ":2: key 'seed' is also on line 1"),
        ("encoder: [a\n", ":2: not YAML"),
        ("- a\n", "expected 'key: value' lines"),
    ],
)
def test_broken_yaml(text: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_train_config(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="nope.yaml: no such configuration file"):
        load_train_config(tmp_path / "nope.yaml")


def test_exponents_without_a_dot_are_numbers(tmp_path: Path):
    config, _ = load_train_config(written(tmp_path, "optim_conf: {lr: 1e-3, eps: 1E-8}\n"))
    assert config.optim_conf == {"lr": 0.001, "eps": 1e-8}


def test_every_named_part_is_checked_against_its_constructor(tmp_path: Path):
    config = TrainConfig(
        encoder="vgg_rn",
        decoder="transformer",
        decoder_conf={"num_block": 3},
        optim="adamm",
        scheduler="onecyclelr",
        scheduler_conf={"pct_strat": 0.1},
        specaug="specaug",
        specaug_conf={"num_freq_masks": 2},
        normalize="global_mvm",
        max_epoch=0,
    )
    with pytest.raises(ConfigError) as caught:
        check_config(config, "f.yaml")
    text = str(caught.value)
    for part in (
        "vgg_rnn",
        "num_block",
        "adamm",
        "pct_strat",
        "num_freq_masks",
        "global_mvn",
        "max_epoch is 0",
    ):
        assert part in text, part
    assert all(line.startswith("f.yaml: ") for line in text.splitlines())


def test_the_digest_counts_what_decides_the_result_only():
    base = TrainConfig()
    assert TrainConfig(num_workers=7, log_interval=3).digest() == base.digest()
    assert TrainConfig(seed=5).digest() != base.digest()
    assert TrainConfig(encoder_conf={"num_layers": 5}).digest() != base.digest()


def test_cascade_options(tmp_path: Path):
    path = tmp_path / "cascade.yaml"
    path.write_text("cuts: decoder\nselect: [acc, max]\nstages:\n  1: {max_epoch: 3}\n")
    config = load_cascade_config(path)
    assert config.cuts == ["decoder"] and config.stages == {"1": {"max_epoch": 3}}
    path.write_text("direction: sideways\nselect: [acc]\nbelow: keeps\n")
    with pytest.raises(ConfigError) as caught:
        load_cascade_config(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and lines[0].startswith(f"{path}:1: direction is 'sideways'")


def test_overrides_are_merged_and_checked():
    config = TrainConfig(optim_conf={"lr": 1.0, "rho": 0.9})
    changed = override(config, {"optim_conf": {"lr": 0.5}, "max_epoch": 2}, "here")
    assert changed.optim_conf == {"lr": 0.5, "rho": 0.9} and changed.max_epoch == 2
    assert config.max_epoch == 40
    with pytest.raises(ConfigError, match="max_epochs"):
        override(config, {"max_epochs": 2}, "here")


def test_every_stage_has_its_own_seed():
    seeds = {stage_seed(seed, stage) for seed in range(20) for stage in range(8)}
    assert len(seeds) == 160
    assert stage_seed(7, 0) == 7


@pytest.mark.parametrize(
    ("weight", "idle"),
    [(1.0, ["decoder", "decoder_conf", "model_conf.lsm_weight"]), (0.0, ["ctc_conf"]), (0.5, [])],
)
def test_options_of_a_part_that_is_left_out_are_reported(tmp_path, weight: float, idle: list[str]):
    path = tmp_path / "train.yaml"
    path.write_text(
        f"decoder: rnn\ndecoder_conf:\n  hidden_size: 8\nctc_conf:\n  dropout_rate: 0.1\n"
        f"model_conf:\n  ctc_weight: {weight}\n  lsm_weight: 0.1\n"
    )
    _, notes = load_train_config(path)
    lines = {"decoder": 1, "decoder_conf": 2, "ctc_conf": 4, "model_conf.lsm_weight": 8}
    assert [note.partition(" has no effect")[0] for note in notes] == [
        f"{path}:{lines[name]}: {name}" for name in idle
    ]
