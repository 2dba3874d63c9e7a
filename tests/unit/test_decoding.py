"""Stage 5: what a decoding writes, whatever jobs and batches there are, and after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_yaml
from tiny_corpus import DIMENSION, TINY_CONFIG, make_dump

from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.planning import make_plan
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.data.features.frame_shift import frame_shift_s
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.loader import UtteranceDataset
from cascade_asr.data.manifest import read_manifest
from cascade_asr.errors import ConfigError, DataError
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.ctc_alignment import align, token_and_word_times
from cascade_asr.speech.decode_config import DecodeConfig, load_decode_config
from cascade_asr.speech.decoding import Decoding, decode_share
from cascade_asr.speech.decoding_output import LOGDIR, join_jobs
from cascade_asr.speech.load_trained import load_trained
from cascade_asr.speech.partial_results import PartialCounter, PartialResults
from cascade_asr.speech.recogniser import Recognizer
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training.device import make_fabric
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.interruption import Interruption

FILES = ("text", "token", "token_int", "score", "nbest.tsv", "ctm", "token.ctm")
CONFIG = DecodeConfig(beam_size=4, nbest=3, ctc_weight=0.4, penalty=0.1, batch_frames=150)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A model that knows little, and a dump folder with frames of 20 ms."""
    folder = tmp_path_factory.mktemp("decoding")
    dump = make_dump(folder / "dump", train=24, dev=10)
    for name in ("train", "dev", "test"):
        (dump / name / "fbank.conf").write_text(f"--num-mel-bins={DIMENSION}\n--frame-shift=20\n")
    changes = {"max_epoch": 4, "normalize_conf": {"norm_vars": True}}
    config = load_train_config(write_yaml(folder / "train.yaml", TINY_CONFIG | changes))[0]
    task = SpeechTask(Experiment(folder / "exp", dump, "train", "dev"))
    task.adopt()
    plan = make_plan(task, config, CascadeConfig())
    runner = StageRunner(task, make_fabric(0, "32-true"), Interruption())
    Engine(runner, plan.branches, CascadeConfig(), plan.select).train_full()
    return folder / "exp/full", dump


