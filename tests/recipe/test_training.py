"""Full training and cascade stages as commands: learning, proof, resuming, faults."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import command, environment, training_arguments, write_yaml
from tiny_corpus import TINY_CONFIG, make_dump

CUTS = {"cuts": ["decoder", "encoder.rnn1"]}


def weights(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / "exp" / stage / "model.pth", weights_only=True)


def identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def train(folder: Path, dump: Path, config: dict, what: str = "full", cascade=None, *more: str):
    return command(*training_arguments(what, folder, dump, config, cascade, *more))


@pytest.fixture(scope="module")
def trained(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cascade of two stages that has learnt its language."""
    folder = tmp_path_factory.mktemp("trained")
    config = {**TINY_CONFIG, "max_epoch": 9}
    for what, cascade in (("full", None), ("cascade", CUTS)):
        done = train(folder, dump, config, what, cascade)
        assert done.returncode == 0, done.stderr
    return folder


def test_learning_happens_and_the_loss_falls(trained: Path):
    history = [json.loads(line) for line in (trained / "exp/full/history.jsonl").open()]
    dev = [entry for entry in history if entry["split"] == "valid"]
    assert len(dev) == 9
    assert dev[-1]["loss_ctc"] < 0.2 * dev[0]["loss_ctc"]
    assert dev[-1]["loss"] < 0.6 * dev[0]["loss"]
    assert dev[-1]["wer_ctc"] < 40 < dev[0]["wer_ctc"]


def test_frozen_layers_are_bit_identical_and_the_others_start_anew(trained: Path):
    full, first, second = (weights(trained, name) for name in ("full", "stage1", "stage2"))
    lineage = {
        n: json.loads((trained / f"exp/{n}/lineage.json").read_text()) for n in ("stage1", "stage2")
    }
    assert lineage["stage1"]["frozen_layers"] == ["classifier"]
    assert lineage["stage2"]["frozen_layers"] == ["encoder.rnn1", "classifier"]
    for name in full:
        in_top = name.startswith(("decoder.", "ctc."))
        in_rnn1 = name in lineage["stage2"]["frozen_fingerprints"] and not in_top
        assert torch.equal(full[name], first[name]) == in_top, name
        assert torch.equal(first[name], second[name]) == (in_top or in_rnn1), name
    assert lineage["stage1"]["seed"] != lineage["stage2"]["seed"]
    assert lineage["stage2"]["source"].endswith("exp/stage1")


def test_selection_follows_the_dev_metric(trained: Path):
    selection = json.loads((trained / "exp/selection.json").read_text())
    assert [stage["name"] for stage in selection["stages"]] == ["full", "stage1", "stage2"]
    best = min(selection["stages"], key=lambda stage: stage["value"])
    assert selection["selected"] == best["name"]
    assert selection["metric"] == "wer_ctc"


def test_decoding_and_report(trained: Path, dump: Path):
    config = write_yaml(trained / "decode.yaml", {"beam_size": 3, "ctc_weight": 0.9})
    for stage in ("full", "stage1", "stage2"):
        folder = trained / "exp" / stage
        options = ["--model", folder, "--set", dump / "test", "--outdir", folder / "decode_test"]
        for job in ("1", "2"):
            share = ["--job", job, "--jobs", "2", "--config", config]
            done = command("cascade_asr.cli.decode", *options, *share)
            assert done.returncode == 0, done.stderr
        done = command("cascade_asr.cli.join_decoding", *options[2:], "--jobs", "2")
        assert done.returncode == 0, done.stderr
    done = command("cascade_asr.cli.report", "--exp", trained / "exp", "--dump", dump, "test")
    assert done.returncode == 0, done.stderr
    table = (trained / "exp/RESULTS.md").read_text()
    assert table.count("| stage ") == 3 and table.count("(selected)") == 1
    wer = json.loads((trained / "exp/full/decode_test/score_wer/result.json").read_text())
    assert wer["error_rate"] < 65  # a model that has learnt nothing has 100
    shown = re.search(r"\| full training .*\| (\d+\.\d) \((\d+\.\d)-", table)
    assert shown is not None, table
    recorded = (wer["error_rate"], wer["interval"]["low"])
    assert tuple(map(float, shown.groups())) == pytest.approx(recorded, abs=0.0501)
    page = (trained / "exp/report.html").read_text()
    assert 'id="record"' in page and "Lineage" in page


