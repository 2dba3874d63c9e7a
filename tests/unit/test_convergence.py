"""When a training has converged: the definition, the schedules, what tables and reports say."""

from __future__ import annotations

import json
import math

import pytest
import torch
from test_library import OPTIONS, cascade_in
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.options.schema import from_mapping
from cascade_asr.options.training import TrainingOptions
from cascade_asr.results.convergence import convergence_sentences, how_many_converged
from cascade_asr.training.checks import check_training_options
from cascade_asr.training.convergence import judge_convergence
from cascade_asr.training.history import read_history
from cascade_asr.training.optimization import build_optimizer
from cascade_asr.training.schedules import Schedule
from cascade_asr.training.state import Position


def options(**content) -> TrainingOptions:
    return from_mapping(TrainingOptions, content, "train.yaml", {})


def wer_options(margin: float | None = 0.5, epochs: int = 2, mode: str = "min") -> TrainingOptions:
    criterion = ["valid", "wer_ctc", mode]
    return options(converged={"margin": margin, "epochs": epochs, "criterion": criterion})


@pytest.mark.parametrize(
    ("values", "after", "converged", "gain"),
    [
        ([20.0, 10.0, 9.6, 9.5], 2, True, 0.5),  # exactly the margin
        ([20.0, 10.0, 9.6, 9.4], 2, False, 0.6),
        ([20.0, 10.0, 9.4, 12.0], 2, False, 0.6),  # the best of the two counts, not the last
        ([9.0, 20.0, 12.0, 11.0], 2, True, -2.0),  # against the best of all before
        ([20.0, 10.0, 10.0, 10.0], 1, False, 0.0),  # only one epoch is after the schedule
        ([20.0, 10.0, 10.0, 10.0], 0, False, 0.0),
        ([10.0, 10.0, math.nan, math.nan], 2, False, None),  # it went astray
        ([10.0, 10.0, math.nan, 10.0], 2, True, 0.0),
        ([math.nan, math.nan, 5.0, 5.0], 2, False, None),
    ],
)
def test_the_definition(values, after, converged, gain):
    verdict = judge_convergence(wer_options(), values, after)
    assert (verdict.converged, verdict.metric, verdict.margin) == (converged, "wer_ctc", 0.5)
    assert verdict.gain == (gain if gain is None else pytest.approx(gain))
    json.dumps(verdict.record(), allow_nan=False)


def test_nothing_but_nan_has_not_converged():
    assert not judge_convergence(wer_options(), [math.nan] * 4, 4).converged


def test_too_few_epochs_are_no_proof():
    verdict = judge_convergence(wer_options(), [10.0, 10.0], 2)
    assert not verdict.converged and verdict.gain is None
    assert verdict.reason == "2 epochs are too few to compare the last 2 with"
    assert not judge_convergence(wer_options(), [], 0).converged


def test_more_may_be_better_and_the_margin_one_percent_of_the_best():
    config = wer_options(None, 1, "max")
    assert judge_convergence(config, [0.5, 0.8, 0.808], 1).converged
    verdict = judge_convergence(config, [0.5, 0.8, 0.809], 1)
    assert not verdict.converged and verdict.margin == pytest.approx(0.008)
    assert verdict.reason == "wer_ctc improved by 0.009 in the last 1 epochs, margin 0.008"


def test_what_ranks_epochs_is_watched_unless_another_metric_is_named():
    assert judge_convergence(options(), [1.0] * 4, 4).metric == "loss"


