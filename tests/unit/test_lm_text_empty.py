"""Texts without words are named, not divided by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cascade_asr.cli.lm_text", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_an_empty_training_text(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("")
    done = run("vocabulary", tmp_path, tmp_path / "dump")
    assert done.returncode == 1
    assert f"{tmp_path}/train.txt: contains no words" in done.stderr
    assert not (tmp_path / "dump").exists()


def test_an_empty_test_text(tmp_path: Path) -> None:
    for part, text in (("train", "a b\n"), ("valid", "a\n"), ("test", "")):
        (tmp_path / f"{part}.txt").write_text(text)
    assert run("vocabulary", tmp_path, tmp_path / "dump").returncode == 0
    done = run("batches", tmp_path, tmp_path / "dump")
    assert done.returncode == 1
    assert f"{tmp_path}/test.txt: contains no text" in done.stderr


def test_a_text_without_unknown_words_is_not_said_to_have_one(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a b a\n")
    done = run("vocabulary", tmp_path, tmp_path / "dump")
    assert "vocabulary: 3 of 3 different tokens, 100.00 %" in done.stderr  # with <eos>
    done = run("vocabulary", tmp_path, tmp_path / "dump", "--min-count", 2)
    assert "vocabulary: 2 of 3 different tokens, 75.00 %" in done.stderr
