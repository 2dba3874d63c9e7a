"""egs/wsj from LDC's discs to WERs, on miniature discs of every layout."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wsj_expected as expected
import wsj_tree
from conftest import ROOT, environment, write_yaml
from wsj_recipe import call, make_recipe, prepare, rows, run

from cascade_asr.cascade.config import load_cascade_config
from cascade_asr.cascade.plan import plan_cascade
from cascade_asr.config import load_train_config
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.decoding.config import load_decode_config
from cascade_asr.experiment import build_model
from cascade_asr.language_model.config import check_lm_config, load_lm_config
from cascade_asr.results import collect

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
SETS = list(expected.TEXTS)


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Each variant of the tree, and the options that name it."""
    return {
        variant: wsj_tree.make_tree(tmp_path_factory.mktemp(variant), variant)
        for variant in wsj_tree.VARIANTS
    }


def check_data(data: Path, name: str) -> None:
    """A data folder against what was written by hand."""
    table = expected.table(name)
    assert len(table) == expected.COUNTS[name]
    assert rows(data / name / "text") == {key: text for key, (_, text) in table.items()}
    assert rows(data / name / "utt2spk") == {key: speaker for key, (speaker, _) in table.items()}
    speakers: dict[str, list[str]] = {}
    for key, (speaker, _) in table.items():
        speakers.setdefault(speaker, []).append(key)
    assert rows(data / name / "spk2utt") == {key: " ".join(ids) for key, ids in speakers.items()}
    gender = data / name / "spk2gender"
    assert (gender.read_text() if gender.exists() else None) == expected.GENDERS.get(name)
    audio = rows(data / name / "wav.scp")
    assert list(audio) == list(table)
    for key, entry in audio.items():
        *command, path, bar = shlex.split(entry)
        assert (" ".join(command), bar) == ("python -m cascade_asr.cli.sphere", "|")
        assert Path(path).name.lower() == f"{key}.wv1" and Path(path).is_file()


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


@needs_ffmpeg
@pytest.mark.parametrize("variant", wsj_tree.VARIANTS[1:])
def test_stages_0_to_2_on_every_layout(variant: str, trees, tmp_path: Path):
    recipe = make_recipe(tmp_path)
    done = run(recipe, *trees[variant], "--stop-stage", "2", "--train-set", "train_si84",
               "--test-sets", "test_dev93")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("train_si84", "test_dev93"):
        check_data(recipe / "data", name)
        assert rows(recipe / f"dump/{name}/text") == rows(recipe / f"data/{name}/text")
        manifest = (recipe / f"dump/{name}/manifest.tsv").read_text().splitlines()
        assert len([line for line in manifest if "c0" in line]) == expected.COUNTS[name]