def ended_after(steps: int, when: str, optim: str = "sgd", **scheduler) -> list[bool]:
    """Whether the schedule has ended, at the start and after each step."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([weight], optim, {"lr": 1.0})
    name = scheduler.pop("scheduler", None)
    epochs = scheduler.pop("epochs", None)
    schedule = Schedule(optimizer, name, scheduler, 4, epochs)
    found = [schedule.ended]
    for _ in range(steps):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        schedule.after_update() if when == "update" else schedule.after_epoch(1.0)
        found.append(schedule.ended)
    return found


@pytest.mark.parametrize(
    ("when", "conf", "expected"),
    [
        ("epoch", {}, [True, True, True]),
        ("epoch", {"optim": "nt_asgd"}, [False, False, False]),  # it does not average yet
        ("update", {"scheduler": "onecyclelr"}, [False, False, False, False, True]),
        ("update", {"scheduler": "onecyclelr", "epochs": 1}, [False] * 4 + [True] * 5),
        ("update", {"scheduler": "warmuplr", "warmup_steps": 2}, [False, False, True, True]),
        ("update", {"scheduler": "noamlr", "warmup_steps": 2}, [False, False, True, True]),
        ("epoch", {"scheduler": "cosineannealinglr", "T_max": 2}, [False, False, True, True]),
        ("epoch", {"scheduler": "multisteplr", "milestones": [1, 2]}, [False, False, True]),
        ("epoch", {"scheduler": "exponentiallr", "gamma": 0.5}, [True, True]),
        ("epoch", {"scheduler": "exponentiallr", "gamma": 0.5, "epochs": 2},
         [False, False, True, True]),
        ("epoch", {"scheduler": "steplr", "step_size": 1}, [True, True]),
        ("epoch", {"scheduler": "reducelronplateau"}, [True, True]),
    ],
)  # fmt: skip
def test_when_schedules_end(when, conf, expected):
    assert ended_after(len(expected) - 1, when, **conf) == expected


def test_a_held_schedule_keeps_its_last_rate():
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], "sgd", {"lr": 1.0})
    schedule = Schedule(optimizer, "cosineannealinglr", {"T_max": 2}, 100, 2)
    rates = []
    for _ in range(4):
        optimizer.step()
        schedule.after_epoch(None)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.5, 0.0, 0.0, 0.0])  # without: up again to 0.5 and 1


def test_a_plateau_schedule_says_when_it_lowers_the_rate():
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], "sgd", {"lr": 1.0})
    schedule = Schedule(optimizer, "reducelronplateau", {"patience": 0, "factor": 0.5}, 100)
    assert [schedule.after_epoch(each) for each in (2.0, 1.0, 1.0, 0.5)] == [
        False, False, True, False,
    ]  # fmt: skip


CYCLE = OPTIONS | {
    "scheduler": "onecyclelr", "scheduler_conf": {"cycle_momentum": False}, "schedule_epochs": 3,
    "converged": {"margin": 100.0, "epochs": 2}, "log_interval": 1,
}  # fmt: skip


def lineage(cascade, name: str, file: str = "lineage.json") -> dict:
    return json.loads((cascade.directory / name / file).read_text())


def test_it_is_recorded_and_shown_in_every_row(tmp_path):
    cascade = cascade_in(tmp_path / "exp", training=CYCLE)
    cascade.run(controls="longer")
    for name in ("full", "stage1", "stage2"):
        verdict = lineage(cascade, name, "done.json")["convergence"]
        assert verdict["converged"] and verdict["epochs_after_schedule"] == 3  # of 6 epochs
        assert verdict == lineage(cascade, name)["convergence"]
    rates = [
        entry["lr"]
        for entry in read_history(cascade.directory / "full/history.jsonl")
        if entry["split"] == "train"
    ]
    per_epoch = len(rates) // 6
    assert len(set(rates[: 3 * per_epoch])) > 3 and len(set(rates[3 * per_epoch :])) == 1
    longer = cascade.plan.stage("longer1").config
    assert (longer.max_epoch, longer.schedule_epochs) == (18, 9)
    rows = [line for line in cascade.table().splitlines() if line.startswith("|")]
    assert rows[0].split("|")[-2].strip() == "converged?"
    assert [row.split("|")[-2].strip() for row in rows[2:]] == ["converged"] * 3
    assert "longer gains no more than the margin of 100" in cascade.table()
    cascade.report()
    markdown = (cascade.directory / "RESULTS.md").read_text()
    assert markdown.count(" converged ") >= 6  # three stages, three branches
    page = (cascade.directory / "report.html").read_text()
    assert "converged (accuracy " in page and "margin 100)" in page


def test_another_margin_is_no_other_training_unless_it_ends_it(tmp_path):
    first = cascade_in(tmp_path / "exp", training=CYCLE)
    assert first.plan.stage("full").config.digest() == (
        cascade_in(tmp_path / "exp", training=CYCLE | {"converged": {"margin": 0.1}})
        .plan.stage("full").config.digest()
    )  # fmt: skip
    stopping = CYCLE | {"converged": {"margin": 100.0, "epochs": 2, "stop": True}}
    cascade = cascade_in(tmp_path / "exp", training=stopping)
    assert first.plan.stage("full").config.digest() != cascade.plan.stage("full").config.digest()
    cascade.run(controls="longer,longer-early-stop")
    assert lineage(cascade, "full")["epochs"] == 5  # 3 of the schedule, 2 without a gain
    assert lineage(cascade, "longer1")["epochs"] == 18  # spends all of it
    assert lineage(cascade, "longer-early-stop1")["epochs"] == 11


def test_a_checkpoint_of_an_older_version_goes_on():
    position = Position(**{"epoch": 3, "batch": 0, "update": 9})
    assert position.watched == [] and not judge_convergence(options(), position.watched, 0).converged


def test_wrong_options():
    problems = check_training_options(options(max_epoch=3, schedule_epochs=4))
    assert problems == ["schedule_epochs is 4, expected max_epoch (3) or less"]
    with pytest.raises(ConfigError, match="converged.epochs is 0, expected 1 or more"):
        options(converged={"epochs": 0})
    with pytest.raises(ConfigError, match="unknown key 'converged.margn'; did you mean 'margin'"):
        options(converged={"margn": 1})


def verdict(converged: bool = True, margin: float = 0.5) -> dict:
    return {"converged": converged, "metric": "wer", "margin": margin, "reason": "because"}


def test_what_results_say():
    assert how_many_converged([True, True]) == "converged"
    assert how_many_converged([False]) == "not converged"
    assert how_many_converged([None, None]) == "-"
    assert how_many_converged([True, False, True]) == "2 of 3 converged"
    assert convergence_sentences([None], "wer", 1.0) == []
    assert convergence_sentences([verdict(False)], "wer", None) == [
        "Full training has not converged: because."
    ]
    assert convergence_sentences([verdict(), verdict(False)], "wer", None) == [
        "Full training has not converged (1 of 2 seeds)."
    ]
    assert convergence_sentences([verdict()], "wer", 0.6) == [
        "Full training has converged by its own epochs, but not compared with longer, which gains "
        "0.60, more than the margin of 0.5."
    ]
    assert convergence_sentences([verdict()], "wer", 0.5) == [
        "Full training has converged by its own epochs, and longer gains no more than the margin "
        "of 0.5."
    ]
    assert convergence_sentences([verdict()], "loss", 9.0) == [
        "Full training has converged by its own epochs, but not compared with longer, which gains "
        "9.00 of wer, more than the margin of 0.5."
    ]
    other = verdict() | {"metric": "loss"}
    assert convergence_sentences([verdict(), other], "wer", 9.0) == [
        "Full training has converged by its own epochs (2 of 2 seeds)."
    ]
