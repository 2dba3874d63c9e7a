"""The recipe of 20 lines in the README, exactly as printed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from conftest import ROOT, environment, link_project

LOCAL_DATA = """#!/usr/bin/env bash
set -euo pipefail
for name in train dev test; do
  mkdir -p "$2/$name"
  cp "$1/$name"/* "$2/$name"
done
"""


def make_corpus(folder: Path) -> None:
    """Twelve utterances of noise in three sets: wav.scp, text and utt2spk, in no order."""
    random = np.random.default_rng(0)
    for name, count in (("train", 8), ("dev", 2), ("test", 2)):
        data = folder / name
        data.mkdir(parents=True)
        tables = {"wav.scp": "", "text": "", "utt2spk": ""}
        for index in reversed(range(count)):
            utterance = f"s-{name}{index}"
            path = folder / f"{utterance}.wav"
            soundfile.write(path, random.normal(0, 0.1, 12000 + 800 * index), 8000)
            tables["wav.scp"] += f"{utterance} {path}\n"
            tables["text"] += f"{utterance} {'one two' if index % 2 else 'two'}\n"
            tables["utt2spk"] += f"{utterance} s\n"
        for table, content in tables.items():
            (data / table).write_text(content)


def test_it_makes_data_of_three_tables(tmp_path: Path):
    readme = (ROOT / "README.md").read_text()
    (text,) = re.findall(r"## A new recipe in 20 lines\n\n```bash\n(.*?)```", readme, re.DOTALL)
    assert len(text.splitlines()) <= 20
    link_project(tmp_path)
    recipe = tmp_path / "egs/mycorpus"
    (recipe / "local").mkdir(parents=True)
    for name in ("path.sh", "cmd.sh"):
        shutil.copy(ROOT / "egs/digits" / name, recipe / name)
    shutil.copytree(ROOT / "egs/digits/conf", recipe / "conf")
    (recipe / "run.sh").write_text(text)
    (recipe / "local/data.sh").write_text(LOCAL_DATA)
    (recipe / "local/data.sh").chmod(0o755)
    make_corpus(tmp_path / "corpus")

    def run(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "run.sh", "--nj", "1", *options], cwd=recipe, env=environment(),
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    wrong = run("--mycorpus", "/no/such", "--stop-stage", "0")
    assert wrong.returncode == 1 and "--mycorpus '/no/such': no such folder" in wrong.stderr
    done = run("--mycorpus", str(tmp_path / "corpus"), "--stop-stage", "0")
    assert done.returncode == 0, done.stderr
    assert "data/train/spk2utt: missing; made from utt2spk, 1 speakers" in done.stderr
    assert "data/train/text: its 8 lines were not in the order of LC_ALL=C; sorted" in done.stderr
    helped = run("--help")
    assert "--mycorpus" in helped.stdout and "folder of the corpus" in helped.stdout