def test_a_finished_training_is_skipped_and_changed_options_set_it_aside(
    dump: Path, tmp_path: Path
):
    assert train(tmp_path, dump, {**TINY_CONFIG, "max_epoch": 1}).returncode == 0
    before = weights(tmp_path, "full")
    again = train(tmp_path, dump, {**TINY_CONFIG, "max_epoch": 1, "log_interval": 7})
    assert again.returncode == 0 and "already done" in again.stderr
    changed = train(tmp_path, dump, {**TINY_CONFIG, "max_epoch": 1}, "full", None, "--seed", "9")
    assert changed.returncode == 0, changed.stderr
    assert "options changed (seed: 3 -> 9); training again" in changed.stderr
    kept = torch.load(tmp_path / "exp/full.replaced.1/model.pth", weights_only=True)
    assert identical(before, kept)
    assert not identical(before, weights(tmp_path, "full"))


def test_a_bottom_up_stage_from_kept_outputs_ends_bit_identical(dump: Path, tmp_path: Path):
    cascade = {"direction": "bottom-up", "cuts": ["encoder.rnn0"], "frozen_dropout": False}
    assert train(tmp_path, dump, TINY_CONFIG).returncode == 0
    shutil.copytree(tmp_path / "exp", tmp_path / "kept" / "exp")
    assert train(tmp_path, dump, TINY_CONFIG, "cascade", cascade).returncode == 0
    kept = {**cascade, "train": {"cache_frozen": True}}
    done = train(tmp_path / "kept", dump, TINY_CONFIG, "cascade", kept)
    assert done.returncode == 0, done.stderr
    assert "cache_frozen: everything up to encoder.rnn0 is computed once" in done.stderr
    assert "cache_frozen: the outputs of rnn0 take about" in done.stderr
    assert identical(weights(tmp_path, "stage1"), weights(tmp_path / "kept", "stage1"))
    assert not list((tmp_path / "kept").rglob(".frozen_outputs*"))


