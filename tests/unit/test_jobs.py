"""Cascade stages as jobs, as far as possible without Slurm: options, chains, files on disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, command, environment

from cascade_asr.errors import ConfigError
from cascade_asr.jobs import attempt, slurm, submission
from cascade_asr.jobs.attempt import NotReady, begin, cause_of
from cascade_asr.jobs.options import (
    SlurmConf,
    find_slurm_conf,
    gpus,
    limit_s,
    notice_s,
    parse_job_options,
)
from cascade_asr.jobs.record import JobFolder, JobRecord, find_folder, job_folders
from cascade_asr.jobs.status import job_states
from cascade_asr.jobs.submission import resubmit, submit_record
from cascade_asr.jobs.tasks import Training, branch_tasks, full_task, planned_tasks, with_devices

COMMAND = ("python", "-m", "cascade_asr.cli.training", "--exp", "exp/x")


# ---- options ---------------------------------------------------------------


def test_job_options_are_read_in_both_forms():
    words = ["--mem", "32G", "--time=2:00:00", "--num-threads", "2", "--gpu", "a100:2", "--qos="]
    assert parse_job_options(words) == {
        "mem": "32G", "time": "2:00:00", "num_threads": "2", "gpu": "a100:2", "qos": "",
    }  # fmt: skip
    assert parse_job_options([]) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["32G"], "expected options of the job such as --mem 32G, found '32G'"),
        (["-m", "1"], "expected options of the job such as --mem 32G, found '-m'"),
        (["--mem"], "option --mem of the job needs a value"),
        (["--mem", "--time", "5"], "option --mem of the job needs a value"),
        (["--mem", "1G", "2G"], "expected options of the job such as --mem 32G, found '2G'"),
    ],
)
def test_wrong_job_options_are_named(words, message):
    with pytest.raises(ConfigError) as error:
        parse_job_options(words)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2", 120), ("2:30", 150), ("1:02:03", 3723), ("1-0", 86400), ("1-2:30", 95400),
        ("2-00:00:01", 172801), ("UNLIMITED", None), ("1h", None),
    ],
)  # fmt: skip
def test_time_limits_are_those_of_slurm(time, seconds):
    assert limit_s(time) == seconds


def test_the_warning_comes_five_minutes_before_or_at_three_quarters_of_a_short_limit():
    assert [notice_s(time) for time in ("8:00:00", "20", "2", "0:02", "infinite", "0", None)] == [
        300, 300, 30, 1, 300, 300, 300,
    ]  # fmt: skip


def test_gpus_are_counted_whatever_their_type():
    assert [gpus(value) for value in ("0", "2", "a100:3", "a100")] == [0, 2, 3, 1]


def write_conf(folder: Path, text: str) -> Path:
    path = folder / "slurm.conf"
    path.write_text(text)
    return path


def test_a_configuration_turns_options_into_words(tmp_path):
    conf = SlurmConf.read(
        write_conf(
            tmp_path,
            "# a remark\ncommand sbatch --comment='two words' # more\n\noption mem=0\n"
            "option mem=* --mem=$0\noption gpu=0\noption gpu=* --partition=gpu --gres=gpu:$0\n"
            "option\tnum_threads=*\t--cpus-per-task=$0\ndefault \tgpu=0\ndefault num_threads=2\n",
        )
    )
    assert conf.submission_words({}) == ["sbatch", "--comment=two words", "--cpus-per-task=2"]
    assert conf.submission_words({"gpu": "a100:2", "mem": "0", "num_threads": "1"})[2:] == [
        "--partition=gpu", "--gres=gpu:a100:2", "--cpus-per-task=1",
    ]  # fmt: skip
    with pytest.raises(ConfigError) as error:
        conf.submission_words({"memory": "1G"})
    assert str(error.value) == (
        f"option --memory 1G: not in {conf.path}, which has: --gpu, --mem, --num-threads"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("command sbatch\nopton mem=* --mem=$0\n", ":2: expected command, option or default: opton"),
        ("command sbatch\noption mem\n", ":2: expected command, option or default: option mem"),
        ("option mem=* --mem=$0\n", ": no line 'command sbatch ...'"),
    ],
)
def test_a_damaged_configuration_is_refused_with_its_line(tmp_path, text, message):
    path = write_conf(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        SlurmConf.read(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_both_runners_read_the_shipped_configuration_alike(tmp_path, monkeypatch):
    """The words that cascade_asr.jobs makes are those that slurm.pl hands to sbatch."""
    options = {"mem": "3G", "time": "1:00", "num_threads": "2", "gpu": "1", "nodes": "2", "tasks": "3"}
    monkeypatch.chdir(tmp_path)
    words = SlurmConf.read(find_slurm_conf()).submission_words(options)
    recorder = tmp_path / "bin/sbatch"  # where slurm.pl looks for it
    recorder.parent.mkdir()
    recorder.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\necho no such thing\nexit 1\n')
    recorder.chmod(0o755)
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    subprocess.run(
        [ROOT / "utils/slurm.pl", *given, "x.log", "true"], check=False, capture_output=True,
        env={**os.environ, "PATH": f"{recorder.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    seen = (tmp_path / "words").read_text().split("\n")
    assert seen[: len(words) - 1] == words[1:]
    assert seen[len(words) - 1] == "--parsable"


# ---- GPUs ------------------------------------------------------------------


def test_a_submission_without_ngpu_trains_on_the_cpu_and_says_what_to_write(caplog):
    training, job = with_devices(["--dump", "dump"], {"gpu": "0"})
    assert (training, job) == (["--dump", "dump", "--ngpu", "0"], {})
    (warning,) = caplog.messages
    assert "train on the CPU" in warning and "Write --ngpu 1 for one GPU per machine" in warning
    assert "--ngpu 0 if the CPU is intended" in warning


@pytest.mark.parametrize(
    ("training", "job", "expected"),
    [
        (["--ngpu", "0"], {"gpu": "0"}, (["--ngpu", "0"], {})),
        (["--ngpu", "0", "--processes", "2"], {}, (["--ngpu", "0", "--processes", "2"], {"tasks": "2"})),
        (["--ngpu", "2", "--nodes", "3"], {"gpu": "0"},
         (["--ngpu", "2", "--nodes", "3"], {"gpu": "2", "tasks": "2", "nodes": "3"})),
        ([], {"gpu": "a100:1"}, (["--ngpu", "1"], {"gpu": "1"})),
        ([], {"gpu": "4"}, (["--ngpu", "4"], {"gpu": "4", "tasks": "4"})),
    ],
)  # fmt: skip
def test_a_training_and_its_job_agree_on_gpus(caplog, training, job, expected):
    assert with_devices(training, job) == expected
    assert not caplog.messages


# ---- chains ----------------------------------------------------------------


def write_plan(
    experiment: Path, sources: list[str], stop: str = "never", **controls: list[str]
) -> None:
    def entries(prefix: str, sources: list[str]) -> list[dict]:
        names = ["full", *(f"{prefix}{number}" for number in range(1, len(sources) + 1))]
        return [
            {"number": number, "name": name, "title": name, "source": source}
            for number, (name, source) in enumerate(zip(names, ["", *sources], strict=True))
        ]

    plan = {
        "stop": stop,
        "stages": entries("stage", sources),
        "controls": {name: entries(name, sources) for name, sources in controls.items()},
    }
    experiment.mkdir(parents=True, exist_ok=True)
    (experiment / "plan.json").write_text(json.dumps(plan))


def chain(
    experiment: Path, chosen: str = "all", controls: str = "none"
) -> dict[str, tuple[str, ...]]:
    tasks = planned_tasks(experiment, chosen, controls, COMMAND)
    return {task.training: task.after for task in tasks}


def test_each_stage_waits_for_the_one_that_it_starts_from(tmp_path):
    write_plan(tmp_path, ["previous"] * 3)
    assert chain(tmp_path) == {"stage1": ("full",), "stage2": ("stage1",), "stage3": ("stage2",)}
    assert chain(tmp_path, "2-3") == {"stage2": ("stage1",), "stage3": ("stage2",)}
    write_plan(tmp_path, ["full", "full", "best"])
    assert chain(tmp_path) == {
        "stage1": ("full",), "stage2": ("full",), "stage3": ("full", "stage1", "stage2"),
    }  # fmt: skip
    write_plan(tmp_path, ["full", "full"], stop="patience")
    assert chain(tmp_path) == {"stage1": ("full",), "stage2": ("full", "stage1")}
    write_plan(tmp_path, ["exp/other/full", "previous"])
    assert chain(tmp_path) == {"stage1": (), "stage2": ("stage1",)}


def test_a_branch_is_a_chain_by_name_that_starts_from_full_training():
    trainings = [
        Training("continue1", "full", ("branch", "continue1")),
        Training("continue2", "previous", ("branch", "continue2")),
    ]
    first, second = branch_tasks("continue", trainings, COMMAND)
    assert (first.branch, first.training, first.after) == ("continue", "continue1", ("full",))
    assert (second.training, second.after) == ("continue2", ("continue1",))
    assert first.command == (*COMMAND[:3], "branch", "continue1", "--exp", "exp/x")
    first, _ = branch_tasks("longer", [Training("longer1", "previous", ()), trainings[0]], COMMAND)
    assert first.after == ("full",)


def test_commands_carry_what_they_train(tmp_path):
    write_plan(tmp_path, ["previous"] * 2)
    assert full_task(COMMAND).command[2:5] == ("cascade_asr.cli.training", "full", "--exp")
    stage2 = planned_tasks(tmp_path, "2", "none", COMMAND)[0]
    assert stage2.command[3:] == ("cascade", "--cascade-stages", "2", "--exp", "exp/x")
    assert stage2.branch == "cascade"


def test_controls_are_further_branches(tmp_path):
    write_plan(
        tmp_path, ["previous"] * 2, "patience", longer=[""], **{"continue": ["previous"] * 2}
    )
    assert chain(tmp_path, "none", "all") == {
        "longer1": (), "continue1": ("full",), "continue2": ("continue1",),
    }  # fmt: skip
    assert list(chain(tmp_path, "2", "longer")) == ["stage2", "longer1"]
    second = planned_tasks(tmp_path, "none", "continue", COMMAND)[1]
    assert second.branch == "continue"
    words = ("cascade", "--branch", "continue", "--cascade-stages", "2", "--exp", "exp/x")
    assert second.command[3:] == words
    with pytest.raises(ConfigError, match="no stage 3; this plan has stages 1 to 2"):
        planned_tasks(tmp_path, "2-3", "none", COMMAND)
    with pytest.raises(ConfigError, match="no control 'contnue'; did you mean 'continue'"):
        planned_tasks(tmp_path, "all", "longer,contnue", COMMAND)


# ---- files -----------------------------------------------------------------


def make_job(experiment: Path, training: str, branch: str = "cascade", **changes) -> JobFolder:
    folder = JobFolder(experiment, training)
    record = {
        "branch": branch, "training": training, "name": f"x.{training}.1", "after": [],
        "command": list(COMMAND), "options": {}, "slurm_conf": "conf/slurm.conf", "place": ".",
        "digest": "", "attempts": 50, "submitted": 0.0, "ids": ["7"], "complete": True,
    }  # fmt: skip
    folder.path.mkdir(parents=True)
    folder.write(JobRecord(**{**record, **changes}))
    return folder


def finish(experiment: Path, training: str) -> None:
    """Leave the files of a finished training."""
    folder = experiment / training
    folder.mkdir()
    (folder / "model.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    done = {"digest": "x", "metrics": {}, "model_sha256": digest}
    (folder / "done.json").write_text(json.dumps(done))


def test_jobs_are_listed_branch_by_branch_in_the_order_of_their_chains(tmp_path):
    for name, branch in (
        ("stage10", "cascade"), ("stage2", "cascade"), ("continue2", "continue"),
        ("continue1", "continue"), ("bottom-up1", "bottom-up"), ("full", "full"),
    ):  # fmt: skip
        make_job(tmp_path, name, branch)
    assert [folder.training for folder in job_folders(tmp_path)] == [
        "full", "stage2", "stage10", "bottom-up1", "continue1", "continue2",
    ]  # fmt: skip
    assert find_folder(tmp_path, "0").training == "full"
    assert find_folder(tmp_path, "2").training == "stage2"
    assert find_folder(tmp_path, "continue1").training == "continue1"
    with pytest.raises(ConfigError, match="no job of 'stage3' in .*there are: full, stage2,"):
        find_folder(tmp_path, "stage3")


@pytest.fixture
def waiting(tmp_path, monkeypatch) -> JobFolder:
    """A job of stage 2, which does not wait for a file system to catch up."""
    monkeypatch.setattr(attempt, "MARKER_DELAY_S", 0)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    return make_job(tmp_path, "stage2", after=["full", "stage1"])


def test_a_training_begins_once_all_that_it_starts_from_is_done(waiting):
    finish(waiting.experiment, "full")
    with pytest.raises(NotReady) as error:
        begin(waiting)
    marker = waiting.experiment / "stage1/done.json"
    assert str(error.value) == (
        f"stage2 refused: stage1 is not done ({marker} is missing or damaged); once it is done: "
        "python -m cascade_asr.cli.jobs resubmit stage2"
    )
    assert waiting.read_state()["state"] == "failed"
    finish(waiting.experiment, "stage1")
    (waiting.experiment / "stage1/model.pth").write_bytes(b"other weights")
    with pytest.raises(NotReady):
        begin(waiting)
    (waiting.experiment / "stage1/model.pth").write_bytes(b"weights")
    assert begin(waiting).startswith(f"{waiting.attempt}:")
    assert waiting.read_state()["state"] == "running"


def test_a_training_refuses_while_the_one_before_runs_again(waiting):
    for name in ("full", "stage1"):
        finish(waiting.experiment, name)
    before = make_job(waiting.experiment, "stage1")
    before.write_state(job="7", state="running")
    with pytest.raises(NotReady, match="stage1 is running"):
        begin(waiting)
    os.utime(before.done_marker)  # it was killed, and finished on another machine
    assert begin(waiting)


def test_a_training_is_not_needed_where_the_one_before_was_not(waiting):
    finish(waiting.experiment, "full")
    before = make_job(waiting.experiment, "stage1")
    before.write_state(job="7", state="skipped")
    assert begin(waiting) == ""
    assert waiting.read_state()["state"] == "skipped"


def test_a_resubmission_does_not_ask_for_gpus_that_nobody_would_use(tmp_path):
    folder = make_job(tmp_path, "full", "full", command=[*COMMAND, "--ngpu", "0"])
    with pytest.raises(ConfigError, match="--gpu 2: full was submitted with --ngpu 0"):
        resubmit(folder, {"gpu": "2"})


@pytest.mark.parametrize(("options", "notice"), [({}, 30), ({"time": "8:00:00"}, 300)])
def test_the_warning_fits_the_default_time_limit_of_the_configuration(
    tmp_path, monkeypatch, options, notice
):
    conf = write_conf(tmp_path, "command sbatch\noption time=* --time=$0\ndefault time=2\n")
    folder = make_job(tmp_path, "full", "full", slurm_conf=str(conf), options=options)
    submitted = []
    monkeypatch.setattr(slurm, "submit", lambda words, name: submitted.append(words) or "8")
    submit_record(folder, folder.read())
    assert f"--signal=USR2@{notice}" in submitted[0]


def test_a_chain_is_repaired_once_a_busy_controller_answers(tmp_path, monkeypatch, caplog):
    """Stage 2 went on waiting for the job that had failed, and nothing said so."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text("command sbatch\n")
    monkeypatch.chdir(tmp_path)
    full = make_job(tmp_path, "full", "full")
    make_job(tmp_path, "stage2", after=["full"])
    full.write_state(job="7", state="failed", cause="memory")
    waits = {"x.stage2.1": slurm.QueueEntry("8", "x.stage2.1", "PENDING", "Dependency")}
    again = {"again": slurm.QueueEntry("9", "again", "PENDING", "Resources")}
    changed = []
    monkeypatch.setattr(submission, "new_name", lambda folder: "again")
    monkeypatch.setattr(slurm, "submit", lambda words, name: "9")
    monkeypatch.setattr(slurm, "change_dependency", lambda *words: changed.append(words))
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: None)
    answers = [{}, {}, None, None, waits, again]  # state, what it waits for; the repair
    monkeypatch.setattr(slurm, "queue", lambda names: answers.pop(0))
    assert resubmit(full, {}) == ["stage2"] and changed == [("8", "afterok:9")]
    full.write_state(job="9", state="failed", cause="memory")
    answers += [{}, {}]
    monkeypatch.setattr(slurm, "FIND_FOR_S", -1)
    monkeypatch.setattr(slurm, "queue", lambda names: answers.pop(0) if answers else None)
    assert resubmit(full, {}) == []
    assert "stage2 may still wait for the old job of full" in caplog.text


