"""Recordings of any kind to text: what belongs to a model, and what it outputs."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, command, environment, write_yaml
from tiny_corpus import DIMENSION, TINY_CONFIG, make_dump

import cascade_asr
from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.planning import make_plan
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.data.audio.any_audio import read_any
from cascade_asr.data.audio.pauses import cut_at_pauses
from cascade_asr.data.sets import write_set
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import CascadeError, ConfigError, DataError
from cascade_asr.espnet2.export import export_model
from cascade_asr.files import file_digest
from cascade_asr.library.recordings import Recording, recordings_of, short_names
from cascade_asr.library.transcription import Choice, Stretch, Transcription
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.ctc_alignment import Word, align, word_times
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.progress import DecodingProgress
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training.device import make_fabric
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.interruption import Interruption

RATE = 8000
FBANK = f"--sample-frequency={RATE}\n--num-mel-bins={DIMENSION}\n"
LOG_MEL = f"--feature-type=espnet2\n--fs={RATE}\n--n-fft=256\n--hop-length=80\n--n-mels={DIMENSION}\n"


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Tones that change every 0.1 s, int16."""
    random = np.random.default_rng(seed)
    times = np.arange(int(0.1 * RATE)) / RATE
    tones = [np.sin(2 * np.pi * random.uniform(200, 3000) * times) for _ in range(int(seconds * 10))]
    return (8000 * np.concatenate(tones)).astype(np.int16)


@pytest.fixture(scope="module")
def dump_with(tmp_path_factory):
    """Makes a dump folder whose features are said to have these options."""

    def make(options: str) -> Path:
        folder = make_dump(tmp_path_factory.mktemp("corpus") / "dump", train=12, dev=4)
        (folder / "train/fbank.conf").write_text(options)
        return folder

    return make


@pytest.fixture(scope="module")
def experiments(dump_with, tmp_path_factory) -> dict[str, Path]:
    """Experiments of each kind of features and normalisation; none knows anything."""
    made = {}
    for name, options, normalize in (
        ("fbank", FBANK, "global_mvn"),
        ("log_mel", LOG_MEL, "utterance_mvn"),
        ("speaker", FBANK, "speaker_mvn"),
    ):
        folder = tmp_path_factory.mktemp(name)
        changes = {"normalize": normalize, "max_epoch": 1}
        config = load_train_config(write_yaml(folder / "train.yaml", TINY_CONFIG | changes))[0]
        task = SpeechTask(Experiment(folder / "exp", dump_with(options), "train", "dev"))
        task.adopt()
        plan = make_plan(task, config, CascadeConfig())
        runner = StageRunner(task, make_fabric(0, "32-true"), Interruption())
        Engine(runner, plan.branches, CascadeConfig(), plan.select).train_full()
        made[name] = folder / "exp"
    return made


@pytest.fixture(scope="module")
def model(experiments):
    return cascade_asr.load(experiments["fbank"], beam_size=4)


def plain(result: Transcription) -> tuple[str, float]:
    return result.text, result.score


def facts(result: Transcription) -> tuple[str, float]:
    return result.text, pytest.approx(result.score, abs=1e-4)


# ---- where a model is ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fbank", "log_mel", "speaker"])
def test_a_model_is_the_same_wherever_it_is(experiments, tmp_path: Path, name: str, monkeypatch):
    """An experiment, its stage, an export, and that as a zip somewhere else."""
    experiment = experiments[name]
    monkeypatch.chdir(tmp_path)
    export_model(experiment / "full", Path("out"), archive=True)
    (tmp_path / "other").mkdir()
    moved = Path(shutil.move("out.zip", "other/moved.zip"))
    samples = sound(1.5)
    expected = cascade_asr.load(experiment, beam_size=3).transcribe(samples, RATE)
    assert expected.text and expected.score < 0
    shutil.move("out", "elsewhere")
    for path in (experiment / "full", Path("elsewhere"), moved):
        found = cascade_asr.load(path, beam_size=3).transcribe(samples, RATE)
        assert (found.text, found.score) == facts(expected)


