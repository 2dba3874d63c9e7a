"""egs/digits from corpus to report on a reduced corpus, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, copy_recipe, environment, write_yaml

TINY = {
    "encoder": "vgg_rnn",
    "encoder_conf": {"num_layers": 2, "hidden_size": 24, "output_size": 24},
    "decoder": "rnn",
    "decoder_conf": {
        "hidden_size": 24,
        "att_conf": {"atype": "location", "adim": 16, "aconv_chans": 2, "aconv_filts": 5},
    },
    "model_conf": {"ctc_weight": 0.5},
    "init": "chainer",
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.005},
    "batch_type": "sorted",
    "batch_size": 4,
    "max_epoch": 3,
    "keep_nbest_models": 2,
    "num_workers": 1,
    "log_interval": 5,
}


@pytest.fixture(scope="session")
def fsdd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FSDD if available, else a few synthetic takes in the same layout."""
    archive = Path(os.environ.get("CORPORA", "/nowhere")) / "free-spoken-digit-dataset.tar.gz"
    if archive.is_file():
        return archive
    folder = tmp_path_factory.mktemp("fsdd")
    sys.path.insert(0, str(ROOT / "egs/digits/local"))
    import synthesise_digits

    synthesise_digits.synthesise(folder, takes=(0, 5, 10, 11))
    return folder


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory, fsdd: Path) -> Path:
    folder = copy_recipe(tmp_path_factory.mktemp("tree"), "digits")
    write_yaml(folder / "tiny.yaml", TINY)
    write_yaml(folder / "fast.yaml", {"beam_size": 2, "ctc_weight": 0.5, "maxlenratio": 0.5})
    done = run(folder, fsdd)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(recipe: Path, fsdd: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            "./run.sh", "--fsdd", str(fsdd), "--train-strings", "48", "--dev-strings", "8",
            "--test-strings", "4", "--train-config", "tiny.yaml", "--decode-config", "fast.yaml",
            "--fbank-config", "conf/fbank_vgg.conf", "--nj", "2", "--ngpu", "0", *more,
        ],
        cwd=recipe, env=environment(), capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def test_it_ends_with_a_table_of_all_stages(recipe: Path):
    table = (recipe / "exp/tiny/RESULTS.md").read_text()
    for title in (
        "full training",
        "stage 1: classifier frozen",
        "stage 2: classifier, encoder.rnn1 frozen",
    ):
        assert f"| {title}" in table
    assert "test_seen WER (95 % interval)" in table and table.count("(selected)") == 1
    assert (recipe / "exp/tiny/report.html").stat().st_size > 5000
    for stage in ("full", "stage1", "stage2"):
        for name in ("test_seen", "test_unseen"):
            folder = recipe / "exp/tiny" / stage / f"decode_{name}"
            assert len((folder / "text").read_text().splitlines()) == 4
            assert "Sum/Avg" in (folder / "score_wer/result.txt").read_text()


def test_the_loss_falls_and_frozen_layers_are_bit_identical(recipe: Path):
    exp = recipe / "exp/tiny"
    dev = [
        json.loads(line)["loss"]
        for line in (exp / "full/history.jsonl").open()
        if '"valid"' in line
    ]
    assert dev[-1] < 0.9 * dev[0]
    weights = {
        s: torch.load(exp / s / "model.pth", weights_only=True)
        for s in ("full", "stage1", "stage2")
    }
    for name, tensor in weights["full"].items():
        frozen = name.startswith(("decoder.", "ctc."))
        assert torch.equal(tensor, weights["stage1"][name]) == frozen, name
        frozen = frozen or "birnn1" in name or "bt1" in name
        assert torch.equal(weights["stage1"][name], weights["stage2"][name]) == frozen, name


def test_no_recording_is_in_two_sets_and_features_cover_the_data(recipe: Path):
    for name in ("train", "dev", "test_seen", "test_unseen"):
        data = (recipe / "data" / name / "utt2spk").read_text().splitlines()
        feats = (recipe / "dump" / name / "feats.scp").read_text().splitlines()
        assert [line.split()[0] for line in data] == [line.split()[0] for line in feats]
    speakers = {
        n: {line.split()[1] for line in (recipe / f"data/{n}/utt2spk").open()}
        for n in ("train", "test_unseen")
    }
    assert not speakers["train"] & speakers["test_unseen"]


