"""A stage is trained again as it was, and the plan is read from the experiment's folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import command, write_yaml
from tiny_corpus import TINY_CONFIG

CASCADE = {"cuts": ["decoder"]}
OPTIONS = [
    "--exp", "exp/a", "--dump", "dump", "--train-set", "train", "--dev-set", "dev",
    "--train-config", "train.yaml", "--cascade-config", "cascade.yaml", "--train-args",
    "max_epoch=1", "--seed", "5",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(dump, tmp_path_factory) -> Path:
    """A recipe's folder whose experiment exp/a has full training and stage 1."""
    folder = tmp_path_factory.mktemp("recipe")
    write_yaml(folder / "train.yaml", {**TINY_CONFIG, "max_epoch": 2})
    write_yaml(folder / "cascade.yaml", CASCADE)
    (folder / "dump").symlink_to(dump)
    for what in ("check", "full", "cascade"):
        resources = [] if what == "check" else ["--ngpu", "0"]
        done = command("cascade_asr.cli.training", what, *OPTIONS, *resources, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def recipe(trained, tmp_path) -> Path:
    """A copy in another place, as when a clone is moved."""
    return Path(shutil.copytree(trained, tmp_path / "moved", symlinks=True))


def redo(recipe: Path, *words: object, status: int = 0) -> str:
    done = command("cascade_asr.cli.main", "redo", *words, cwd=recipe)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_the_arguments_are_recorded(trained):
    content = json.loads((trained / "exp/a/arguments.json").read_text())
    assert content["train_args"] == "max_epoch=1" and content["seed"] == 5
    assert content["recipe"] == "../.." and content["cascade_stages"] == "all"
    assert (content["controls"], content["ngpu"]) == ("none", 0)


def test_the_plan_needs_only_the_experiment_from_wherever_it_is_asked(recipe, tmp_path):
    done = command("cascade_asr.cli.plan", "--exp", "exp/a", cwd=recipe)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done") == 2 and "done with other options" not in done.stdout
    other = command("cascade_asr.cli.main", "plan", "--exp", recipe / "exp/a", cwd=tmp_path)
    assert other.stdout.splitlines()[1:] == done.stdout.splitlines()[1:]
    # a given option counts, relative to where one is
    write_yaml(tmp_path / "own.yaml", {"cuts": ["decoder", "encoder.rnn1"]})
    given = command("cascade_asr.cli.plan", "--exp", recipe / "exp/a", "--cascade-config",
                    "own.yaml", cwd=tmp_path)  # fmt: skip
    assert given.returncode == 0 and "to do" in given.stdout, given.stderr


def test_a_probe_needs_only_the_experiment_too(recipe):
    done = command("cascade_asr.cli.main", "probe", "--exp", "exp/a", "--with", "random", "--ngpu", "0",
                   cwd=recipe)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" random ") >= 2 and "trained" in done.stdout


def test_looking_at_a_plan_leaves_the_features_of_finished_models_alone(recipe):
    """Their models are transcribed and exported with cmvn.npz and fbank.conf of the experiment."""
    dump = (recipe / "dump").resolve()
    (recipe / "dump").unlink()
    shutil.copytree(dump, recipe / "dump")
    shutil.copy(dump / "test/cmvn.npz", recipe / "dump/train/cmvn.npz")
    (recipe / "dump/train/fbank.conf").write_text("--num-mel-bins=8\n")
    names = ("cmvn.npz", "fbank.conf")
    (recipe / "exp/a/fbank.conf").write_text("--num-mel-bins=9\n")
    before = [(recipe / "exp/a" / name).read_bytes() for name in names]
    done = command("cascade_asr.cli.plan", "--exp", "exp/a", cwd=recipe)
    assert "done with other options" in done.stdout, done.stderr
    assert [(recipe / "exp/a" / name).read_bytes() for name in names] == before


def test_a_stage_is_trained_again_with_the_same_result_and_the_old_one_is_kept(recipe):
    stage = recipe / "exp/a/stage1"
    before = json.loads((stage / "done.json").read_text())
    plan = (recipe / "exp/a/plan.json").read_text()
    (recipe / "exp/a/plan.json").unlink()  # of an experiment for which stage 2 was done already
    text = redo(recipe.parent, stage)
    assert (recipe / "exp/a/plan.json").read_text() == plan
    assert "it is to be trained again; training again, the old one is now" in text
    assert (recipe / "exp/a/stage1.replaced.1/model.pth").is_file()
    after = json.loads((stage / "done.json").read_text())
    assert after["model_sha256"] == before["model_sha256"]
    assert after["digest"] == before["digest"]
    assert (recipe / "exp/a/log/redo.log").is_file()


def test_what_started_from_it_is_told_and_an_unfinished_stage_goes_on(recipe):
    text = redo(recipe, "exp/a/full/")
    assert "stage1 started from the old full: ./run.sh --stage 4 trains them again" in text
    assert (recipe / "exp/a/full.replaced.1/model.pth").is_file()
    (recipe / "exp/a/full/done.json").unlink()
    (recipe / "exp/a/full/lineage.json").unlink()
    (recipe / "exp/a/full/model.pth").unlink()
    redo(recipe, "exp/a/full")
    assert not (recipe / "exp/a/full.replaced.2").exists()


def test_a_stage_that_patience_would_leave_out_is_trained_if_asked_for(recipe):
    chain = {"cuts": ["decoder", "encoder.rnn1"], "train": {"optim_conf": {"lr": 1e-7}}}
    write_yaml(recipe / "cascade.yaml", chain)
    for what, resources in (("check", []), ("cascade", ["--ngpu", "0"])):
        done = command("cascade_asr.cli.training", what, *OPTIONS, *resources, cwd=recipe)
        assert done.returncode == 0, done.stderr
    write_yaml(recipe / "cascade.yaml", {**chain, "stop": "patience", "patience": 1})
    assert "it is to be trained again" in redo(recipe, "exp/a/stage2")
    assert (recipe / "exp/a/stage2/done.json").is_file()
    assert (recipe / "exp/a/stage2.replaced.1/done.json").is_file()


def test_a_mistake_leaves_everything_where_it_is(recipe):
    text = redo(recipe, "exp/a/stage1", "--ngpu", "99", status=1)
    assert "--ngpu 99: this machine has" in text
    assert (recipe / "exp/a/stage1/done.json").is_file()
    assert not list((recipe / "exp/a").glob("*.replaced.*"))
    assert "exp/a/stage9: no such training; name its folder" in redo(
        recipe, "exp/a/stage9", status=1
    )
    os.mkdir(recipe / "exp/a/stag2")
    assert "has no training 'stag2'; did you mean" in redo(recipe, "exp/a/stag2", status=1)
    (recipe / "exp/a/arguments.json").unlink()
    assert "the experiment's options are unknown; stage 2" in redo(
        recipe, "exp/a/stage1", status=1
    )


def test_it_may_only_be_set_aside(recipe):
    text = redo(recipe, "exp/a/stage1", "--aside-only")
    assert "is now stage1.replaced.1" in text
    assert not (recipe / "exp/a/stage1").exists()