def test_a_zip_of_an_experiment_is_a_model(experiments, tmp_path: Path, monkeypatch):
    """Whole, or with one stage; a stage alone lacks its tokens, and this is reported."""
    copy = Path(shutil.copytree(experiments["fbank"], tmp_path / "exp/rnn"))
    shutil.copytree(copy / "full", copy / "stage1")
    samples = sound(1.2)
    expected = facts(cascade_asr.load(copy, beam_size=3).transcribe(samples, RATE))

    def zipped(name: str, root: Path, *left_out: str) -> Path:
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for each in sorted(root.rglob("*")):
                relative = each.relative_to(root)
                if each.is_file() and not any(str(relative).startswith(x) for x in left_out):
                    archive.write(each, relative)
        return path

    for path in (zipped("whole", tmp_path / "exp"), zipped("one", copy, "full", "selection"),
                 zipped("selected", copy, "stage1")):  # fmt: skip
        found = cascade_asr.load(path, beam_size=3).transcribe(samples, RATE)
        assert (found.text, found.score) == expected, path
    shutil.copytree(copy / "tokens", tmp_path / "temporary/tokens")  # somebody else's
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with pytest.raises(ConfigError, match="alone.zip: a stage alone; its tokens .* export exp/TAG"):
        cascade_asr.load(zipped("alone", copy / "stage1"))
    with pytest.raises(ConfigError, match="contains 2 trained stages and no selection.json"):
        cascade_asr.load(zipped("two", copy, "selection"))


def test_the_selected_stage_is_taken(experiments, tmp_path: Path):
    copy = shutil.copytree(experiments["fbank"], tmp_path / "exp")
    shutil.copytree(copy / "full", copy / "stage1")
    selection = json.loads((copy / "selection.json").read_text())
    (copy / "selection.json").write_text(json.dumps(selection | {"selected": "stage1"}))
    assert cascade_asr.load(copy).trained.path == copy / "stage1"
    (copy / "stage1").rename(copy / "stage1.replaced.1")
    with pytest.raises(ConfigError, match="exp/stage1: not there, although dev selected it: it was set aside"):
        cascade_asr.load(copy)