@pytest.fixture(scope="session")
def finished(trees, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe, run from the plain discs to WERs."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    recipe = make_recipe(tmp_path_factory.mktemp("finished"))
    done = run(recipe, *trees["plain"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| full training" in done.stdout and "test_eval92 WER" in done.stdout
    return recipe


def test_it_ends_with_the_wers_of_all_stages(finished: Path):
    table = (finished / "exp/tiny/RESULTS.md").read_text()
    assert "full training" in table and "stage 1: classifier frozen" in table
    for stage in ("full", "stage1"):
        for name in ("test_dev93", "test_eval92"):
            folder = finished / "exp/tiny" / stage / f"decode_{name}"
            assert rows(folder / "text").keys() == expected.table(name).keys()
            for kind in ("score_wer", "score_cer"):
                assert "Sum/Avg" in (folder / kind / "result.txt").read_text()


def test_data_tokens_and_features_of_the_plain_layout(finished: Path):
    for name in ("train_si284", "test_dev93", "test_eval92"):
        check_data(finished / "data", name)
        durations = rows(finished / f"data/{name}/utt2dur")
        for key, frames in rows(finished / f"dump/{name}/utt2num_frames").items():
            samples = round(float(durations[key]) * 16000)
            assert int(frames) == 1 + (samples - 400) // 160
    tokens = (finished / "dump/tokens/tokens.txt").read_text().splitlines()
    assert {"<NOISE>", "<space>", "A", "*", '"', ".", "'"} <= set(tokens)
    assert "<" not in tokens and "a" not in tokens


def test_noise_is_not_scored(finished: Path, tmp_path: Path):
    result = (finished / "exp/tiny/full/decode_test_dev93/score_wer/result.txt").read_text()
    (total,) = [line for line in result.splitlines() if "Sum/Avg" in line]
    assert total.split("|")[2].split() == ["6", "24"]  # <NOISE> HE SOLD HIS SHARES counts 4
    shutil.copytree(finished / "exp/tiny", tmp_path / "exp")
    hypothesis = tmp_path / "exp/full/decode_test_dev93/text"
    lines = (finished / "dump/test_dev93/text").read_text().splitlines()
    hypothesis.write_text("".join(f"{line} <NOISE>\n" for line in lines))
    stage = collect(tmp_path / "exp", finished / "dump", ["test_dev93"]).stages[0]
    assert stage.scores["test_dev93"].result.error_rate == 0
    assert stage.characters["test_dev93"] == 0


def test_the_loss_falls(finished: Path):
    history = (finished / "exp/tiny/full/history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in history if '"valid"' in line]
    assert losses[-1] < 0.95 * losses[0]


def test_a_second_run_skips_every_stage(finished: Path, trees):
    done = run(finished, *trees["plain"])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("already done, skipping") == 7


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


def test_a_language_model_of_the_newspapers_joins_the_search(finished: Path, trees):
    options = [*trees["plain"], "--train-config", "tiny_lm.yaml", "--ngpu", "0"]
    done = call(finished, "./run_lm.sh", *options)
    assert done.returncode == 0, done.stderr
    for part, text in (("train", expected.NEWSPAPER), ("valid", "")):
        name = {"train": "train_si284", "valid": "test_dev93"}[part]
        lines = text.splitlines() + list(rows(finished / f"data/{name}/text").values())
        assert (finished / f"data/lm/{part}.txt").read_text().splitlines() == lines
        tokenizer = Tokenizer.from_directory(finished / "dump/tokens")
        edge = len(tokenizer.tokens) - 1
        ids = [each for line in lines for each in (*tokenizer.encode(line), edge)]
        assert np.load(finished / f"dump/lm/{part}/tokens.npy").tolist() == ids
    history = (finished / "exp/lm/full/history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in history if '"valid"' in line]
    assert losses[-1] < 0.95 * losses[0]
    fusion = {"beam_size": 2, "maxlenratio": 0.3, "lm": "exp/lm/full", "lm_weight": 0.5}
    done = call(
        finished, sys.executable, "-m", "cascade_asr.cli.decode", "--model", "exp/tiny/full",
        "--set", "dump/test_dev93", "--outdir", "fused",
        "--config", str(write_yaml(finished / "fusion.yaml", fusion)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows(finished / "fused/text.1").keys() == expected.table("test_dev93").keys()


def test_damaged_newspapers_are_named(finished: Path, tmp_path: Path):
    discs = wsj_tree.make_tree(tmp_path)
    (damaged,) = tmp_path.rglob("w8_001.z")
    damaged.write_bytes(b"no LZW")
    done = call(finished, "./run_lm.sh", *discs, "--stop-stage", "0")
    assert done.returncode == 1
    assert f"{damaged}: gzip cannot unpack it" in done.stderr
    shutil.rmtree(damaged.parent)
    done = call(finished, "./run_lm.sh", *discs, "--stop-stage", "0")
    assert done.returncode == 1
    assert "WSJ disk 13-32.1 has no wsj1/doc/lng_modl/lm_train/np_data/88/*.z" in done.stderr


@pytest.mark.parametrize("name", ["rnn", "ctc", "transformer"])
def test_each_network_fits_its_cascade(name: str, finished: Path):
    conf = ROOT / "egs/wsj/conf"
    config, notes = load_train_config(conf / f"train_{name}.yaml")
    suffix = "" if name == "rnn" else f"_{name}"
    cascade = load_cascade_config(conf / f"cascade{suffix}.yaml")
    tokens = Tokenizer.from_directory(finished / "dump/tokens")
    statistics = finished / "dump/train_si284/cmvn.npz"
    model = build_model(config, tokens, 80, statistics, config.seed)
    stages = plan_cascade(model.layers(), cascade, config)
    assert not notes
    assert [layer.name for layer in stages[1].frozen] == ["classifier"]
    assert [stage.frozen[0].name for stage in stages[2:]] == cascade.cuts[1:]
    assert load_decode_config(conf / "decode.yaml").lm_weight == 0
    assert load_decode_config(conf / "decode_lm.yaml").lm == "exp/lm/full"
    check_lm_config(load_lm_config(conf / "train_lm.yaml"), "train_lm.yaml")