@pytest.mark.parametrize(
    ("state", "shown"),
    [("RESIZING", "running (on n1)"), ("POWER_UP_NODE", "running (on n1)"), ("RESV_DEL_HOLD", "queued (Hold)")],
)
def test_a_job_in_a_rare_state_is_not_taken_for_one_that_failed(tmp_path, monkeypatch, state, shown):
    """It would have been submitted a second time."""
    folder = make_job(tmp_path, "full", "full")
    answer = f"7|x.full.1|{state}|Hold|n1\n"
    monkeypatch.setattr(slurm, "_run", lambda words: subprocess.CompletedProcess(words, 0, answer, ""))
    assert str(job_states([folder])[0]) == shown


def test_squeue_may_name_the_cluster(monkeypatch):
    """As it does with SLURM_CLUSTERS: that line is not a job."""
    answers = ["CLUSTER: big\n7|x|RUNNING|None|n1\n", "CLUSTER: big\n7\n", "CLUSTER: big\n"]
    monkeypatch.setattr(
        slurm, "_run", lambda words: subprocess.CompletedProcess(words, 0, answers.pop(0), "")
    )
    assert {name: entry.job for name, entry in slurm.queue(["x"]).items()} == {"x": "7"}
    assert slurm.find("x") == "7"
    assert slurm.find("x") is None