def test_a_second_run_skips_every_stage(recipe: Path, fsdd: Path):
    done = run(recipe, fsdd)
    assert done.returncode == 0
    assert done.stderr.count("already done, skipping") == 7
    assert "| full training" in done.stdout


def test_scores_that_stage_5_has_removed_come_back(recipe: Path, fsdd: Path):
    """Even if stage 5 then finds the texts of the report again, as after another beam for a while."""
    scores = recipe / "exp/tiny/full/scores.json"
    before = scores.read_text()
    scores.unlink()
    done = run(recipe, fsdd, "--stage", "6")
    assert "stage 6 (scoring and report): exp/tiny/full/scores.json was changed or removed" in done.stderr
    assert scores.read_text() == before


def test_changed_options_run_again_and_say_why(recipe: Path, fsdd: Path):
    write_yaml(recipe / "other.yaml", {"beam_size": 1, "ctc_weight": 0.5, "maxlenratio": 0.5})
    done = run(recipe, fsdd, "--decode-config", "other.yaml", "--stage", "4")
    assert done.returncode == 0, done.stderr
    assert "stage 4 (cascade stages): already done" in done.stderr
    assert "stage 5 (decoding): no longer made from fast.yaml" in done.stderr or (
        "stage 5 (decoding): other.yaml" in done.stderr
    )
    assert "stage 6 (scoring and report)" in done.stderr


def test_a_stage_that_the_plan_lacks_is_told_before_full_training(recipe: Path, fsdd: Path):
    """Also where stage 2, which checks the plan, is done already."""
    for more, message in ((("--cascade-stages", "9"), "no stage 9; this plan has stages 1 to "),
                          (("--controls", "longer-early-stop"), "has no control longer-early-stop")):  # fmt: skip
        done = run(recipe, fsdd, "--stage", "3", "--tag", "late", *more)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        assert not (recipe / "exp/late/full").exists()
    short = {"scheduler": "onecyclelr", "scheduler_conf": {"max_lr": 0.01, "total_steps": 3}}
    write_yaml(recipe / "short.yaml", {"cuts": ["decoder"], "train": short})
    done = run(recipe, fsdd, "--stage", "3", "--tag", "late", "--cascade-config", "short.yaml")
    assert done.returncode == 1 and "scheduler_conf: cannot be followed for" in done.stderr, done.stderr
    assert not (recipe / "exp/late/full").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_decoding_on_a_gpu_that_is_not_there_is_told(recipe: Path, fsdd: Path):
    write_yaml(recipe / "other.yaml", {"search": "ctc_best_path"})
    done = run(recipe, fsdd, "--stage", "5", "--gpu-inference", "true",
               "--decode-config", "other.yaml")  # fmt: skip
    assert done.returncode == 1
    log = (recipe / "exp/tiny/full/decode_test_seen/log/decode.1.log").read_text()
    assert "this machine has no GPU; use --ngpu 0 (in a recipe: --gpu-inference false)" in log
    done = run(recipe, fsdd, "--stage", "5")
    assert done.returncode == 0, done.stderr  # decoded again as before


def test_an_interrupted_stage_is_not_taken_for_finished(recipe: Path, fsdd: Path):
    (recipe / "dump/dev/feats.scp").unlink()
    done = run(recipe, fsdd, "--stage", "1", "--stop-stage", "1")
    assert done.returncode == 0, done.stderr
    assert "dump/dev/feats.scp was changed or removed; running again" in done.stderr
    assert (recipe / "dump/dev/feats.scp").exists()
    assert "already done" in run(recipe, fsdd, "--stage", "3", "--stop-stage", "3").stderr


def test_other_jobs_for_the_same_features_train_nothing_again(recipe: Path, fsdd: Path):
    (recipe / "dump/.stage1.done").unlink()
    before = (recipe / "dump/train/manifest.tsv").read_text()
    done = run(recipe, fsdd, "--nj", "1", "--stage", "1", "--stop-stage", "3")
    assert done.returncode == 0, done.stderr
    assert (recipe / "dump/train/manifest.tsv").read_text() != before
    assert "full training: already done in exp/tiny/full; skipping" in done.stderr
    assert not list((recipe / "exp/tiny").glob("*.replaced.*"))


