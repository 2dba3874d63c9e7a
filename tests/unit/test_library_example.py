"""The example in docs/library.md runs exactly as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, environment


def test_the_example_trains_and_prints_a_table(tmp_path: Path):
    text = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in ("full training", "longer", "continue", "test accuracy", "dev accuracy"):
        assert words in done.stdout, done.stdout
    assert (tmp_path / "exp/quadrants/stage2/model.pth").is_file()
