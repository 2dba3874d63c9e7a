"""Controls: equal compute, their own seeds, what each one freezes and starts from."""

from __future__ import annotations

import copy
import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import pytest
from test_cascade_plan import CONFIG, LAYERS, names

from cascade_asr.cascade.controls import Branch, available_controls, plan_branches
from cascade_asr.cascade.names import CONTROLS
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.overview import Cost, tree
from cascade_asr.cascade.plan import plan_cascade
from cascade_asr.speech.config import TrainConfig
from cascade_asr.training.schedules import SCHEDULERS, stretched

UPDATES_PER_EPOCH = 30


def branches(config: TrainConfig = CONFIG, **options) -> dict[str, Branch]:
    cascade = CascadeConfig(**{"cuts": ["ctc", "encoder.rnn1"]} | options)
    stages = plan_cascade(LAYERS, cascade, config)
    return plan_branches(stages, LAYERS, cascade, lambda each: UPDATES_PER_EPOCH)


def epochs(branch: Branch) -> list[int]:
    return [stage.config.max_epoch for stage in branch.own]


def test_every_control_is_a_branch_beside_the_cascade():
    plan = branches(dataclasses.replace(CONFIG, patience=3))
    assert list(plan) == ["cascade", *CONTROLS]
    assert [stage.name for stage in plan["cascade"].stages] == ["full", "stage1", "stage2"]
    full = plan["cascade"].stages[0]
    for branch in plan.values():
        assert branch.stages[0] is full
    folders = [stage.name for branch in plan.values() for stage in branch.own]
    assert len(set(folders)) == len(folders)


def test_longer_is_one_training_of_the_cascades_length():
    branch = branches(train={"max_epoch": 4})["longer"]  # 10 + 4 + 4
    assert epochs(branch) == [18] and not branch.with_full
    (stage,) = branch.own
    assert stage.frozen == () and stage.trained == tuple(LAYERS) and stage.source == ""


def test_the_plan_shows_another_optimizer_and_what_does_not_count():
    config = dataclasses.replace(CONFIG, scheduler="warmuplr", scheduler_conf={"warmup_steps": 40})
    train = {"optim": "sgd", "optim_conf": {"lr": 0.3}, "scheduler": None}
    plan = branches(config, train=train, stages={"2": {"optim": "adam"}})
    shown = tree(
        SimpleNamespace(stages=plan["cascade"].stages, branches=plan), ["cascade", "longer"],
        lambda stage: Cost(1, None), lambda name, stage: "to do", lambda stage: {},
    )  # fmt: skip
    kinds = [line.strip(" │") for line in shown if "optim: " in line or "scheduler: " in line]
    no_schedule = "scheduler: none instead of warmuplr, without scheduler_conf of full training"
    assert kinds == [
        "optim: sgd with lr 0.3 instead of adadelta, without optim_conf of full training",
        no_schedule,
        "optim: adam with its defaults instead of adadelta, without optim_conf of full training",
        no_schedule,
    ]


def test_longer_spends_its_whole_budget_and_a_second_control_keeps_patience():
    config = dataclasses.replace(
        CONFIG, patience=3, scheduler="multisteplr", scheduler_conf={"milestones": [4, 8]}
    )
    plan = branches(config, train={"max_epoch": 5})  # 10 + 5 + 5
    (longer,), (early,) = plan["longer"].own, plan["longer-early-stop"].own
    assert (longer.config.max_epoch, longer.config.patience) == (20, None)
    assert (early.config.max_epoch, early.config.patience) == (20, 3)
    assert early.name == "longer-early-stop1" and not plan["longer-early-stop"].with_full
    for stage in (longer, early):
        assert stage.config.scheduler_conf == {"milestones": [8, 16]}
    assert plan["cascade"].stages[0].config.scheduler_conf == {"milestones": [4, 8]}


STRETCHED = [  # by 9 / 5
    ("multisteplr", {"milestones": [5, 8], "gamma": 0.1}, {"milestones": [9, 14], "gamma": 0.1}),
    ("steplr", {"step_size": 3}, {"step_size": 5}),
    ("cosineannealinglr", {"T_max": 10, "eta_min": 0.1}, {"T_max": 18, "eta_min": 0.1}),
    ("onecyclelr", {"total_steps": 151}, {"total_steps": 272}),  # 271.8: never too few
    ("onecyclelr", {"epochs": 5, "steps_per_epoch": 30}, {"epochs": 9, "steps_per_epoch": 30}),
    ("onecyclelr", {"max_lr": 0.1}, {"max_lr": 0.1}),
    ("reducelronplateau", {"patience": 5}, {"patience": 9, "cooldown": 0}),
    ("ReduceLROnPlateau", {}, {"patience": 18, "cooldown": 0}),
    ("warmuplr", {"warmup_steps": 400}, {"warmup_steps": 400}),
    ("noamlr", {"model_size": 8, "warmup_steps": 4}, {"model_size": 8, "warmup_steps": 4}),
    ("epsdecay", {"factor": 0.01}, {"factor": 0.01}),
    (None, {}, {}),
]