def test_what_is_no_model_is_refused_with_what_to_do(experiments, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("no zip")
    copy = shutil.copytree(experiments["fbank"], tmp_path / "exp")
    (copy / "fbank.conf").unlink()
    unfinished = shutil.copytree(experiments["fbank"], tmp_path / "unfinished")
    (unfinished / "full/done.json").unlink(), (unfinished / "full/lineage.json").unlink()
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../evil.txt", "x")
    for path, message in (
        ("nowhere", "no such file or folder; expected an experiment"),
        ("empty", "no trained model; expected an experiment"),
        ("a.txt", "neither a folder nor a zip"),
        ("exp", "fbank.conf: not found; .* give the file that stage 1 used"),
        ("unfinished/full", "this training is not finished"),
        ("evil.zip", "'../evil.txt' leads out of the archive"),
    ):
        with pytest.raises(CascadeError, match=message):
            cascade_asr.load(tmp_path / path)
    assert not (tmp_path.parent / "evil.txt").exists()
    (tmp_path / "f.conf").write_text(FBANK)
    cascade_asr.load(copy, fbank_config=tmp_path / "f.conf")
    with pytest.raises(ConfigError, match="beam_sise.*did you mean 'beam_size'"):
        cascade_asr.load(copy, fbank_config=tmp_path / "f.conf", beam_sise=3)
    (tmp_path / "f.conf").write_text(FBANK + f"--num-mel-bins={DIMENSION + 1}\n")
    of_others = f"takes features of {DIMENSION} dimensions, found {DIMENSION + 1}; use those"
    with pytest.raises(ConfigError, match=of_others):
        cascade_asr.load(copy, fbank_config=tmp_path / "f.conf")
    with pytest.raises(ConfigError, match=f"weights alone; give the folder of the model, {copy}/full"):
        cascade_asr.load(copy / "full/model.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "greedy"}, "search is 'greedy', expected beam or ctc_best_path"),
        ({"maxlenratio": -0.5}, "a negative one is a number of tokens"),
        ({"lm_weight": 0.3}, "lm_weight needs lm: the folder of a language model"),
        ({"search": "ctc_best_path", "nbest": 3}, "ctc_best_path finds one text"),
    ],
)
def test_decoding_options_of_a_call_are_checked_as_those_of_a_file(experiments, options, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        cascade_asr.load(experiments["fbank"], **options)
    with pytest.raises(ConfigError, match=re.escape(message)):
        cascade_asr.load(experiments["fbank"], decode_config=DecodeConfig(**options))


def test_a_recording_for_which_no_text_was_found_is_told(experiments, caplog):
    model = cascade_asr.load(experiments["fbank"], beam_size=4, minlenratio=-1000)
    assert model.transcribe(sound(1.0), RATE).text == ""
    assert "recording: no text was found from 0.00 to 1.00 s, which have too few frames" in caplog.text


def test_transcribing_equals_the_recipes_decoding(experiments, model, tmp_path: Path):
    """Text, score and n-best of stage 1 and 5, to the last digit that is written."""
    data, dump = tmp_path / "data", tmp_path / "dump/test"
    data.mkdir()
    files = {f"s-{index}": tmp_path / f"{index}.wav" for index in range(4)}
    for index, path in enumerate(files.values()):
        soundfile.write(path, sound(0.7 + index / 3, index), RATE)
    for table, value in (("wav.scp", None), ("utt2spk", "s"), ("text", "a")):
        lines = [f"{name} {value or path}\n" for name, path in files.items()]
        (data / table).write_text("".join(lines))
    (tmp_path / "fbank.conf").write_text(FBANK)
    for arguments in (
        ("cascade_asr.cli.fbank", "--config", tmp_path / "fbank.conf", data, dump / "fbank.1"),
        ("cascade_asr.cli.dump", data, dump, "--jobs", "1"),
    ):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr
    write_set(dump, Tokenizer.from_directory(experiments["fbank"] / "tokens"), required=True)
    config = write_yaml(tmp_path / "decode.yaml", {"beam_size": 4})
    done = command("cascade_asr.cli.decode", "--model", experiments["fbank"] / "full", "--set", dump,
                   "--outdir", tmp_path / "out", "--config", config)  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = model.transcribe_all([Recording(name, path) for name, path in files.items()])
    lines = [f"{each.name} {each.text}\n" for each in results]
    assert "".join(lines) == (tmp_path / "out/logdir/output.1/1best_recog/text").read_text()


# ---- recordings ----------------------------------------------------------------------------


def test_containers_rates_and_types_give_the_same_text(model, tmp_path: Path):
    samples = sound(1.6)
    expected = facts(model.transcribe(samples, RATE))
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    soundfile.write(tmp_path / "stereo.wav", np.stack([samples, samples], 1), RATE)
    soundfile.write(tmp_path / "other.wav", np.stack([samples[::-1], samples], 1), RATE)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.flac", "-c:a", "alac",
                    tmp_path / "a.m4a"], check=True)  # fmt: skip
    for source in (tmp_path / "a.flac", str(tmp_path / "stereo.wav"), tmp_path / "a.m4a",
                   content.getvalue(), io.BytesIO(content.getvalue())):  # fmt: skip
        assert plain(model.transcribe(source)) == expected
    for array in (samples.astype(np.float32) / 32768, samples.astype(np.float64) / 32768,
                  samples.astype(np.int32) * 65536, samples[:, None],
                  torch.tensor(samples / 32768, requires_grad=True)):  # fmt: skip
        assert plain(model.transcribe(array, RATE)) == expected
    second = model.transcribe(tmp_path / "other.wav", channel=2)
    assert plain(second) == expected
    assert {line.split()[1] for line in second.formatted("ctm").splitlines()} == {"2"}


@pytest.mark.parametrize("rate", [11025, 16000, 44100, 48000])
def test_resampling_keeps_what_the_model_hears(rate: int):
    """A tone keeps its pitch and level; what the lower rate cannot represent is gone."""
    times = np.arange(rate) / rate
    tones = np.sin(2 * np.pi * 1000 * times) + (np.sin(2 * np.pi * 5000 * times) if rate > 12000 else 0)
    found = read_any((0.25 * tones).astype(np.float32), RATE, "tone", rate)
    assert len(found) == RATE
    expected = 0.25 * 32768 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert np.abs(found - expected)[400:-400].max() < 0.01 * 0.25 * 32768


