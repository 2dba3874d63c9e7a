"""``--train-args``: options that override the YAML file, typed, recorded, and named in errors."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, command, write_yaml
from tiny_corpus import TINY_CONFIG

from cascade_asr.errors import ConfigError
from cascade_asr.jobs.tasks import with_devices
from cascade_asr.options.assignments import Assignments
from cascade_asr.recipe.task_arguments import add_task_arguments, make_task, read_configs
from cascade_asr.training.identity import identity_digest
from cascade_asr.yaml_file import read_yaml


def put(content: dict, text: str) -> dict:
    return Assignments.parse(text).put_into(content)


def read(tmp_path: Path, text: str, *words: str):
    """The training configuration that the options give."""
    parser = argparse.ArgumentParser()
    add_task_arguments(parser)
    config = write_yaml(tmp_path / "train.yaml", TINY_CONFIG)
    arguments = parser.parse_args(
        ["--exp", "exp", "--dump", "dump", "--train-set", "train", "--dev-set", "dev",
         "--train-config", str(config), "--train-args", text, *words]
    )  # fmt: skip
    return read_configs(make_task(arguments), arguments)[0]


def test_values_are_yaml_and_go_over_the_file_block_by_block(tmp_path):
    config = read(
        tmp_path,
        "optim_conf.lr=3e-3 max_epoch=10 scheduler=warmuplr scheduler_conf.warmup_steps=7 "
        'patience=null best_model_criterion="[[valid, acc, max]]" model_conf.ctc_weight=0.3',
    )
    assert config.optim_conf == {"lr": 0.003} and config.max_epoch == 10
    assert config.scheduler_conf == {"warmup_steps": 7} and config.patience is None
    assert config.best_model_criterion == [["valid", "acc", "max"]]
    assert config.model_conf.ctc_weight == 0.3
    assert config.encoder_conf == TINY_CONFIG["encoder_conf"]  # the others stay


def test_a_block_is_made_where_the_file_has_none_and_the_content_is_not_changed():
    content = {"optim_conf": {"lr": 1.0}, "scheduler": "warmuplr", "scheduler_conf": {"a": 1}}
    assert put(content, "decoder_conf.att_conf.adim=8")["decoder_conf"] == {"att_conf": {"adim": 8}}
    assert put(content, "scheduler=null") == {"optim_conf": {"lr": 1.0}, "scheduler": None}
    assert put(content, "optim_conf.lr=2")["optim_conf"] == {"lr": 2}
    assert content["optim_conf"] == {"lr": 1.0}
    assert put(content, "") == content and not Assignments.parse(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_epohc=3", "--train-args max_epohc=3: unknown key 'max_epohc'; did you mean 'max_epoch'?"),
        ("max_epoch=ten", "--train-args max_epoch=ten: 'max_epoch' expects "),
        ("max_epoch=0", "--train-args max_epoch=0: max_epoch is 0, expected 1 or more"),
        ("optim_conf.lr=fast", "--train-args optim_conf.lr=fast: "),
        ("optim_conf.lrr=1", "--train-args optim_conf.lrr=1: "),
        ("encoder_conf.hidden_sise=9", "--train-args encoder_conf.hidden_sise=9: "),
        ("optim=adamm", "--train-args optim=adamm: "),
        ("max_epoch.x=1", "--train-args max_epoch.x=1: max_epoch is 2, not a block of options"),
        ("max_epoch", "--train-args: expected KEY=VALUE such as optim_conf.lr=3e-3, found 'max_epoch'"),
        ("--max_epoch 3", "--train-args: expected KEY=VALUE such as optim_conf.lr=3e-3, found '--max"),
        ("a..b=3", "found 'a..b=3'"),
        ("=3", "found '=3'"),
        ("max_epoch=3 max_epoch=4", "--train-args max_epoch=4: max_epoch is also given as max_epoch=3"),
        ("max_epoch=[3", "--train-args max_epoch=[3: not YAML: "),
        ("max_epoch='3", "No closing quotation"),
        ("optim_conf.lr=.nan", "--train-args optim_conf.lr=.nan: "),
        ("init=2024-02-31", "--train-args init=2024-02-31: "),
    ],
)  # fmt: skip
def test_an_error_names_the_argument_and_not_a_line_of_the_file(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "train.yaml:" not in str(caught.value)


def test_an_error_about_the_file_still_names_its_line(tmp_path):
    path = write_yaml(tmp_path / "own.yaml", {**TINY_CONFIG, "optimm": "adam"})
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "max_epoch=0", "--train-config", str(path))
    first, second = sorted(str(caught.value).splitlines())
    assert first.startswith("--train-args max_epoch=0: ")
    assert second.startswith(f"{path}:") and "unknown key 'optimm'" in second


def test_two_seeds_are_an_error(tmp_path):
    assert read(tmp_path, "seed=5").seed == 5
    with pytest.raises(ConfigError, match="--train-args seed=5 and --seed 4: give one of them"):
        read(tmp_path, "seed=5", "--seed", "4")


def test_a_job_on_slurm_takes_them_along():
    given = "--train-args=optim_conf.lr=3e-3 max_epoch=10"
    words, _ = with_devices(["--dump", "dump", given, "--ngpu", "0"], {})
    assert words == ["--dump", "dump", given, "--ngpu", "0"]


def test_a_training_records_them_and_is_the_same_as_with_a_file_that_says_so(dump, tmp_path):
    def train(config: dict, *words: str) -> subprocess.CompletedProcess:
        path = write_yaml(tmp_path / "train.yaml", config)
        return command(
            "cascade_asr.cli.training", "full", "--exp", tmp_path / "exp", "--dump", dump,
            "--train-set", "train", "--dev-set", "dev", "--train-config", path, "--ngpu", "0",
            *words,
        )  # fmt: skip

    done = train(TINY_CONFIG, "--train-args", "optim_conf.lr=3e-3 max_epoch=1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "exp/full"
    config, _ = read_yaml(folder / "config.yaml")
    assert (config["max_epoch"], config["optim_conf"]["lr"]) == (1, 0.003)
    first = (folder / "config.yaml").read_text().splitlines()[0]
    assert first == "# --train-args optim_conf.lr=3e-3 max_epoch=1"
    identity = json.loads((folder / "identity.json").read_text())
    assert identity["train_args"] == "optim_conf.lr=3e-3 max_epoch=1"
    assert identity["options"]["optim_conf"]["lr"] == 0.003
    without = {key: value for key, value in identity.items() if key != "train_args"}
    assert identity_digest(identity) == identity_digest(without)
    same = train({**TINY_CONFIG, "max_epoch": 1, "optim_conf": {"lr": 0.003}})
    assert same.returncode == 0 and "already done" in same.stderr
    other = train(TINY_CONFIG, "--train-args", "optim_conf.lr=1e-3 max_epoch=1")
    assert "options changed (optim_conf.lr: 0.003 -> 0.001)" in other.stderr


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("optim_conf.lr=3e-3 max_epoch=10", "train_optim_conf.lr3e-3_max_epoch10"),
        ("", "train"),
    ],
)
def test_the_experiment_is_named_after_them_and_a_recipe_passes_them_on(tmp_path, given, name):
    script = f"""
      set -euo pipefail
      cd {ROOT}/egs/digits
      . ./path.sh
      train_set=train dev_set=dev test_sets=test
      . {ROOT}/utils/asr.sh
      read_options --train-args={given!r}
      echo "$tag"; with_task_options printf "%s\\n"
    """
    done = subprocess.run(["bash", "-c", script, "./run.sh"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == name
    assert (f"--train-args={given}" in lines) == bool(given)


def test_a_recipe_refuses_what_is_no_assignment_at_once():
    done = subprocess.run(
        [ROOT / "egs/digits/run.sh", "--train-args", "max_epoch 3"],
        cwd=ROOT / "egs/digits", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "--train-args max_epoch 3: expected KEY=VALUE" in done.stderr
