"""House rules for all bash scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {".git", "data", "dump", "exp", "downloads"}


def _scripts() -> list[Path]:
    found = [ROOT / ".ci" / "run"]
    for folder, subfolders, files in os.walk(ROOT):
        subfolders[:] = [
            name for name in subfolders if name not in SKIPPED and not name.startswith(".venv")
        ]
        found += [Path(folder) / name for name in files if name.endswith(".sh")]
    return sorted(found)


SCRIPTS = _scripts()
RECIPES = sorted(ROOT.glob("egs/*/run.sh"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    result = subprocess.run(
        ["shellcheck", "--external-sources", *map(name, SCRIPTS)],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_script_stops_at_errors_or_is_sourced(script):
    lines = script.read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.startswith("#")]
    if lines[0].startswith("#!"):
        assert lines[0] == "#!/usr/bin/env bash"
        assert code[0] == "set -euo pipefail"
        assert os.access(script, os.X_OK), "a script that is run must be executable"
    else:
        assert "# To be sourced" in lines[0]
        assert any(line.startswith("# shellcheck shell=bash") for line in lines)
        assert not os.access(script, os.X_OK), "a file that is sourced must not be executable"


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_nothing_is_evaluated(script):
    code = [line.split(" #")[0].split() for line in script.read_text().splitlines()]
    assert not any("eval" in words for words in code if words and words[0][0] != "#")


@pytest.mark.parametrize("script", [ROOT / "run.sh", ROOT / "tests/run.sh", *RECIPES], ids=name)
def test_every_run_script_answers_help(script, tmp_path):
    result = subprocess.run(
        [str(script), "--help"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "Usage: " in result.stdout or "Examples:" in result.stdout
    assert not list(tmp_path.iterdir())
