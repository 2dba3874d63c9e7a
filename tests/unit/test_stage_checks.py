"""What would stop a stage, or change it silently, is reported before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import write_yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_selection import FEED_FORWARD, make_engine
from tiny_corpus import TINY_CONFIG

from cascade_asr.cascade.options import CascadeConfig, override
from cascade_asr.cascade.planning import make_plan
from cascade_asr.errors import ConfigError
from cascade_asr.lm.config import LMConfig
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training.experiment import Experiment

HEADS = TINY_CONFIG | FEED_FORWARD | {"model_conf": {"ctc_weight": 0.5}, "decoder": "transformer",
    "decoder_conf": {"attention_heads": 1, "linear_units": 8, "num_blocks": 1}}  # fmt: skip


@pytest.fixture(scope="module")
def experiment(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    made = Experiment(tmp_path_factory.mktemp("checked") / "exp", dump, "train", "dev")
    made.adopt()
    return made


def refusal(experiment: Experiment, folder: Path, content: dict = HEADS, **cascade) -> str:
    """Planning's objection to a cascade; empty if it is accepted."""
    config, _ = load_train_config(write_yaml(folder / "train.yaml", content))
    options = CascadeConfig(**{"cuts": ["decoder", "encoder.block1"]} | cascade)
    try:
        make_plan(SpeechTask(experiment), config, options)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("train", "messages"),
    [
        ({}, []),
        ({"max_epoch": 3, "optim_conf": {"lr": 1.0}}, []),
        ({"encoder_conf": {"dropout_rate": 0.3}}, []),
        ({"init": "chainer"}, []),
        ({"encoder_conf": {"linear_units": 9}},
         ["cascade stage 1: the weights of the source, full training, do not fit",
          "'encoder.encoders.0.feed_forward.w_1.weight' is (8, 8), this model has (9, 8)"]),
        ({"encoder_conf": {"attention_heads": 2}},
         ["encoder_conf.attention_heads: the model has 1, not 2"]),
        ({"decoder_conf": {"attention_heads": 4}},
         ["decoder_conf.attention_heads: the model has 1, not 4"]),
        ({"model_conf": {"ctc_weight": 0.0}}, ["'ctc.ctc_lo.weight' is not in this model"]),
        ({"model_conf": {"ctc_weight": 1.0}}, ["'decoder.", "is not in this model"]),
        ({"init": "no such scheme"}, ["cascade stage 1: init: ", "no such scheme"]),
        ({"precision": "bf16-mixed"}, ["cascade stage 1: precision is bf16-mixed, that of full "
                                       "training is 32-true; all stages train in the same precision"]),
        ({"use_amp": True}, ["cascade stage 1: use_amp is True"]),
        ({"precision": "bf16"}, ["precision"]),
    ],
)  # fmt: skip
def test_options_of_stages_are_checked_with_the_plan(
    experiment: Experiment, tmp_path: Path, train: dict, messages: list[str]
):
    told = refusal(experiment, tmp_path, train=train)
    assert bool(told) == bool(messages), told
    for message in messages:
        assert message in told


def test_a_single_stage_is_named(experiment: Experiment, tmp_path: Path):
    told = refusal(experiment, tmp_path, stages={"2": {"encoder_conf": {"linear_units": 9}}})
    assert told.startswith("cascade stage 2: the weights of the source, stage 1")


def test_a_transferred_classifier_must_compute_the_same(
    experiment: Experiment, dump: Path, tmp_path: Path
):
    """A block of one head, frozen into a network of two, has weights of the same shapes."""
    other = Experiment(tmp_path / "other/exp", dump, "train", "dev")
    other.adopt()
    source = make_engine(other)
    source.train_full()
    folder = other.directory / "full"
    plain = TINY_CONFIG | FEED_FORWARD
    cuts = {"cuts": ["ctc", "encoder.block1"], "first_source": str(folder)}
    assert refusal(experiment, tmp_path, plain, **cuts) == ""
    two = plain | {"encoder_conf": plain["encoder_conf"] | {"attention_heads": 2}}
    told = refusal(experiment, tmp_path, two, **cuts)
    assert f"the weights of source '{folder}' do not fit" in told
    assert "encoder_conf.attention_heads: the model has 1, not 2" in told
    missing = refusal(experiment, tmp_path, plain, source=str(tmp_path / "none"), cuts=["ctc"])
    assert "no finished training there" in missing
    # the same where a stage starts without a plan's checks
    engine = make_engine(experiment, cuts, encoder_conf=two["encoder_conf"])
    with pytest.raises(ConfigError, match="attention_heads: the model has 1, not 2"):
        engine.run([1])
    # differently normalised features reach only new layers
    speaker = plain | {"normalize": "speaker_mvn"}
    assert refusal(experiment, tmp_path, speaker, **cuts) == ""
    told = refusal(experiment, tmp_path, speaker, **cuts, below="keep")
    assert "normalize: the model has utterance_mvn, not speaker_mvn" in told