def test_names_of_a_ctm_are_words_and_each_is_one_recording():
    def names(*paths: str) -> list[str]:
        return list(short_names([Recording(each, each) for each in paths]).values())

    assert names("x/a b.wav", "c.wav") == ["a b", "c"]
    assert names("x/a b.wav", "y/a_b.wav", "c.wav") == ["x/a b.wav", "y/a_b.wav", "c"]
    with pytest.raises(ConfigError, match="'x/a b.wav' and 'x/a_b.wav' would both be called x/a_b.wav; rename one"):
        names("x/a b.wav", "x/a_b.wav")


def test_what_is_no_audio_is_refused(model, tmp_path: Path):
    (tmp_path / "text.wav").write_text("this is no audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=16x16:d=1", tmp_path / "film.mp4"],
                   check=True)  # fmt: skip
    for source, message in (
        (tmp_path / "missing.wav", "no such audio file"),
        (tmp_path / "film.mp4", r"reads it as audio \(no sound in it\)"),
        (tmp_path / "text.wav", "text.wav: neither libsndfile nor ffmpeg"),
        (tmp_path / "empty.wav", "empty file"),
        (tmp_path, "is a folder; name the recordings in it"),
        (b"", "empty: no data arrived"),
        (b"garbage" * 100, "neither libsndfile nor ffmpeg"),
        (bytearray(b"garbage" * 100), "neither libsndfile nor ffmpeg"),
        (memoryview(b""), "empty: no data arrived"),
        (io.StringIO("RIFF"), "recording: a stream of text; open the file in binary mode"),
    ):
        with pytest.raises(DataError, match=message):
            model.transcribe(source)
    for array, message in (
        (np.zeros(0, np.float32), "holds no samples"),
        (np.full(100, 3000.0), "floats are expected between -1 and 1"),
        (np.full(100, np.nan, np.float32), "not numbers"),
        (np.zeros((2, 2, 2)), "3 axes"),
        (sound(1).astype(np.int64), "type int64, none beyond those of int16: .* samples.astype"),
        (sound(1).astype(np.int32), "type int32, none beyond those of int16"),
        (np.zeros((1, 8000)), "expected .frames,. or .frames, channels.; transpose what has its channels first"),
    ):
        with pytest.raises(DataError, match=message):
            model.transcribe(array, RATE)
    with pytest.raises(DataError, match="need their sampling rate"):
        model.transcribe(sound(1))
    with pytest.raises(DataError, match="need their sampling rate"):
        model.transcribe(sound(1), "8000")
    with pytest.raises(DataError, match="no channel 2; it has 1"):
        model.transcribe(sound(1), RATE, channel=2)