def test_a_job_is_requeued_once_the_controller_answers_again(monkeypatch):
    """It had saved at its time limit, and then ended for good, and its chain with it."""
    answers = [(1, "slurm_requeue error: Unable to contact slurm controller (connect failure)")] * 2
    answers += [(0, ""), (1, "Invalid job id specified")]
    asked = []

    def run(words: list[str]) -> subprocess.CompletedProcess:
        asked.append(words)
        code, error = answers.pop(0)
        return subprocess.CompletedProcess(words, code, "", error)

    monkeypatch.setattr(slurm, "_run", run)
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: None)
    slurm.requeue("7")
    assert asked == [["scontrol", "requeue", "7"]] * 3
    with pytest.raises(slurm.SlurmError, match="scontrol requeue 7: Invalid job id specified"):
        slurm.requeue("7")
    answers.append((1, "Unable to contact slurm controller"))
    with pytest.raises(slurm.SlurmError, match="Unable to contact"):
        slurm.requeue("7", seconds=-1.0)


def test_both_runners_know_the_same_states():
    known = re.search(r"%ALIVE = map .*? qw\((.*?)\)", (ROOT / "utils/slurm.pl").read_text(), re.DOTALL)
    assert set(known[1].split()) == {*slurm.WAITING, *slurm.ACTIVE}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("CANCELLED by 1000\n", "CANCELLED"), ("NODE_FAIL\nCOMPLETED\n", "COMPLETED"), ("\n", None),
    ],
)  # fmt: skip
def test_the_state_that_accounting_tells_is_a_single_word(monkeypatch, answer, state):
    """sacct adds who cancelled a job."""
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setattr(slurm, "_run", lambda words: subprocess.CompletedProcess(words, 0, answer, ""))
    assert slurm.accounting("7") == state