@pytest.mark.parametrize(("name", "before", "after"), STRETCHED)
def test_a_schedule_is_stretched_by_its_rule(name: str | None, before: dict, after: dict):
    given = copy.deepcopy(before)
    assert stretched(name, before, Fraction(9, 5)) == after
    assert before == given


def test_an_exponential_decay_ends_where_it_would_have_ended():
    assert stretched("exponentiallr", {"gamma": 0.81}, Fraction(2))["gamma"] == pytest.approx(0.9)


def test_every_schedule_has_a_rule():
    assert {name for name, *_ in STRETCHED if name} >= set(SCHEDULERS) - {"exponentiallr"}


def test_longer_counts_updates_where_stages_have_other_batches():
    cascade = CascadeConfig(cuts=["ctc"], stages={"1": {"batch_size": 5, "max_epoch": 3}})
    stages = plan_cascade(LAYERS, cascade, CONFIG)
    plan = plan_branches(
        stages, LAYERS, cascade, lambda each: 100 if each.batch_size == 5 else UPDATES_PER_EPOCH
    )
    assert epochs(plan["longer"]) == [20]  # (10 * 30 + 3 * 100) / 30


def test_continue_trains_all_layers_from_where_they_are_as_long_as_the_stages():
    branch = branches(stages={"2": {"max_epoch": 7}})["continue"]
    assert epochs(branch) == [10, 7]
    for stage in branch.own:
        assert stage.frozen == () and stage.trained == tuple(LAYERS)
        assert not stage.is_reinitialised and stage.source == "previous"


def test_best_of_n_costs_at_least_what_the_cascade_costs():
    branch = branches(train={"max_epoch": 4})["best-of-n"]  # 18 / 10 epochs
    assert epochs(branch) == [10]
    branch = branches(train={"max_epoch": 6})["best-of-n"]  # 22 / 10 epochs
    assert epochs(branch) == [10, 10]
    assert all(stage.source == "" and stage.frozen == () for stage in branch.own)


def test_bottom_up_has_the_cuts_of_the_cascade_from_the_other_side():
    branch = branches()["bottom-up"]
    assert [(names(stage.frozen), names(stage.trained)) for stage in branch.own] == [
        (["conv1", "conv2", "rnn0"], ["rnn1", "classifier"]),
        (["conv1", "conv2", "rnn0", "rnn1"], ["classifier"]),
    ]
    assert all(stage.is_reinitialised for stage in branch.own)


def test_bottom_up_finetunes_where_the_cascade_does():
    branch = branches(finetune=True)["bottom-up"]
    assert [len(stage.frozen) for stage in branch.own] == [3, 4, 0]
    assert not branch.own[-1].is_reinitialised


def test_keep_and_random_top_change_one_option_each():
    plan = branches()
    for stage, kept, random in zip(
        plan["cascade"].own, plan["keep"].own, plan["random-top"].own, strict=True
    ):
        assert stage.frozen == kept.frozen == random.frozen
        assert (stage.is_reinitialised, kept.is_reinitialised, random.is_reinitialised) == (True, False, True)
        assert (stage.is_random_frozen, kept.is_random_frozen, random.is_random_frozen) == (False, False, True)


def test_every_training_has_a_seed_of_its_own():
    plan = branches()
    seeds = [stage.seed for branch in plan.values() for stage in branch.own]
    seeds.append(CONFIG.seed)
    assert len(set(seeds)) == len(seeds)
    for branch in plan.values():
        assert all(stage.config.seed == stage.seed for stage in branch.stages)
    again = [stage.seed for branch in branches().values() for stage in branch.own]
    assert again == seeds[:-1]


def test_the_cascade_is_not_its_own_control():
    foil = branches(direction="bottom-up", cuts=["encoder.conv1"])
    assert "bottom-up" not in foil and "keep" in foil
    assert "keep" not in available_controls(CascadeConfig(below="keep"))
    assert available_controls(CascadeConfig()) == list(CONTROLS)
    finetuning = branches(cuts=[], finetune=True)  # all layers from their current weights
    assert list(finetuning) == ["cascade", "longer", "best-of-n"]
    assert "longer-early-stop" not in branches()  # it would be longer again
    without_patience = available_controls(CascadeConfig(), CONFIG)
    assert without_patience == [name for name in CONTROLS if name != "longer-early-stop"]
    patient = dataclasses.replace(CONFIG, patience=2)
    assert available_controls(CascadeConfig(), patient) == list(CONTROLS)