def test_what_only_ffmpeg_reads_is_refused_where_it_is_cut_off(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", sound(3.0), RATE)
    for name, options in (("a.mkv", ["-c:a", "flac"]), ("a.m4a", ["-movflags", "+faststart"])):
        words = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", *options, tmp_path / name]
        subprocess.run(words, check=True)
        assert len(read_any(tmp_path / name, RATE, name)) >= 3 * RATE
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        for source in (tmp_path / name, content[: len(content) // 2]):
            with pytest.raises(DataError, match="ends before its header says: truncated"):
                read_any(source, RATE, name)


@pytest.mark.parametrize("value", [0, -3])
def test_silence_is_refused(model, value: int):
    with pytest.raises(DataError, match=r"recording: silent: its 2\.00 s contain no sound at all"):
        model.transcribe(np.full(2 * RATE, value, np.int16), RATE)


def test_what_is_too_short_is_refused_and_the_shortest_is_not(model):
    samples = sound(1)
    shortest = next(
        count for count in range(1, RATE) if len(model.trained.features.compute(samples[:count]
        .astype(np.float32))) >= model._needed_frames
    )  # fmt: skip
    for count in (1, 30, shortest - 1):
        with pytest.raises(DataError, match=r"too short: 0\.\d+ s are \d+ feature frames, .* needs"):
            model.transcribe(samples[:count], RATE)
    result = model.transcribe(samples[:shortest], RATE)
    assert isinstance(result.text, str) and result.nbest[0].text == result.text
    for output in ("txt", "json", "srt", "ctm"):
        result.formatted(output)


# ---- long recordings -----------------------------------------------------------------------


def test_cuts_are_at_pauses_and_lose_nothing():
    parts = [sound(1.3, 1), np.zeros(4000, np.int16), sound(1.6, 2), np.zeros(4000, np.int16), sound(1)]
    samples = np.concatenate(parts)
    cuts = cut_at_pauses(samples, RATE, 2.5)
    assert cuts[0][0] == 0 and cuts[-1][1] == len(samples)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(cuts))
    for start, _ in cuts[1:]:
        assert not samples[start - 800 : start + 800].any(), "in the middle of a pause"
    assert cut_at_pauses(samples[:100], RATE, 2.5) == [(0, 100)]


@pytest.mark.parametrize("seed", range(5))
def test_no_stretch_is_longer_than_asked(seed: int):
    random = np.random.default_rng(seed)
    samples = random.normal(size=int(random.integers(1, 200_000))).astype(np.float32)
    longest = float(random.uniform(0.5, 5))
    cuts = cut_at_pauses(samples, RATE, longest)
    assert all(0 < end - start <= longest * RATE for start, end in cuts)
    assert [cuts[0][0], *(end for _, end in cuts)] == [*(start for start, _ in cuts), len(samples)]


def test_a_long_recording_is_the_sum_of_its_stretches(experiments):
    model = cascade_asr.load(experiments["fbank"], beam_size=3, longest_s=2.0)
    samples = sound(7, 3)
    result = model.transcribe(samples, RATE)
    assert len(result.segments) >= 4 and result.seconds == 7
    alone = [
        model.transcribe(samples[round(each.start_s * RATE) : round(each.end_s * RATE)], RATE)
        for each in result.segments
    ]
    assert result.text == " ".join(each.text.strip() for each in alone if each.text.strip())
    assert result.score == pytest.approx(sum(each.score for each in alone), abs=1e-3)
    assert [word.text for word in result.words] == result.text.split()
    times = [time for word in result.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= 7.001
    scores = [each.score for each in result.nbest]
    assert scores == sorted(scores, reverse=True) and len(result.nbest) > 1


@pytest.mark.parametrize("nbest", [3, 12])
def test_a_recording_has_as_many_texts_as_were_asked_for_however_it_is_cut(experiments, nbest: int):
    counts = []
    for longest_s in (2.0, float("inf")):
        model = cascade_asr.load(experiments["fbank"], beam_size=30, nbest=nbest, longest_s=longest_s)
        result = model.transcribe(sound(5.0), RATE)
        counts.append((len(result.segments) > 1, len(result.nbest)))
    assert counts == [(True, nbest), (False, nbest)]


def test_a_silent_part_of_a_long_recording_says_nothing(experiments):
    model = cascade_asr.load(experiments["fbank"], beam_size=3, longest_s=2.0)
    result = model.transcribe(np.concatenate([sound(2), np.zeros(6 * RATE, np.int16), sound(2)]), RATE)
    silent = [each for each in result.segments if each.start_s >= 2.5 and each.end_s <= 7.5]
    assert silent and all(each.nbest == [Choice("", 0.0, {})] and not each.words for each in silent)
    assert np.isfinite(result.score) and result.seconds == 10


def test_others_go_on_where_one_fails_and_progress_is_counted(experiments):
    for name in ("fbank", "speaker"):
        model = cascade_asr.load(experiments[name], beam_size=2, longest_s=2.0)
        sources = (b"", sound(1), np.zeros(9, np.int16), sound(5, 1))
        recordings = [Recording(str(n), each, RATE) for n, each in enumerate(sources)]
        failed, counted = [], []
        found = list(model.transcribe_all(
            recordings, None, lambda each, error: failed.append((each.name, type(error))),
            lambda *done: counted.append(done),
        ))  # fmt: skip
        assert [each.name for each in found] == ["1", "3"]
        assert failed == [("0", DataError), ("2", DataError)]
        assert [sum(each) for each in zip(*counted, strict=True)] == pytest.approx([2, 6])


@pytest.mark.parametrize(("terminal", "done"), [(True, 0), (False, 0), (False, 3)])
def test_progress_shows_count_pace_and_the_time_left(terminal: bool, done: int, monkeypatch, caplog):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    caplog.set_level("INFO")
    progress = DecodingProgress("decoding", 10, "utterances", done, interval_s=0.0)
    time.sleep(0.15)  # a bar is not drawn more often
    progress.add(2, 3600.0)
    progress.close()
    expected = rf"{done + 2}/10 utterances \[.*x real time\]" if terminal else (
        rf"decoding: {done + 2} of 10 utterances \({done + 2}0 %\), \d+\.\d x real time, 00:00:0\d left"
    )  # fmt: skip
    assert re.search(expected, stream.getvalue() if terminal else caplog.text)
    quiet = DecodingProgress("decoding", 10, "utterances")
    caplog.clear()
    quiet.add(1, 1.0)
    assert terminal or not caplog.records, "every 30 s alone"


def test_together_as_alone(experiments):
    for name in ("fbank", "log_mel"):
        model = cascade_asr.load(experiments[name], beam_size=3)
        recordings = [Recording(str(seed), sound(0.5 + seed / 2, seed), RATE) for seed in range(4)]
        together = [facts(each) for each in model.transcribe_all(recordings)]
        assert [plain(model.transcribe(each.source, RATE)) for each in recordings] == together


# ---- alignment -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_alignment_is_the_best_of_all_paths(seed: int):
    random = np.random.default_rng(seed)
    scores = np.log(random.dirichlet(np.ones(3), size=6))
    tokens = random.integers(1, 3, size=random.integers(1, 4)).tolist()
    best, score = None, -np.inf
    for path in itertools.product(range(3), repeat=6):
        if [token for token, _ in itertools.groupby(path) if token] == tokens:
            total = sum(scores[frame, token] for frame, token in enumerate(path))
            if total > score:
                best, score = path, total
    found = align(scores, tokens)
    if best is None:
        assert found is None
        return
    assert found.score == pytest.approx(score)
    runs, frame = [], 0
    for token, run in itertools.groupby(best):
        length = len(list(run))
        if token:
            runs.append((frame, frame + length))
        frame += length
    assert list(zip(found.starts, found.ends, strict=True)) == runs


def test_a_long_text_is_aligned():
    """More states than 8 bits can count."""
    tokens = [1, 2] * 200
    scores = np.log(np.eye(3)[tokens] * 0.97 + 0.01)
    found = align(scores, tokens)
    assert found.starts == list(range(400)) and found.ends == list(range(1, 401))
    assert found.score == pytest.approx(400 * np.log(0.98))


def test_too_few_frames_spread_the_words():
    assert align(np.log(np.full((2, 3), 1 / 3)), [1, 1]) is None
    names = {1: "a", 2: " "}

    def decode(tokens):
        return "".join(names[token] for token in tokens)

    words = word_times([1, 2, 1, 1], decode, None, 3.0)
    assert words == [Word("a", 0.0, 1.5, None), Word("aa", 1.5, 3.0, None)]
    peaked = np.log(np.eye(3)[[1, 0, 2, 1, 0, 1]] * 0.97 + 0.01)
    words = word_times([1, 2, 1, 1], decode, peaked, 6.0)
    assert [(word.text, word.start_s, word.end_s) for word in words] == [("a", 0, 1), ("aa", 3, 6)]
    assert words[0].confidence == pytest.approx(0.98)


# ---- outputs and the command ---------------------------------------------------------------


def test_formats():
    words = [Word("so", 0.5, 1.0, 0.9), Word("weit", 3661.25, 3662.0, None)]
    result = Transcription("a b.wav", 3663.0, [Stretch(0, 3663.0, [Choice("so weit", -1.5, {})], words)])
    assert result.formatted("txt") == "so weit\n"
    assert result.formatted("ctm") == "a_b.wav 1 0.50 0.50 so 0.90\na_b.wav 1 3661.25 0.75 weit\n"
    assert result.formatted("srt") == (
        "1\n00:00:00,500 --> 00:00:01,000\nso\n\n2\n01:01:01,250 --> 01:01:02,000\nweit\n\n"
    )
    content = json.loads(result.formatted("json"))
    assert content["text"] == "so weit" and content["segments"][0]["words"][1]["confidence"] is None


def test_the_command(experiments, tmp_path: Path, model):
    before = sorted(experiments["fbank"].rglob("*"))
    for index in range(2):
        soundfile.write(tmp_path / f"{index}.wav", sound(1 + index, index), RATE)
    names = [str(tmp_path / f"{index}.wav") for index in range(2)]
    (tmp_path / "list").write_text("\n".join(names) + "\n")
    config = write_yaml(tmp_path / "decode.yaml", {"beam_size": 4})
    common = ("cascade_asr.cli.transcribe", experiments["fbank"], "--config", config)
    done = command(*common, "--list", tmp_path / "list")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"{name}\t{model.transcribe(name).text}\n" for name in names)
    with open(names[0], "rb") as stream:
        done = command(*common, "-", "--output", "json", stdin=stream)
    assert json.loads(done.stdout)["text"] == model.transcribe(names[0]).text
    (tmp_path / "silent.wav").write_bytes((tmp_path / "0.wav").read_bytes()[:44] + bytes(16000))
    bad = ("missing.wav", str(tmp_path), str(tmp_path / "silent.wav"))
    done = command(*common, bad[0], names[0], *bad[1:], "--output", "ctm", names[1])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for message in ("missing.wav: no such audio file", f"{tmp_path}: is a folder; name the recordings",
                    "silent.wav: silent: its 1.00 s", "3 of 5 recordings were not transcribed"):  # fmt: skip
        assert message in done.stderr
    assert done.stdout == "".join(
        replace(model.transcribe(name), name=Path(name).stem).formatted("ctm") for name in names
    )
    assert sorted(experiments["fbank"].rglob("*")) == before


RUN_COMMANDS = """
import contextlib, io, json, runpy, subprocess, sys
for words, pipe, target in json.load(open("commands.json")):
    given = subprocess.run(pipe, capture_output=True, check=True).stdout if pipe else b""
    sys.stdin = io.TextIOWrapper(io.BytesIO(given))
    sys.argv = ["transcribe", *words]
    with open(target, "w", encoding="utf-8") as sys.stdout:
        try:
            runpy.run_module("cascade_asr.cli.transcribe", run_name="__main__")
        except SystemExit as ended:
            assert not ended.code, words
sys.stdout = sys.__stdout__
exec(compile(open("example.py").read(), "example.py", "exec"))
"""


def make_talkative(stage: Path) -> None:
    """A model that knows nothing says nothing; this one does."""
    state = torch.load(stage / "model.pth", weights_only=True)
    state["ctc.ctc_lo.bias"][0] -= 4
    state["decoder.output.bias"][-1] -= 4
    torch.save(state, stage / "model.pth")
    done = json.loads((stage / "done.json").read_text())
    done["model_sha256"] = file_digest(stage / "model.pth")
    (stage / "done.json").write_text(json.dumps(done))


def test_the_commands_of_the_documentation(experiments, tmp_path: Path):
    """All of docs/transcribe.md exactly as printed, in one process because starting takes time."""
    shutil.copytree(experiments["fbank"], tmp_path / "exp/rnn")
    make_talkative(tmp_path / "exp/rnn/full")
    shutil.copytree(tmp_path / "exp/rnn/full", tmp_path / "exp/rnn/stage1")
    export_model(tmp_path / "exp/rnn/full", tmp_path / "exported", archive=True)
    for index, name in enumerate(("a.wav", "b.flac")):
        soundfile.write(tmp_path / name, sound(0.5 + 0.2 * index, index), RATE)
    for name in ("talk.mp3", "talk.m4a"):
        subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "b.flac", tmp_path / name],
                       check=True)  # fmt: skip
    (tmp_path / "files.txt").write_text("a.wav\ntalk.m4a\n")
    document = (ROOT / "docs/transcribe.md").read_text(encoding="utf-8")
    shell, python = re.findall(r"```(?:python)?\n(.*?)```", document, re.DOTALL)
    commands = []
    for number, line in enumerate(shell.splitlines()):
        before, _, after = line.rpartition("python -m cascade_asr.cli.transcribe ")
        words, _, target = after.partition(" > ")
        pipe = shlex.split(before.rstrip(" |"))
        if pipe:
            pipe[1:1] = ["-v", "error"]
        commands.append((shlex.split(words), pipe, target or f"{number}.out"))
    assert len(commands) == 4 and commands[3][1]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    (tmp_path / "example.py").write_text(python)
    done = subprocess.run([sys.executable, "-c", RUN_COMMANDS], cwd=tmp_path, env=environment(),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = cascade_asr.load(tmp_path / "exp/rnn")
    texts = {name: model.transcribe(tmp_path / name).text for name in ("a.wav", "b.flac", "talk.mp3")}
    assert all(texts.values())
    assert (tmp_path / "0.out").read_text() == "".join(f"{k}\t{v}\n" for k, v in texts.items())
    assert (tmp_path / "talk.srt").read_text().startswith("1\n00:00:0")
    lines = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert [(each["name"], each["text"]) for each in lines][0] == ("a.wav", texts["a.wav"])
    assert lines[1]["name"] == "talk.m4a" and len(lines) == 2
    piped = subprocess.run(commands[3][1], cwd=tmp_path, capture_output=True, check=True).stdout
    assert (tmp_path / "3.out").read_text() == f"{model.transcribe(piped).text}\n"
    quick = cascade_asr.load(tmp_path / "exp/rnn", beam_size=4).transcribe(tmp_path / "a.wav")
    assert done.stdout.splitlines()[0] == f"{quick.text} {quick.score}"
    assert len(done.stdout.splitlines()) == 1 + len(quick.words)


def test_what_cannot_be_meant_is_refused_before_the_model_is_loaded(tmp_path: Path, monkeypatch):
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "two").write_bytes(b"\xef\xbb\xbfa b.wav\r\n\n\xff.wav\n")
    found = recordings_of(["c.wav"], tmp_path / "two")
    assert [each.name for each in found] == ["c.wav", "a b.wav", os.fsdecode(b"\xff.wav")]
    for audio, listed, message in (
        ([], None, "no recordings: name files"),
        (["-", "-"], None, "can be given only once"),
        (["-"], Path("-"), "can be given only once"),
        ([], tmp_path / "empty", "lists no recordings"),
        (["a.wav"], Path("nowhere"), "--list nowhere: no such file"),
    ):
        with pytest.raises(CascadeError, match=message):
            recordings_of(audio, listed)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    with pytest.raises(CascadeError, match="nothing is piped into it"):
        recordings_of(["-"], None)
    done = command("cascade_asr.cli.transcribe", "nowhere", "a.wav", "b.wav", "--output", "srt")
    assert done.returncode == 1 and "subtitles are for one recording" in done.stderr


