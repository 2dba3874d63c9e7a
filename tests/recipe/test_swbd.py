"""egs/swbd from a miniature in LDC's layout to WERs of swbd, callhm and all."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import swbd_tree
import torch
from conftest import ROOT, command
from swbd_recipe import call, make_recipe, run
from torch.nn import functional

from cascade_asr.cascade.options import load_cascade_config
from cascade_asr.cascade.plan import plan_cascade
from cascade_asr.data.features.fbank import read_fbank_options
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.loader import UtteranceDataset, collate
from cascade_asr.data.manifest import read_manifest
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.lm.config import check_lm_config, load_lm_config
from cascade_asr.results.test_sets import Hub5Set
from cascade_asr.scoring.hub5.hub5 import find_sctk
from cascade_asr.speech.build import SpecAug, build_model, check_config
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.decode_config import load_decode_config
from cascade_asr.training.optimization import build_optimizer

CONF = ROOT / "egs/swbd/conf"
SUBSETS = {"eval2000": ["swbd", "callhm", "all"], "rt03": ["fsh", "swbd", "all"]}
STAGES = ("full", "stage1")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> swbd_tree.SwbdTree:
    return swbd_tree.make_tree(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def finished(tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe, run from LDC's folders to WERs, with speed perturbation through sox."""
    if shutil.which("sox") is None:
        pytest.skip("sox is not installed")
    try:
        find_sctk()
    except ConfigError as error:
        pytest.skip(str(error))
    recipe = make_recipe(tmp_path_factory.mktemp("finished"))
    done = run(recipe, *tree.options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| full training" in done.stdout and "eval2000 callhm WER" in done.stdout
    return recipe


def test_it_ends_with_the_wers_of_all_subsets_and_stages(finished: Path):
    text = (finished / "exp/tiny/RESULTS.md").read_text()
    header, _, *rows = [line for line in text.splitlines() if line.startswith("| ")]
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    sets = [f"{name} {subset}" for name, subsets in SUBSETS.items() for subset in subsets]
    assert columns[2:-3] == [f"{each} WER (95 % interval)" for each in ("train_dev", *sets)]
    assert len(rows) == len(STAGES)
    for name, row in zip(STAGES, rows, strict=True):
        rates = json.loads((finished / "exp/tiny" / name / "scores.json").read_text())
        assert set(rates) == {f"{each} WER" for each in ("train_dev", *sets)} | {"train_dev CER"}
        shown = [float(cell.split()[0]) for cell in row.strip("|").split("|")[2:-3]]
        assert shown == [pytest.approx(rates[f"{each} WER"], abs=0.051)
                         for each in ("train_dev", *sets)]  # fmt: skip
        for test_set, subsets in SUBSETS.items():
            for subset in subsets:
                folder = finished / "exp/tiny" / name / f"decode_{test_set}/score_hub5" / subset
                (total,) = re.findall(r"\| Sum/Avg.*", (folder / "hyp.ctm.filt.sys").read_text())
                percent = float(total.split("|")[3].split()[4])
                assert percent == pytest.approx(rates[f"{test_set} {subset} WER"], abs=0.051)
    page = (finished / "exp/tiny/report.html").read_text()
    assert "eval2000 swbd" in page and "rt03 fsh" in page
    assert "stage1 against full training on eval2000 callhm: " in text
    assert re.search(r"^CER on train_dev: full ", text, re.MULTILINE) and "CER on rt03" not in text


@pytest.mark.parametrize("name", SUBSETS)
def test_the_reference_as_hypothesis_has_no_error(name: str, finished: Path, tmp_path: Path):
    """Words, segments and times of stage 0 are those of the evaluation."""
    (tmp_path / "text").write_text((finished / f"data/{name}/text").read_text())
    results = Hub5Set(name, finished / f"data/{name}").words(tmp_path)
    assert {key: result.total.errors for key, result in results.items()} == {
        f"{name} {subset}": 0 for subset in SUBSETS[name]
    }
    assert results[f"{name} all"].total.words > 20


@pytest.mark.parametrize("name", SUBSETS)
def test_every_segment_is_decoded_and_its_words_lie_inside(name: str, finished: Path):
    decoded = finished / f"exp/tiny/full/decode_{name}"
    assert read_table(decoded / "text").keys() == read_table(finished / f"data/{name}/text").keys()
    segments: dict[str, list[tuple[float, float]]] = {}
    for value in read_table(finished / f"data/{name}/hub5/segments").values():
        recording, start, end = value.split()
        segments.setdefault(recording, []).append((float(start), float(end)))
    lines = (decoded / "score_hub5/all/hyp.ctm").read_text().splitlines()
    for line in lines:
        file, channel, start, duration, _ = line.split()
        middle = float(start) + float(duration) / 2
        assert any(a <= middle <= b for a, b in segments[f"{file}-{channel}"])
    assert lines


def test_a_conversation_that_was_not_decoded_stops_stage_6(finished: Path, tmp_path: Path):
    shutil.copytree(finished / "exp/tiny", tmp_path / "exp")
    text = tmp_path / "exp/stage1/decode_eval2000/text"
    lines = text.read_text().splitlines(keepends=True)
    text.write_text("".join(line for line in lines if not line.startswith("sw_4390")))
    done = command("cascade_asr.cli.report", "--exp", str(tmp_path / "exp"), "--dump", "dump",
                   "train_dev", "eval2000", cwd=finished)  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    missing = "2 of 8 conversation sides of the stm have no hypothesis, first sw_4390 A"
    assert missing in done.stderr


def test_the_loss_falls_in_mixed_precision_on_a_cpu(finished: Path):
    log = (finished / "exp/tiny/log/full.log").read_text()
    assert "Using bfloat16 Automatic Mixed Precision" in log
    history = (finished / "exp/tiny/full/history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in history if '"valid"' in line]
    assert losses[-1] < 0.95 * losses[0]
    averaged = json.loads((finished / "exp/tiny/full/lineage.json").read_text())["averaged_epochs"]
    assert len(averaged) == 2
    weights = torch.load(finished / "exp/tiny/full/model.pth", weights_only=True)
    assert {each.dtype for each in weights.values() if each.is_floating_point()} == {torch.float32}


def test_training_data_come_at_three_speeds(finished: Path):
    frames = {key: int(n) for key, n in
              read_table(finished / "dump/train_nodup_sp/utt2num_frames").items()}  # fmt: skip
    original = [key for key in frames if not key.startswith("sp")]
    assert len(frames) == 3 * len(original)
    segments = read_table(finished / "data/train_nodup/segments")
    assert set(original) == set(segments)
    for key in original:
        _, start, end = segments[key].split()
        samples = round(float(end) * 8000) - round(float(start) * 8000)
        assert abs(frames[key] - (1 + (samples - 200) // 80)) <= 1
        assert abs(frames[f"sp0.9-{key}"] - frames[key] / 0.9) <= 3
        assert abs(frames[f"sp1.1-{key}"] - frames[key] / 1.1) <= 3


def test_noises_are_tokens_of_their_own_and_not_scored(finished: Path):
    tokenizer = Tokenizer.from_directory(finished / "dump/tokens")
    for symbol in ("[laughter]", "[noise]", "[vocalized-noise]"):
        index = tokenizer.tokens.index(symbol)
        assert tokenizer.encode(f"yes {symbol} yes").count(index) == 1
        assert tokenizer.decode(tokenizer.encode(f"yes {symbol} yes")) == f"yes {symbol} yes"
    scored = (finished / "exp/tiny/full/decode_train_dev/score_wer/hyp.trn.pra").read_text()
    assert "[" not in scored and "[" in (finished / "data/train_dev/text").read_text()


def test_a_second_run_skips_every_stage(finished: Path, tree):
    done = run(finished, *tree.options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("already done, skipping") == 7


def test_a_language_model_of_fisher_and_switchboard_joins_the_search(finished: Path):
    done = call(finished, "./run_lm.sh", "--train-config", "tiny_lm.yaml", "--ngpu", "0")
    assert done.returncode == 0, done.stderr
    fisher = (finished / "data/lm/fisher.txt").read_text().splitlines()
    for part, before, name in (("train", fisher, "train_nodup"), ("valid", [], "train_dev")):
        lines = before + list(read_table(finished / f"data/{name}/text").values())
        assert (finished / f"data/lm/{part}.txt").read_text().splitlines() == lines
        tokenizer = Tokenizer.from_directory(finished / "dump/tokens")
        edge = len(tokenizer.tokens) - 1
        ids = [each for line in lines for each in (*tokenizer.encode(line), edge)]
        assert np.load(finished / f"dump/lm/{part}/tokens.npy").tolist() == ids
    history = (finished / "exp/lm/full/history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in history if '"valid"' in line]
    assert losses[-1] < 0.95 * losses[0]
    config = (CONF / "decode_lm.yaml").read_text().replace("beam_size: 20", "beam_size: 2")
    (finished / "fused.yaml").write_text(config)
    done = command("cascade_asr.cli.decode", "--model", "exp/tiny/full", "--set", "dump/eval2000",
                   "--outdir", "fused", "--config", "fused.yaml", cwd=finished)  # fmt: skip
    assert done.returncode == 0, done.stderr
    decoded = read_table(finished / "fused/logdir/output.1/1best_recog/text")
    assert decoded.keys() == read_table(finished / "data/eval2000/text").keys()


def test_without_fisher_the_language_model_has_switchboard_alone(finished: Path):
    done = call(finished, "./run_lm.sh", "--stop-stage", "0", "--fisher-text", "absent.txt")
    assert done.returncode == 0 and "no absent.txt" in done.stderr
    lines = (finished / "data/lm/train.txt").read_text().splitlines()
    assert lines == list(read_table(finished / "data/train_nodup/text").values())


def test_a_missing_scorer_is_told_before_anything_is_done(finished: Path, tree, tmp_path: Path):
    recipe = make_recipe(tmp_path)
    done = run(recipe, *tree.options, "--sctk", str(tmp_path), "--stop-stage", "0")
    assert done.returncode == 1 and not (recipe / "data").exists()
    assert f"hubscr.pl not found in {tmp_path}" in done.stderr
    assert "apt-get install sctk" in done.stderr
    decode = ("--stage", "5", "--stop-stage", "5", "--sctk", str(tmp_path))
    done = call(finished, "./run.sh", "--train-config", "tiny.yaml", "--cascade-config",
                "cuts.yaml", "--vocabulary-size", "60", "--nj", "1", "--decode-config", "conf/decode.yaml",
                *decode)  # fmt: skip
    assert done.returncode == 1 and "apt-get install sctk" in done.stderr
    assert "decoding train_dev" not in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [([], "--swbd: which folder has LDC97S62?"),
     (["--swbd", "x"], "--eval2000: where is it? Or leave it out: --test-sets train_dev"),
     (["--swbd", "x", "--test-sets", "rt03"], "--rt03: where is it?"),
     (["--swbd", "/absent", "--test-sets", "train_dev"], "--swbd /absent: no such folder")],
)  # fmt: skip
def test_a_missing_corpus_is_named(given: list[str], message: str, tmp_path: Path):
    recipe = make_recipe(tmp_path)
    done = call(recipe, "./run.sh", *given, "--stop-stage", "0")
    assert done.returncode == 1 and message in done.stderr and not (recipe / "data").exists()


@pytest.mark.parametrize("place", ["plain", "with blanks"])
def test_a_corrected_transcript_is_noticed_wherever_it_is(place: str, tmp_path: Path):
    corpus = Path(swbd_tree.make_tree(tmp_path / place).swbd)
    recipe = make_recipe(tmp_path)
    ended = []
    for word in ("have", "have", "own"):
        (transcript,) = corpus.rglob("sw2001A-ms98-a-trans.text")
        transcript.write_text(transcript.read_text().replace("do you have", f"do you {word}"))
        done = call(recipe, "./run.sh", "--swbd", str(corpus), "--test-sets", "train_dev", "--dev-utterances", "20",
                    "--stop-stage", "0")  # fmt: skip
        assert done.returncode == 0, done.stderr
        ended.append("already done" in done.stdout + done.stderr)
    assert ended == [False, True, False]
    assert "do you own" in (recipe / "data/train_dev/text").read_text()


def test_upsampling_gives_features_of_16_khz(tree, tmp_path: Path):
    recipe = make_recipe(tmp_path)
    options = ("--swbd", tree.swbd, "--upsample", "true", "--test-sets", "train_dev")
    done = run(recipe, *options, "--speed-perturb-factors", "", "--stop-stage", "1")
    assert done.returncode == 0, done.stderr
    used = read_fbank_options(recipe / "dump/train_dev/fbank.conf")
    assert used.frame_opts.samp_freq == 16000
    key, entry = next(iter(read_table(recipe / "dump/train_dev/feats.scp").items()))
    features = kaldiio.load_mat(entry)
    assert features.shape[1] == 80 and key in read_table(recipe / "data/train_dev/text")
    # nothing was said above 4 kHz: bin 60 of 80 begins at 4.1 kHz
    assert features[:, 62:].mean() < features[:, 5:55].mean() - 3


@pytest.mark.parametrize("name", ["transformer", "conformer"])
def test_each_published_network_takes_a_step_and_fits_the_cascade(
    name: str, finished: Path, monkeypatch: pytest.MonkeyPatch
):
    config, notes = load_train_config(CONF / f"train_{name}.yaml")
    assert not notes and config.precision == "bf16-mixed"
    check_config(config, name)
    tokens = Tokenizer.from_directory(finished / "dump/tokens")
    statistics = finished / "dump/train_nodup_sp/cmvn.npz"
    torch.manual_seed(1)
    model = build_model(config, tokens, 80, statistics, config.seed).train()
    cascade = load_cascade_config(CONF / "cascade.yaml")
    stages = plan_cascade(model.layers(), cascade, config)
    assert [layer.name for layer in stages[1].frozen] == ["classifier"]
    assert {"ctc", "decoder", "encoder.after_norm"} <= set(stages[1].frozen[0].aliases)
    blocks = [sum("block" in layer.name for layer in stage.trained) for stage in stages[1:]]
    assert blocks == [12, 9, 6, 3, 0]
    assert [layer.name for layer in stages[-1].trained] == ["encoder.embed"]

    manifest = read_manifest(finished / "dump/train_nodup_sp/manifest.tsv")
    shortest = UtteranceDataset(manifest.select(np.argsort(manifest.frames)[20:22]), 80)
    batch = collate([shortest[0], shortest[1]])
    attended = []
    original = functional.scaled_dot_product_attention
    monkeypatch.setattr(functional, "scaled_dot_product_attention",
                        lambda *a, **k: attended.append(1) or original(*a, **k))  # fmt: skip
    parameters = dict(model.named_parameters())
    before = {key: value.detach().clone() for key, value in parameters.items()}
    optimizer = build_optimizer(parameters.values(), config.optim, config.optim_conf)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model(batch)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss) and len(attended) == 12 + 6 + 6
    still = [key for key, value in parameters.items() if torch.equal(value, before[key])]
    assert not still


def test_specaugment_warps_time(finished: Path):
    config, _ = load_train_config(CONF / "train_transformer.yaml")
    assert config.specaug_conf["apply_time_warp"] and config.specaug_conf["apply_time_mask"]
    warp = SpecAug(**config.specaug_conf | {"apply_freq_mask": False, "apply_time_mask": False})
    manifest = read_manifest(finished / "dump/train_dev/manifest.tsv")
    features = torch.from_numpy(np.array(kaldiio.load_mat(manifest.feats[0])))[None]
    torch.manual_seed(0)
    warped, lengths = warp(features.clone(), torch.tensor([features.size(1)]))
    assert warped.shape == features.shape and lengths.tolist() == [features.size(1)]
    assert not torch.equal(warped, features)
    # frames have moved, and none was masked: the energy of each bin is nearly the same
    assert (warped.mean(dim=1) - features.mean(dim=1)).abs().max() < 0.2


def test_decoding_and_language_model_options_are_read():
    assert load_decode_config(CONF / "decode.yaml").lm_weight == 0
    assert load_decode_config(CONF / "decode_lm.yaml").lm == "exp/lm/full"
    assert load_decode_config(CONF / "decode_fast.yaml").search == "ctc_best_path"
    check_lm_config(load_lm_config(CONF / "train_lm.yaml"), "train_lm.yaml")
    for name, rate in (("fbank", 8000), ("fbank_16k", 16000)):
        assert read_fbank_options(CONF / f"{name}.conf").frame_opts.samp_freq == rate
