"""Stage 0 of egs/swbd scores each evaluation's reference against itself, with the real hubscr.pl."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import swbd_tree
from swbd_recipe import make_recipe, run

from cascade_asr.errors import ConfigError
from cascade_asr.scoring.hub5.hub5 import find_sctk

try:
    find_sctk()
except ConfigError as error:
    pytest.skip(str(error), allow_module_level=True)


def stage_0(tmp_path: Path, old: str, new: str):
    """Run it on a tree with a changed line in the reference."""
    tree = swbd_tree.make_tree(tmp_path / "corpora")
    (path,) = (tmp_path / "corpora").rglob("hub5e00.english.000405.stm")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    (tmp_path / "project").mkdir()
    recipe = make_recipe(tmp_path / "project")
    return recipe, run(recipe, "--swbd", tree.swbd, "--eval2000", tree.eval2000,
                       "--test-sets", "eval2000", "--stop-stage", "0")  # fmt: skip


def test_its_error_rates_are_shown(tmp_path: Path):
    recipe, done = stage_0(tmp_path, "HE IS A COOK", "HE IS A COOK")
    assert done.returncode == 0, done.stderr
    rates = dict(re.findall(r"^(\w+) +WER +([\d.]+) \[ 0 / [1-9]", done.stdout, re.MULTILINE))
    assert rates == {"swbd": "0.0", "callhm": "0.0", "all": "0.0"}
    assert "eval2000: the reference scored against itself; its error rates should be 0" in done.stderr
    assert (recipe / "data/.stage0.done").exists()


def test_a_reference_that_stops_nists_tools_is_told_before_training(tmp_path: Path):
    """sclite dies of an optional word for which the rules have alternatives."""
    recipe, done = stage_0(tmp_path, "HE IS A COOK", "(THEY'RE) A COOK")
    assert done.returncode == 1 and "hubscr.pl failed with status" in done.stderr
    assert not (recipe / "data/.stage0.done").exists()