@pytest.mark.parametrize(
    ("code", "log", "cause"),
    [
        (137, "", "memory; resubmit it with more, such as --mem 32G"),
        (1, "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried", "memory;"),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to", "memory;"),
        (1, "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0", "memory;"),
        (1, "2026-01-01 00:00:00 ERROR: training.py: no such layer\n", "no such layer"),
        (1, "Traceback\nValueError: two\n", "ValueError: two"),
        (3, "nothing of note", "exit status 3"),
    ],
)
def test_causes_are_found_in_status_and_log(code, log, cause):
    assert cause_of(code, log).startswith(cause)


# ---- commands --------------------------------------------------------------


def run_jobs(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return command("cascade_asr.cli.jobs", *words, cwd=folder)


def test_log_shows_the_end_over_all_attempts(tmp_path):
    folder = make_job(tmp_path / "exp/x", "stage2")
    folder.log.write_text("".join(f"line {number}\n" for number in range(80)))
    shown = run_jobs(tmp_path, "log", "2")
    assert shown.stdout == "".join(f"line {number}\n" for number in range(30, 80))
    assert shown.stderr == "exp/x/jobs/stage2/log\n"
    assert run_jobs(tmp_path, "log", "stage2", "--lines", "1").stdout == "line 79\n"
    folder.log.unlink()  # it has not begun
    shown = run_jobs(tmp_path, "log", "2")
    assert (shown.returncode, shown.stdout) == (0, "")
    missing = run_jobs(tmp_path, "log", "stage3")
    assert missing.returncode == 1
    assert "no job of 'stage3' in exp/x; there are: stage2; did you mean 'stage2'?" in missing.stderr


def test_where_there_is_no_slurm_status_says_so(tmp_path):
    make_job(tmp_path / "exp/x", "full", "full")
    missing = tmp_path / "empty"
    missing.mkdir()
    shown = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.jobs", "status"], cwd=tmp_path,
        env=environment(PATH=str(missing)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 1
    assert "squeue: not found; is this a login node of a cluster?" in shown.stderr


def test_where_there_is_no_slurm_local_trainings_are_still_shown(tmp_path):
    make_job(tmp_path / "exp/x", "full", "full")
    (tmp_path / "exp/x/plan.json").write_text("{}")
    (tmp_path / "exp/y/full").mkdir(parents=True)
    (tmp_path / "exp/y/full/checkpoint.pt").touch()
    shown = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.status"], cwd=tmp_path,
        env=environment(PATH=str(tmp_path)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "exp/x/full | unknown (Slurm does not answer)" in shown.stdout
    assert "exp/y/full | stopped (run the same command again to resume)" in shown.stdout


def test_several_experiments_have_to_be_named(tmp_path):
    for name in ("a", "b"):
        make_job(tmp_path / "exp" / name, "full", "full")
    shown = run_jobs(tmp_path, "cancel", "all")
    assert shown.returncode == 1
    assert "which experiment? name it with --exp; experiments with jobs: exp/a, exp/b" in shown.stderr
