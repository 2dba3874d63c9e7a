"""egs/swbd, stage 0: the data of both layouts, and what the options change."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import swbd_expected as expected
import swbd_tree
from conftest import ROOT, command, environment
from swbd_stage0 import DEV_UTTERANCES, SETS, check_data, prepare, utterances_of
from swbd_tree import SwbdTree
from wsj_recipe import rows

from cascade_asr.data.audio.audio import SegmentReader
from cascade_asr.data.kaldi.data_dir import load_data_dir
from cascade_asr.data.kaldi.validate import validate
from cascade_asr.errors import ConfigError
from cascade_asr.scoring.hub5.hub5 import find_sctk

try:
    SCTK = find_sctk()
except ConfigError:
    SCTK = None


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SwbdTree]:
    """Each variant of the tree."""
    return {
        variant: swbd_tree.make_tree(tmp_path_factory.mktemp(variant), variant)
        for variant in swbd_tree.VARIANTS
    }


@pytest.fixture(scope="session")
def data(trees, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets of the plain tree."""
    folder = tmp_path_factory.mktemp("plain_data")
    done = prepare(folder, *trees["plain"].options, "--sets", *SETS)
    assert done.returncode == 0, done.stderr
    (folder / "log").write_text(done.stderr)
    return folder


def texts(data: Path, name: str) -> dict[str, str]:
    return rows(data / name / "text")


@pytest.mark.parametrize("name", SETS)
def test_data_folders_of_the_plain_layout(name: str, data: Path):
    check_data(data, name, expected.CALLERS if name.startswith("train") else None)
    assert validate(data / name, feats=False) == []


def test_text_of_fisher(data: Path):
    assert (data / "lm/fisher.txt").read_text() == expected.FISHER


@pytest.mark.parametrize(
    "message",
    [
        "WARNING: Switchboard: 7 recordings (LDC's corpus: 2435 or 2438), 153 segments (LDC's c",
        "corpus: 264333), 11 sides (LDC's corpus: 4870 or 4869)",
        "WARNING: eval2000: 4 recordings (LDC's corpus: 40), 27 segments (LDC's corpus: 4459), 8",
        "WARNING: rt03: 13 segments (LDC's corpus: 8420)",
        "WARNING: Fisher: 3 transcripts (LDC's corpus: 11699)",
        "sw2005B-ms98-a-trans.text: Windows line ends; read without the carriage returns",
        "1 files whose sample_count is the total of both channels, such as",
        "1 segments end up to 0.1 s after their recording and were clipped: sw03001-A_002014-0020",
        "2 of 11 sides are not in the table of callers; each remains a separate speaker: sw03001-A sw03001-B",
        "rt03: 1 segments without words, such as fsh_60262-A_000355-000420",
        "Fisher: utterances with unknown markers left out: [[skip]] 1, [german] 1",
    ],
)
def test_what_is_odd_is_told(message: str, data: Path):
    assert message in (data / "log").read_text()


def test_the_release_on_discs_with_transcripts_elsewhere(trees, tmp_path: Path):
    tree = trees["discs"]
    done = prepare(tmp_path, "--swbd", tree.swbd, "--sets", "train_dev", "train_nodup")
    assert done.returncode == 0, done.stderr
    for name in ("train_nodup", "train_dev"):
        check_data(tmp_path, name)
    assert {path.name for path in tmp_path.iterdir()} == {"train_nodup", "train_dev"}
    assert "/LDC97S62/SWB1_04/DATA/SW04940.SPH" in (tmp_path / "train_nodup/wav.scp").read_text()


def test_utterances_are_what_was_said(data: Path):
    tables = load_data_dir(data / "train_nodup")
    reader = SegmentReader(tables.tables["wav.scp"])
    checked = 0
    for utterance, each in utterances_of("train_nodup").items():
        if "[" in each.text or each.text.startswith("-"):
            continue
        samples, rate = reader.read(utterance, tables.segment(utterance))
        assert rate == 8000
        assert len(samples) == round(float(each.end) * 8000) - round(float(each.start) * 8000)
        # side and time are right: letters begin 64 ms after the start
        assert abs(samples[:500]).max() < 100 and abs(samples[540:1500]).max() > 1000
        checked += 1
    assert checked > 100