def test_single_stages_in_a_new_shell_say_what_they_need(tmp_path: Path, fsdd: Path):
    folder = copy_recipe(tmp_path, "digits")
    write_yaml(folder / "tiny.yaml", TINY)
    write_yaml(folder / "fast.yaml", {})
    for stage, needed in (
        ("1", "stage 0"),
        ("2", "stage 1"),
        ("3", "stage 2"),
        ("4", "stage 3"),
        ("5", "stage 3"),
        ("6", "stage 3"),
    ):
        done = run(folder, fsdd, "--stage", stage)
        assert done.returncode == 1
        assert f"run {needed} first" in done.stderr, done.stderr
        assert not (folder / f"exp/tiny/.stage{stage}.done").exists()


def test_speed_perturbation_and_bpe_are_options(recipe: Path, fsdd: Path):
    more = [
        "--speed-perturb-factors",
        "0.9 1.1",
        "--token-type",
        "bpe",
        "--vocabulary-size",
        "20",
        "--tag",
        "bpe",
        "--stage",
        "1",
        "--stop-stage",
        "2",
    ]
    whole = run(recipe, fsdd, "--stop-stage", "4")  # as many jobs as below, whatever came before
    assert whole.returncode == 0, whole.stderr
    before = {path.name: path.read_bytes() for path in (recipe / "dump/tokens").iterdir()}
    done = run(recipe, fsdd, *more)
    assert done.returncode == 0, done.stderr
    assert "train_sp: 144 utterances" in done.stdout
    assert "tokens bpe20: in dump/tokens_bpe20, beside those in dump/tokens" in done.stderr
    folder = recipe / "dump/tokens_bpe20"
    assert len((folder / "tokens/tokens.txt").read_text().splitlines()) == 22
    assert (folder / "dev/feats.scp").read_text() == (recipe / "dump/dev/feats.scp").read_text()
    assert (folder / "dev/manifest.tsv").read_text() != (recipe / "dump/dev/manifest.tsv").read_text()
    # the experiments of characters go on as if nothing had been
    assert before == {path.name: path.read_bytes() for path in (recipe / "dump/tokens").iterdir()}
    again = run(recipe, fsdd, "--stage", "3", "--stop-stage", "4")
    assert again.stderr.count("already done, skipping") == 2, again.stderr
    merges = [*more[2:6], "--bpemode", "bpe", "--tag", "merges", "--stage", "2", "--stop-stage", "2"]
    done = run(recipe, fsdd, *merges)
    assert done.returncode == 0, done.stderr
    assert "tokens bpe_bpe20: in dump/tokens_bpe_bpe20" in done.stderr
    assert json.loads((recipe / "dump/tokens_bpe_bpe20/tokens/tokens.json").read_text())["bpemode"] == "bpe"
    refused = run(recipe, fsdd, "--bpemode", "wordpiece", "--stage", "2")
    assert "--bpemode wordpiece: expected unigram or bpe" in refused.stderr
    missing = run(recipe, fsdd, "--token-type", "bpe", "--vocabulary-size", "25", "--stage", "3")
    assert "stage 3 needs dump/tokens_bpe25/train/manifest.tsv: run stage 2 first" in missing.stderr
    assert "; or give the token options that dump was made with" in missing.stderr
    frames = {}
    for line in (recipe / "dump/train_sp/utt2num_frames").open():
        utterance, count = line.split()
        frames[utterance] = int(count)
    name = next(name for name in frames if not name.startswith("sp"))
    assert frames[f"sp0.9-{name}"] / frames[name] == pytest.approx(1 / 0.9, rel=0.03)


