"""Drives utils/run.pl, the local runner of jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

RUN_PL = Path(__file__).resolve().parents[2] / "utils" / "run.pl"


@pytest.fixture
def run(tmp_path):
    def call(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(RUN_PL), *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=30
        )

    return call


def output(log: Path) -> str:
    """A log without its frame of comment lines."""
    return "".join(line for line in log.read_text().splitlines(True) if line[:1] != "#")


def test_one_command_without_a_range(run, tmp_path):
    result = run("log/deep/er/one.log", "echo", "hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lines = (tmp_path / "log/deep/er/one.log").read_text().splitlines()
    assert lines[0] == "# echo hello"
    assert lines[1].startswith("# Started at 20") and os.uname().nodename in lines[1]
    assert lines[3] == "hello"
    assert lines[-1].startswith("# Ended (code 0) at 20")


def test_the_job_number_goes_into_log_and_command(run, tmp_path):
    assert run("JOB=2:4", "log/x.JOB.log", "echo", "job-JOB of JOBs").returncode == 0
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "x.2.log", "x.3.log", "x.4.log",
    ]  # fmt: skip
    assert output(tmp_path / "log/x.3.log") == "job-3 of 3s\n"


def test_another_word_than_job_and_a_single_number(run, tmp_path):
    assert run("SPLIT=7", "x.SPLIT.log", "echo", "SPLIT", "JOB").returncode == 0
    assert output(tmp_path / "x.7.log") == "7 JOB\n"


def test_arguments_reach_the_command_intact(run, tmp_path):
    words = ["a  b", "it's", '"q"', "$HOME", "`id`", "a|b", "*", "", "two\nlines", "\\", "<unk>",
             "ark:gunzip -c x |", "VAR=x", "a&&b", "->", "x; y"]
    assert run("x.log", "printf", "[%s]", *words).returncode == 0
    found = (tmp_path / "x.log").read_text().split("#\n", 1)[1].rsplit("# Ended")[0]
    assert found == "".join(f"[{word}]" for word in words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["echo", "a", ";", "echo", "b"], "a\nb\n"),
        (["echo", "a;", "echo", "b"], "a\nb\n"),
        (["echo", "b c", "|", "tr", "b", "$"], "$ c\n"),
        (["true", "&&", "echo", "$HOME"], "$HOME\n"),
        (["false", "||", "echo", "*"], "*\n"),
        (["echo", "x y", ">", "out file", ";", "cat", "out file"], "x y\n"),
        (["echo", "x", ">out", ";", "cat", "<", "out"], "x\n"),
        (["ls", "absent", "2>/dev/null", "||", "echo", "none"], "none\n"),
        (["VAR=a b", "bash", "-c", "echo $VAR"], "a b\n"),
        (["echo", "a", "|", "VAR=x", "bash", "-c", "cat; echo $VAR"], "a\nx\n"),
        (["(", "echo", "a", ";", "echo", "b", ")", "|", "wc", "-l"], "2\n"),
        (["cd", "/", "&&", "pwd"], "/\n"),
        (["echo", "a", "2>&1"], "a\n"),
        (["!", "false"], ""),
    ],
)
def test_operators_are_those_of_bash(run, tmp_path, words, expected):
    result = run("x.log", *words)
    assert result.returncode == 0, result.stderr
    assert output(tmp_path / "x.log") == expected


def test_the_status_of_a_pipe_is_that_of_its_failing_part(run):
    assert run("x.log", "false", "|", "cat").returncode == 1
    assert run("x.log", "true", "&&", "false").returncode == 1


def test_options_of_grid_engine_are_accepted(run, tmp_path):
    options = "-V -tc 2 -l mem_free=4G,ram_free=4G -q all.q -pe smp 2 -sync y".split()
    result = run(*options, "JOB=1:2", "x.JOB.log", "echo", "JOB")
    assert (result.returncode, result.stderr) == (0, "")
    assert output(tmp_path / "x.2.log") == "2\n"


def test_the_command_in_the_log_can_be_pasted_into_a_shell(run, tmp_path):
    run("x.log", "printf", "[%s]", "a  b", "it's", "$HOME")
    command = (tmp_path / "x.log").read_text().splitlines()[0].removeprefix("# ")
    assert subprocess.check_output(["bash", "-c", command], text=True) == "[a  b][it's][$HOME]"


def test_a_single_word_is_run_by_bash_with_pipefail(run, tmp_path):
    assert run("x.log", "echo one two | wc -w").returncode == 0
    assert output(tmp_path / "x.log").strip() == "2"
    assert run("x.log", "false | cat").returncode == 1


def test_stdout_and_stderr_go_to_the_log_in_order(run, tmp_path):
    run("x.log", "echo a; echo b >&2; echo c")
    assert output(tmp_path / "x.log") == "a\nb\nc\n"


def test_a_failure_names_job_and_log_and_shows_its_end(run, tmp_path):
    result = run("JOB=1:4", "x.JOB.log", "echo cause JOB; [ $((JOB % 2)) = 1 ] || exit 3")
    assert result.returncode == 1
    assert "2 of 4 jobs failed: 2, 4; the last lines of x.2.log:" in result.stderr
    assert "cause 2" in result.stderr and "cause 4" not in result.stderr
    assert (tmp_path / "x.2.log").read_text().splitlines()[-1].startswith("# Ended (code 3)")
    assert (tmp_path / "x.3.log").read_text().splitlines()[-1].startswith("# Ended (code 0)")


def test_only_the_last_lines_of_a_long_log_are_shown(run):
    result = run("x.log", "seq 1000 1999; false")
    assert "  1999\n" in result.stderr and "1980" not in result.stderr


def test_a_command_that_does_not_exist(run, tmp_path):
    result = run("x.log", "no-such-command", "argument")
    assert result.returncode == 1
    assert "cannot run no-such-command: No such file" in result.stderr
    assert "(code 127)" in (tmp_path / "x.log").read_text()


def test_a_job_killed_by_a_signal_has_failed(run, tmp_path):
    assert run("x.log", "kill -9 $$").returncode == 1
    assert "(code 137, killed by signal 9)" in (tmp_path / "x.log").read_text()


def test_no_more_jobs_at_a_time_than_allowed(run, tmp_path):
    command = "echo begin >>order; sleep 0.1; echo end >>order"
    assert run("--max-jobs-run", "1", "JOB=1:3", "x.JOB.log", command).returncode == 0
    assert (tmp_path / "order").read_text() == "begin\nend\n" * 3


def test_jobs_run_in_parallel(run, tmp_path):
    # Each job waits for the other one, so that they only end when both run.
    command = "touch here.JOB; until [ -e here.$((3 - JOB)) ]; do sleep 0.02; done"
    assert run("--max-jobs-run=2", "JOB=1:2", "x.JOB.log", command).returncode == 0


def test_options_of_clusters_are_accepted(run):
    options = "--mem 4G --num-threads 2 --gpu 1 --time 1:00:00 --config conf/slurm.conf".split()
    result = run(*options, "x.log", "true")
    assert (result.returncode, result.stderr) == (0, "")


def test_an_option_it_does_not_have_is_told(run):
    result = run("--partition", "short", "x.log", "true")
    assert result.returncode == 0
    assert "ignoring the option --partition short" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "LOG COMMAND"),
        (["x.log"], "LOG COMMAND"),
        (["--mem"], "option --mem needs a value"),
        (["--max-jobs-run", "none", "x.log", "true"], "--max-jobs-run takes a positive number"),
        (["--max-jobs-run", "0", "x.log", "true"], "--max-jobs-run takes a positive number"),
        (["-x", "x.log", "true"], "unknown option -x"),
        (["JOB=3:1", "x.JOB.log", "true"], "empty range of jobs: JOB=3:1"),
        (["JOB=0:2", "x.JOB.log", "true"], "JOB=0:2: job numbers begin at 1"),
        (["-tc", "none", "x.log", "true"], "--max-jobs-run takes a positive number"),
        (["JOB=1:2", "x.log", "true"], "would share the log x.log"),
        (["/proc/no/x.log", "true"], "cannot write the log /proc/no/x.log"),
    ],
)
def test_wrong_calls(run, arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr


def test_a_log_that_cannot_be_written_ends_the_jobs_already_running(run, tmp_path):
    (tmp_path / "x.2.log").mkdir()
    result = run("--max-jobs-run", "2", "JOB=1:2", "x.JOB.log", "echo $$ >id.new; mv id.new id; sleep 60")
    assert result.returncode == 1
    assert "cannot write the log x.2.log: Is a directory; ending 1 running job(s)" in result.stderr
    assert not (tmp_path / "id").exists() or not alive(int((tmp_path / "id").read_text()))


def test_help(run):
    result = run("--help")
    assert result.returncode == 0
    assert "Usage: run.pl [options] [JOB=FIRST:LAST] LOG COMMAND" in result.stdout


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("impatient", [False, True])
def test_jobs_may_be_given_time_to_save_and_a_second_signal_ends_them(tmp_path, impatient):
    """Trainings side by side were killed three seconds after Ctrl-C, in the middle of an update."""
    wait = 60 if impatient else 3.2
    command = f"trap 'sleep {wait}; touch saved; exit 85' TERM; touch begun; while :; do sleep 0.1; done"
    runner = subprocess.Popen(
        [str(RUN_PL), "x.log", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"RUN_PL_SECONDS_TO_FINISH": "30"},
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    runner.send_signal(signal.SIGINT)
    assert "may take up to 30 s to save" in runner.stderr.readline()
    if impatient:
        runner.send_signal(signal.SIGINT)
    runner.communicate(timeout=20)
    assert runner.returncode == 130
    assert (tmp_path / "saved").exists() != impatient


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_stopping_ends_all_jobs_and_what_they_started(tmp_path, stop, trap):
    command = f"{trap}sleep 60 & echo $! $$ >ids.JOB; wait; sleep 60"
    runner = subprocess.Popen(
        [str(RUN_PL), "--max-jobs-run", "2", "JOB=1:3", "x.JOB.log", command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    files = [tmp_path / "ids.1", tmp_path / "ids.2"]
    deadline = time.monotonic() + 10
    while not all(path.exists() and path.read_text().count("\n") for path in files):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    processes = [int(word) for path in files for word in path.read_text().split()]
    assert all(alive(process) for process in processes)
    runner.send_signal(stop)
    _, message = runner.communicate(timeout=10)
    assert runner.returncode == 128 + stop
    assert "ending 2 running job(s)" in message
    time.sleep(0.1)
    assert not any(alive(process) for process in processes)
    assert not (tmp_path / "x.3.log").exists()


def test_output_is_shown_and_logged_where_asked(run, tmp_path):
    result = run("--show", "1", "JOB=1:2", "x.JOB.log", "bash", "-c", "echo 'hello  JOB'; exit 0")
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["hello  1", "hello  2"]
    assert output(tmp_path / "x.2.log") == "hello  2\n"
    failed = run("--show", "1", "y.log", "exit 3")
    assert failed.returncode == 1
    assert "# Ended (code 3)" in (tmp_path / "y.log").read_text()
