"""References are scored against themselves before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cascade_asr.results.test_sets import open_set
from cascade_asr.scoring.references import faults_of_reference


def data(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text").write_text(text, "utf-8")
    names = [line.split()[0] for line in text.splitlines()]
    (folder / "utt2spk").write_text("".join(f"{name} s\n" for name in names))
    return folder


def test_all_faults_are_named(tmp_path: Path) -> None:
    folder = data(tmp_path / "test", "u1 a { b\nu2 c\nu3 x{y}\nu4 { a / b }\nu5 }\n")
    faults = faults_of_reference(folder, (), print)
    assert [fault.split(": ")[0] for fault in faults] == [
        f"{folder}/text:1",
        f"{folder}/text:3",
    ]
    assert "'{' is never closed in '{ b'" in faults[0]
    assert "'{' inside the word 'x{y}'" in faults[1]


def test_unscored_symbols_are_no_fault(tmp_path: Path) -> None:
    folder = data(tmp_path / "test", "u1 a {noise b\n")
    assert faults_of_reference(folder, {"{noise"}, print) == []


def test_ids_that_differ_by_case_and_empty_sets_are_told(tmp_path: Path) -> None:
    notes: list[str] = []
    assert faults_of_reference(data(tmp_path / "a", "U1 a\nu1 b\n"), (), notes.append) == []
    assert "a/text:2: the ids (s-U1) and (s-u1) differ only in case" in notes[0]
    assert faults_of_reference(data(tmp_path / "b", "u1 \n"), (), notes.append) == []
    assert "no utterance has a word" in notes[-1]


def test_ids_that_a_trn_file_cannot_hold_are_told(tmp_path: Path) -> None:
    """sclite, and the reader of trn files, take what follows the last parenthesis for the id."""
    notes: list[str] = []
    assert faults_of_reference(data(tmp_path / "a", "u0 a\nu(1) b\n"), (), notes.append) == []
    assert "a/text:2: the id (s-u(1)) contains a parenthesis" in notes[0] and len(notes) == 1
    assert faults_of_reference(data(tmp_path / "b", "u0 a\nu1 b\n"), (), notes.append) == []
    assert len(notes) == 1


@pytest.mark.parametrize(("text", "status"), [("u1 a\n", 0), ("u1 {\n", 1)])
def test_the_command_stops_for_scored_sets_only(tmp_path: Path, text: str, status: int) -> None:
    scored = data(tmp_path / "test", text)
    train = data(tmp_path / "train", "u1 {\n")
    run = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.check_references", scored, "--warn-only", train],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == status, run.stderr
    assert f"{train}/text:1: '{{' is never closed" in run.stderr
    assert (f"{scored}/text:1: " in run.stderr) == bool(status)


def test_words_end_at_ascii_space_only(tmp_path: Path) -> None:
    folder = data(tmp_path / "test", "u1 10\u00a0000 dollars\n")
    (tmp_path / "decoded").mkdir()
    (tmp_path / "decoded" / "text").write_text("u1 10 000 dollars\n")
    counts = open_set("test", folder.parent).words(tmp_path / "decoded")["test"].total
    assert (counts.words, counts.errors) == (2, 2)
