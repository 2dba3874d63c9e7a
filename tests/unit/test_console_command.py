"""The console command: it finds its sub-commands, and those that inspect show what is there."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cascade_asr.scoring.hub5.hub5 import DEBIAN_FOLDER
from cascade_asr.training.history import Progress
from cascade_asr.training.standing import process_started, read_standing

ROOT = Path(__file__).resolve().parents[2]


def cascade_asr(*words: object, place: Path = ROOT, status: int = 0, stdin: str = "") -> str:
    """Run the command; its output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.main", *map(str, words)],
        cwd=place, text=True, capture_output=True, input=stdin, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Full training is done and scored, stage 1 was interrupted, stage 2 set aside once."""
    directory = tmp_path / "exp/rnn"
    write(directory / "full/done.json", {"digest": "d", "model_sha256": "s", "metrics": {}})
    write(directory / "full/model.pth", "w" * 5000)
    write(directory / "full/scores.json", {"test WER": 12.34, "test CER": 5.0})
    write(directory / "full/identity.json", {"config": "d"})
    write(directory / "stage1/identity.json", {"config": "d"})
    write(directory / "stage1/checkpoint.pt", "c" * 9000)
    write(directory / "stage2.replaced.1/model.pth", "o" * 7000)
    stages = [{"name": "full", "title": "full training", "value": 8.5, "kept": True}]
    write(
        directory / "selection.json",
        {"metric": "wer_ctc", "mode": "min", "selected": "full", "stages": stages},
    )
    return directory


def standing(folder: Path, **changes: object) -> None:
    """A training that runs in this process, unless changed."""
    content = {
        "host": socket.gethostname(), "pid": os.getpid(),
        "process_started": process_started(os.getpid()), "epoch": 2, "update": 30,
        "total_updates": 90, "seconds_per_update": 60.0, "written": time.time(),
    }  # fmt: skip
    write(folder / "progress.json", {**content, **changes})


# ---- sub-commands ----------------------------------------------------------------------


def _groups() -> dict[str, tuple[tuple[str, str, str], ...]]:
    """All sub-commands, as the console command has them."""
    tree = ast.parse((ROOT / "cascade_asr/cli/main.py").read_text())
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and node.target.id == "GROUPS"
    )


def test_every_command_in_the_help_has_a_main_and_every_module_is_there_or_left_out():
    text = cascade_asr("--help")
    registered = {each[1]: each for group in _groups().values() for each in group}
    modules = {path.stem: path.read_text() for path in (ROOT / "cascade_asr/cli").glob("*.py")}
    for name, module, meaning in registered.values():
        assert (f"  {name:<18}{meaning}" in text) == (module in modules)
        assert module not in modules or "\ndef main(" in modules[module], module
    commands = {name for name, source in modules.items() if "\ndef main() ->" in source}
    assert commands - {"main"} <= set(registered)


def test_help_imports_neither_torch_nor_numpy():
    code = (
        "import sys; sys.argv = ['cascade-asr', '--help']\n"
        "from cascade_asr.cli import main\n"
        "try:\n    main.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('LOADED', [name for name in ('torch', 'numpy', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("LOADED []\n"), done.stdout + done.stderr


def test_a_misspelt_command_is_told_with_the_nearest_and_no_command_shows_the_help():
    assert "no command 'lits'; did you mean 'list'?" in cascade_asr("lits", status=1)
    assert cascade_asr(status=2).startswith("usage: cascade-asr COMMAND")
    assert cascade_asr("--version").startswith("cascade-asr 0.")


@pytest.mark.parametrize("name", ["list", "status", "doctor"])
def test_the_help_of_a_command_has_examples_and_its_own_name(name):
    text = cascade_asr(name, "--help")
    assert text.startswith(f"usage: cascade-asr {name}") and "Examples:" in text
    assert "default:" in text
    assert cascade_asr("help", name) == text


# ---- list ------------------------------------------------------------------------------


def test_list_shows_stages_state_results_age_and_size(experiment):
    text = cascade_asr("list", place=experiment.parents[1])
    line = text.splitlines()[2]
    assert [cell.strip() for cell in line.split("|")[1:7]] == [
        "exp/rnn", "full, stage1 (stopped)", "stopped", "full", "wer_ctc 8.5", "test WER 12.34",
    ]  # fmt: skip
    assert " s ago" in line and "KB" in line


def test_list_as_json_for_experiments_exp_folders_and_recipes(experiment):
    shown = [
        json.loads(cascade_asr("list", "--json", folder))
        for folder in (experiment, experiment.parent, experiment.parents[1])
    ]
    assert shown[0][0]["test"] == {"test WER": 12.34, "test CER": 5.0}
    assert shown[0][0]["stages"] == {"full": "done", "stage1": "stopped"}
    assert shown[0][0]["replaced"] == ["stage2.replaced.1"]
    assert shown[0] == shown[1] == shown[2]


def test_list_finds_the_experiments_of_all_recipes_of_a_clone_named_or_not(experiment, tmp_path):
    recipe = tmp_path / "clone/egs/digits"
    recipe.mkdir(parents=True)
    experiment.parent.rename(recipe / "exp")
    (tmp_path / "clone/egs/an4").mkdir()
    for place, folders in (
        (tmp_path / "clone", ["."]), (tmp_path / "clone", []), (tmp_path / "clone", ["egs"]),
        (tmp_path / "clone/egs", ["."]), (tmp_path / "clone/egs", []), (tmp_path, ["clone"]),
    ):  # fmt: skip
        (found,) = json.loads(cascade_asr("list", "--json", *folders, place=place))
        assert found["experiment"].endswith("digits/exp/rnn")


@pytest.mark.parametrize("unfinished", ["cascade", "control", "nothing"])
def test_list_calls_an_experiment_done_only_if_no_stage_is_left(experiment, unfinished):
    path = experiment / "selection.json"
    controls = {"longer": {"complete": unfinished != "control", "stages": []}}
    whole = json.loads(path.read_text()) | {"complete": unfinished != "cascade"}
    write(path, whole | {"controls": controls})
    (experiment / "stage1").rename(experiment / "stage1.replaced.1")
    (shown,) = json.loads(cascade_asr("list", "--json", experiment))
    assert shown["state"] == ("done" if unfinished == "nothing" else "not complete")


def test_list_as_json_has_no_numbers_that_json_lacks(experiment):
    path = experiment / "selection.json"
    write(path, path.read_text().replace("8.5", "NaN"))
    write(experiment / "full/scores.json", '{"test perplexity": Infinity}')
    text = cascade_asr("list", "--json", experiment)
    (shown,) = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert shown["dev"] is None and shown["test"] == {"test perplexity": None}


def test_list_of_damaged_files_and_of_nothing(experiment, tmp_path):
    for damaged in ('{"metric": ', "[]"):
        write(experiment / "selection.json", damaged)
        write(experiment / "full/scores.json", "[")
        assert "full, stage1 (stopped)" in cascade_asr("list", experiment)
    (tmp_path / "empty").mkdir()
    assert "no experiments here" in cascade_asr("list", place=tmp_path / "empty")
    assert "empty: no experiment" in cascade_asr("list", tmp_path / "empty", status=1)
    assert "gone: no such folder" in cascade_asr("list", tmp_path / "gone", status=1)


# ---- status ----------------------------------------------------------------------------


def test_status_of_a_running_training_has_epoch_update_and_time_left(experiment):
    standing(experiment / "stage1")
    text = cascade_asr("status", experiment)
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")[1:7]]
    assert cells == [
        f"{experiment}/stage1", "running", socket.gethostname(), "2", "30/90", cells[5],
    ]  # fmt: skip
    assert cells[5] in ("59 min", "1 h 0 min") or cells[5].startswith("60 min")
    assert "full" not in text


def test_status_tells_a_killed_training_and_how_to_go_on(experiment):
    standing(experiment / "stage1", process_started="1")
    assert "killed (its process is gone; run the same command again" in cascade_asr(
        "status", experiment
    )
    standing(experiment / "stage1", host="elsewhere", written=time.time() - 7200)
    assert "killed" in cascade_asr("status", experiment)
    standing(experiment / "stage1", host="elsewhere", written=time.time() - 60)
    assert "| running | elsewhere" in cascade_asr("status", experiment)


def test_status_of_an_interrupted_training_and_of_none(experiment):
    assert "stopped (run the same command again to resume)" in cascade_asr("status", experiment)
    write(experiment / "stage1/done.json", {"digest": "d"})
    write(experiment / "stage1/model.pth", "w")
    assert "nothing is running or waiting" in cascade_asr("status", experiment)
    assert cascade_asr("status", "--all", experiment).count("| done") == 2


def test_a_training_says_where_it_stands_until_it_ends(tmp_path):
    progress = Progress("full training", 600, 0, 1, True, tmp_path)
    found = read_standing(tmp_path)
    assert found and found.alive and (found.update, found.seconds_left) == (0, None)
    progress._file._due = 0.0
    progress.advance(100, 3, {})
    found = read_standing(tmp_path)
    assert (found.epoch, found.update, found.total_updates) == (3, 100, 600)
    assert found.seconds_left is not None
    progress.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="hubscr.pl NOT FOUND; apt-get install sctk")
def test_doctor_finds_nists_tools_where_scoring_does():
    """Debian's package puts them into a folder that is not on PATH."""
    done = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.doctor"], cwd=ROOT, capture_output=True, text=True,
        check=False, env={**os.environ, "PATH": "/nowhere"},
    )  # fmt: skip
    assert f"ok      hubscr.pl    {DEBIAN_FOLDER}/hubscr.pl\n" in done.stdout
    assert f"ok      sclite       {DEBIAN_FOLDER}/sclite\n" in done.stdout


def test_names_with_accents_work_in_an_ascii_locale(tmp_path: Path):
    """Python then does not use UTF-8, and is restarted with it."""
    folder = tmp_path / "données"
    folder.mkdir()
    for name in ("text", "utt2spk"):
        (folder / name).write_text("é1 é1\n", encoding="utf-8")
    (folder / "spk2utt").write_text("é1 é1\n", encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.data_dir", "validate", "--no-wav", "--no-feats",
         str(folder)],
        cwd=ROOT, env={**os.environ, **ascii_only}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8") == f"{folder}: valid\n"
