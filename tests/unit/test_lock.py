"""One writer at a time: who holds a lock, who takes it over, and what a loser does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cascade_asr.training.lock import SILENT_S, Locked, Lost, held, take


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".full.lock"


def change(path: Path, **content) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | content))


def test_the_second_is_told_who_holds_it(path: Path):
    with held(path, "exp/rnn/full"):
        with pytest.raises(Locked) as caught:
            take(path, "exp/rnn/full")
        message = str(caught.value)
        assert message.startswith(f"exp/rnn/full: process {os.getpid()} on {os.uname().nodename}")
        assert "is writing there since" in message and str(path) in message
    take(path, "exp/rnn/full").release()
    assert not list(path.parent.iterdir())


def test_a_dead_process_of_this_machine_holds_nothing(path: Path):
    code = f"from cascade_asr.training.lock import take; from pathlib import Path; take(Path({str(path)!r}), 'x'); import os; os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert path.exists()
    take(path, "x").release()


def test_a_process_number_given_anew_is_not_the_holder(path: Path):
    take(path, "x")
    change(path, start="1", token="other")
    lock = take(path, "x")
    lock.check()
    lock.release()


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_lock_that_says_nothing_is_held_until_it_is_old(path: Path, content: str):
    path.write_text(content)
    with pytest.raises(Locked, match="an unknown process"):
        take(path, "x")
    os.utime(path, (time.time() - SILENT_S - 5,) * 2)
    take(path, "x").release()


def test_another_machine_holds_it_as_long_as_it_gives_signs_of_life(path: Path):
    lock = take(path, "x")
    change(path, machine="elsewhere", host="node7", pid=12, token="other")
    with pytest.raises(Locked, match="process 12 on node7"):
        take(path, "x")
    os.utime(path, (time.time() - SILENT_S - 5,) * 2)
    successor = take(path, "x")
    with pytest.raises(Lost, match=f"process {os.getpid()} .* has taken over; this process stops"):
        lock.check()
    lock.release()  # which is not its own any more
    successor.check()
    successor.release()


def test_a_later_attempt_of_the_same_job_takes_over_and_another_does_not(path: Path):
    first = take(path, "x", "exp/jobs/full/attempt")
    with pytest.raises(Locked):
        take(path, "x")
    with pytest.raises(Locked):
        take(path, "x", "other/jobs/full/attempt")
    second = take(path, "x", "exp/jobs/full/attempt")
    with pytest.raises(Lost):
        first.check()
    second.release()


def test_of_many_at_once_one_gets_it(path: Path):
    take(path, "x")
    change(path, start="1", token="dead")  # all see a stale lock at the same moment

    def attempt(_: int):
        try:
            return take(path, "x")
        except Locked:
            return None

    with ThreadPoolExecutor(8) as pool:
        locks = [lock for lock in pool.map(attempt, range(16)) if lock]
    holding = []
    for lock in locks:
        try:
            lock.check()
            holding.append(lock)
        except Lost:
            pass
    assert len(holding) == 1
    holding[0].release()
    assert not list(path.parent.iterdir())