# ---- options of stages are merged ------------------------------------------------------


def test_a_nested_block_keeps_what_is_not_changed():
    config = TrainConfig(decoder_conf=TINY_CONFIG["decoder_conf"])
    changed = override(config, {"decoder_conf": {"att_conf": {"aconv_filts": 50}}}, "here")
    assert changed.decoder_conf == {
        "hidden_size": 24, "dropout": 0.1,
        "att_conf": {"atype": "location", "adim": 16, "aconv_chans": 2, "aconv_filts": 50},
    }  # fmt: skip


def test_a_part_that_is_left_out_takes_its_block_along():
    config = TrainConfig(scheduler="steplr", scheduler_conf={"step_size": 3})
    assert override(config, {"scheduler": None}, "here").scheduler_conf == {}
    assert override(config, {"scheduler_conf": {"gamma": 0.5}}, "here").scheduler_conf == {
        "step_size": 3,
        "gamma": 0.5,
    }


def test_another_kind_takes_over_no_options_of_the_former_one():
    config = TrainConfig(
        optim="adam", optim_conf={"lr": 2e-3, "betas": [0.9, 0.98]},
        scheduler="warmuplr", scheduler_conf={"warmup_steps": 40},
    )  # fmt: skip
    assert override(config, {"optim": "sgd"}, "here").optim_conf == {}
    given = {"optim": "sgd", "optim_conf": {"momentum": 0.9}, "scheduler": "steplr"}
    changed = override(config, given | {"scheduler_conf": {"step_size": 3}}, "here")
    assert changed.optim_conf == {"momentum": 0.9} and changed.scheduler_conf == {"step_size": 3}
    # options of a single stage are merged with those that 'train' has given for the same kind
    later = override(changed, {"optim_conf": {"lr": 0.1}}, "here")
    assert later.optim_conf == {"momentum": 0.9, "lr": 0.1}
    # the same kind, in whatever case, keeps them
    for same in ({"optim": "adam", "scheduler": "WarmupLR"}, {"optim": "Adam", "max_epoch": 2}):
        kept = override(config, same, "here")
        assert (kept.optim_conf, kept.scheduler_conf) == (config.optim_conf, config.scheduler_conf)


def test_the_usual_kind_has_the_usual_options():
    """A language model's options are those published for its optimizer."""
    config = LMConfig(optim="sgd", optim_conf={"lr": 1.0})
    assert override(config, {"optim": "nt_asgd"}, "here").optim_conf == LMConfig().optim_conf
    assert override(LMConfig(), {"optim": "sgd"}, "here").optim_conf == {}


blocks = st.recursive(
    st.integers(-1000, 1000) | st.booleans() | st.none() | st.text(max_size=3),
    lambda values: st.dictionaries(st.sampled_from("abcd"), values, max_size=4),
    max_leaves=12,
)
nested = st.dictionaries(st.sampled_from("abcd"), blocks, max_size=4)


def leaves(block: dict, path: tuple = ()) -> dict[tuple, Any]:
    """Every value that is not a block, or an empty block, by its path."""
    found = {}
    for key, value in block.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, (*path, key))
        else:
            found[(*path, key)] = value
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nested, nested)
def test_a_change_sets_its_leaves_and_leaves_all_others(before: dict, changes: dict):
    config = TrainConfig(decoder_conf=before)
    after = leaves(override(config, {"decoder_conf": changes}, "here").decoder_conf)
    changed = leaves(changes)
    for path, value in changed.items():
        if value != {}:
            assert after[path] == value
    for path, value in leaves(before).items():
        touched = any(
            path[: len(each)] == each[: len(path)] for each in changed
        )
        if not touched:
            assert after[path] == value
    assert config.decoder_conf == before
