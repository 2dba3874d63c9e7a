"""What a training will do is tried beforehand: networks, optimizers and schedules."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from conftest import write_yaml
from tiny_corpus import TINY_CONFIG

from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.planning import make_plan
from cascade_asr.cascade.trial import try_networks
from cascade_asr.errors import ConfigError
from cascade_asr.options.places import located_errors
from cascade_asr.recipe.task_arguments import make_task, read_configs
from cascade_asr.speech.build import check_config
from cascade_asr.speech.config import TrainConfig
from cascade_asr.training.optimization import (
    OPTIMIZERS,
    build_optimizer,
    check_optimization,
)
from cascade_asr.training.schedules import SCHEDULERS
from cascade_asr.training.trial import try_schedule

BLOCKS = {"output_size": 16, "attention_heads": 2, "num_blocks": 1, "linear_units": 8}


def tried(folder: Path, dump: Path, **changes) -> None:
    """What ``cli.training check`` does after reading its options."""
    path = write_yaml(folder / "train.yaml", TINY_CONFIG | changes)
    arguments = argparse.Namespace(
        task="speech", exp=folder / "exp", dump=dump, train_set="train", dev_set="dev",
        train_config=path, cascade_config=None, train_args="", seed=None,
    )  # fmt: skip
    task = make_task(arguments)
    config, _ = read_configs(task, arguments)
    task.adopt()
    with located_errors(str(path)):
        plan = make_plan(task, config, CascadeConfig())
    try_networks(task, plan, str(path))


def refusal(folder: Path, dump: Path, **changes) -> str:
    with pytest.raises(ConfigError) as caught:
        tried(folder, dump, **changes)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"encoder": "conformer", "encoder_conf": BLOCKS | {"input_layer": "linear"}},
        {"scheduler": "warmuplr", "specaug": "specaug", "specaug_conf": {
            "time_mask_width_range": [0, 5]}},
        {"model_conf": {"ctc_weight": 1.0}},
    ],
)  # fmt: skip
def test_networks_that_train_are_let_through(changes: dict, dump: Path, tmp_path: Path) -> None:
    tried(tmp_path, dump, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder": "conformer", "encoder_conf": BLOCKS | {"input_layer": "conv2d8"}},
            "encoder_conf: ",  # eight features are too narrow for it
        ),
        (
            {"encoder": "transformer", "encoder_conf": BLOCKS | {"input_layer": "wav2vec"}},
            "encoder_conf: a trial step fails with these values: RuntimeError",
        ),
        (
            {"encoder": "conformer", "encoder_conf": BLOCKS | {"input_layer": None}},
            "encoder_conf: a trial step fails with these values: RuntimeError",
        ),
        (
            {"decoder": "transformer", "decoder_conf": {"attention_heads": 5}},
            "decoder_conf: ",
        ),
        ({"encoder": "vgg_rnn", "encoder_conf": {"in_channel": 3}}, "encoder_conf: "),
    ],
)
def test_what_does_not_train_is_told_with_file_line_and_block(
    changes: dict, message: str, dump: Path, tmp_path: Path
) -> None:
    text = refusal(tmp_path, dump, **changes)
    place, _, rest = text.partition(": ")
    assert place.startswith("train.yaml:") and place[11:].isdigit() and int(place[11:]) > 0, text
    assert rest.startswith(message), text


# values of each option beside its default; what an optimizer's own test cannot run here is left out
OPTIMIZER_VALUES = {
    "lr": [0.0, 0.1, 1], "rho": [0.95], "eps": [1e-8], "weight_decay": [0, 0.01],
    "lr_decay": [0.1], "initial_accumulator_value": [0.1], "betas": [[0.9, 0.98]],
    "amsgrad": [True], "decoupled_weight_decay": [True], "lambd": [1e-3], "alpha": [0.7],
    "t0": [1000], "momentum": [0.9], "centered": [True], "etas": [[0.4, 1.3]],
    "step_sizes": [[1e-5, 10]], "dampening": [0.1], "nesterov": [False], "maximize": [True],
    "foreach": [None, False], "fused": [None, False], "capturable": [False],
    "differentiable": [False], "nonmonotone_interval": [3], "average_from_start": [True],
}  # fmt: skip
SCHEDULER_VALUES = {
    "cosineannealinglr": {"T_max": 10, "eta_min": 1e-6, "last_epoch": -1},
    "epsdecay": {"factor": 0.1, "mode": "max", "restore": False},
    "exponentiallr": {"gamma": 0.9, "last_epoch": -1},
    "multisteplr": {"milestones": [2, 5], "gamma": 0.5, "last_epoch": -1},
    "noamlr": {"model_size": 256, "warmup_steps": 100, "last_epoch": -1},
    "onecyclelr": {"max_lr": 0.1, "pct_start": 0.3, "anneal_strategy": "linear",
                   "cycle_momentum": True, "base_momentum": 0.8, "max_momentum": 0.9,
                   "div_factor": 10.0, "final_div_factor": 100, "three_phase": True,
                   "total_steps": 5000, "epochs": 50, "steps_per_epoch": 100, "last_epoch": -1},
    "reducelronplateau": {"mode": "max", "factor": 0.5, "patience": 1, "threshold": 0.001,
                          "threshold_mode": "abs", "cooldown": 1, "min_lr": 1e-6, "eps": 1e-9},
    "steplr": {"step_size": 3, "gamma": 0.5, "last_epoch": -1},
    "warmuplr": {"warmup_steps": 25000, "last_epoch": -1},
}  # fmt: skip
REQUIRED = {"cosineannealinglr": ["T_max"], "exponentiallr": ["gamma"],
            "multisteplr": ["milestones"], "steplr": ["step_size"]}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_option_of_every_optimizer_is_taken(name: str) -> None:
    from cascade_asr.options.signatures import constructor_signature

    options = set(constructor_signature(OPTIMIZERS[name])) - {"params"}
    assert options <= set(OPTIMIZER_VALUES)
    for option in options:
        for value in OPTIMIZER_VALUES[option]:
            assert check_optimization(name, {option: value}, None, {}) == []
    assert build_optimizer([__import__("torch").nn.Parameter()], name, {"lr": 0.5})


def test_options_left_out_are_espnet2s() -> None:
    import torch
    from espnet2.optimizers.sgd import SGD

    weight = torch.nn.Parameter(torch.zeros(1))
    for given in ({}, {"momentum": 0.5}, {"lr": 0.3}):
        own, theirs = build_optimizer([weight], "SGD", given), SGD([weight], **given)
        assert own.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_option_of_every_schedule_is_taken(name: str) -> None:
    from cascade_asr.options.signatures import constructor_signature

    values = SCHEDULER_VALUES[name]
    assert set(constructor_signature(SCHEDULERS[name][0])) - {"optimizer"} == set(values)
    required = {key: values[key] for key in REQUIRED.get(name, [])}
    optim = "adadelta" if name == "epsdecay" else "adam"
    for option, value in values.items():
        conf = required | {option: value}
        if option in ("epochs", "steps_per_epoch"):
            conf |= {"epochs": 50, "steps_per_epoch": 100}
        assert check_optimization(optim, {}, name, conf) == [], option
        try_schedule(TrainConfig(optim=optim, scheduler=name, scheduler_conf=conf), 40, "t.yaml")


@pytest.mark.parametrize(
    ("scheduler", "conf", "message"),
    [
        ("multisteplr", {"milestones": 3}, "scheduler_conf.milestones: expected a list, each a"),
        ("multisteplr", {"milestones": [-1]}, "milestones is [-1], expected 0 or more"),
        ("multisteplr", {"milestones": ["a"]}, "scheduler_conf.milestones: expected a list"),
        ("steplr", {"step_size": 0}, "scheduler_conf.step_size is 0, expected 1 or more"),
        ("cosineannealinglr", {"T_max": 0}, "scheduler_conf.T_max is 0, expected 1 or more"),
        ("warmuplr", {"warmup_steps": 0}, "scheduler_conf.warmup_steps is 0, expected 1 or more"),
        ("noamlr", {"model_size": 0}, "scheduler_conf.model_size is 0, expected 1 or more"),
        ("steplr", {"step_size": 3, "last_epoch": 4}, "scheduler_conf.last_epoch is 4"),
        ("reducelronplateau", {"mode": "up"}, "expected min or max, got 'up'"),
        ("onecyclelr", {"pct_start": 2.0}, "scheduler_conf.pct_start is 2.0, expected 0 to 1"),
        ("exponentiallr", {}, "scheduler_conf.gamma: missing"),
    ],
)
def test_schedules_that_cannot_be(scheduler: str, conf: dict, message: str) -> None:
    config = TrainConfig(optim="adam", scheduler=scheduler, scheduler_conf=conf)
    with pytest.raises(ConfigError) as caught:
        check_config(config, "train.yaml")
    assert message in str(caught.value)


def test_a_schedule_that_ends_before_the_training_is_refused() -> None:
    config = TrainConfig(
        optim="adam", scheduler="onecyclelr", scheduler_conf={"max_lr": 0.1, "total_steps": 20}
    )
    try_schedule(config, 20, "train.yaml")
    with pytest.raises(
        ConfigError, match="the 21 updates of this training: it ends after 20 updates"
    ):
        try_schedule(config, 21, "train.yaml")


def test_a_schedule_either_makes_few_updates_or_says_that_it_cannot() -> None:
    for updates in range(1, 12):
        for start in (0.1, 0.2, 0.25, 0.5, 1.0):
            config = TrainConfig(
                optim="adam", scheduler="onecyclelr",
                scheduler_conf={"max_lr": 0.1, "pct_start": start},
            )  # fmt: skip
            try:
                try_schedule(config, updates, "train.yaml")
            except ConfigError as error:
                assert f"for the {updates} updates of this training" in str(error)
