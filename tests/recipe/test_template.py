"""The recipe that cascade-asr new-recipe makes, outside the clone, from manifests to the table."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import command, write_yaml

from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.errors import ConfigError
from cascade_asr.recipe.new_recipe import create_recipe

TINY = {
    "encoder": "rnn",
    "encoder_conf": {"num_layers": 2, "hidden_size": 16, "output_size": 16, "subsample": [2, 2]},
    "model_conf": {"ctc_weight": 1.0},
    "init": "chainer",
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_type": "sorted",
    "batch_size": 4,
    "max_epoch": 1,
    "keep_nbest_models": 1,
    "num_workers": 0,
    "use_tensorboard": False,
}


def make_corpus(folder: Path) -> None:
    """Twelve utterances of noise: manifests of two kinds, and a data folder for the test."""
    random = np.random.default_rng(0)
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for name, count in (("train", 6), ("dev", 3), ("test", 3)):
        for index in range(count):
            path = folder / f"{name} {index}.{'mp3' if index == 0 else 'wav'}"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, random.normal(0, 0.1, 24000 + 1600 * index), 16000)
            text = "one two" if index % 2 else "two"
            rows.setdefault(name, []).append((path.name, text, f"{name}{index % 2}"))
    for name, delimiter in (("train", ","), ("dev", "\t")):
        lines = [delimiter.join(row) for row in [("path", "text", "speaker"), *rows[name]]]
        suffix = "csv" if delimiter == "," else "tsv"
        (folder / f"{name}.{suffix}").write_text("\n".join(lines) + "\n")
    (folder / "test").mkdir()
    for table in ("wav.scp", "text", "utt2spk"):
        lines = []
        for path, text, speaker in reversed(rows["test"]):
            value = {"wav.scp": f"{folder}/{path}", "text": text, "utt2spk": speaker}[table]
            lines.append(f"{speaker}-{path[5]} {value}\n")
        (folder / "test" / table).write_text("".join(lines))


def test_a_new_recipe_runs_through_all_stages(tmp_path: Path):
    made = command("cascade_asr.cli.new_recipe", tmp_path / "my recipe")
    assert made.returncode == 0, made.stderr
    assert f"  cd '{tmp_path}/my recipe' && ./run.sh " in made.stdout
    with pytest.raises(ConfigError, match="already exists"):
        create_recipe(tmp_path / "my recipe")
    with pytest.raises(ConfigError, match="':' in its name"):
        create_recipe(tmp_path / "a:b")
    recipe, corpus = tmp_path / "my recipe", tmp_path / "corpus"
    make_corpus(corpus)
    write_yaml(recipe / "tiny.yaml", TINY)
    write_yaml(recipe / "cuts.yaml", {"cuts": ["ctc"]})

    def run(*options: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["./run.sh", "--train-config", "tiny.yaml", "--cascade-config", "cuts.yaml", "--nj", "1",
             "--ngpu", "0", "--report-samples", "0", *map(str, options)],
            cwd=recipe, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    recipe.rename(tmp_path / "a{b}")
    recipe = tmp_path / "a{b}"
    assert "has a brace in its name" in run("--stop-stage", "0").stderr
    recipe.rename(tmp_path / "my recipe")
    recipe = tmp_path / "my recipe"
    unnamed = run("--stop-stage", "0")
    assert unnamed.returncode == 1 and "give a manifest or a data folder for each" in unnamed.stderr
    done = run("--train-data", corpus / "train.csv", "--dev-data", corpus / "dev.tsv",
               "--test-data", corpus / "test", "--speed-perturb-factors", "0.9 1.0",
               "--cascade-stages", "none")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test WER" in (recipe / "exp/tiny/RESULTS.md").read_text()
    utterances = list(read_table(recipe / "data/train/text"))
    assert utterances == ["train0-train_0", "train0-train_2", "train0-train_4", "train1-train_1",
                          "train1-train_3", "train1-train_5"]  # fmt: skip
    # a factor of 1 is the data themselves
    copies = [f"sp0.9-{name}" for name in utterances]
    assert list(read_table(recipe / "dump/train_sp/text")) == copies + utterances
    tokens = (recipe / "dump/tokens/tokens.txt").read_text().split()
    assert set(tokens[2:-1]) == {"o", "n", "e", "t", "w", "<space>"}
    changed = corpus / "train.csv"  # stage 0 runs again
    changed.write_text("path,text\nnone.wav,one\n")
    again = run("--train-data", changed, "--dev-data", corpus / "dev.tsv", "--test-data",
                corpus / "test", "--stop-stage", "0")  # fmt: skip
    assert again.returncode == 1 and f"{changed}:2: no such audio file" in again.stderr
