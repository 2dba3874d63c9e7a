"""Drives real scripts that source utils/parse_options.sh."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """#!/usr/bin/env bash
# Count the words of a corpus.
# Usage: count.sh [options]
# e.g.:  count.sh --nj 4
# shellcheck disable=SC2034
set -euo pipefail

# begin options
# Stages
stage=0                   # first stage to run
stop_stage=6              # last stage to run;
                          # stages begin at 0
# Jobs
nj=$(echo 2)              # number of jobs
cmd="run.pl # --mem 4G"   # how jobs are run
name=''                   # a name
value=v                   # a value
speed_perturb=false       # three speeds
# end options
%s
. "$ROOT/utils/parse_options.sh"
parse_options "$@"
printf '%%s\\0' "$stage" "$stop_stage" "$nj" "$cmd" "$name" "$value" "$speed_perturb" \\
  ${arguments[@]+"${arguments[@]}"}
"""
NAMES = ["stage", "stop_stage", "nj", "cmd", "name", "value", "speed_perturb"]
DEFAULTS = ["0", "6", "2", "run.pl # --mem 4G", "", "v", "false"]


@pytest.fixture
def script(tmp_path):
    def call(*arguments: str, before: str = "", text: str = SCRIPT, script_name: str = "count.sh"):
        path = tmp_path / script_name
        path.write_text(text % before if text is SCRIPT else text)
        return subprocess.run(
            ["bash", str(path), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "ROOT": str(ROOT)},
            timeout=20,
        )

    return call


def values(result) -> dict[str, str]:
    assert result.returncode == 0, result.stderr
    return dict(zip(NAMES, result.stdout.split("\0")[:-1], strict=True))


def error(result) -> str:
    assert result.returncode == 1
    assert result.stdout == ""
    return result.stderr


def test_without_options_the_defaults_hold(script):
    assert list(values(script()).values()) == DEFAULTS


@pytest.mark.parametrize(
    "given",
    [
        ["--stop-stage", "3"],
        ["--stop_stage", "3"],
        ["--stop-stage=3"],
        ["--stop_stage=3"],
        ["--stop-stage", "5", "--stop-stage", "3"],
    ],
)
def test_the_ways_to_write_an_option(script, given):
    assert values(script(*given)) == dict(zip(NAMES, DEFAULTS, strict=True)) | {"stop_stage": "3"}


@pytest.mark.parametrize(
    "literal",
    [
        "$(touch executed)",
        "`touch executed`",
        "a b  c",
        "it's \"quoted\"",
        "line one\nline two\n",
        "a=b=c",
        "*",
        "back\\slash %s",
        "-1",
        "$HOME",
        "'; touch executed; '",
        "",
    ],
)
@pytest.mark.parametrize("option", ["name", "value", "cmd"])
def test_values_are_taken_literally(script, tmp_path, literal, option):
    assert values(script(f"--{option}", literal))[option] == literal
    assert values(script(f"--{option}={literal}"))[option] == literal
    assert not (tmp_path / "executed").exists()


def test_an_option_name_is_never_evaluated(script, tmp_path):
    assert "unknown option" in error(script("--stage[$(touch executed)]", "3"))
    assert "unknown option" in error(script("--stage[$(touch executed)]=3"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("--stop-stge", "--stop-stage"), ("--stop", "--stop-stage"), ("--nk=3", "--nj")],
)
def test_an_unknown_option_names_the_nearest_and_help(script, given, nearest):
    message = error(script(given, "3"))
    assert f"unknown option {given.split('=')[0]}; did you mean {nearest}?" in message
    assert "count.sh --help" in message


def test_an_option_unlike_any_other_gets_no_suggestion(script):
    message = error(script("--xyzzy-plugh", "3"))
    assert "unknown option --xyzzy-plugh" in message
    assert "did you mean" not in message


def test_variables_that_are_no_options_cannot_be_set(script):
    assert "unknown option --path" in error(script("--path", "/tmp", before="path=/"))
    assert "unknown option --PATH" in error(script("--PATH", "/tmp"))


@pytest.mark.parametrize("given", [["--nj"], ["--nj", "--stage", "3"], ["--stage", "1", "--nj"]])
def test_a_missing_value_is_an_error(script, given):
    assert "option --nj needs a value" in error(script(*given))


def test_a_value_may_begin_with_dashes_after_an_equals_sign(script):
    assert values(script("--cmd=--mem"))["cmd"] == "--mem"


@pytest.mark.parametrize("given", [["data/train"], ["--nj", "3", "data/train"], ["--", "data/train"]])
def test_a_stray_argument_is_an_error(script, given):
    assert "unexpected argument 'data/train'" in error(script(*given))


def test_single_dash_options_are_errors(script):
    assert "unknown option -nj" in error(script("-nj", "3"))


def test_arguments_are_collected_where_the_script_wants_them(script):
    result = script(
        "a b", "--nj", "3", "c", "--", "--d", before='positional_usage="DIR..."'
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\0")[2] == "3"
    assert result.stdout.split("\0")[len(NAMES) : -1] == ["a b", "c", "--d"]


@pytest.mark.parametrize("wrong", ["yes", "1", "", "True"])
def test_booleans_take_true_or_false(script, wrong):
    assert values(script("--speed-perturb", "true"))["speed_perturb"] == "true"
    message = error(script("--speed-perturb", wrong))
    assert f"option --speed-perturb takes true or false, not '{wrong}'" in message


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_prints_usage_and_every_option(script, flag):
    result = script("--nj", "3", flag)
    assert result.returncode == 0
    assert result.stdout.startswith("Count the words of a corpus.\nUsage: count.sh [options]\n")
    assert "shellcheck" not in result.stdout
    lines = result.stdout.splitlines()
    assert " Stages" in lines
    assert any(
        line.startswith("  --stop-stage ")
        and line.endswith("last stage to run; stages begin at 0 (default: 6)")
        for line in lines
    )
    assert any(
        line.startswith("  --cmd ") and "(default: run.pl # --mem 4G)" in line for line in lines
    )
    for name in [*NAMES, "config", "help"]:
        assert any(line.startswith(f"  --{name.replace('_', '-')} ") for line in lines), name


def test_help_groups_options_by_file_and_shows_the_value_that_holds(script, tmp_path):
    (tmp_path / "shared.sh").write_text(
        "# begin options\nbeam=20  # beam width\nnj=99  # shadowed\n# end options\n"
    )
    before = 'option_files=("$0" shared.sh); . ./shared.sh; beam=5; nj=2'
    result = script("--help", before=before)
    assert result.returncode == 0
    own, shared = result.stdout.split("Options of shared.sh:")
    assert "--nj" in own and "--beam" not in own
    assert "--nj" not in shared and "beam width (default: 5)" in shared
    assert script("--beam", "7", before=before + "; trap 'echo \"$beam\" >&2' EXIT").stderr == "7\n"


def test_a_config_file_is_data(script, tmp_path):
    (tmp_path / "job.conf").write_text(
        "# a comment\n\nnj=7   # eight minus one\n--stop-stage 4\n--stage=1\r\n"
        "name=$(touch executed) `touch executed`\nvalue = 'x # y'\n".replace("value = ", "value=")
        + 'cmd="slurm.pl --time 1:0:0"'
    )
    found = values(script("--stage", "2", "--config", "job.conf"))
    assert found == {
        "stage": "2",
        "stop_stage": "4",
        "nj": "7",
        "name": "$(touch executed) `touch executed`",
        "value": "x # y",
        "cmd": "slurm.pl --time 1:0:0",
        "speed_perturb": "false",
    }
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stop_stge=3", "unknown option --stop_stge; did you mean --stop-stage?"),
        ("speed-perturb=maybe", "option --speed-perturb takes true or false, not 'maybe'"),
        ("touch executed", "expected 'name=value' or '--name value'"),
    ],
)
def test_config_errors_name_file_and_line(script, tmp_path, line, message):
    (tmp_path / "job.conf").write_text(f"nj=3\n{line}\n")
    assert f"job.conf:2: {message}" in error(script("--config", "job.conf"))
    assert not (tmp_path / "executed").exists()


def test_a_missing_config_file_is_an_error(script):
    assert "cannot read the file 'absent.conf'" in error(script("--config=absent.conf"))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("# begin options\necho hello\n# end options\n", "count.sh:2: expected 'name=value"),
        ("# begin options\na=1\n", "or '# end options'"),
        ("# begin options\nconfig=1\n# end options\n", "--config is taken"),
    ],
)
def test_a_malformed_option_block_is_an_error(script, block, message):
    text = block + '\n. "$ROOT/utils/parse_options.sh"\nparse_options "$@"\n'
    result = script(text=text)
    assert result.returncode == 1
    assert message in result.stderr


KALDI = """#!/bin/bash
nj=4
cmd=run.pl
stop_stage=3
verbose=false
help_message="Usage: train.sh [options] <data>\\n --nj <nj>"
. "$ROOT/utils/parse_options.sh" || exit 1;
if [ $# -gt 3 ]; then exit 2; fi
printf '%s\\0' "$nj" "$cmd" "$stop_stage" "$verbose" "$@"
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["4", "run.pl", "3", "false"]),
        (["--nj", "8"], ["8", "run.pl", "3", "false"]),
        (["--nj=8", "--stop-stage", "5", "data", "x y"], ["8", "run.pl", "5", "false", "data", "x y"]),
        (["--cmd", "queue.pl -l x", "d", "--nj", "2"], ["4", "queue.pl -l x", "3", "false", "d", "--nj", "2"]),
        (["--cmd", "--mem 4G"], ["4", "--mem 4G", "3", "false"]),
        (["--nj", "8", "--config", "c.conf", "d"], ["8", "run.pl", "6", "true", "d"]),
        (["--nj", "$(touch executed)"], ["$(touch executed)", "run.pl", "3", "false"]),
    ],
)
def test_kaldi_scripts_need_no_block(script, tmp_path, arguments, expected):
    (tmp_path / "c.conf").write_text("# of mine\nnj=2\n--stop-stage 6\nverbose=true\n")
    result = script(*arguments, text=KALDI)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\0")[:-1] == expected
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "8"], "unknown option --jobs"),
        (["--PATH", "/"], "unknown option --PATH"),
        (["--nj"], "option --nj needs a value"),
        (["--verbose", "yes"], "option --verbose takes true or false, not 'yes'"),
        (["--cmd", ""], "option --cmd is empty"),
        (["--config", "absent"], "cannot read the file 'absent'"),
    ],
)
def test_kaldi_scripts_refuse(script, arguments, message):
    assert message in error(script(*arguments, text=KALDI))


