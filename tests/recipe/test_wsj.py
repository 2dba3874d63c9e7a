"""egs/wsj from miniature discs in LDC's layout to WERs."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import wsj_expected as expected
import wsj_tree
from conftest import ROOT, write_yaml
from wsj_recipe import call, check_data, make_recipe, rows, run

from cascade_asr.cascade.options import load_cascade_config
from cascade_asr.cascade.plan import plan_cascade
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.lm.config import check_lm_config, load_lm_config
from cascade_asr.results.collect import collect
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.decode_config import load_decode_config


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name the discs."""
    return wsj_tree.make_tree(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def finished(discs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe, run from the plain discs to WERs."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    recipe = make_recipe(tmp_path_factory.mktemp("finished"))
    done = run(recipe, *discs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| full training" in done.stdout and "test_eval92 WER" in done.stdout
    return recipe


def test_it_ends_with_the_wers_of_all_stages(finished: Path):
    table = (finished / "exp/tiny/RESULTS.md").read_text()
    assert "full training" in table and "stage 1: classifier frozen" in table
    assert re.search(r"^CER on test_dev93: full \d+\.\d, stage1 \d+\.\d$", table, re.MULTILINE)
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


def test_a_second_run_skips_every_stage(finished: Path, discs):
    done = run(finished, *discs)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("already done, skipping") == 7


def test_a_language_model_of_the_newspapers_joins_the_search(finished: Path, discs):
    options = [*discs, "--train-config", "tiny_lm.yaml", "--ngpu", "0"]
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
    assert rows(finished / "fused/logdir/output.1/1best_recog/text").keys() == expected.table("test_dev93").keys()


def test_damaged_newspapers_are_named(finished: Path, tmp_path: Path):
    broken = wsj_tree.make_tree(tmp_path)
    (damaged,) = tmp_path.rglob("w8_001.z")
    damaged.write_bytes(b"no LZW")
    done = call(finished, "./run_lm.sh", *broken, "--stop-stage", "0")
    assert done.returncode == 1
    assert f"{damaged}: gzip cannot unpack it" in done.stderr
    shutil.rmtree(damaged.parent)
    done = call(finished, "./run_lm.sh", *broken, "--stop-stage", "0")
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