def test_upsampling(trees, tmp_path: Path):
    done = prepare(tmp_path, "--swbd", trees["plain"].swbd, "--sets", "train_dev", "--upsample")
    assert done.returncode == 0, done.stderr
    check_data(tmp_path, "train_dev", pipe="sox -R -D -t wav - -r 16000 -t wav - |")
    tables = load_data_dir(tmp_path / "train_dev")
    name = tables.utterances[0]
    samples, rate = SegmentReader(tables.tables["wav.scp"]).read(name, tables.segment(name))
    assert (rate, len(samples)) == (16000, round((1.143 - 0.375) * 16000))
    lonely = tmp_path / "bin"
    lonely.mkdir()
    for program in ("bash", "sh", "env", "dirname"):
        (lonely / program).symlink_to(shutil.which(program))
    (lonely / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (lonely / "python").chmod(0o755)
    done = prepare(
        tmp_path / "none", "--swbd", trees["plain"].swbd, "--upsample", PATH=str(lonely)
    )
    assert done.returncode == 1 and "--upsample needs sox" in done.stderr


def test_frequent_texts_are_limited_and_the_seed_decides_which_stay(trees, tmp_path: Path):
    def kept(folder: str, *options: str) -> dict[str, str]:
        done = prepare(tmp_path / folder, "--swbd", trees["plain"].swbd, "--sets", "train_nodup",
                       "--max-repeats", "3", *options)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return texts(tmp_path / folder, "train_nodup")

    everything = {key: each.text for key, each in utterances_of("train_nodup").items()}
    often = Counter(everything.values())["uh-huh"]
    assert often == expected.UH_HUH - 3
    first, again, other = kept("a"), kept("b"), kept("c", "--seed", "1")
    assert first == again
    assert Counter(first.values())["uh-huh"] == Counter(other.values())["uh-huh"] == 3
    assert len(first) == len(everything) - (often - 3)
    assert first.items() <= everything.items()
    assert first != other


def test_a_side_without_a_table_of_callers_is_a_speaker(trees, tmp_path: Path):
    done = prepare(tmp_path, "--swbd", trees["plain"].swbd, "--sets", "train_dev", "train_nodup")
    assert done.returncode == 0, done.stderr
    check_data(tmp_path, "train_nodup")
    assert "sw02167-B" not in rows(tmp_path / "train_nodup/spk2utt")


def test_old_folders_are_replaced_as_a_whole(trees, tmp_path: Path):
    stale = [tmp_path / "train_dev/split4/1/text", tmp_path / ".prepare_swbd.tmp/train_dev/text"]
    other = [tmp_path / "lm/train.txt", tmp_path / "eval2000/text"]
    for path in (*stale, *other):
        path.parent.mkdir(parents=True)
        path.write_text("old\n")
    tree = trees["plain"]
    done = prepare(tmp_path, "--swbd", tree.swbd, "--fisher", tree.fisher, "--sets", "train_dev")
    assert done.returncode == 0, done.stderr
    check_data(tmp_path, "train_dev")
    assert not any(path.exists() for path in stale)
    assert all(path.read_text() == "old\n" for path in other)
    assert (tmp_path / "lm/fisher.txt").read_text() == expected.FISHER


@pytest.mark.skipif(SCTK is None, reason="hubscr.pl is not installed")
@pytest.mark.parametrize("name", ["eval2000", "rt03"])
def test_the_reference_itself_has_no_errors(name: str, data: Path, tmp_path: Path):
    hub5 = data / name / "hub5"
    done = command(
        "cascade_asr.cli.score_hub5", "--set", name, "--hyp", data / name / "text", "--segments",
        hub5 / "segments", "--stm", hub5 / "stm", "--glm", hub5 / "glm", "--outdir", tmp_path,
        "--strict",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    subsets = json.loads((tmp_path / "result.json").read_text())["subsets"]
    assert len(subsets) == 3 and all(each["words"] > 10 for each in subsets.values())
    assert {key: each["errors"] for key, each in subsets.items()} == dict.fromkeys(subsets, 0)


def test_the_tree_is_the_same_at_every_run(tmp_path: Path):
    script = [sys.executable, str(ROOT / "tests/swbd_tree.py"), str(tmp_path / "first")]
    subprocess.run(script, env=environment(), check=True, capture_output=True)
    swbd_tree.make_tree(tmp_path / "second")
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("first", "second")
    )
    assert first == second and len(first) > 50


def test_sizes_of_the_miniature():
    assert len(expected.table(expected.SWITCHBOARD)) == expected.COUNTS["Switchboard"]
    assert len(utterances_of("train_dev")) == DEV_UTTERANCES
    for name in ("eval2000", "rt03"):
        assert len(utterances_of(name)) == expected.COUNTS[name]