def test_help_of_kaldi_scripts(script):
    result = script("--help", text=KALDI)
    assert (result.returncode, result.stdout) == (0, "Usage: train.sh [options] <data>\n --nj <nj>\n")


BOUNDED = """#!/usr/bin/env bash
# begin options
nj=4       # 1.. jobs
gpus=      # 0..8 cards
# end options
. "$ROOT/utils/parse_options.sh"
parse_options "$@"
echo "$nj,$gpus"
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], "4,\n"), (["--nj", "4294967295", "--gpus=0"], "4294967295,0\n"), (["--gpus="], "4,\n")],
)
def test_whole_numbers_within_their_bounds(script, arguments, expected):
    result = script(*arguments, text=BOUNDED)
    assert (result.returncode, result.stdout) == (0, expected)


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        *[("nj", value, "1 or more") for value in ("08", "9" * 20, "4294967296", "0", "-1", "abc", "", "1.5", " 2", "a[$(touch executed)]")],
        ("gpus", "9", "0 to 8"),
    ],
)  # fmt: skip
def test_whole_numbers_out_of_bounds(script, tmp_path, name, value, bounds):
    message = error(script(f"--{name}={value}", text=BOUNDED))
    assert f"option --{name} '{value}': expected a whole number, {bounds}" in message
    (tmp_path / "job.conf").write_text(f"{name}='{value}'\n")
    assert "job.conf:1: option" in error(script("--config", "job.conf", text=BOUNDED))
    assert not (tmp_path / "executed").exists()


def test_help_does_not_show_how_bounds_are_written(script):
    assert "jobs (default: 4)" in script("--help", text=BOUNDED).stdout


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        *[("digits", f"--train-strings={value}", "option --train-strings") for value in ("abc", "-1", "")],
        ("digits", "--nj=08", "option --nj '08'"),
        ("digits", "--nj=99999999999999999999", "option --nj"),
        ("digits", "--processes=0", "option --processes"),
        ("digits", "--ngpu=-1", "option --ngpu"),
        ("digits", "--seeds=1,08", "--seeds 1,08"),
        ("digits", "--nodes=2", "--nodes 2 needs --cmd slurm"),
        *[("digits", f"--tag={value}", f"--tag {value}: ") for value in ("..", ".", "-x", "a/b", "a b")],
        *[("digits", f"--dumpdir={value}", "--dumpdir ") for value in ("..", "/", "data", "./exp/x", "a b", "")],
        *[("an4", f"--speed-perturb-factors={value}", "--speed-perturb-factors: ")
          for value in ("0", "90 110", "1.1x", "-1", "0.4", "2.1", "0.9 0.90", "*")],
        ("swbd", "--max-repeats=0", "option --max-repeats"),
        ("wikitext2", "--min-count=0", "option --min-count"),
    ],
)  # fmt: skip
def test_recipes_check_values_of_stages_that_are_skipped(recipe, arguments, message):
    result = subprocess.run(
        [str(ROOT / "egs" / recipe / "run.sh"), "--stage", "6", arguments],
        capture_output=True, text=True, timeout=20,
        env={**os.environ, "CASCADE_ASR_CHECK_OPTIONS": "true"},
    )  # fmt: skip
    assert result.returncode == 1 and message in result.stderr


def test_recipes_take_speeds_as_espnet_users_write_them():
    for factors in ("0.9 1.0 1.1", "0.9,1.1", "", "1", "0.90 2"):
        result = subprocess.run(
            [str(ROOT / "egs/an4/run.sh"), "--speed-perturb-factors", factors, "--dumpdir", "./dump2//"],
            capture_output=True, text=True, timeout=20,
            env={**os.environ, "CASCADE_ASR_CHECK_OPTIONS": "true"},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
