"""Values that no option can have are reported with file, line and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.cascade.options import load_cascade_config, override
from cascade_asr.errors import ConfigError
from cascade_asr.lm.config import check_lm_config, load_lm_config
from cascade_asr.options.places import located_cascade_errors
from cascade_asr.options.types import convert, describe, from_text, is_nullable
from cascade_asr.speech.build import check_config
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.decode_config import load_decode_config
from cascade_asr.yaml_file import read_yaml


def refusal(tmp_path: Path, text: str, kind: str = "speech") -> str:
    """What is said about a configuration of two lines or more, without the folder."""
    path = tmp_path / "f.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        if kind == "decode":
            load_decode_config(path)
        elif kind == "lm":
            check_lm_config(load_lm_config(path), str(path))
        else:
            check_config(load_train_config(path)[0], str(path))
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"seed: {2**64}", "f.yaml:2: 'seed' expects an integer"),
        (f"seed: {2**32}", f"f.yaml:2: seed is {2**32}, expected {2**32 - 1} or less"),
        ("seed: -1", "f.yaml:2: seed is -1, expected 0 or more"),
        (f"seed: {'9' * 5000}", "f.yaml:2: a number of 5000 characters; write a shorter one"),
        (f"max_epoch: {'9' * 300}", "found an integer of more than 64 bits"),
        ("best_model_criterion: []", "f.yaml:2: best_model_criterion is [], expected a list of 1"),
        ("best_model_criterion: [valid, loss]", "'best_model_criterion' expects a list, each"),
        ("early_stopping_criterion: [valid]", "f.yaml:2: early_stopping_criterion is ['valid']"),
        ("model_conf: 5", "f.yaml:2: 'model_conf' expects a mapping, found 5"),
        ("model_conf: [a]", "f.yaml:2: 'model_conf' expects a mapping, found ['a']"),
        ("model_conf: {ctc_weight: .nan}", "f.yaml:2: 'model_conf.ctc_weight' expects a number"),
        ("model_conf: {ctc_weight: 1.5}", "f.yaml:2: model_conf.ctc_weight is 1.5, expected 0 to"),
        ("model_conf: {lsm_weight: 1}", "f.yaml:2: model_conf.lsm_weight is 1.0, expected 0 to b"),
        ("encoder_conf: 5", "f.yaml:2: 'encoder_conf' expects a mapping"),
        ("encoder_conf: {hidden_size: 0}", "f.yaml:2: encoder_conf.hidden_size is 0, expected 1"),
        ("encoder_conf: {dropout: .nan}", "f.yaml:2: 'encoder_conf.dropout' expects finite"),
        ("encoder_conf: {dropout: -.inf}", "f.yaml:2: 'encoder_conf.dropout' expects finite"),
        ("encoder_conf:\n  hidden_size: 100000000", "f.yaml:3: encoder_conf.hidden_size is 1000"),
        ("encoder_conf:\n  num_layers: 1.5", "f.yaml:3: encoder_conf.num_layers: expected a whole"),
        ("decoder_conf:\n  sampling_probability: 2", "f.yaml:3: decoder_conf.sampling_probability"),
        ("decoder_conf:\n  att_conf:\n    adim: 0", "f.yaml:4: decoder_conf.att_conf.adim is 0"),
        ("decoder_conf:\n  att_conf:\n    num_att: 0", "f.yaml:4: decoder_conf.att_conf.num_att"),
        ("decoder_conf:\n  att_conf: {aconv_filts: -1}", "att_conf.aconv_filts is -1, expected 0"),
        ("ctc_conf: {dropout_rate: 2}", "f.yaml:2: ctc_conf.dropout_rate is 2, expected 0 to 1"),
        ("optim_conf: {lr: .nan}", "f.yaml:2: 'optim_conf.lr' expects finite numbers"),
        (
            "optim_conf:\n  lr: -1",
            "f.yaml:2: optim adadelta, optim_conf: Invalid learning rate: -1",
        ),
        ("specaug: specaug\nspecaug_conf: {num_time_mask: -1}", "f.yaml:3: specaug_conf.num_time"),
        ("grad_clip: -1", "f.yaml:2: grad_clip is -1.0, expected 0 or more"),
        ("grad_clip: .nan", "f.yaml:2: 'grad_clip' expects a number"),
        ("keep_nbest_models: []", "f.yaml:2: 'keep_nbest_models' expects an integer"),
        ("keep_nbest_models: [1, a]", "f.yaml:2: 'keep_nbest_models' expects an integer"),
        ("patience: -1", "f.yaml:2: patience is -1, expected 0 or more"),
        ("batch_bins: 0", "f.yaml:2: batch_bins is 0, expected 1 or more"),
        ("fold_length: [0, 150]", "f.yaml:2: fold_length is [0, 150], expected two numbers"),
        ("12: x", "f.yaml:2: unknown key '12'"),
        ("init: 2026-02-31", "f.yaml:2: '2026-02-31' is not a valid timestamp"),
    ],
)
def test_speech(line: str, message: str, tmp_path: Path) -> None:
    text = refusal(tmp_path, f"# a comment\n{line}\n")
    assert message in text, text
    assert len(text) < 600


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lm_conf: {dropout: .nan}", "f.yaml:1: 'lm_conf.dropout' expects finite numbers"),
        ("bptt: 0", "f.yaml:1: bptt is 0, expected 5 or more"),
        ("best_model_criterion: []", "f.yaml:1: best_model_criterion is []"),
        ("seed: -1", "f.yaml:1: seed is -1"),
    ],
)
def test_language_model(line: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(tmp_path, line, "lm")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("penalty: .nan", "f.yaml:1: 'penalty' expects a number"),
        ("penalty: .inf", "f.yaml:1: 'penalty' expects a number"),
        ("maxlenratio: .inf", "f.yaml:1: 'maxlenratio' expects a number"),
        ("beam_size: 0", "f.yaml:1: beam_size is 0, expected 1 or more"),
        ("lm_weight: -1", "f.yaml:1: lm_weight is -1.0, expected 0 or more"),
        ("\nsearch: beem", "f.yaml:2: search is 'beem', expected beam or ctc_best_path"),
    ],
)
def test_decoding(line: str, message: str, tmp_path: Path) -> None:
    assert message in refusal(tmp_path, line, "decode")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x {b: *x}\n", "f.yaml:1: nested deeper than 30 levels, or an alias"),
        ("a: &x [*x]\n", "f.yaml:1: nested deeper than 30 levels, or an alias"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "f.yaml:1: nested deeper than 30 levels"),
        ("a: " + "[" * 50_000 + "]" * 50_000 + "\n", "f.yaml: nested deeper than 30 levels"),
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
            "expand it to more than 200000 entries",
        ),
    ],
)
def test_yaml_without_an_end(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert message in str(caught.value).replace(f"{tmp_path}/", "")


def test_merged_blocks_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("encoder_conf: &c\n  num_layers: 2\ndecoder_conf:\n  <<: *c\n  dropout: 0.1\n")
    content, lines = read_yaml(path)
    assert content["decoder_conf"] == {"num_layers": 2, "dropout": 0.1}
    assert lines["decoder_conf.num_layers"] == 2 and lines["decoder_conf.dropout"] == 5


WATCHED = "val_scheduler_criterion: [valid, acc]\nbest_model_criterion: [[valid, acc, max]]\n"


def test_what_watches_an_improvement_knows_its_direction(tmp_path: Path) -> None:
    text = refusal(tmp_path, f"{WATCHED}scheduler: reducelronplateau\n")
    assert "scheduler_conf.mode is min, so reducelronplateau lowers the rate when 'valid acc'" in text
    text = refusal(tmp_path, f"{WATCHED}optim: nt_asgd\n")
    assert "optim nt_asgd starts to average when 'valid acc' grows" in text
    path = tmp_path / "f.yaml"
    for criteria, mode in ((WATCHED, "max"), (WATCHED.replace("acc", "loss_att"), "max"),
                           (WATCHED.partition("\n")[0], "min"), ("", "min")):  # fmt: skip
        path.write_text(f"{criteria}\nscheduler: epsdecay\nscheduler_conf: {{mode: {mode}}}\n")
        check_config(load_train_config(path)[0], str(path))


def test_values_that_are_meant_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("grad_clip: .inf\npatience: none\nvalid_batch_bins: null\nseed: 4294967295\n")
    config, _ = load_train_config(path)
    assert config.grad_clip == float("inf") and config.patience is None
    assert config.seed == 2**32 - 1


def test_one_interpreter_of_types() -> None:
    assert convert(2, float) == (True, 2.0) and convert(2.0, int) == (True, 2)
    assert convert(2.0, int, exact=True) == (False, 2.0)
    assert not convert(True, int)[0] and not convert(float("inf"), float)[0]
    assert convert([1, 2], tuple[float, float])[0] and not convert([1], tuple[float, float])[0]
    assert is_nullable(int | None) and not is_nullable(int)
    assert describe(list[int] | None) == "a list, each an integer or null"
    assert from_text("none", int | None) is None and from_text("7", int | None) == 7
    with pytest.raises(ValueError, match="expected true or false"):
        from_text("yes", bool)


def test_a_cascade_s_training_options_are_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "cascade.yaml"
    path.write_text("cuts: auto\ntrain:\n  seed: -1\nstages:\n  2: {max_epochs: 3}\n")
    config, cascade = load_train_config_of(tmp_path), load_cascade_config(path)
    for changes, block, message in (
        (cascade.train, "train", f"{path}:3: train: seed is -1, expected 0 or more"),
        (cascade.stages["2"], "stages.2", f"{path}:5: stages.2: unknown key 'max_epochs'"),
    ):
        with pytest.raises(ConfigError) as caught, located_cascade_errors(str(path)):
            override(config, changes, f"cascade option '{block}'")
        assert str(caught.value).startswith(message)


def load_train_config_of(folder: Path) -> TrainConfig:
    path = folder / "train.yaml"
    path.write_text("seed: 3\n")
    return load_train_config(path)[0]


@pytest.mark.parametrize(
    ("read", "recipe", "kind"),
    [(load_train_config, "wikitext2/conf/train_small.yaml", "a language model"),
     (load_lm_config, "digits/conf/train.yaml", "a recogniser")],
)  # fmt: skip
def test_a_configuration_of_the_other_task_is_told_as_such(read, recipe, kind):
    """Not by a list of its keys, all of which are unknown here."""
    path = Path(__file__).parents[2] / "egs" / recipe
    with pytest.raises(ConfigError, match=f"{path.name}: the configuration of {kind}; expected that of"):
        read(path)
