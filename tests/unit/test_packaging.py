"""A wheel of the project contains all that recipes need, and its command runs outside a clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import training_arguments
from tiny_corpus import TINY_CONFIG

from cascade_asr.files import read_json, toolkit_folder
from cascade_asr.version import PIP_LINE, TORCH

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, built as a wheel from a copy and installed into a separate folder."""
    source = tmp_path_factory.mktemp("source")
    for name in ("cascade_asr", "utils", "conf", "egs/TEMPLATE"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests").mkdir()
    for name in ("setup.py", "MANIFEST.in", "pyproject.toml", "README.md", "LICENSE", "path.sh",
                 "tests/requirements.txt"):  # fmt: skip
        shutil.copy2(ROOT / name, source / name)
    wheels, target = source / "wheels", tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for words in (
        ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)],
        ["install", "--no-deps", "--no-index", "--target", str(target), "--find-links",
         str(wheels), "cascade_asr"],
    ):  # fmt: skip
        done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = wheels.glob("*.whl")
    return Path(shutil.copy(wheel, target))


def run(installed: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The installed console command, with nothing of the clone in the environment."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = os.pathsep.join(
        each for each in os.environ["PATH"].split(os.pathsep) if not each.startswith(str(ROOT))
    )
    target = installed.parent
    variables = {**kept, "PATH": path, "PYTHONPATH": str(target), **environment}
    return subprocess.run(
        [sys.executable, str(target / "bin/cascade-asr"), *words],
        cwd=target, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_wheel_has_scripts_and_configurations_with_their_modes(installed):
    with zipfile.ZipFile(installed) as wheel:
        modes = {each.filename: each.external_attr >> 16 for each in wheel.infolist()}
    for folder in ("utils", "conf", "egs/TEMPLATE"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = f"cascade_asr/share/{path.relative_to(ROOT)}"
                assert name in modes, name
                assert bool(modes[name] & 0o100) == os.access(path, os.X_OK), name
    assert "cascade_asr/share/path.sh" in modes


def test_doctor_runs_from_the_wheel_outside_a_clone(installed):
    done = run(installed, "doctor")
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert f"cascade_asr  0.1.0 in {installed.parent}/cascade_asr" in done.stdout
    assert f"utils, conf  {installed.parent}/cascade_asr/share" in done.stdout
    assert (done.returncode == 0) == done.stdout.endswith("nothing is missing\n")


def test_doctor_names_what_is_missing_and_ends_with_status_1(installed):
    done = run(installed, "doctor", PATH="/nowhere")
    assert done.returncode == 1
    assert "MISSING sox          not found; for audio other than WAV" in done.stdout
    assert "missing: bash, perl, sox" in done.stdout


def test_a_recipe_outside_the_clone_finds_the_options_and_stages(installed, tmp_path):
    shutil.copytree(ROOT / "egs/digits/conf", tmp_path / "conf")
    shutil.copy(ROOT / "egs/digits/cmd.sh", tmp_path)
    shutil.copy(ROOT / "egs/digits/run.sh", tmp_path)
    share = run(installed, "path").stdout.strip()
    (tmp_path / "path.sh").write_text(f'. "{share}/path.sh"\n')
    done = subprocess.run(
        ["./run.sh", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"Options of {share}/utils/stages.sh" in done.stdout


def test_the_wheel_makes_recipes(installed, tmp_path):
    done = run(installed, "new-recipe", str(tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CASCADE_ASR")}
    helped = subprocess.run(
        ["./run.sh", "--help"], cwd=tmp_path / "mine", capture_output=True, text=True, check=False,
        env={**kept, "PATH": os.defpath, "PYTHONPATH": str(installed.parent)},
    )  # fmt: skip
    assert helped.returncode == 0, helped.stderr
    assert f"Options of {installed.parent}/cascade_asr/share/utils/asr.sh" in helped.stdout
    assert (tmp_path / "mine/README.md").read_text().startswith("# mine\n")


def test_a_tiny_cascade_runs_from_the_wheel(installed, tmp_path, dump):
    config = {**TINY_CONFIG, "max_epoch": 1, "keep_nbest_models": 1}
    cascade = {"cuts": ["decoder"], "train": {"max_epoch": 1}}
    for what in ("full", "cascade"):
        words = training_arguments(what, tmp_path, dump, config, cascade)[1:]
        done = run(installed, "training", *words, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
    selection = read_json(tmp_path / "exp/selection.json")
    assert [stage["name"] for stage in selection["stages"]] == ["full", "stage1"]
    listed = run(installed, "list", str(tmp_path))
    assert "stage1" in listed.stdout, listed.stdout + listed.stderr


def test_in_a_clone_the_folder_is_the_clone():
    assert toolkit_folder() == ROOT


def test_torch_is_the_same_everywhere():
    assert f"torch=={TORCH}" in (ROOT / "setup.py").read_text()
    assert f"torch_version={TORCH}\n" in (ROOT / "utils/setup_env.sh").read_text()
    assert f"torch=={TORCH} " in (ROOT / "docs/install.md").read_text()
    espnet = PIP_LINE.rpartition(" ")[2]
    assert espnet in (ROOT / "conf/requirements.txt").read_text()
    assert espnet in (ROOT / "docs/install.md").read_text()
