"""cascade-asr clean removes what nobody needs, after asking, and never a model that is in use."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade_asr.jobs.record import JobFolder, JobRecord
from cascade_asr.results.removable import Item, remove
from cascade_asr.training.lock import held
from cascade_asr.training.standing import process_started

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 4096


def clean(place: Path, *words: object, status: int = 0, stdin: str = "", **variables: str) -> str:
    """Run the command; its output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.main", "clean", *map(str, words)],
        cwd=place, text=True, capture_output=True, input=stdin, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def write(path: Path, content: object = "x" * BLOCK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def old(path: Path) -> None:
    os.utime(path, (time.time() - 90_000,) * 2)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Full training is done, stage 1 was interrupted, stages 2 and 3 set aside; with features."""
    experiment = tmp_path / "exp/rnn"
    for name in ("full", "stage1.replaced.2", "stage2.replaced.1", "stage3.replaced.1"):
        write(experiment / name / "model.pth")
        write(experiment / name / "done.json", {"digest": "d", "model_sha256": "s", "metrics": {}})
    write(experiment / "full/checkpoint.pt")
    write(experiment / "full/epoch3.pth")
    write(experiment / "full/lineage.json", {"source": "exp/rnn/stage3.replaced.1"})
    write(experiment / "stage1/identity.json", {"config": "d"})
    write(experiment / "stage1/checkpoint.pt")
    write(experiment / "stage1/.history.jsonl.77.tmp")
    old(write(experiment / ".selection.json.77.tmp"))
    write(experiment / ".report.json.78.tmp")
    old(write(experiment / "full/decode_test/.text.79.tmp"))
    write(experiment / "full/decode_test/text", "u1 a\n")
    write(experiment / ".stage4.partial/config.yaml")
    for name in ("feats.scp", "fbank.1.ark", "fbank.1.scp", "manifest.tsv", "cmvn.npz"):
        write(tmp_path / "dump/train" / name)
    write(tmp_path / "dump/tokens/tokens.txt")
    return tmp_path


def files(recipe: Path) -> set[str]:
    return {str(each.relative_to(recipe)) for each in recipe.rglob("*") if each.is_file()}


def rows(text: str) -> dict[str, tuple[str, str, str]]:
    """What is listed: kind, size and whether it is removed, by name."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return {line[1]: (line[0], line[2], line[3]) for line in lines[2:] if len(line) == 4}


USUAL = {
    "exp/rnn/stage1.replaced.2/model.pth", "exp/rnn/stage1.replaced.2/done.json",
    "exp/rnn/stage2.replaced.1/model.pth", "exp/rnn/stage2.replaced.1/done.json",
    "exp/rnn/full/checkpoint.pt", "exp/rnn/full/epoch3.pth",
    "exp/rnn/stage1/.history.jsonl.77.tmp", "exp/rnn/.selection.json.77.tmp",
    "exp/rnn/full/decode_test/.text.79.tmp",
}  # fmt: skip
STATE = {"exp/rnn/stage1/checkpoint.pt"}
FEATURES = {f"dump/train/{name}" for name in ("feats.scp", "fbank.1.ark", "fbank.1.scp")}


def test_a_dry_run_lists_kinds_and_sizes_and_removes_nothing(recipe):
    before = files(recipe)
    text = clean(recipe, "--dry-run")
    assert rows(text) == {
        "exp/rnn/stage1.replaced.2": ("replaced", "8 KB", "yes"),
        "exp/rnn/stage2.replaced.1": ("replaced", "8 KB", "yes"),
        "exp/rnn/full: checkpoint.pt, epoch3.pth": ("leftovers", "8 KB", "yes"),
        "exp/rnn/stage1: .history.jsonl.77.tmp": ("leftovers", "4 KB", "yes"),
        "exp/rnn/stage1: checkpoint.pt": ("state", "4 KB", "with --what state"),
        "exp/rnn/.selection.json.77.tmp": ("leftovers", "4 KB", "yes"),
        "exp/rnn/full/decode_test/.text.79.tmp": ("leftovers", "4 KB", "yes"),
        f"{recipe}/dump/train: 3 files": ("features", "12 KB", "with --what features"),
    }
    assert "would remove 6 entries, 37 KB; nothing was removed" in text
    assert files(recipe) == before


def test_it_asks_and_takes_all_but_yes_for_no(recipe):
    before = files(recipe)
    for answer in ("", "n\n", "\n", "yess\n"):
        text = clean(recipe, stdin=answer, status=1)
        assert "remove 6 entries, 37 KB? [y/N]" in text and "nothing was removed" in text
    assert files(recipe) == before
    assert "removed; 37 KB freed" in clean(recipe, stdin="y\n")
    assert before - files(recipe) == USUAL
    assert rows(clean(recipe, "--dry-run")).keys() == {
        "exp/rnn/stage1: checkpoint.pt", f"{recipe}/dump/train: 3 files",
    }  # fmt: skip


def test_all_removes_state_and_features_too_and_one_kind_only_itself(recipe):
    before = files(recipe)
    clean(recipe, "--what", "features", "--yes", "exp/rnn")
    assert before - files(recipe) == FEATURES
    clean(recipe, "--what", "all", "--yes")
    assert before - files(recipe) == FEATURES | USUAL | STATE
    assert clean(recipe) == "nothing can go\n"


@pytest.mark.parametrize("reader", ["data/noisy", "../{other}/data/train"])
def test_features_that_a_data_folder_was_given_stay(recipe, reader):
    """A user copied feats.scp: no stage would compute these features again."""
    own = reader == "data/noisy"
    path = "dump/train/fbank.1.ark" if own else recipe / "dump/train/fbank.1.ark"
    folder = recipe / reader.format(other=f"{recipe.name}-other")
    write(folder / "feats.scp", f"u1 {path}:5\nu2 {path}:99\n")
    write(recipe / "dump/dev/fbank.1.ark")
    listed = rows(clean(recipe, "--dry-run", "--what", "features"))
    assert f"{recipe}/dump/train: 3 files" not in listed and f"{recipe}/dump/dev: 1 files" in listed


def test_the_source_of_another_experiment_stays(recipe):
    """A transferred classifier: the training could not be reproduced, nor compared with its source."""
    lineage = {"source": "exp/rnn/stage2.replaced.1"}
    write(recipe / "exp/transfer/full/lineage.json", lineage)
    assert rows(clean(recipe, "--dry-run", "exp/rnn")).keys() >= {"exp/rnn/stage1.replaced.2"}
    assert "exp/rnn/stage2.replaced.1" not in rows(clean(recipe, "--dry-run", "exp/rnn"))


def test_what_runs_is_not_touched(recipe):
    progress = {
        "host": socket.gethostname(), "pid": os.getpid(), "epoch": 2, "update": 30,
        "process_started": process_started(os.getpid()), "total_updates": 90,
        "seconds_per_update": 1.0, "written": time.time(),
    }  # fmt: skip
    path = write(recipe / "exp/rnn/stage1/progress.json", progress)
    listed = {"exp/rnn/stage1.replaced.2", "exp/rnn/stage2.replaced.1",
              "exp/rnn/full: checkpoint.pt, epoch3.pth"}  # fmt: skip
    assert rows(clean(recipe, "--dry-run")).keys() == listed
    path.unlink()
    with held(recipe / "exp/rnn/.stage1.lock", "stage 1"):
        assert rows(clean(recipe, "--dry-run")).keys() == listed
    # another experiment of the recipe reads the features
    write(recipe / "exp/other/full/progress.json", progress)
    write(recipe / "exp/other/full/identity.json", {"config": "d"})
    assert f"{recipe}/dump/train: 3 files" not in rows(clean(recipe, "--dry-run", "exp/rnn"))


def test_a_training_that_begins_after_the_question_is_left_alone(recipe):
    process = subprocess.Popen(
        [sys.executable, "-m", "cascade_asr.cli.main", "clean", "--what", "all"], cwd=recipe,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    asked = ""
    while "[y/N]" not in asked:
        asked += process.stdout.read(1)
    with held(recipe / "exp/rnn/.stage1.lock", "stage 1"):
        _, errors = process.communicate("y\n", timeout=60)
    assert process.returncode == 1
    assert f"exp/rnn/stage1: process {os.getpid()} on" in errors
    assert (recipe / "exp/rnn/stage1/checkpoint.pt").is_file()
    assert not (recipe / "exp/rnn/stage2.replaced.1").exists()


def test_jobs_that_may_wait_keep_the_state_and_the_features(recipe):
    record = JobRecord("cascade", "stage1", "name", [], [], {}, "", str(recipe), "d", 3, time.time(),
                       ["7"], True)  # fmt: skip
    JobFolder(recipe / "exp/rnn", "stage1").write(record)
    # Slurm does not answer: nobody knows whether the job waits
    listed = rows(clean(recipe, "--dry-run", PATH="/usr/nowhere"))
    assert listed.keys() == {
        "exp/rnn/stage1.replaced.2", "exp/rnn/stage2.replaced.1",
        "exp/rnn/full: checkpoint.pt, epoch3.pth",
    }  # fmt: skip


def test_a_link_goes_and_what_it_points_to_stays(recipe):
    kept = write(recipe.parent / f"{recipe.name}-elsewhere/model.pth")
    (recipe / "exp/rnn/stage9.replaced.1").symlink_to(kept.parent)
    (recipe / "dump/shared").symlink_to(recipe / "dump/train")
    assert f"{recipe}/dump/shared: 3 files" not in rows(clean(recipe, "--dry-run"))
    clean(recipe, "--yes")
    assert kept.is_file() and not (recipe / "exp/rnn/stage9.replaced.1").is_symlink()


def test_a_model_outside_a_replaced_folder_is_refused_whatever_asks_for_it(recipe):
    model = recipe / "exp/rnn/full/model.pth"
    for path in (model, model.parent):
        with pytest.raises(AssertionError):
            remove(Item("leftovers", "full", (path,)))
    assert model.is_file()


def test_mistakes_are_named(recipe):
    assert "--what feature: no 'feature'; did you mean 'features'?" in clean(
        recipe, "--what", "feature", status=1
    )
    assert "--what : no ''" in clean(recipe, "--what", "", status=1)
    assert "contradict each other" in clean(recipe, "--yes", "--dry-run", status=1)
    assert "gone: no such folder" in clean(recipe, "gone", status=1)
    help_text = clean(recipe, "--help")
    assert "Examples:" in help_text and "default: replaced,leftovers" in help_text
