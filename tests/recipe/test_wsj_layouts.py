"""egs/wsj: the data of every layout of the discs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wsj_expected as expected
import wsj_tree
from conftest import ROOT, environment
from wsj_recipe import check_data, make_recipe, prepare, rows, run

SETS = list(expected.TEXTS)


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Each variant of the tree, and the options that name it."""
    return {
        variant: wsj_tree.make_tree(tmp_path_factory.mktemp(variant), variant)
        for variant in wsj_tree.VARIANTS
    }


@pytest.mark.parametrize("variant", wsj_tree.VARIANTS)
def test_data_folders_of_every_set_and_layout(variant: str, trees, tmp_path: Path):
    done = prepare(tmp_path, *trees[variant], "--sets", *SETS)
    assert done.returncode == 0, done.stderr
    for name in SETS:
        check_data(tmp_path, name)
    assert "train_si284: 35 utterances; LDC's discs have 37416" in done.stderr
    assert "no spk2gender: 3 of 6 speakers are in no spkrinfo file: 011 01i 022" in done.stderr
    assert "022c0200.dot: Windows line ends" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == set(SETS)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("variant", wsj_tree.VARIANTS[1:])
def test_every_layout_gives_features_and_batches(variant: str, trees, tmp_path: Path):
    """The layouts differ in stages 0 and 1; the plain one runs to WERs in test_wsj.py."""
    recipe = make_recipe(tmp_path)
    done = run(recipe, *trees[variant], "--train-set", "train_si84", "--stop-stage", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("train_si84", "test_dev93", "test_eval92"):
        check_data(recipe / "data", name)
        assert rows(recipe / f"dump/{name}/text") == rows(recipe / f"data/{name}/text")
        manifest = (recipe / f"dump/{name}/manifest.tsv").read_text().splitlines()
        assert len([line for line in manifest if "c0" in line]) == expected.COUNTS[name]


def test_clean_words_and_more_speakers(trees, tmp_path: Path):
    more = tmp_path / "wsj0-train-spkrinfo.txt"
    more.write_text(wsj_tree.TRAIN_SPEAKERS + "022 M\n")
    done = prepare(tmp_path / "data", *trees["plain"], "--sets", "train_si284", "--clean-words",
                   "--wsj0-train-spkrinfo", str(more))  # fmt: skip
    assert done.returncode == 0, done.stderr
    texts = {key: text for key, (_, text) in expected.table("train_si284").items()}
    assert rows(tmp_path / "data/train_si284/text") == texts | expected.CLEAN
    assert (tmp_path / "data/train_si284/spk2gender").read_text() == expected.ALL_GENDERS


def test_the_tree_is_the_same_at_every_run(tmp_path: Path):
    command = [sys.executable, str(ROOT / "tests/wsj_tree.py"), str(tmp_path)]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    wsj_tree.make_tree(tmp_path / "again")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    first = {path.relative_to(tmp_path) for path in files if "again" not in path.parts}
    second = {path.relative_to(tmp_path / "again") for path in files if "again" in path.parts}
    assert first == second and len(first) > 200
    for path in first:
        assert (tmp_path / path).read_bytes() == (tmp_path / "again" / path).read_bytes()
