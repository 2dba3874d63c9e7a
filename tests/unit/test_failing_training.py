"""A command that fails ends, with its status, within seconds, whatever its processes do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAINING = """
import sys
from pathlib import Path
from cascade_asr.training.interruption import Interruption
interruption = Interruption().install()
import torch
from torch import nn
from cascade_asr import command
from cascade_asr.data.batches import BatchOptions, plan_batches
from cascade_asr.data.loader import BatchLoader, UtteranceDataset
from cascade_asr.data.manifest import read_manifest
from cascade_asr.speech.config import TrainConfig
from cascade_asr.training.device import make_fabric
from cascade_asr.training.protocols import WithoutTrainingState
from cascade_asr.training.trainer import Trainer

DUMP, FOLDER, FAULT = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

class Model(nn.Module, WithoutTrainingState):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(8))
        self.calls = 0

    def forward(self, batch):
        self.calls += 1
        if self.calls == 3:
            exec(FAULT)
        loss = (batch.features.mean(dim=1) - self.mean).square().sum()
        return loss, {"loss": (loss.detach(), len(batch))}

class SlowDataset(UtteranceDataset):
    calls = 0  # in one worker; its first two batches come at once

    def __getitem__(self, index):
        self.calls += 1
        if DELAY and self.calls > 8:
            import time
            time.sleep(DELAY)
        return super().__getitem__(index)

DELAY = float(sys.argv[4])

def loader(name, seed, workers):
    manifest = read_manifest(DUMP / name / "manifest.tsv")
    plan = plan_batches(manifest.frames, manifest.token_lengths, 8, BatchOptions("sorted", batch_size=4))
    return BatchLoader(SlowDataset(manifest, 8), plan, seed, num_workers=workers)

def main():
    config = TrainConfig(optim="sgd", optim_conf={"lr": 0.1}, max_epoch=2, use_tensorboard=False)
    trainer = Trainer(make_fabric(0, "32-true"), config, FOLDER, interruption=interruption)
    trainer.fit(Model(), loader("train", 1, 2), loader("dev", None, 0))
    print("trained")

command.run(main)
"""


def start(dump: Path, folder: Path, fault: str, delay: float = 0.0, **options) -> subprocess.Popen:
    words = [sys.executable, "-c", TRAINING, str(dump), str(folder), fault, str(delay)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise ValueError('a bug')", "ValueError: a bug"),
        ("torch.empty(1 << 50)", "out of memory"),
        ("raise MemoryError", "out of memory (MemoryError); ask for more"),
    ],
)
def test_any_error_in_an_update_ends_the_process_with_its_status(
    dump: Path, tmp_path: Path, fault: str, told: str
):
    """Workers that are in the middle of a slow read are not waited for."""
    fault = f"import time; print('fault at', time.time(), flush=True); {fault}"
    process = start(dump, tmp_path / "full", fault, delay=90.0)
    output, _ = process.communicate(timeout=120)
    ended = time.time()
    assert process.returncode == 1 and told in output, output
    failed = float(output.split("fault at ")[1].split()[0])
    assert ended - failed < 40  # 5 s a worker; more on a busy machine
    assert ("Traceback" in output) == ("bug" in told)


def test_the_workers_of_a_killed_training_die_with_it(dump: Path, tmp_path: Path):
    process = start(dump, tmp_path / "full", "import time; print('here', flush=True); time.sleep(60)")
    for line in process.stdout:
        if "here" in line:
            break
    children = children_of(process.pid)
    assert len(children) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 3
    while not all(map(gone, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(gone, children))


def test_a_failed_training_can_be_ended_by_a_signal(dump: Path, tmp_path: Path):
    """Between the failure and the end of the process, TERM has its usual effect."""
    fault = (
        "import atexit, os, signal; interruption.release(); "
        "print('now', flush=True); os.kill(os.getpid(), signal.SIGTERM)"
    )
    process = start(dump, tmp_path / "full", fault)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("limit", ["files", "TMPDIR"])
def test_a_narrow_environment_is_no_reason_to_wait_for_ever(dump: Path, tmp_path: Path, limit: str):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    environment = dict(os.environ)
    prefix = "ulimit -n 32; " if limit == "files" else ""
    if limit == "TMPDIR":
        environment["TMPDIR"] = str(long)
    done = subprocess.run(
        ["bash", "-c", prefix + 'exec "$@"', "bash", sys.executable, "-c", TRAINING,
         str(dump), str(tmp_path / "full"), "pass", "0"],
        capture_output=True, text=True, timeout=120, env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode == 0 and "trained" in done.stdout) or (
        done.returncode == 1 and "Too many open files" in done.stderr
    ), done.stderr
    if limit == "TMPDIR":
        assert done.returncode == 0
