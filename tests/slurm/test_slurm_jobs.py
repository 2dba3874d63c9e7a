"""Cascade stages as Slurm jobs, with each fault of a cluster injected and survived."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from arrays import line_with
from private_slurm import PrivateSlurm, is_alive, started, wait_until
from tiny_corpus import TINY_CONFIG
from tiny_recipe import JOB_OPTIONS, Recipe, identical, release

from cascade_asr.errors import ConfigError
from cascade_asr.files import write_json
from cascade_asr.training import standing
from cascade_asr.training.fencing import SUPERSEDED, Fence

pytest_plugins = ("private_slurm", "tiny_recipe", "digits_recipe", "long_waits")
pytestmark = pytest.mark.usefixtures("long_waits")


@pytest.fixture
def recipe(tmp_path, cluster, dump, local) -> Recipe:
    return Recipe(tmp_path, cluster, dump).adopt(local)


@pytest.fixture
def endangered(tmp_path, two_nodes, dump, local) -> Recipe:
    """The same on the cluster where things happen."""
    return Recipe(tmp_path, two_nodes, dump).adopt(local)


def test_a_chain_of_jobs_ends_as_the_same_training_without_slurm(recipe, local, caplog):
    caplog.set_level(logging.INFO)
    recipe.queue("full", "stage1", "stage2")
    jobs = [recipe.job(name) for name in ("full", "stage1", "stage2")]
    assert caplog.messages == [
        f"full: job {jobs[0]}",
        f"stage1: job {jobs[1]}, afterok:{jobs[0]}",
        f"stage2: job {jobs[2]}, afterok:{jobs[1]}",
    ]
    assert recipe.status()["stage2"] == "queued (Dependency)"
    printed = recipe.submit("cascade", "--cascade-stages", "none", "--controls", "longer")
    assert f"longer1: job {recipe.job('longer1')}\n" in printed  # starts from new weights
    names = ("full", "stage1", "stage2", "longer1")
    for name in names:
        recipe.wait(name, "done")
    assert recipe.status() == dict.fromkeys(names, "done")
    for name in names[:3]:
        assert identical(recipe.weights(name), local.weights(name)), name
    here, there = (
        json.loads((each.exp / "selection.json").read_text()) for each in (recipe, local)
    )
    assert here.pop("controls")["longer"]["complete"]
    assert there.pop("controls") == {}
    assert here == there
    # a second run of a finished stage changes nothing
    before = (recipe.exp / "stage2/model.pth").stat().st_mtime_ns
    recipe.jobs("resubmit", "2")
    recipe.wait("stage2", "done")
    wait_until(lambda: "already done in" in recipe.log("stage2"), 30, "the second run")
    assert (recipe.exp / "stage2/model.pth").stat().st_mtime_ns == before


def test_out_of_memory_blocks_the_chain_until_it_is_resubmitted(recipe, local):
    partition = ("scontrol", "update", "partitionname=main")
    recipe.slurm.run(*partition, "state=down")  # jobs queue up
    recipe.queue("full", options="--mem 150M")
    recipe.queue("stage1", "stage2")
    recipe.slurm.run(*partition, "state=up")
    shown = recipe.wait("full", "failed")
    assert "memory" in shown
    assert recipe.status()["stage1"].startswith("blocked (full failed")
    assert recipe.status()["stage2"].startswith("blocked (stage1 blocked")
    printed = recipe.jobs("resubmit", "full", "--mem", "1200M")
    assert "stage1 waits for the new job" in printed
    recipe.wait("stage2", "done")
    assert identical(recipe.weights("stage2"), local.weights("stage2"))
    assert recipe.record("full")["options"]["mem"] == "1200M"


def test_a_cancelled_training_has_saved_and_resumes(recipe, local):
    recipe.queue("full")
    process = recipe.hold("full")
    recipe.jobs("cancel", "0")
    release(process)
    assert "saved" in recipe.wait("full", "failed (cancelled")
    assert (recipe.exp / "full/checkpoint.pt").exists()
    recipe.jobs("resubmit", "0")
    recipe.wait("full", "done")
    assert "resuming at epoch" in recipe.log("full")
    assert identical(recipe.weights("full"), local.weights("full"))


def test_a_submission_that_times_out_is_adopted_not_repeated(endangered, two_nodes, local):
    recipe = endangered
    controller = int(two_nodes.pid_file("slurmctld").read_text())
    os.kill(controller, signal.SIGSTOP)
    try:
        process = recipe.popen(
            "cascade_asr.cli.jobs", "submit", "full", "--exp", "exp/tiny",
            "--job-options", "--mem 1000M", *recipe.training_options,
            SLURM_CONF=two_nodes.impatient(),
        )  # fmt: skip
        assert "looking for the job" in line_with(process, "looking")
    finally:
        os.kill(controller, signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert two_nodes.jobs_named(recipe.record("full")["name"]) == [recipe.job("full")]
    recipe.wait("full", "done")
    assert identical(recipe.weights("full"), local.weights("full"))


def test_a_controller_killed_changes_nothing(endangered, two_nodes, local):
    recipe = endangered
    recipe.queue("full")
    process = recipe.hold("full")
    two_nodes.save_state(recipe.job("full"))
    two_nodes.kill("slurmctld", signal.SIGKILL)
    assert recipe.status()["full"] == "running (Slurm does not answer)"
    two_nodes.start_controller()
    release(process)
    recipe.wait("full", "done")
    assert identical(recipe.weights("full"), local.weights("full"))


@pytest.fixture(scope="module")
def held(tmp_path_factory, cluster, dump, local) -> Iterator[tuple[Recipe, int]]:
    """A full training that is held in the middle, and its process."""
    recipe = Recipe(tmp_path_factory.mktemp("held"), cluster, dump).adopt(local)
    recipe.queue("full")
    process = recipe.hold("full")
    yield recipe, process
    release(process)


def test_ctrl_c_while_following_leaves_the_jobs_alone(held):
    recipe, _ = held
    follower = recipe.popen(
        "cascade_asr.cli.jobs", "submit", "full", "--exp", "exp/tiny", "--follow",
        "--job-options", JOB_OPTIONS, *recipe.training_options,
    )  # fmt: skip
    printed = line_with(follower, "full: running")
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert f"full is already in the queue as job {recipe.job('full')}" in printed
    assert f"the jobs keep running: full {recipe.job('full')}; to cancel them:" in errors
    assert recipe.status()["full"].startswith("running (on n1)")


def test_a_job_in_the_queue_is_not_changed_by_a_second_submission(held):
    recipe, _ = held
    before = recipe.record("full")
    with pytest.raises(ConfigError, match="with other options; cancel it first"):
        recipe.queue("full", options="--mem 1100M")
    assert "full is running (on n1) as job" in recipe.jobs("resubmit", "0", status=1)
    assert recipe.record("full") == before


def test_a_stage_whose_predecessor_slurm_has_forgotten_refuses(held):
    """Then it is repaired, and meanwhile the log of the other is followed to its end."""
    recipe, process = held
    recipe.queue("stage1")
    # what Slurm makes of an id that it has purged
    recipe.slurm.run(
        "scontrol", "update", f"jobid={recipe.job('stage1')}", "dependency=afterok:4000000"
    )
    shown = recipe.wait("stage1", "failed")
    assert "stage1 refused: full is running" in shown
    assert "resubmit stage1" in shown
    recipe.jobs("resubmit", "1")
    follower = recipe.popen("cascade_asr.cli.jobs", "log", "0", "--follow", "--lines", "5")
    assert follower.stderr.readline() == "exp/tiny/jobs/full/log\n"
    before = [follower.stdout.readline() for _ in range(5)]
    assert "".join(before) in recipe.log("full")
    release(process)
    output, errors = follower.communicate(timeout=60)
    assert follower.returncode == 0, errors
    assert "".join(before) + output in recipe.log("full")
    assert "selected by dev" in output
    assert "full: running" in errors and "full: done" in errors
    recipe.wait("stage1", "done")


def test_a_preempted_training_is_requeued_and_resumes(endangered, tmp_path, two_nodes, local):
    recipe = endangered
    recipe.queue("full", options="--num-threads 2")
    process = recipe.hold("full")
    urgent = ["sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--ntasks-per-node=2"]
    job = two_nodes.run(*urgent, "--wrap", "sleep 2", cwd=tmp_path).stdout.strip()
    release(process)
    wait_until(lambda: two_nodes.state(job) == "COMPLETED", 60, "the urgent job")
    recipe.start_again("full")
    recipe.wait("full", "done")
    assert identical(recipe.weights("full"), local.weights("full"))


def test_a_lost_node_and_its_old_writer(endangered, two_nodes, local):
    recipe = endangered
    recipe.queue("full")
    old = recipe.hold("full")
    node = two_nodes.run("squeue", "-h", "-o", "%N", "-j", recipe.job("full")).stdout.strip()
    two_nodes.kill(node, signal.SIGKILL)
    two_nodes.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    recipe.start_again("full")
    release(old)
    wait_until(lambda: not is_alive(old), 60, "the old writer to leave")
    recipe.wait("full", "done")
    assert identical(recipe.weights("full"), local.weights("full"))
    two_nodes.start_node(node)
    two_nodes.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
    two_nodes.wait_for_nodes()


def is_stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all("\nState:\tT" in (each / "status").read_text() for each in threads)


def test_an_attempt_that_was_taken_over_does_not_write(recipe):
    fence, number = Fence.take(recipe.folder / "attempt")
    process = recipe.popen(
        "cascade_asr.cli.training", "full", "--exp", "exp/tiny", *recipe.training_options,
        CASCADE_ASR_ATTEMPT=fence.as_variable,
    )  # fmt: skip
    wait_until((recipe.exp / "full/checkpoint.pt").exists, 120, "a checkpoint", 0.02)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(process.pid), 10, "the process to stop", 0.01)
    Fence.take(recipe.folder / "attempt")
    progress = recipe.exp / "full" / standing.NAME
    write_json(progress, {"host": "elsewhere", "epoch": 1})  # as the later attempt does
    before = {path: path.read_bytes() for path in (recipe.exp / "full").iterdir()}
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=120)
    assert (number, process.returncode) == (1, SUPERSEDED)
    assert "attempt 2 on " in errors and "has taken over this training" in errors
    after = {path: path.read_bytes() for path in (recipe.exp / "full").iterdir()}
    # It may have been stopped between its look at the fence and the one write that this allows.
    history = recipe.exp / "full/history.jsonl"
    written = after.pop(history).removeprefix(before.pop(history))
    assert written.count(b"\n") <= 1 and after == before


def test_two_nodes_train_as_one_process_with_the_same_global_batch(tmp_path, two_nodes, dump):
    config = {"max_epoch": 2, "optim_conf": {"lr": 0.002}}
    losses = []
    for nodes in (1, 2):
        folder = tmp_path / str(nodes)
        folder.mkdir()
        recipe = Recipe(folder, two_nodes, dump, {**config, **without_dropout()})
        recipe.queue("full", more=("--nodes", str(nodes)))
        recipe.wait("full", "done")
        history = [json.loads(line) for line in (recipe.exp / "full/history.jsonl").open()]
        losses.append([entry["loss"] for entry in history])
    assert "2 x 1 threads" in recipe.log("full")
    assert len(losses[0]) > 20
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def without_dropout() -> dict:
    """Dropout is drawn for each rank, so only without it are curves the same."""
    return {
        part: {**TINY_CONFIG[part], "dropout": 0.0} for part in ("encoder_conf", "decoder_conf")
    }


def test_patience_ends_the_chain(tmp_path, cluster, dump, local):
    cascade = {"stop": "patience", "patience": 1, "train": {"optim_conf": {"lr": 1e-7}}}
    recipe = Recipe(tmp_path, cluster, dump, cascade=cascade).adopt(local, "full")
    recipe.queue("stage1", "stage2")
    recipe.wait("stage2", "not needed (the cascade ended before it)")
    assert recipe.status()["stage1"] == "done"
    assert "1 stages without improvement (stop: patience)" in recipe.log("stage2")
    assert not (recipe.exp / "stage2").exists()
    assert "nothing to cancel; it is not needed" in recipe.jobs("cancel", "2")


@pytest.fixture
def forgetful(tmp_path) -> Iterator[PrivateSlurm]:
    """A cluster of its own, whose controller forgets."""
    yield from started()


def test_a_job_that_slurm_has_forgotten_is_found_by_sacct(tmp_path, forgetful, dump, local):
    recipe = Recipe(tmp_path, forgetful, dump).adopt(local)
    forgetful.run("scontrol", "update", "partitionname=main", "state=down")
    recipe.queue("full")
    assert recipe.status() == {"full": "queued (PartitionDown)"}
    assert "cancelled job" in recipe.jobs("cancel", "full")
    assert recipe.status() == {"full": "failed (cancelled)"}
    forgetful.forget_all_jobs()
    assert forgetful.jobs_named(recipe.record("full")["name"]) == []
    assert recipe.status() == {"full": "failed (cancelled)"}  # sacct says so
    without = tmp_path / "programs"
    without.mkdir()
    (without / "squeue").symlink_to(shutil.which("squeue", path=recipe.environment["PATH"]))
    recipe.environment["PATH"] = str(without)
    unknown = f"failed (Slurm no longer knows job {recipe.job('full')}; see exp/tiny/jobs/full/log)"
    assert recipe.status() == {"full": unknown}
