"""Processors that a process may use, threads, ranks, and Slurm's variables around us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.jobs.slurm import submission_environment
from cascade_asr.training import device, processors
from cascade_asr.training.device import check_counts, make_fabric, single


@pytest.mark.parametrize(
    ("version", "group", "files", "expected"),
    [
        (2, "/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),
        (2, "/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "max 100000"}, 4.0),
        (2, "/not/visible", {"cpu.max": "200000 100000"}, 2.0),
        (2, "/a", {}, None),
        (2, "/a", {"a/cpu.max": "garbage"}, None),
        (1, "/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000",
                   "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, 3.0),
        (1, "/a", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        (1, "/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1",
                   "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, None),
    ],
)  # fmt: skip
def test_the_quota_of_a_control_group(tmp_path: Path, version: int, group, files, expected):
    membership = tmp_path / "membership"
    membership.write_text(f"0::{group}\n" if version == 2 else f"4:cpu,cpuacct:{group}\n")
    for name, content in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(content + "\n")
    assert processors.cgroup_quota(membership, tmp_path / "root") == expected


def test_the_smallest_limit_counts(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    monkeypatch.setattr(processors, "_affinity", lambda: 8)
    monkeypatch.setattr(processors, "cgroup_quota", lambda *_: 2.5)
    assert processors.allowed() == processors.Allowed(2, "cgroup quota")
    monkeypatch.setattr(processors, "cgroup_quota", lambda *_: 0.5)
    assert processors.allowed().count == 1
    monkeypatch.setattr(processors, "cgroup_quota", lambda *_: None)
    assert processors.allowed() == processors.Allowed(8, "affinity")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "3")
    assert processors.allowed() == processors.Allowed(3, "Slurm")


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_waiting_is_passive_unless_the_user_says_otherwise(given):
    environment = {n: v for n, v in os.environ.items() if n != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    code = "import cascade_asr, os; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout.decode().strip() == (given or "PASSIVE")


@pytest.mark.parametrize(
    ("environment", "threads", "expected"),
    [({}, None, 1), ({}, 3, 3), ({"OMP_NUM_THREADS": "2"}, 3, 2)],
)
def test_threads_are_decided_once_and_the_variable_wins(environment, threads, expected):
    """On one processor by affinity: one thread, whatever the machine has."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from cascade_asr.training.device import set_threads\n"
        f"set_threads(1, {threads})\n"
        "import torch; print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
    )
    clean = {n: v for n, v in os.environ.items() if n != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(expected)] * 2, done.stderr


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((None, 0, 1), "--processes 0: expected 1 or more"),
        ((None, -1, 1), "--processes -1: expected 1 or more"),
        ((None, 1, 0), "--nodes 0: expected 1 or more"),
        ((-1, 1, 1), "--ngpu -1: expected 0 or more"),
        ((0, 1, 1, 0), "--threads 0: expected 1 or more"),
        ((-1, 0, 1), "--ngpu -1: expected 0 or more; --processes 0: expected 1 or more"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(counts, told: str):
    with pytest.raises(ConfigError) as caught:
        check_counts(*counts)
    assert str(caught.value) == told
    with pytest.raises(ConfigError):
        ngpu, processes, nodes, *threads = counts
        make_fabric(ngpu, "32-true", processes, nodes, *threads)


@pytest.mark.parametrize(("gpus", "given", "taken"), [(4, None, 1), (0, None, 0), (4, 0, 0), (4, 2, 2)])
def test_what_one_process_does_takes_one_of_several_gpus(monkeypatch, gpus, given, taken):
    """A language model failed in stage 3 on a machine with four, and a probe was made four times."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert single(given) == taken


def test_several_machines_need_something_that_starts_the_others(monkeypatch):
    for name in ("CASCADE_ASR_ATTEMPT", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="--nodes 2: nothing starts the processes of the other"):
        make_fabric(0, "32-true", 1, 2)


@pytest.mark.parametrize("tasks", ["1", "2"])
def test_a_local_run_within_anybodys_slurm_job_starts_its_own_ranks(tmp_path: Path, tasks: str):
    """Slurm's variables say one task or two; two processes were asked for and train."""
    script = tmp_path / "train.py"
    script.write_text(
        "from cascade_asr.training.device import make_fabric\n"
        "import torch\n"
        "fabric = make_fabric(0, '32-true', 2)\n"
        "total = fabric.all_reduce(torch.tensor(1.0), reduce_op='sum')\n"
        f"open(r'{tmp_path}/rank%d' % fabric.global_rank, 'w').write(str(int(total)))\n"
    )
    slurm = {
        "SLURM_JOB_ID": "7", "SLURM_NTASKS": tasks, "SLURM_JOB_NAME": "mine", "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "elsewhere",
        "SLURM_STEP_ID": "0", "SLURM_NNODES": "1",
    }  # fmt: skip
    environment = {n: v for n, v in os.environ.items() if n != "CASCADE_ASR_ATTEMPT"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment | slurm, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0", "rank1"]
    assert (tmp_path / "rank0").read_text() == (tmp_path / "rank1").read_text() == "2"
    assert "within Slurm job 7" in done.stderr or "Slurm" not in done.stdout


def test_no_rank_outlives_the_one_that_started_it(tmp_path: Path):
    """Killed for lack of memory, it left the others waiting for it, with their GPUs."""
    script = tmp_path / "ranks.py"
    script.write_text(
        "import os, pathlib, signal, time\n"
        "from cascade_asr.training.device import end_with_first_rank, make_fabric\n"
        "fabric = make_fabric(0, '32-true', 2)\n"
        "end_with_first_rank(fabric)\n"
        "path = pathlib.Path(f'rank{fabric.global_rank}')\n"
        "path.with_suffix('.new').write_text(str(os.getpid())); path.with_suffix('.new').rename(path)\n"
        "if fabric.global_rank: os.kill(os.getpid(), signal.SIGSTOP)  # as if in a computation\n"
        "time.sleep(100)\n"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    first = subprocess.Popen(
        [sys.executable, script], cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not all((tmp_path / name).exists() for name in ("rank0", "rank1")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    other = Path("/proc", (tmp_path / "rank1").read_text(), "cmdline")
    time.sleep(0.2)
    assert other.read_bytes()
    first.kill()
    first.wait()
    deadline = time.monotonic() + 10
    while other.exists() and other.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
    gone = not other.exists() or not other.read_bytes()
    if not gone:
        os.kill(int(other.parent.name), signal.SIGKILL)
    assert gone


def test_a_submission_takes_nothing_over_from_the_job_around_it():
    around = {
        "SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "100", "SLURM_GPUS": "1", "SLURM_NTASKS": "4",
        "SLURM_CPUS_PER_TASK": "2", "SRUN_CPUS_PER_TASK": "2", "SBATCH_MEM_PER_NODE": "1G",
        "SBATCH_EXPORT": "NONE", "SBATCH_GPUS": "2", "CUDA_VISIBLE_DEVICES": "3", "PMI_RANK": "1",
        "CASCADE_ASR_ATTEMPT": "x:y",
    }  # fmt: skip
    kept = {
        "PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "speech",
        "SBATCH_PARTITION": "cpu", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    assert submission_environment(around | kept) == kept
    outside = {"CUDA_VISIBLE_DEVICES": "3", "PATH": "/bin"}
    assert submission_environment(outside) == outside


@pytest.fixture
def threads_of_its_own(monkeypatch: pytest.MonkeyPatch):
    """Three processors and no variable set by the user; everything is restored afterwards."""
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", device.FITTED, device.MOST_THREADS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processors, "allowed", lambda: processors.Allowed(3, "affinity"))
    yield monkeypatch
    torch.set_num_threads(before)


def fitted(width: int, kind: str = "cpu") -> int:
    """Threads for a network of ``width`` squared parameters."""
    device.set_threads(1)
    network = nn.Linear(width, width, bias=False, device="meta")
    device.fit_threads(SimpleNamespace(device=torch.device(kind)), network)
    return torch.get_num_threads()


@pytest.mark.parametrize(
    ("width", "expected"), [(1000, 1), (2500, 1), (3200, 2), (6000, 3)]  # 1, 6, 10, 36 million
)
def test_small_networks_have_fewer_threads(threads_of_its_own, width: int, expected: int):
    assert fitted(width) == expected
    assert fitted(6000) == 3  # the next training of the same process is not bound by it


def test_a_number_that_somebody_set_stays(threads_of_its_own):
    threads_of_its_own.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    assert fitted(1000) == 2


def test_trainings_side_by_side_share_the_processors(threads_of_its_own):
    threads_of_its_own.setenv(device.MOST_THREADS, "2")
    assert fitted(6000) == 2


@pytest.mark.parametrize(
    ("share", "ngpu", "available", "expected"),
    [
        ("", None, 4, None), ("", 1, 4, None), ("1/2", 0, 0, None), ("1/2", None, 0, None),
        ("1/4", 1, 4, [0]), ("3/4", 1, 4, [2]), ("6/4", 1, 4, [1]), ("3/4", None, 4, [2]),
        ("2/2", None, 4, [2, 3]), ("2/3", 2, 4, [2, 3]), ("3/3", 2, 4, [0, 1]),
        ("5/8", None, 2, [0]), ("2/3", 2, 3, [2, 0]), ("3/4", 0, 4, []),
    ],
)  # fmt: skip
def test_trainings_side_by_side_share_the_gpus(monkeypatch, share, ngpu, available, expected):
    """All took the first one with --ngpu 1, and without it each took all of them."""
    monkeypatch.setenv(device.SHARE, share)
    assert device.own_gpus(ngpu, available) == expected


def test_on_a_gpu_the_size_does_not_count(threads_of_its_own):
    assert fitted(1000, "cuda") == 3