@pytest.mark.parametrize(
    "change, message",
    [
        ("missing", "no such folder or archive"),
        ("empty", "recordings"),
        ("truncated", "0_george_5.wav"),
    ],
)
def test_a_broken_corpus_leaves_no_data(change: str, message: str, tmp_path: Path):
    folder = copy_recipe(tmp_path, "digits")
    write_yaml(folder / "tiny.yaml", TINY)
    write_yaml(folder / "fast.yaml", {})
    corpus = tmp_path / "corpus"
    if change != "missing":
        (corpus / "recordings").mkdir(parents=True)
    if change == "truncated":
        import numpy as np
        import soundfile

        for speaker in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler"):
            for digit in range(10):
                for take in (0, 5, 10):
                    path = corpus / f"recordings/{digit}_{speaker}_{take}.wav"
                    noise = np.random.default_rng(take).normal(0, 0.1, 3000)
                    soundfile.write(path, noise, 8000, subtype="PCM_16")
        path = corpus / "recordings/0_george_5.wav"
        path.write_bytes(path.read_bytes()[:-1000])
    done = run(folder, corpus, "--stop-stage", "0")
    assert done.returncode == 1
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "data/.stage0.done").exists()
    assert not (folder / "data/train").exists()


def test_seeds_and_controls_train_at_once_and_are_tabulated(recipe: Path, fsdd: Path):
    """Two seeds with a control, several trainings at a time; a second call has nothing to do."""
    config = TINY | {"max_epoch": 1, "encoder_conf": TINY["encoder_conf"] | {"num_layers": 1}}
    write_yaml(recipe / "short.yaml", config)
    write_yaml(recipe / "module.yaml", {"grain": "module"})
    options = ["--train-config", "short.yaml", "--cascade-config", "module.yaml", "--stage", "2",
               "--seeds", "1,2", "--train-jobs", "2"]  # fmt: skip
    done = run(recipe, fsdd, *options, "--stop-stage", "4", "--controls", "longer")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stage 3: 2 trainings, 2 at the same time" in done.stderr
    assert "stage 4: 4 trainings, 2 at the same time" in done.stderr
    weights = []
    for seed in (1, 2):
        folder = recipe / f"exp/short_seed{seed}"
        selection = json.loads((folder / "selection.json").read_text())
        assert selection["complete"] and selection["controls"]["longer"]["complete"]
        weights.append(torch.load(folder / "full/model.pth", weights_only=True))
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    again = run(recipe, fsdd, *options, "--stop-stage", "4", "--controls", "longer")
    assert again.stderr.count("already done, skipping") == 5 and "trainings," not in again.stderr
    wrong = run(recipe, fsdd, *options, "--seed", "3")
    assert wrong.returncode == 1 and "--seed 3 and --seeds 1,2: give one of them" in wrong.stderr


def test_a_classifier_comes_from_another_corpus_with_its_tokens(
    recipe: Path, fsdd: Path, tmp_path: Path
):
    """Fewer strings by another seed, the tokens and the frozen classifier of the first run."""
    other = copy_recipe(tmp_path, "digits")
    source = recipe / "exp/tiny/full"
    write_yaml(other / "tiny.yaml", TINY | {"max_epoch": 1})
    cascade = {"cuts": ["classifier"], "first_source": str(source)}
    write_yaml(other / "transfer.yaml", cascade)
    options = ["--cascade-config", "transfer.yaml", "--decode-config", str(recipe / "fast.yaml"),
               "--corpus-seed", "2", "--train-strings", "12", "--stop-stage", "4"]  # fmt: skip
    done = run(other, fsdd, *options, "--token-list", str(recipe / "exp/tiny/tokens"))
    assert done.returncode == 0, done.stdout + done.stderr
    tokens = [recipe / "exp/tiny/tokens/tokens.txt", other / "dump/tokens/tokens.txt"]
    assert tokens[0].read_bytes() == tokens[1].read_bytes()
    given, taken = (
        torch.load(folder / "model.pth", weights_only=True)
        for folder in (source, other / "exp/tiny/stage1")
    )
    for name, tensor in given.items():
        in_classifier = name.startswith(("decoder.", "ctc."))
        assert torch.equal(tensor, taken[name]) == in_classifier, name
    wrong = run(other, fsdd, *options, "--token-list", "nowhere")
    assert wrong.returncode == 1 and "--token-list nowhere: no such file" in wrong.stderr