@pytest.mark.skipif("CORPORA" not in os.environ, reason="$CORPORA is not set")
def test_real_recordings(model, tmp_path: Path):
    """Spoken digits (WAV, 8 kHz) and AN4 (raw or SPHERE, 16 kHz), as they come from their archives."""
    chosen = []
    for archive, ending in (("free-spoken-digit-dataset", ".wav"), ("mini_an4", (".sph", ".wav", ".flac"))):
        path = Path(os.environ["CORPORA"]) / f"{archive}.tar.gz"
        if not path.is_file():
            continue
        with tarfile.open(path) as stream:
            for member in stream:
                if member.isfile() and member.name.endswith(ending):
                    stream.extract(member, tmp_path)  # our own data
                    chosen.append(tmp_path / member.name)
                    break
    assert chosen
    for path in chosen:
        result = model.transcribe(path)
        assert 0.1 < result.seconds < 20 and result.text
        assert [word.text for word in result.words] == result.text.split()


def test_features_are_those_of_the_archives(model):
    """8 bits per value, as stage 1 stores them."""
    features = model.trained.features.compute(sound(1).astype(np.float32))
    stream = io.BytesIO()
    kaldiio.save_ark(stream, {"u": features}, compression_method=2)
    stream.seek(0)
    again = next(iter(kaldiio.load_ark(stream)))[1]
    assert np.abs(again - features).max() < 0.02
