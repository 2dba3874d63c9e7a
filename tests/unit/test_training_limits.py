"""Tests of --min-frames, --max-frames and --max-characters of stage 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.data.manifest import read_manifest
from cascade_asr.errors import DataError

FRAMES = {"a": "10", "b": "11", "c": "1999", "d": "2000", "e": "50"}
TEXT = {name: "uh huh" for name in FRAMES} | {"e": "uh huh yes"}


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    for name in ("train", "dev"):
        folder = tmp_path / "dump" / name
        folder.mkdir(parents=True)
        write_table(folder / "utt2num_frames", FRAMES)
        write_table(folder / "text", TEXT)
        write_table(folder / "utt2spk", {key: "s" for key in FRAMES})
        write_table(folder / "feats.scp", {key: f"x.ark:{key}" for key in FRAMES})
    return tmp_path / "dump"


def run(dump: Path, run_command, *options: str) -> dict[str, list[str]]:
    run_command("tokens", dump, "--train-set", "train", "train", "dev", *options)
    return {name: read_manifest(dump / name / "manifest.tsv").utterances for name in ("train", "dev")}


def test_only_training_utterances_are_left_out(dump, run_command):
    limits = ("--min-frames", "11", "--max-frames", "1999", "--max-characters", "9")
    assert run(dump, run_command, *limits) == {"train": ["b", "c"], "dev": list("abcde")}
    # each limit by itself, ends included
    assert run(dump, run_command, "--min-frames", "11")["train"] == list("bcde")
    assert run(dump, run_command, "--max-frames", "1999")["train"] == list("abce")
    assert run(dump, run_command, "--max-characters", "10")["train"] == list("abcde")
    assert run(dump, run_command)["train"] == list("abcde")


def test_a_set_without_utterances_is_an_error(dump, run_command):
    with pytest.raises(DataError, match="train: no utterance is left of 5"):
        run(dump, run_command, "--min-frames", "3000")
