"""Who may import whom, as pyproject.toml and docs/architecture.md say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def check(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """Run one of the tools beside this Python."""
    tool = Path(sys.executable).parent / words[0]
    return subprocess.run(
        [tool, *words[1:]], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def test_imports_go_down_only_and_never_in_a_circle():
    done = check("lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "4 kept, 0 broken" in done.stdout


def test_no_unused_or_undefined_names():
    done = check("ruff", "check", "--no-cache", "cascade_asr", "tests", "bench", "egs")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("module", "line", "rule"),
    [
        ("training/trainer.py", "from cascade_asr.cascade.plan import StagePlan", "folders below"),
        ("cascade/plan.py", "import cascade_asr.speech.model", "folders below"),
        ("scoring/words.py", "import torch", "without PyTorch"),
        ("networks/ctc.py", "import cascade_asr.data.tokens", "Networks know no data"),
        ("scoring/words.py", "import cascade_asr.scoring.scorer", "in a circle"),
    ],
)
def test_the_rules_find_what_they_forbid(tmp_path: Path, module: str, line: str, rule: str):
    """Each rule, broken in a copy, is named."""
    for path in (ROOT / "cascade_asr").rglob("*.py"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    broken = tmp_path / "cascade_asr" / module
    broken.write_text(broken.read_text() + f"\n{line}\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    broken_rules = [each for each in done.stdout.splitlines() if each.endswith("BROKEN")]
    assert any(rule in each for each in broken_rules), done.stdout[-2000:]
