"""What takes minutes and needs nobody's attention starts with the first test.

The shortest limit that Slurm has is a minute: `test_time_limits.py`, the last file,
looks at how the jobs that run into theirs have ended. And `test_recipe.py` compares
two runs of a recipe.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from arrays import check_cause, running_job, start
from private_slurm import wait_until
from tiny_recipe import Recipe, has_pending, release


@pytest.fixture(scope="session")
def long_waits(request: pytest.FixtureRequest) -> None:
    """Start what a test of this session will wait for."""
    files = {item.path.name for item in request.session.items}
    if "test_time_limits.py" in files:
        request.getfixturevalue("limited_array")
        request.getfixturevalue("limited_training")
    if "test_recipe.py" in files:
        request.getfixturevalue("local_digits")
        request.getfixturevalue("detached_digits")


@pytest.fixture(scope="session")
def limited_array(cluster, tmp_path_factory) -> Iterator[Future[None]]:
    """slurm.pl with a job of a minute; the future checks how its end is noticed."""
    folder = tmp_path_factory.mktemp("limited_array")
    options = ("--time", "1", "--mem", "200M")
    with start(cluster, folder, *options, "limited.log", "sleep 600") as runner:
        job = running_job(cluster, "limited.")

        def check_when_stopped() -> None:
            ends = ("TIMEOUT", "COMPLETING")
            wait_until(lambda: cluster.state(job) in ends, 180, "the time limit", 0.5)
            check_cause(runner, "time limit reached", folder / "limited.log")

        yield ThreadPoolExecutor(1).submit(check_when_stopped)
        runner.terminate()


@pytest.fixture(scope="session")
def limited_training(cluster, dump, local, tmp_path_factory) -> tuple[Recipe, Future[str]]:
    """A training of three minutes, held until Slurm warns it.

    The future is its state after that; Slurm starts it again two minutes later.
    """
    recipe = Recipe(tmp_path_factory.mktemp("limited_training"), cluster, dump).adopt(local)
    recipe.queue("full", options="--time 3")
    process = recipe.hold("full")

    def release_when_warned() -> str:
        wait_until(lambda: has_pending(process, signal.SIGUSR2), 300, "Slurm's warning")
        release(process)  # unless Slurm has done so itself
        return recipe.wait("full", "stopped")

    return recipe, ThreadPoolExecutor(1).submit(release_when_warned)
