"""Drives utils/slurm.pl against a private Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from arrays import SLURM_PL, check_cause, line_with, running_job, start
from private_slurm import wait_until

pytest_plugins = ("private_slurm", "tiny_recipe", "digits_recipe", "long_waits")
pytestmark = pytest.mark.usefixtures("long_waits")


@pytest.fixture
def run(cluster, tmp_path):
    def call(*arguments: str) -> subprocess.CompletedProcess:
        return cluster.run(SLURM_PL, *arguments, check=False, cwd=tmp_path, timeout=90)

    return call


def output(log: Path) -> str:
    return "".join(line for line in log.read_text().splitlines(True) if line[:1] != "#")


def test_one_array_with_numbers_in_log_and_command(run, tmp_path):
    command = 'echo "$SLURM_ARRAY_JOB_ID job K"'
    result = run("--max-jobs-run", "2", "K=2:4", "log/deep/x.K.log", command)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    logs = sorted((tmp_path / "log/deep").iterdir())
    assert [path.name for path in logs] == ["x.2.log", "x.3.log", "x.4.log"]
    words = [output(path).split() for path in logs]
    assert [word[1:] for word in words] == [["job", "2"], ["job", "3"], ["job", "4"]]
    assert len({word[0] for word in words}) == 1
    lines = logs[0].read_text().splitlines()
    assert lines[0] == '# echo "$SLURM_ARRAY_JOB_ID job 2"'
    assert lines[-1].startswith("# Ended (code 0) at 20")


def test_the_word_for_the_number_may_be_in_the_name_of_the_working_folder(cluster, tmp_path):
    """Slurm could not open a log in a folder that does not exist, and the jobs failed without one."""
    folder = tmp_path / "MYJOBS"
    folder.mkdir()
    command = [SLURM_PL, "JOB=1:2", "log/x.JOB.log", "echo", "JOB"]
    result = cluster.run(*command, check=False, cwd=folder, timeout=90)
    assert (result.returncode, result.stderr) == (0, "")
    assert output(folder / "log/x.2.log") == "2\n"


def test_arguments_reach_the_command_intact(run, tmp_path):
    words = ["test JOB != 3", "a  b", "it's", '"q"', "$HOME", "`id`", "a|b", "*", "",
             "two\nlines", "\\", "<unk>", "100%", "é"]  # fmt: skip
    assert run("JOB=1:1", "x.JOB.log", "printf", "[%s]", *words).returncode == 0
    found = (tmp_path / "x.1.log").read_text().split("#\n", 1)[1].rsplit("# Ended")[0]
    assert found == "".join(f"[{word}]" for word in words).replace("JOB", "1")


def test_exported_variables_reach_the_job_and_its_steps(run, cluster, tmp_path, monkeypatch):
    monkeypatch.setitem(cluster.environment, "OF_MINE", "a b")
    assert run("x.log", 'srun printenv OF_MINE; echo "$OF_MINE"').returncode == 0
    assert output(tmp_path / "x.log") == "a b\na b\n"


@pytest.mark.parametrize("export", ["PATH", "NONE"])
def test_the_toolkit_is_found_where_a_configuration_hands_no_variables_on(run, tmp_path, export):
    """Kaldi's own slurm.conf has --export=PATH; jobs ended with "No module named 'cascade_asr'"."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text(f"command sbatch --export={export}\n")
    result = run("x.log", "python", "-c", "import cascade_asr, kaldiio; print('found')")
    assert result.returncode == 0, result.stderr
    assert output(tmp_path / "x.log") == "found\n"


def test_failures_name_jobs_status_and_log(run, tmp_path):
    result = run("JOB=1:4", "x.JOB.log", "echo cause JOB; [ $((JOB % 2)) = 1 ] || exit 3")
    assert result.returncode == 1
    assert "2 of 4 jobs failed: 2, 4 (exit status 3); the last lines of x.2.log:" in result.stderr
    assert "cause 2" in result.stderr and "cause 4" not in result.stderr
    assert (tmp_path / "x.2.log").read_text().splitlines()[-1].startswith("# Ended (code 3)")


def test_options_become_those_of_sbatch(run, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text(
        "command sbatch --comment='two words'\n"
        "# a remark\noption mem=0\noption mem=* --mem=$0\noption gpu=0\n"
        "option num_threads=* --cpus-per-task=$0 # another\ndefault gpu=0\n"
    )
    show = "scontrol -o show job $SLURM_JOB_ID"
    assert run("--mem", "300M", "--num-threads", "2", "x.log", show).returncode == 0
    shown = output(tmp_path / "x.log")
    assert "Comment=two words" in shown and "CPUs/Task=2" in shown and "MinMemoryNode=300M" in shown
    result = run("--gpus", "1", "x.log", "true")
    assert result.returncode == 1
    assert "option --gpus 1: not in conf/slurm.conf, which has: --gpu, --mem" in result.stderr


def test_what_sbatch_refuses_is_told(run):
    result = run("--partition", "nowhere", "x.log", "true")
    assert result.returncode == 1
    assert "cannot submit: sbatch: error: invalid partition specified: nowhere" in result.stderr


def test_a_cancelled_job_is_noticed_with_its_cause(cluster, tmp_path):
    runner = start(cluster, tmp_path, "--mem", "200M", "x.log", "sleep 600")
    job = running_job(cluster, "x.")
    cluster.run("scancel", job)
    check_cause(runner, "cancelled", tmp_path / "x.log")


def test_a_job_over_its_memory_is_noticed_with_its_cause(run, tmp_path):
    started = time.monotonic()
    result = run("--mem", "100M", "x.log", "python3", "-c",
                 "import time; held = bytearray(300 << 20); time.sleep(60)")  # fmt: skip
    assert result.returncode == 1
    assert time.monotonic() - started < 30
    assert "the command failed: out of memory; give more with --mem" in result.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopping_cancels_the_array(cluster, tmp_path, stop):
    runner = start(cluster, tmp_path, "--mem", "200M", "JOB=1:2", "x.JOB.log", "sleep 600")
    job = running_job(cluster, "x.")
    runner.send_signal(stop)
    _, message = runner.communicate(timeout=30)
    assert runner.returncode == 128 + stop
    assert "cancelling job" in message
    wait_until(lambda: job not in cluster.job_ids(), 20, "the end of the array")


def test_a_submission_that_times_out_is_adopted_not_repeated(two_nodes, tmp_path):
    controller = int(two_nodes.pid_file("slurmctld").read_text())
    os.kill(controller, signal.SIGSTOP)
    try:
        runner = start(
            two_nodes, tmp_path, "lost.log", "echo ran >>ran", SLURM_CONF=two_nodes.impatient()
        )
        assert "looking for the job" in line_with(runner, "looking")
    finally:
        os.kill(controller, signal.SIGCONT)
    _, message = runner.communicate(timeout=60)
    assert runner.returncode == 0, message
    assert (tmp_path / "ran").read_text() == "ran\n"