def decoded(
    trained: tuple[Path, Path], outdir: Path, config: DecodeConfig = CONFIG, jobs: int = 1
) -> dict[str, bytes]:
    """Everything that all jobs write, joined."""
    model, dump = trained
    for job in range(1, jobs + 1):
        decode_share(Decoding(model, dump / "test", outdir), config, job, jobs)
    join_jobs(outdir, jobs, set(read_manifest(dump / "test/manifest.tsv").utterances))
    return {name: (outdir / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def expected(trained, tmp_path_factory) -> dict[str, bytes]:
    return decoded(trained, tmp_path_factory.mktemp("expected"))


def alone(trained: tuple[Path, Path], config: DecodeConfig = CONFIG) -> dict:
    """The hypotheses and CTC scores of each utterance, decoded by itself."""
    model, dump = trained
    dataset = UtteranceDataset(read_manifest(dump / "test/manifest.tsv"), DIMENSION)
    recognizer = Recognizer(load_trained(model, DIMENSION), config)
    found = {}
    for index in range(len(dataset)):
        name, features, _ = dataset[index]
        features = torch.from_numpy(features.copy())
        found[name] = (recognizer, len(features), *recognizer.with_ctc([features])[0])
    return found


# ---- what is written ---------------------------------------------------------------------


def test_tables_hold_what_the_search_finds(trained, expected):
    tables = {name: dict(line.partition(" ")[::2] for line in expected[name].decode().splitlines())
              for name in ("text", "token", "token_int", "score")}  # fmt: skip
    found = alone(trained)
    assert list(tables["text"]) == sorted(found) and len(found) == 10
    for name, (recognizer, _, hypotheses, _) in found.items():
        best = hypotheses[0]
        tokens = best.tokens[:-1]  # without the sentence edge
        names = recognizer.model.tokenizer.tokens
        assert tables["text"][name] == recognizer.text(best)
        assert tables["token_int"][name] == " ".join(map(str, tokens))
        assert tables["token"][name] == " ".join(names[token] for token in tokens)
        assert float(tables["score"][name]) == pytest.approx(best.score, abs=2e-4)
    assert any("<space>" in row for row in tables["token"].values())


def test_the_parts_of_a_score_add_up_to_it(trained, expected):
    found = alone(trained)
    lines = [line.split("\t") for line in expected["nbest.tsv"].decode().splitlines()]
    assert lines[0] == ["utterance", "rank", "score", "ctc", "attention", "lm", "length", "text"]
    assert len(lines) == 1 + sum(min(3, len(each[2])) for each in found.values()) > 20
    for utterance, rank, score, ctc, attention, lm, length, text in lines[1:]:
        hypothesis = found[utterance][2][int(rank) - 1]
        assert text == found[utterance][0].text(hypothesis) and lm == ""
        assert float(score) == pytest.approx(hypothesis.score, abs=2e-4)
        total = 0.4 * float(ctc) + 0.6 * float(attention) + 0.1 * float(length)
        assert float(score) == pytest.approx(total, abs=2e-4)
        assert float(length) == len(hypothesis.tokens)


def test_every_job_leaves_espnet2s_layout(trained, tmp_path: Path, expected):
    decoded(trained, tmp_path / "out", jobs=2)
    folders = [tmp_path / f"out/logdir/output.{job}" for job in (1, 2)]
    assert sorted(path.name for path in (tmp_path / "out/logdir").iterdir()) == [
        "output.1", "output.2"
    ]  # fmt: skip
    for place in (1, 2, 3):
        for name in ("text", "token", "token_int", "score"):
            lines = [
                line
                for folder in folders
                for line in (folder / f"{place}best_recog" / name).read_text().splitlines()
            ]
            if place == 1:
                assert sorted(lines) == expected[name].decode().splitlines()
            assert len(lines) > 5
    ranks = [line.split("\t") for line in expected["nbest.tsv"].decode().splitlines()]
    second = {row[0]: row[-1] for row in ranks if row[1] == "2"}
    listed: dict[str, str] = {}
    for folder in folders:
        listed |= read_table(folder / "2best_recog/text")
    assert listed == second


def test_words_and_tokens_have_the_times_of_the_ctc_path(trained, expected):
    """20 ms per frame, two feature frames per encoder frame."""
    rows: dict[str, list[list[str]]] = {}
    for line in expected["ctm"].decode().splitlines():
        rows.setdefault(line.split()[0], []).append(line.split()[1:])
    compared = 0
    for name, (recognizer, frames, hypotheses, ctc) in alone(trained).items():
        tokens = hypotheses[0].tokens[:-1]
        words = recognizer.text(hypotheses[0]).split()
        assert [row[3] for row in rows.get(name, [])] == words
        alignment = align(ctc, tokens)
        if alignment is None:
            continue
        frame_s = frames * 0.02 / len(ctc)
        names = [recognizer.model.tokenizer.tokens[token] for token in tokens]
        place = 0
        for channel, start, duration, word, confidence in rows.get(name, []):
            last = place + len(word) - 1
            assert "".join(names[place : last + 1]) == word and channel == "1"
            begin, end = alignment.starts[place] * frame_s, alignment.ends[last] * frame_s
            assert float(start) == pytest.approx(begin, abs=0.006)
            assert float(duration) == pytest.approx(end - begin, abs=0.011)
            peaks = np.array(alignment.peaks[place : last + 1])
            assert float(confidence) == pytest.approx(np.exp(np.log(peaks).mean()), abs=0.006)
            assert 0 <= begin < end <= frames * 0.02 + 1e-6
            place, compared = last + 2, compared + 1
    assert compared > 5
    tokens = [line.split() for line in expected["token.ctm"].decode().splitlines()]
    assert len(tokens) == len(expected["token_int"].decode().split()) - 10


def test_without_ctc_times_are_spread_and_without_confidence():
    tokens, words = token_and_word_times([1, 2, 3], ["a", "<space>", "b"], lambda ids: {
        1: "a", 2: "a ", 3: "a b"}[len(ids)], None, 3.0)  # fmt: skip
    assert [(word.text, word.start_s, word.end_s) for word in words] == [("a", 0, 1.5), ("b", 1.5, 3)]
    assert [token.start_s for token in tokens] == [0, 1, 2]
    assert {each.confidence for each in (*tokens, *words)} == {None}


def test_a_word_of_the_ctm_ends_at_an_ascii_blank_alone():
    """As in the text and in sclite; another model's tokens may contain other blanks."""
    names = ["1", "\u00a0", "0", " ", "\u3000", "b"]
    _, words = token_and_word_times(
        range(6), names, lambda ids: "".join(names[each] for each in ids), None, 3.0
    )
    assert [word.text for word in words] == ["1\u00a00", "\u3000b"]


def test_the_best_path_is_written_the_same_way(trained, tmp_path: Path):
    config = DecodeConfig(search="ctc_best_path", batch_frames=400)
    found = decoded(trained, tmp_path / "out", config)
    model, dump = trained
    for name, line in (line.split(" ", 1) for line in found["score"].decode().splitlines()):
        ctc = alone_ctc(trained)[name]
        assert float(line) == pytest.approx(float(ctc.max(axis=1).sum()), abs=2e-3)
    assert found["nbest.tsv"].decode().splitlines()[1].split("\t")[1] == "1"


def alone_ctc(trained) -> dict[str, np.ndarray]:
    return {name: each[3] for name, each in alone(trained, replace(CONFIG, beam_size=1)).items()}


# ---- whatever jobs and batches there are ----------------------------------------------------


def test_the_bytes_do_not_depend_on_the_number_of_jobs(trained, tmp_path: Path, expected):
    for jobs in (2, 3, 40):  # more than batches: some have nothing to do
        assert decoded(trained, tmp_path / str(jobs), jobs=jobs) == expected


@pytest.mark.parametrize("batch_frames", [1, 300, 6000])
def test_the_batches_change_no_text_and_no_score(
    trained, tmp_path: Path, expected, batch_frames: int
):
    found = decoded(trained, tmp_path / "out", replace(CONFIG, batch_frames=batch_frames))
    for name in ("text", "token", "token_int"):
        assert found[name] == expected[name]
    ours, theirs = (
        np.array([float(row.split()[1]) for row in each["score"].decode().splitlines()])
        for each in (found, expected)
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


# ---- after a kill -------------------------------------------------------------------------


def test_a_killed_job_goes_on_and_leaves_the_same_bytes(trained, tmp_path: Path, expected):
    """SIGKILL in the middle; no batch that was kept is decoded again."""
    model, dump = trained
    decoding = Decoding(model, dump / "test", tmp_path / "out")
    partial = tmp_path / "out/logdir/partial.1.jsonl"
    child = os.fork()
    if child == 0:
        try:
            keep = PartialResults.add

            def keep_two(self, number, *rest):
                keep(self, number, *rest)
                if len(self.batches) == 2:
                    time.sleep(60)

            PartialResults.add = keep_two
            decode_share(decoding, CONFIG, 1, 1)
        finally:
            os._exit(1)  # it was to be killed
    deadline = time.monotonic() + 60
    while not (partial.is_file() and partial.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    kept = partial.read_bytes()
    assert not (tmp_path / "out/logdir/output.1").exists()
    decode_share(decoding, CONFIG, 1, 1)
    whole = kept[: kept.rindex(b"\n") + 1]
    assert partial.read_bytes().startswith(whole) and len(partial.read_bytes()) > len(whole)
    assert decoded(trained, tmp_path / "out") == expected
    assert not list((tmp_path / "out/logdir").glob("partial.*"))


def test_wherever_the_last_line_is_cut_the_bytes_are_the_same(trained, tmp_path: Path, expected):
    model, dump = trained
    decode_share(Decoding(model, dump / "test", tmp_path / "whole"), CONFIG, 1, 1)
    content = (tmp_path / "whole/logdir/partial.1.jsonl").read_bytes()
    lines = content.split(b"\n")
    for number, cut in enumerate((0, 7, len(lines[0]), len(lines[0]) + 1,
                                  content.rindex(b"\n", 0, -1) - 1, len(content) - 1)):  # fmt: skip
        folder = tmp_path / str(number)
        (folder / LOGDIR).mkdir(parents=True)
        (folder / LOGDIR / "partial.1.jsonl").write_bytes(content[:cut])
        assert decoded(trained, folder) == expected, cut


def test_a_job_takes_what_other_jobs_left(trained, tmp_path: Path, expected, monkeypatch):
    """After 3 killed jobs, 2 continue, and load no model if nothing is left to do."""
    model, dump = trained
    for job in (1, 2, 3):
        decode_share(Decoding(model, dump / "test", tmp_path / "out"), CONFIG, job, 3)
    monkeypatch.setattr("cascade_asr.speech.decoding.load_trained", None)  # cannot be called
    assert decoded(trained, tmp_path / "out", jobs=2) == expected


@pytest.mark.parametrize("what", ["options", "set", "model", "features"])
def test_partial_results_of_something_else_are_not_taken(trained, tmp_path: Path, what: str):
    model, dump = trained
    work = shutil.copytree(dump, tmp_path / "dump")
    other = shutil.copytree(model.parent, tmp_path / "exp") / "full"
    config = CONFIG
    decode_share(Decoding(other, work / "test", tmp_path / "out"), config, 1, 1)
    path = tmp_path / "out/logdir/partial.1.jsonl"
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):  # to be seen if it is taken
        content = json.loads(line)
        for each in content["utterances"]:
            each["nbest"][0]["text"] = "STALE"
        lines[number] = json.dumps(content)
    path.write_text("".join(f"{line}\n" for line in lines))
    if what == "options":
        config = replace(CONFIG, penalty=0.2)
    elif what == "set":
        text = (work / "test/manifest.tsv").read_text()
        (work / "test/manifest.tsv").write_text(text.replace("\ts0\t", "\ts9\t"))
    elif what == "features":
        shutil.copyfile(work / "train/cmvn.npz", work / "test/cmvn.npz")
    else:
        done = json.loads((other / "done.json").read_text())
        state = torch.load(other / "model.pth", weights_only=True)
        state["ctc.ctc_lo.bias"][1] += 0.01
        torch.save(state, other / "model.pth")
        from cascade_asr.files import file_digest

        done["model_sha256"] = file_digest(other / "model.pth")
        (other / "done.json").write_text(json.dumps(done))
    found = decoded((other, work), tmp_path / "out", config)
    assert b"STALE" not in found["text"]
    assert found == decoded((other, work), tmp_path / "anew", config)


def test_the_same_partial_results_are_taken(trained, tmp_path: Path):
    """The control of the test above: what was kept is what is written."""
    model, dump = trained
    decode_share(Decoding(model, dump / "test", tmp_path / "out"), CONFIG, 1, 1)
    path = tmp_path / "out/logdir/partial.1.jsonl"
    path.write_text(path.read_text().replace('"text": "', '"text": "KEPT'))
    assert b"KEPT" in decoded(trained, tmp_path / "out")["nbest.tsv"]


def test_a_job_that_did_not_end_is_told(trained, tmp_path: Path):
    model, dump = trained
    decode_share(Decoding(model, dump / "test", tmp_path / "out"), CONFIG, 1, 2)
    with pytest.raises(DataError, match="output.2/1best_recog/score: missing: this job did not finish"):
        join_jobs(tmp_path / "out", 2, {"a"})
    with pytest.raises(DataError, match="1 of 1 utterances were not decoded, first: a; run stage 5"):
        join_jobs(tmp_path / "out", 1, {"a"})


def test_scores_of_other_texts_do_not_stay(trained, tmp_path: Path):
    """Until stage 6 has scored the new ones: tables read scores.json."""
    outdir, scores = tmp_path / "full/decode_test", tmp_path / "full/scores.json"
    decoded(trained, outdir)
    scores.write_text('{"test WER": 50.0}')
    decoded(trained, outdir)  # the same texts: they keep their scores
    assert scores.is_file()
    (outdir / "text").write_text("utterance other words\n")
    decoded(trained, outdir)
    assert not scores.exists()


def test_an_experiment_in_place_of_a_training_is_told(trained, tmp_path: Path):
    model, dump = trained
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp/selection.json").write_text('{"selected": "stage2"}')
    message = "exp: an experiment; decoding needs one of its trainings, such as .*/exp/stage2, which dev selected"
    with pytest.raises(ConfigError, match=message):
        decode_share(Decoding(tmp_path / "exp", dump / "test", tmp_path / "out"), CONFIG, 1, 1)


def test_jobs_of_an_earlier_decoding_do_not_stay(trained, tmp_path: Path, expected):
    decoded(trained, tmp_path / "out", jobs=3)
    decoded(trained, tmp_path / "out", replace(CONFIG, nbest=1))
    names = sorted(str(path.relative_to(tmp_path / "out/logdir"))
                   for path in (tmp_path / "out/logdir").glob("output.*/*best_recog"))  # fmt: skip
    assert names == ["output.1/1best_recog"]


def test_progress_is_counted_while_jobs_write(tmp_path: Path):
    counter = PartialCounter([tmp_path])
    assert counter.count() == (0, 0)
    jobs = [PartialResults(tmp_path, job, {"a": 1}) for job in (1, 2)]
    jobs[0].add(0, 2.5, [])
    assert counter.count() == (0, 2.5)
    path = tmp_path / "partial.2.jsonl"
    with path.open("a") as stream:
        stream.write('{"batch": 1, "count": 3, "sec')
    assert counter.count() == (0, 2.5)
    with path.open("a") as stream:
        stream.write('onds": 4.0, "utterances": []}\n')
    assert counter.count() == (3, 6.5)
    for job in jobs:
        job.close()
    PartialResults(tmp_path, 2, {"a": 2}).close()  # from other options: started afresh
    assert counter.count() == (0, 2.5)


# ---- options and frames ---------------------------------------------------------------------


def test_nbest_is_checked(tmp_path: Path):
    path = tmp_path / "decode.yaml"
    for content, message in (
        ("nbest: 0\n", "nbest is 0, expected 1 or more"),
        ("nbest: 2\nsearch: ctc_best_path\n", "nbest needs a search"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=message):
            load_decode_config(path)
    path.write_text("nbest: 30\nbeam_size: 2\n")
    assert load_decode_config(path).nbest == 30


def test_bounds_that_no_text_fits_are_refused(tmp_path: Path):
    """Every text would be empty, as in ESPnet."""
    path = tmp_path / "decode.yaml"
    for content, message in (
        ("maxlenratio: -0.5\n", "1: maxlenratio is -0.5, but a negative one is a number of tokens"),
        ("minlenratio: -0.5\n", "1: minlenratio is -0.5, but a negative one is a number of tokens"),
        ("maxlenratio: -4\nminlenratio: -9\n", "minlenratio is -9 and maxlenratio -4: the fewest tokens"),
        ("maxlenratio: -4\nminlenratio: -4\n", "minlenratio is -4 and maxlenratio -4: the fewest tokens"),
        ("minlenratio: 3\n", "minlenratio is 3 tokens per encoder frame, .* tokens write -3"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=message):
            load_decode_config(path)
    path.write_text("maxlenratio: -4\nminlenratio: -3\n")
    assert load_decode_config(path).minlenratio == -3
    path.write_text("maxlenratio: 3.5\nminlenratio: 3\n")
    assert load_decode_config(path).minlenratio == 3


def test_utterances_without_any_text_are_told(trained, tmp_path: Path, caplog):
    decoded(trained, tmp_path / "all")
    assert "no text was found" not in caplog.text
    frames = read_manifest(trained[1] / "test/manifest.tsv").frames
    config = replace(CONFIG, ctc_weight=1.0, minlenratio=-float(np.median(frames) // 2))
    lines = decoded(trained, tmp_path / "some", config)["score"].decode().splitlines()
    scores = [line.split() for line in lines]
    empty = [utterance for utterance, score in scores if score == "-inf"]
    assert 0 < len(empty) < len(scores) == 10
    told = f"some: no text was found for {len(empty)} of 10 utterances, first: {empty[0]}; they are empty"
    assert told in caplog.text


def test_the_frame_shift_of_a_set(tmp_path: Path, caplog):
    assert frame_shift_s(tmp_path) == 0.01 and "the frame shift is unknown" in caplog.text
    assert f"to data/{tmp_path.name}/frame_shift, and run stage 1 again" in caplog.text  # which keeps it
    (tmp_path / "fbank.conf").write_text("--frame-shift=8\n")
    assert frame_shift_s(tmp_path) == 0.008
    (tmp_path / "fbank.conf").write_text("--feature-type=espnet2\n--fs=16000\n--hop-length=256\n")
    assert frame_shift_s(tmp_path) == 0.016
    (tmp_path / "frame_shift").write_text("0.0125\n")
    assert frame_shift_s(tmp_path) == 0.0125
    (tmp_path / "frame_shift").write_text("ten\n")
    with pytest.raises(DataError, match="frame_shift:1: 'ten': expected seconds above 0"):
        frame_shift_s(tmp_path)
