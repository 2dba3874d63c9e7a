"""Cascade stages as Slurm jobs, with each fault of a cluster injected and survived."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from conftest import TINY_CONFIG
from private_slurm import (
    PrivateSlurm,
    cluster,  # noqa: F401 (a fixture)
    is_alive,
    started,
    wait_until,
)
from tiny_recipe import Recipe, has_pending, identical, release

from cascade_asr.fencing import SUPERSEDED, Fence


@pytest.fixture(scope="module")
def local(tmp_path_factory, cluster, dump) -> Recipe:  # noqa: F811
    """The same experiment without Slurm, to compare with."""
    recipe = Recipe(tmp_path_factory.mktemp("local"), cluster, dump)
    recipe.local("full")
    recipe.local("cascade")
    return recipe


@pytest.fixture(scope="module", autouse=True)
def limited(tmp_path_factory, cluster, dump) -> tuple[Recipe, Future]:  # noqa: F811
    """A training with a short limit, held until Slurm warns it, while other tests run.

    The future is its state after that; Slurm starts it again two minutes later.
    """
    recipe = Recipe(tmp_path_factory.mktemp("limited"), cluster, dump)
    recipe.submit("full", options="--time 2")
    process = recipe.hold("full")

    def release_when_warned() -> str:
        wait_until(lambda: has_pending(process, signal.SIGUSR2), 150, "Slurm's warning")
        release(process)  # unless Slurm has done so itself
        return recipe.wait("full", "stopped")

    return recipe, ThreadPoolExecutor(1).submit(release_when_warned)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[PrivateSlurm]:
    """Another cluster, where jobs may be preempted and nodes lost."""
    yield from started(nodes=2, cpus=2, memory_mb=3000)


@pytest.fixture
def recipe(tmp_path, cluster, dump) -> Recipe:  # noqa: F811
    return Recipe(tmp_path, cluster, dump)


def test_a_chain_of_jobs_ends_as_the_same_training_without_slurm(recipe, local):
    recipe.submit("full")
    printed = recipe.submit("cascade", "--follow")
    assert f"stage1: job {recipe.job('stage1')}, afterok:{recipe.job('full')}" in printed
    assert "stage2: queued (Dependency)" in printed and "stage2: done" in printed
    assert recipe.status() == {"full": "done", "stage1": "done", "stage2": "done"}
    for stage in ("full", "stage1", "stage2"):
        assert identical(recipe.weights(stage), local.weights(stage)), stage
    selection = [(each.exp / "selection.json").read_text() for each in (recipe, local)]
    assert selection[0] == selection[1]
    # a second run of a finished stage changes nothing
    before = (recipe.exp / "stage2/model.pth").stat().st_mtime_ns
    recipe.jobs("resubmit", "2")
    recipe.wait("stage2", "done")
    wait_until(lambda: "already done in" in recipe.log("stage2"), 30, "the second run")
    assert (recipe.exp / "stage2/model.pth").stat().st_mtime_ns == before


def test_out_of_memory_blocks_the_chain_until_it_is_resubmitted(recipe, local):
    partition = ("scontrol", "update", "partitionname=main")
    recipe.slurm.run(*partition, "state=down")  # jobs queue up
    recipe.submit("full", options="--mem 150M")
    recipe.submit("cascade", "--cascade-stages", "1,2")
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
    recipe.submit("full")
    process = recipe.hold("full")
    assert "full is running (on n1) as job" in recipe.jobs("resubmit", "0", status=1)
    recipe.jobs("cancel", "0")
    release(process)
    assert "saved" in recipe.wait("full", "failed (cancelled")
    assert (recipe.exp / "full/checkpoint.pt").exists()
    recipe.jobs("resubmit", "0")
    recipe.wait("full", "done")
    assert "resuming at epoch" in recipe.log("full")
    assert identical(recipe.weights("full"), local.weights("full"))


def test_a_submission_that_times_out_is_adopted_not_repeated(recipe, cluster, local):  # noqa: F811
    controller = int(cluster.pid_file("slurmctld").read_text())
    os.kill(controller, signal.SIGSTOP)
    try:
        process = recipe.popen(
            "cascade_asr.cli.jobs", "submit", "full", "--exp", "exp/tiny",
            "--job-options", "--mem 1000M", *recipe.training_options,
        )  # fmt: skip
        wait_until((recipe.exp / "jobs/full/job.json").exists, 60, "the job's name on disk")
        time.sleep(10.5)
    finally:
        os.kill(controller, signal.SIGCONT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "looking for the job" in errors
    assert cluster.jobs_named(recipe.record("full")["name"]) == [recipe.job("full")]
    recipe.wait("full", "done")
    assert identical(recipe.weights("full"), local.weights("full"))


def test_a_controller_killed_changes_nothing(recipe, cluster, local):  # noqa: F811
    recipe.submit("full")
    process = recipe.hold("full")
    cluster.kill("slurmctld", signal.SIGKILL)
    assert recipe.status()["full"] == "running (Slurm does not answer)"
    cluster.start_controller()
    release(process)
    recipe.wait("full", "done")
    assert identical(recipe.weights("full"), local.weights("full"))


def test_a_stage_whose_predecessor_slurm_has_forgotten_refuses(recipe):
    recipe.submit("full")
    process = recipe.hold("full")
    recipe.submit("cascade", "--cascade-stages", "1")
    # what Slurm makes of an id that it has purged
    recipe.slurm.run(
        "scontrol", "update", f"jobid={recipe.job('stage1')}", "dependency=afterok:4000000"
    )
    shown = recipe.wait("stage1", "failed")
    assert "stage1 refused: full is running" in shown
    assert "resubmit stage1" in shown
    recipe.jobs("resubmit", "1")
    release(process)
    recipe.wait("stage1", "done")


def test_ctrl_c_while_following_leaves_the_jobs_alone(recipe):
    recipe.submit("full")
    held = recipe.hold("full")
    follower = recipe.popen(
        "cascade_asr.cli.jobs", "submit", "full", "--exp", "exp/tiny", "--follow",
        "--job-options", "--mem 1000M --time 5 ", *recipe.training_options,
    )  # fmt: skip
    lines = []
    for line in follower.stderr:
        lines.append(line)
        if line.startswith("full: running"):
            break
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert f"full is already in the queue as job {recipe.job('full')}" in "".join(lines)
    assert f"the jobs go on: full {recipe.job('full')}; to cancel them:" in errors
    assert recipe.status()["full"].startswith("running")
    other = recipe.submit("full", status=1, options="--mem 1100M")
    assert "with other options; cancel it first" in other
    release(held)
    recipe.wait("full", "done")


def test_a_preempted_training_is_requeued_and_resumes(tmp_path, two_nodes, dump, local):
    recipe = Recipe(tmp_path, two_nodes, dump)
    recipe.submit("full", options="--num-threads 2")
    process = recipe.hold("full")
    urgent = ["sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--ntasks-per-node=2"]
    job = two_nodes.run(*urgent, "--wrap", "sleep 2", cwd=tmp_path).stdout.strip()
    release(process)
    wait_until(lambda: two_nodes.state(job) == "COMPLETED", 60, "the urgent job")
    recipe.start_again("full")
    recipe.wait("full", "done")
    assert identical(recipe.weights("full"), local.weights("full"))


def test_a_lost_node_and_its_old_writer(tmp_path, two_nodes, dump, local):
    recipe = Recipe(tmp_path, two_nodes, dump)
    recipe.submit("full")
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
    two_nodes.run("scontrol", "update", f"nodename={node}", "state=resume")


def test_an_attempt_that_was_taken_over_does_not_write(recipe):
    fence, number = Fence.take(recipe.folder / "attempt")
    process = recipe.popen(
        "cascade_asr.cli.training", "full", "--exp", "exp/tiny", *recipe.training_options,
        CASCADE_ASR_ATTEMPT=fence.as_variable,
    )  # fmt: skip
    wait_until((recipe.exp / "full/checkpoint.pt").exists, 120, "a checkpoint", 0.02)
    process.send_signal(signal.SIGSTOP)
    Fence.take(recipe.folder / "attempt")
    before = {path: path.read_bytes() for path in (recipe.exp / "full").iterdir()}
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=120)
    assert (number, process.returncode) == (1, SUPERSEDED)
    assert "attempt 2 on " in errors and "has taken over this training" in errors
    assert {path: path.read_bytes() for path in (recipe.exp / "full").iterdir()} == before


def test_two_nodes_train_as_one_process_with_the_same_global_batch(tmp_path, two_nodes, dump):
    config = {"max_epoch": 2, "optim_conf": {"lr": 0.002}}
    losses = []
    for name, more in (("one", []), ("two", ["--nodes", "2"])):
        folder = tmp_path / name
        folder.mkdir()
        recipe = Recipe(folder, two_nodes, dump, {**config, **without_dropout()})
        recipe.submit("full", "--follow", *more)
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


def test_at_its_time_limit_a_training_saves_is_requeued_and_resumes(limited, local):
    recipe, state_after_warning = limited
    assert state_after_warning.result(timeout=300) == "stopped (will requeue)"
    recipe.start_again("full")
    recipe.wait("full", "done")
    assert "resuming at epoch" in recipe.log("full")
    assert "DUE TO JOB REQUEUE" in recipe.log("full")
    assert identical(recipe.weights("full"), local.weights("full"))
