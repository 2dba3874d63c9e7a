"""The command and the shell script from files to files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REF = "a b c d (s1-1)\nthe cat (s2-1)\nx (s2-2)\n"
HYP = "a x c d (s1-1)\nthe cat (s2-1)\n"
OTHER = "a b c d (s1-1)\na cat (s2-1)\n"


def run(folder: Path, *arguments: str, script: list[str] | None = None):
    command = script or [sys.executable, "-m", "cascade_asr.cli.score"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, env=environment
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in (("r", REF), ("h", HYP), ("o", OTHER)):
        (tmp_path / name).write_text(content)
    return tmp_path


def test_files_and_the_two_lines(folder: Path) -> None:
    done = run(folder, "--ref", "r", "--hyp", "h", "--outdir", "d", "--title", "first")
    assert done.returncode == 0, done.stderr
    reports = [(folder / f"d/hyp.trn.{kind}").read_bytes() for kind in ("sys", "raw", "pra")]
    assert (folder / "d/result.txt").read_bytes() == b"".join(reports)
    grep = ["grep", "-e", "Avg", "-e", "SPKR", "-m", "2", str(folder / "d/result.txt")]
    assert done.stdout == subprocess.run(grep, capture_output=True, text=True).stdout
    assert "| Sum/Avg|    2      6 | 83.3   16.7    0.0    0.0   16.7   50.0 |" in done.stdout
    assert "r:3: reference (s2-2) has no hypothesis" in done.stderr
    assert (folder / "d/hyp.trn").read_text() == "a x c d\t(s1-1)\nthe cat\t(s2-1)\n"
    assert (folder / "d/ref.trn").read_text().splitlines()[2] == "x\t(s2-2)"


def test_a_side_may_come_from_a_pipe(folder: Path) -> None:
    words = ["bash", "-c", '"$0" -m cascade_asr.cli.score --ref r --hyp <(cat h) --outdir d', sys.executable]
    done = run(folder, script=words)
    assert done.returncode == 0 and "| Sum/Avg|    2      6 |" in done.stdout, done.stderr


def test_a_trn_file_with_utt2spk_is_told(folder: Path) -> None:
    (folder / "u").write_text("s1-1 s1\n")
    done = run(folder, "--ref", "r", "--hyp", "h", "--outdir", "d", "--utt2spk", "u")
    assert "r:1: utterance 'a' is not in utt2spk; if this is a trn file, leave out utt2spk" in done.stderr


@pytest.mark.parametrize("option", ["--seed", "--bootstrap"])
def test_a_negative_number_is_refused_before_anything_is_written(folder: Path, option: str) -> None:
    done = run(folder, "--ref", "r", "--hyp", "h", "--outdir", "d", option, "-1")
    assert done.returncode == 1 and f"{option} -1: expected 0 or more" in done.stderr
    assert "Traceback" not in done.stderr and not (folder / "d").exists()


def test_result_json(folder: Path) -> None:
    run(folder, "--ref", "r", "--hyp", "h", "--outdir", "d", "--compare", "o", "--seed", "3",
        "--bootstrap", "200")  # fmt: skip
    record = json.loads((folder / "d/result.json").read_text())
    counts = {name: record[name] for name in ("correct", "substitutions", "words", "errors")}
    assert counts == {"correct": 5, "substitutions": 1, "words": 6, "errors": 1}
    assert record["title"] == "d/hyp.trn"
    assert record["speakers"]["s1"]["error_rate"] == 25.0
    assert record["interval"] == {
        "low": 0.0, "high": 25.0, "confidence": 0.95, "samples": 200, "seed": 3,
        "unit": "utterance",
    }  # fmt: skip
    assert record["options"]["id_type"] == "rm"
    assert record["comparison"]["title_b"] == "o"
    assert record["comparison"]["mapsswe"]["segments"] == 2
    rows = (folder / "d/compare.tsv").read_text().splitlines()
    assert rows[0].split("\t")[:5] == ["utterance", "words", "errors_a", "errors_b", "change"]
    assert [row.split("\t")[0] for row in rows[1:]] == ["s2-1", "s1-1"]


def test_mistakes_end_with_one_line(folder: Path) -> None:
    for arguments, message in (
        (["--ref", "r", "--hyp", "none", "--outdir", "d"], "none: no such file"),
        (["--ref", "h", "--hyp", "r", "--outdir", "d"], "r:3: hypothesis (s2-2) has no reference"),
        (["--ref", "r", "--hyp", "h", "--outdir", "d", "--strict"], "leave out --strict"),
        (["--ref", "r", "--hyp", "h", "--outdir", "d", "--id-type", "x"], "--id-type x: no such"),
        (["--ref", "r", "--hyp", "h", "--outdir", "d", "--no-ascii"], "need --char"),
    ):
        done = run(folder, *arguments)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (folder / "d/result.txt").exists()


def test_characters_and_scoring_a_folder_onto_itself(folder: Path) -> None:
    run(folder, "--ref", "r", "--hyp", "h", "--outdir", "d")
    done = run(folder, "--ref", "d/ref.trn", "--hyp", "d/hyp.trn", "--outdir", "d", "--char")
    assert "| SPKR   | # Snt # Chr |" in done.stdout
    assert "|    2     10 | 90.0 " in done.stdout
    assert (folder / "d/hyp.trn").read_text() == "a x c d\t(s1-1)\nthe cat\t(s2-1)\n"


def test_no_input_is_overwritten(folder: Path) -> None:
    (folder / "ref.trn").write_text(";; notes\n" + REF)
    (folder / "hyp.trn").write_text(HYP)
    inputs = {path.name: path.read_bytes() for path in folder.iterdir()}
    for words in (["--hyp", "hyp.trn"], ["--hyp", "h", "--remove", "cat"], ["--hyp", "o", "--compare", "hyp.trn"]):
        done = run(folder, "--ref", "ref.trn", *words, "--outdir", ".")
        assert done.returncode == 1 and "ref.trn: is read, and would be overwritten" in done.stderr
    done = run(folder, "--ref", "r", "--hyp", "o", "--compare", "hyp.trn", "--outdir", ".")
    assert "hyp.trn: is read, and would be overwritten; give another --outdir" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == inputs


def test_words_to_remove_add_up_and_those_that_are_nowhere_are_told(folder: Path) -> None:
    words = ("--ref", "r", "--hyp", "h", "--outdir", "o2")
    done = run(folder, *words, "--remove", "cat", "--remove", "the THE")
    assert (folder / "o2/ref.trn").read_text() == "a b c d\t(s1-1)\n\t(s2-1)\nx\t(s2-2)\n"
    assert "--remove: in none of the texts: THE; words are spelt as there" in done.stderr
    assert "in none" not in run(folder, *words, "--remove", "cat").stderr


def test_shell_script_scores_words_and_characters(tmp_path: Path) -> None:
    for folder in ("data", "decode"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data/text").write_text("u1 HE SAID <NOISE> YES\nu2 -sil- NO\n")
    (tmp_path / "data/utt2spk").write_text("u1 s1\nu2 s2\n")
    (tmp_path / "decode/text").write_text("u1 he said yes\nu2 na\n")
    script = [str(ROOT / "utils/score_sclite.sh")]
    done = run(tmp_path, "--remove", "-sil- <NOISE>", "data", "decode", script=script)
    assert done.returncode == 0, done.stderr
    records = [
        json.loads((tmp_path / f"decode/score_{kind}/result.json").read_text())
        for kind in ("wer", "cer")
    ]
    assert [record["words"] for record in records] == [4, 13]  # spaces count
    assert [record["errors"] for record in records] == [1, 1]
    assert run(tmp_path, "data", script=script).returncode == 1


def test_start_is_quick() -> None:
    code = "import sys, cascade_asr.cli.score; print('torch' in sys.modules)"
    assert run(ROOT, "-c", code, script=[sys.executable]).stdout.strip() == "False"
