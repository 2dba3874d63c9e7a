"""Checkpoints: averaging, faults of the file, another architecture, a full disk."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from cascade_asr.errors import ConfigError, TrainingError
from cascade_asr.files import atomic_write, read_json
from cascade_asr.training import checkpoint
from cascade_asr.training.optimization import OPTIMIZERS, build_optimizer
from cascade_asr.training.schedules import SCHEDULERS, Schedule

ROOT = str(Path(__file__).resolve().parents[2])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A file size limit stands for a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


# ---- averaging -------------------------------------------------------------------


def test_the_average_is_the_mean_in_double_precision():
    random = torch.Generator().manual_seed(0)
    states = [{"w": torch.randn(5, 4, generator=random)} for _ in range(3)]
    mean = sum(state["w"].double() for state in states) / 3
    assert torch.equal(checkpoint.average(states)["w"], mean.float())
    assert checkpoint.average(states)["w"].dtype == torch.float32


def test_frozen_tensors_are_copied_where_a_float32_mean_differs():
    """The trap: the mean of equal float32 tensors is a different tensor."""
    frozen = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    differing = {}
    for count in (3, 5, 7):
        naive = torch.stack([frozen] * count).mean(dim=0)
        differing[count] = int((naive != frozen).sum())
        states = [{"frozen": frozen.clone(), "free": frozen.clone()} for _ in range(count)]
        averaged = checkpoint.average(states, {"frozen"})
        assert torch.equal(averaged["frozen"], frozen)
        assert torch.equal(averaged["free"], frozen)  # in double precision it is exact
    assert all(differing.values()), f"no trap on this machine: {differing}"


def test_a_frozen_tensor_is_the_best_checkpoints_own_not_a_mean():
    states = [{"frozen": torch.tensor([1.0])}, {"frozen": torch.tensor([2.0])}]
    assert checkpoint.average(states, {"frozen"})["frozen"].item() == 1.0


def test_counters_are_the_best_checkpoints_and_half_precision_is_kept():
    states = [
        {"n": torch.tensor(value), "h": torch.tensor([float(value)], dtype=torch.bfloat16)}
        for value in (7, 4)
    ]
    averaged = checkpoint.average(states)
    assert averaged["n"].item() == 7 and averaged["n"].dtype == torch.int64
    assert averaged["h"].item() == 5.5 and averaged["h"].dtype == torch.bfloat16


def test_the_average_shares_no_memory_with_its_states():
    states = [{"a": torch.ones(2), "frozen": torch.ones(2)}]
    averaged = checkpoint.average(states, {"frozen"})
    averaged["a"].zero_(), averaged["frozen"].zero_()
    assert states[0]["a"].sum() == states[0]["frozen"].sum() == 2


# ---- another architecture ------------------------------------------------------------


def test_another_architecture_is_named_and_nothing_is_loaded(tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = nn.Sequential(nn.Linear(4, 2), nn.Identity(), nn.Linear(2, 1)).state_dict()
    with pytest.raises(ConfigError) as caught:
        checkpoint.load_weights(model, weights, tmp_path / "model.pth")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/model.pth: checkpoint of another architecture: ")
    for part in (
        "'1.weight' is missing", "'1.bias' is missing", "'2.weight' is not in this model",
        "and 1 more", "use the configuration that it was trained with, or another --tag",
    ):  # fmt: skip
        assert part in message, part
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    with pytest.raises(ConfigError, match=r"'weight' is \(2, 4\), this model has \(2, 3\)"):
        checkpoint.load_weights(nn.Linear(3, 2), nn.Linear(4, 2).state_dict(), tmp_path)


# ---- files -------------------------------------------------------------------------


def test_what_is_saved_is_loaded(tmp_path: Path):
    content = {"weights": {"a": torch.arange(3.0)}, "best": [[0.5, 3]], "none": None, "text": "é"}
    checkpoint.save(tmp_path / "new" / "x.pt", content)
    loaded = checkpoint.load(tmp_path / "new" / "x.pt")
    assert torch.equal(loaded["weights"]["a"], torch.arange(3.0))
    assert {**loaded, "weights": None} == {**content, "weights": None}


@pytest.mark.parametrize("keep", [0, 1, 200, -1])
def test_a_damaged_file_is_named_with_a_remedy(tmp_path: Path, keep: int):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ConfigError, match="checkpoint.pt: damaged .*; restore it, or move it away"
    ) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_with_code_in_it_is_not_run(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"a": Evil()}, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="x.pt: damaged"):
        checkpoint.load(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="nothing.pt: no such checkpoint"):
        checkpoint.load(tmp_path / "nothing.pt")


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"a": torch.ones(10)})
    old = path.read_bytes()
    for size in (5, 20_000, 400_000):
        with largest_file(size), pytest.raises(TrainingError) as caught:
            checkpoint.save(path, {"a": torch.randn(200_000)})
        assert "cannot write" in str(caught.value) and str(path) in str(caught.value)
        assert "free some space and start again" in str(caught.value), size
        assert f"the previous {path} is kept" in str(caught.value)
        assert path.read_bytes() == old
        assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(
        TrainingError, match=r"cannot write .*file/x.pt: (Not a directory|File exists)"
    ):
        checkpoint.save(tmp_path / "file" / "x.pt", {})
    assert "free some space" in checkpoint.errno_text(OSError(errno.ENOSPC, "No space left"))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "done.json"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as stream:
        stream.write("half of the ne")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_never_sees_half_a_file(tmp_path: Path):
    path = tmp_path / "selection.json"
    path.write_text("old")
    with atomic_write(path) as stream:
        stream.write("new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b'{"a": "\xff"}'])
def test_json_that_is_not_a_whole_object_is_named_with_a_remedy(tmp_path: Path, content: bytes):
    path = tmp_path / "selection.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"selection\.json: cannot be read .*; move it away \(mv "):
        read_json(path)


def test_files_are_utf8_whatever_the_locale(tmp_path: Path):
    """Recipes sort under LC_ALL=C, and some machines have Latin-1."""
    code = (
        "from pathlib import Path; from cascade_asr.files import *\n"
        "with atomic_write(Path('list')) as stream: stream.write('\\u6f22\\u00e9')\n"
        "write_json(Path('x.json'), {'J\\u00fcrgen': '\\u6f22'}); assert read_json(Path('x.json'))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "list").read_text(encoding="utf-8") == "漢é"


# ---- what a resumed training reads -----------------------------------------------------

SCHEDULE_CONF = {
    "cosineannealinglr": {"T_max": 10},
    "epsdecay": {},
    "exponentiallr": {"gamma": 0.9},
    "multisteplr": {"milestones": [2, 5]},
    "noamlr": {"model_size": 16, "warmup_steps": 5},
    "onecyclelr": {"max_lr": 0.1},
    "reducelronplateau": {"patience": 0},
    "steplr": {"step_size": 2},
    "warmuplr": {"warmup_steps": 4},
}


def steps(
    parameter: nn.Parameter, optimizer: torch.optim.Optimizer, schedule: Schedule, count: int
):
    for _ in range(count):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
        schedule.after_update()
        schedule.after_epoch(1.0)


@pytest.mark.filterwarnings("ignore:NoamLR is deprecated")
@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_schedule_goes_on_after_a_resume_as_if_nothing_had_happened(name, tmp_path: Path):
    optim, conf = ("adadelta", {}) if name == "epsdecay" else ("adam", {"lr": 0.1})
    results = []
    for interrupted in (False, True):
        parameter = nn.Parameter(torch.ones(3))
        optimizer = build_optimizer([parameter], optim, conf)
        schedule = Schedule(optimizer, name, SCHEDULE_CONF[name], 30)
        steps(parameter, optimizer, schedule, 4)
        if interrupted:
            content = {"o": optimizer.state_dict(), "s": schedule.state_dict(), "p": parameter.data}
            checkpoint.save(tmp_path / "x.pt", content)
            state = checkpoint.load(tmp_path / "x.pt")
            parameter = nn.Parameter(state["p"])
            optimizer = build_optimizer([parameter], optim, conf)
            schedule = Schedule(optimizer, name, SCHEDULE_CONF[name], 30)
            optimizer.load_state_dict(state["o"])
            schedule.load_state_dict(state["s"])
        steps(parameter, optimizer, schedule, 5)
        group = optimizer.param_groups[0]
        results.append((parameter.tolist(), group["lr"], group["eps"]))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_can_be_saved_and_loaded(name: str, tmp_path: Path):
    results = []
    for interrupted in (False, True):
        parameter = nn.Parameter(torch.ones(3))
        optimizer = build_optimizer([parameter], name, {"lr": 0.1})
        schedule = Schedule(optimizer, None, {}, 30)
        steps(parameter, optimizer, schedule, 3)
        if interrupted:
            checkpoint.save(tmp_path / "x.pt", {"o": optimizer.state_dict(), "p": parameter.data})
            state = checkpoint.load(tmp_path / "x.pt")
            parameter = nn.Parameter(state["p"])
            optimizer = build_optimizer([parameter], name, {"lr": 0.1})
            optimizer.load_state_dict(state["o"])
        steps(parameter, optimizer, schedule, 3)
        results.append(parameter.tolist())
    assert results[0] == results[1]