@pytest.mark.parametrize("stage", ["full", "stage1"])
def test_a_killed_training_ends_bit_identical(stage: str, dump: Path, tmp_path: Path):
    """SIGKILL at a random update; the resumed run equals an uninterrupted one."""
    config = {
        **TINY_CONFIG,
        "max_epoch": 6,
        "checkpoint_interval_s": 0.0,
        "scheduler": "warmuplr",
        "scheduler_conf": {"warmup_steps": 20},
    }
    folders = [tmp_path / "whole", tmp_path / "killed"]
    what, cascade = ("full", None) if stage == "full" else ("cascade", {"cuts": ["decoder"]})
    for folder in folders:
        folder.mkdir()
        if stage != "full":
            assert train(folder, dump, config).returncode == 0
    assert train(folders[0], dump, config, what, cascade).returncode == 0
    update = random.randint(3, 80)
    process = subprocess.Popen(
        [sys.executable, "-m", *training_arguments(what, folders[1], dump, config, cascade)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    history = folders[1] / "exp" / stage / "history.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and f'"update": {update},' in history.read_text():
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (history.parent / "done.json").exists(), "it finished before the kill"
    done = train(folders[1], dump, config, what, cascade)
    assert done.returncode == 0, done.stderr
    assert "resuming at epoch" in done.stderr
    assert identical(weights(folders[0], stage), weights(folders[1], stage)), f"killed at {update}"
    entries = [
        [json.loads(line) for line in (f / "exp" / stage / "history.jsonl").open()] for f in folders
    ]
    assert entries[0] == entries[1]


@pytest.mark.parametrize(
    "number, status", [(signal.SIGTERM, 85), (signal.SIGUSR2, 85), (signal.SIGINT, 130)]
)
def test_a_signal_saves_and_says_how_to_go_on(number: int, status: int, dump: Path, tmp_path: Path):
    config = {**TINY_CONFIG, "max_epoch": 200}
    process = subprocess.Popen(
        [sys.executable, "-m", *training_arguments("full", tmp_path, dump, config)],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    history = tmp_path / "exp/full/history.jsonl"
    while not (history.exists() and '"update": 12,' in history.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "saved in" in errors and "Traceback" not in errors
    state = torch.load(tmp_path / "exp/full/checkpoint.pt", weights_only=True)
    assert state["position"]["update"] >= 12


def test_ctrl_c_ends_the_check_of_a_plan(dump: Path, tmp_path: Path):
    """It trains nothing, so that no update came at which the first Ctrl-C would have counted."""
    os.mkfifo(tmp_path / "log")  # where it waits for ever, as it would for a large corpus
    words = training_arguments("check", tmp_path, dump, TINY_CONFIG, None, "--log", str(tmp_path / "log"))
    process = subprocess.Popen(
        [sys.executable, "-m", *words], env=environment(), stderr=subprocess.PIPE, text=True
    )

    def remembers_signals() -> bool:
        assert process.poll() is None, process.stderr.read()
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    for expected in (True, False):  # while it imports, as a training does; then no more
        deadline = time.monotonic() + 120
        while remembers_signals() != expected:
            assert time.monotonic() < deadline, expected
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted" in errors


def test_nan_features_name_the_utterance_and_the_file(tmp_path: Path):
    import kaldiio

    dump = make_dump(tmp_path / "dump", train=8, dev=4)
    feats = dict(kaldiio.load_ark(str(dump / "train/feats.ark")))
    name = sorted(feats)[0]
    feats[name] = np.full_like(feats[name], np.nan)
    kaldiio.save_ark(str(dump / "train/feats.ark"), feats)
    done = train(tmp_path, dump, {**TINY_CONFIG, "normalize": None})
    assert done.returncode == 1
    assert f"utterance '{name}': features {dump / 'train/feats.ark'}" in done.stderr
    assert "are NaN or infinite; run stage 1 again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_keeps_the_last_checkpoint(dump: Path, tmp_path: Path):
    """A file size limit stands for the full disk; the remedy is in the message."""
    assert train(tmp_path, dump, {**TINY_CONFIG, "max_epoch": 1}).returncode == 0
    full = tmp_path / "exp/full"
    size = (full / "model.pth").stat().st_size
    done = subprocess.run(
        [sys.executable, "-m",
         *training_arguments("full", tmp_path, dump, {**TINY_CONFIG, "max_epoch": 2})],
        env=environment(), capture_output=True, text=True, check=False,
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)),
        ),
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot write" in done.stderr and "free some space and start again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(full.glob("*.tmp")) and not list(full.glob(".*.tmp"))
    assert (tmp_path / "exp/full.replaced.1/model.pth").stat().st_size == size
    resumed = train(tmp_path, dump, {**TINY_CONFIG, "max_epoch": 2})
    assert resumed.returncode == 0, resumed.stderr


def test_two_ranks_follow_the_loss_of_one(dump: Path, tmp_path: Path):
    """DDP over gloo with the same global batches; without dropout the losses agree.

    The two start from the console command, which has to start its second rank.
    """
    config = json.loads(
        json.dumps({**TINY_CONFIG, "max_epoch": 1, "optim": "sgd", "grad_clip": 1.0})
    )
    config["encoder_conf"]["dropout"] = config["decoder_conf"]["dropout"] = 0.0
    losses = []
    programs = {1: ["cascade_asr.cli.training"], 2: ["cascade_asr.cli.main", "training"]}
    for ranks, program in programs.items():
        folder = tmp_path / str(ranks)
        folder.mkdir()
        words = training_arguments("full", folder, dump, config, None, "--processes", str(ranks))
        done = command(*program, *words[1:])
        assert done.returncode == 0, done.stderr
        assert json.loads((folder / "exp/full/lineage.json").read_text())["ranks"] == ranks
        entries = [json.loads(line) for line in (folder / "exp/full/history.jsonl").open()]
        losses.append([e["loss"] for e in entries if e["split"] == "train"])
    assert len(losses[0]) == 15
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_two_ranks_may_skip_different_blocks(dump: Path, tmp_path: Path):
    """Stochastic depth: a weight without a gradient on one rank, or on all, ends no training."""
    blocks = {"attention_heads": 1, "linear_units": 8, "num_blocks": 2, "layer_drop_rate": 0.5}
    config = TINY_CONFIG | {
        "max_epoch": 1,
        "encoder": "transformer",
        "encoder_conf": {**blocks, "output_size": 8, "input_layer": "linear"},
        "decoder": "transformer",
        "decoder_conf": blocks,
    }
    done = train(tmp_path, dump, config, "full", None, "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "exp/full/lineage.json").read_text())["ranks"] == 2


@pytest.mark.parametrize(
    "what, cascade, more, message",
    [
        ("cascade", CUTS, ["--cascade-stages", "2"], "cascade stage 2 needs cascade stage 1"),
        ("cascade", {"cuts": ["encoder.rn1"]}, [], "no layer 'encoder.rn1'; did you mean 'encoder.rnn1'?"),
        ("cascade", {"cuts": ["encoder.rnn0"]}, [], "freezes every layer and trains nothing"),
        ("cascade", {"cuts": ["encoder.rnn1", "decoder"]}, [], "cuts go downward"),
        ("cascade", {"cut": ["decoder"]}, [], "unknown key 'cut'; did you mean 'cuts'?"),
        ("cascade", {**CUTS, "select": ["bleu", "max"]}, [], "metric 'bleu' is not logged"),
        ("cascade", CUTS, ["--cascade-stages", "3"], "no stage 3; this plan has stages 1 to 2"),
        ("cascade", {**CUTS, "source": "exp/nowhere"}, [], "source 'exp/nowhere': no finished training"),
        ("cascade", {**CUTS, "stages": {7: {"max_epoch": 1}}}, [], "stages: no stage 7"),
        ("cascade", CUTS, ["--ngpu", "9"], "--ngpu 9: this machine has"),
    ],
)  # fmt: skip
def test_mistakes_in_a_plan_are_told_before_anything_is_trained(
    what, cascade, more, message, dump: Path, tmp_path: Path, trained: Path
):
    (tmp_path / "exp").mkdir()
    os.symlink(trained / "exp/full", tmp_path / "exp/full")
    config = {**TINY_CONFIG, "max_epoch": 9}
    done = train(tmp_path, dump, config, what, cascade, *more)
    assert done.returncode == 1, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not list((tmp_path / "exp").glob("stage*/model.pth"))


def test_a_checkpoint_of_another_architecture_is_refused(trained: Path, dump: Path, tmp_path: Path):
    other = json.loads(json.dumps({**TINY_CONFIG, "max_epoch": 9}))
    other["encoder_conf"]["hidden_size"] = 16
    (tmp_path / "exp").mkdir()
    cascade = {**CUTS, "source": str(trained / "exp/full")}
    done = train(tmp_path, dump, other, "cascade", cascade)
    assert done.returncode == 1, done.stderr
    assert "encoder_conf.hidden_size: the model has 24, not 16" in done.stderr
    assert "do not fit" in done.stderr and "Traceback" not in done.stderr
