"""Mistakes in options and their files are reported all at once, before the first stage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import copy_recipe, environment, write_yaml


def refused(recipe: Path, *words: str) -> str:
    """What run.sh says when it refuses its options; nothing is then begun."""
    before = sorted(path.name for path in recipe.iterdir())
    done = subprocess.run(
        ["./run.sh", *words], cwd=recipe, env=environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in recipe.iterdir()) == before
    return done.stderr


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = copy_recipe(tmp_path_factory.mktemp("tree"), "digits")
    write_yaml(recipe / "beam.yaml", {"beam_size": 4, "ctc_wieght": 0.3})
    (recipe / "mel.conf").write_text("--num-mel-bins=80\n--frame-shfit=10\n")
    return recipe


@pytest.mark.parametrize(
    "words, told",
    [
        (["--controls", "longer,continu"], "no control 'continu'; did you mean 'continue'?"),
        (["--cascade-stages", "4-2"], "--cascade-stages 4-2: 4 comes after 2; write 2-4"),
        (["--train-args", "max_epochs=3"], "--train-args max_epochs=3: unknown key 'max_epochs'"),
        (["--train-args", "max_epoch=-1"], "max_epoch is -1, expected 1 or more"),
        (["--decode-config", "beam.yaml"], "beam.yaml:2: unknown key 'ctc_wieght'"),
        (["--fbank-config", "mel.conf"], "mel.conf:2: "),
        (["--dumpdir", "./data/"], "--dumpdir ./data: expected a folder of its own"),
    ],
)
def test_a_mistake_is_told_before_the_first_stage(digits: Path, words: list[str], told: str):
    assert told in refused(digits, *words)


def test_all_mistakes_are_told_together(digits: Path):
    told = refused(digits, "--controls", "none,x", "--decode-config", "beam.yaml")
    assert "no control" in told and "ctc_wieght" in told


def test_options_of_perplexities_too(tmp_path: Path):
    recipe = copy_recipe(tmp_path, "wikitext2")
    write_yaml(recipe / "cache.yaml", {"batch_size": 0})
    told = refused(recipe, "--text", str(tmp_path), "--evaluate-config", "cache.yaml")
    assert "cache.yaml: batch_size is 0, expected 1 or more" in told
