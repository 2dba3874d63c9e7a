"""egs/digits: the corpus, the sets made from it, and the messages about faulty corpora."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tarfile
import time
import wave
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / "egs" / "digits" / "local"
sys.path.insert(0, str(LOCAL))

import digit_strings  # noqa: E402
import fsdd  # noqa: E402
import prepare_digits  # noqa: E402
import synthesise_digits  # noqa: E402

from cascade_asr.errors import DataError  # noqa: E402

ARCHIVE = "free-spoken-digit-dataset.tar.gz"
FEW = ["--train-strings", "8", "--dev-strings", "4"]
FEW += ["--test-seen-strings", "4", "--test-unseen-strings", "2"]
UNSEEN = prepare_digits.UNSEEN_SPEAKERS


def write_wav(path: Path, samples: int = 800, rate: int = 8000, channels: int = 1) -> None:
    key = sum(path.name.encode())
    noise = np.random.default_rng(key).integers(-3000, 3000, samples * channels)
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(noise.astype("<i2").tobytes())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """FSDD's layout with 4 of the 50 takes, so that each set has something."""
    folder = tmp_path / "fsdd"
    (folder / "recordings").mkdir(parents=True)
    for speaker in fsdd.SPEAKERS:
        for digit in range(10):
            for take in (0, 5, 10, 11):
                write_wav(folder / "recordings" / f"{digit}_{speaker}_{take}.wav")
    return folder


def run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command as the recipe does, in a separate shell."""
    command = [sys.executable, str(LOCAL / "prepare_digits.py"), *map(str, arguments)]
    variables = {key: value for key, value in os.environ.items() if key != "CORPORA"}
    variables |= {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder; its own name is replaced in them."""
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"@")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_fails(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One clear line, status 1, no traceback, nothing left behind."""
    message = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in message


# --- what is made ---------------------------------------------------------------------------


def test_folders_are_complete_sorted_and_name_the_corpus(corpus: Path, tmp_path: Path) -> None:
    done = run("--outdir", "data", "--fsdd", corpus, *FEW, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NOTICE" in done.stderr
    assert "FSDD v1.0.10" in (tmp_path / "data" / "corpus.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "corpus.txt",
        "dev",
        "test_seen",
        "test_unseen",
        "train",
    ]
    for name, count in zip(digit_strings.SETS, (8, 4, 4, 2), strict=True):
        folder = tmp_path / "data" / name
        tables = {}
        for table in ("wav.scp", "text", "utt2spk", "spk2utt"):
            lines = (folder / table).read_text().splitlines()
            assert lines == sorted(lines)
            tables[table] = dict(line.split(" ", 1) for line in lines)
        assert len(tables["text"]) == count
        assert tables["text"].keys() == tables["wav.scp"].keys() == tables["utt2spk"].keys()
        for speaker, ids in tables["spk2utt"].items():
            assert all(tables["utt2spk"][utterance] == speaker for utterance in ids.split())
        for utterance, text in tables["text"].items():
            assert utterance.startswith(f"{tables['utt2spk'][utterance]}-{name}")
            assert 3 <= len(text.split()) <= 6
            assert set(text.split()) <= set(digit_strings.WORDS)
            assert Path(tables["wav.scp"][utterance]).is_absolute()
            with wave.open(tables["wav.scp"][utterance]) as reader:
                assert reader.getframerate() == 8000
                assert reader.getnframes() > 3 * 800


def test_same_seed_same_bytes_whatever_the_order_of_files(corpus: Path, tmp_path: Path) -> None:
    shuffled = tmp_path / "reversed.tar"
    with tarfile.open(shuffled, "w") as tar:
        for path in sorted(corpus.rglob("*.wav"), reverse=True):
            tar.add(path, arcname=f"x/recordings/{path.name}")
    run("--outdir", "a", "--fsdd", corpus, *FEW, cwd=tmp_path, PYTHONHASHSEED="1")
    run("--outdir", "b", "--fsdd", shuffled, *FEW, cwd=tmp_path, PYTHONHASHSEED="2")
    run("--outdir", "c", "--fsdd", corpus, *FEW, "--seed", 2, cwd=tmp_path)
    made = [contents(tmp_path / name) for name in "abc"]
    for files in made:
        files.pop("corpus.txt")
    assert len(made[0]) == 4 * 4 + 18
    assert made[0] == made[1]
    assert all(made[0][name] != made[2][name] for name in made[0] if name.endswith(".wav"))


def test_no_recording_is_in_two_sets() -> None:
    everything = [fsdd.Recording.from_file_name(name) for name in fsdd.complete_set()]
    sets = digit_strings.split(everything, UNSEEN)
    mixing = digit_strings.Mixing()
    used = {
        name: {
            recording
            for string in digit_strings.deal(name, sets[name], 800, 1, mixing)
            for recording in string.recordings
        }
        for name in digit_strings.SETS
    }
    assert sum(map(len, used.values())) == len(set().union(*used.values())) == 3000
    assert {recording.take for recording in used["train"]} == set(range(10, 50))
    assert {recording.take for recording in used["dev"]} == set(range(5, 10))
    assert {recording.take for recording in used["test_seen"]} == set(range(5))
    assert {recording.take for recording in used["test_unseen"]} == set(range(50))
    assert {recording.speaker for recording in used["test_unseen"]} == set(UNSEEN)
    for name in ("train", "dev", "test_seen"):
        assert not {recording.speaker for recording in used[name]} & set(UNSEEN)


def test_recordings_are_used_evenly_and_strings_have_one_speaker() -> None:
    everything = [fsdd.Recording.from_file_name(name) for name in fsdd.complete_set()]
    sets = digit_strings.split(everything, UNSEEN)
    strings = digit_strings.deal("dev", sets["dev"], 200, 1, digit_strings.Mixing())
    assert {len(string.recordings) for string in strings} == {3, 4, 5, 6}
    assert len({string.utterance for string in strings}) == 200
    uses: dict[str, Counter] = {}
    for string in strings:
        assert {recording.speaker for recording in string.recordings} == {string.speaker}
        uses.setdefault(string.speaker, Counter()).update(string.recordings)
    for counter in uses.values():
        assert max(counter.values()) - min(counter.values()) <= 1


def test_mixing_has_the_levels_and_lengths_asked_for() -> None:
    recordings = tuple(fsdd.Recording("george", digit, 10) for digit in range(4))
    quiet = np.full(4000, 20, dtype=np.int16)
    mixing = digit_strings.Mixing(pause_ms=(500.0, 500.0), snr_db=(20.0, 20.0))
    string = digit_strings.DigitString("george-train0000", recordings)
    mixed = digit_strings.mix(string, dict.fromkeys(recordings, quiet), 1, mixing)
    assert string.text == "zero one two three"
    assert len(mixed) == 4 * 4000 + 5 * 4000

    def level_db(samples: np.ndarray) -> float:
        return 10 * np.log10(np.mean(samples.astype(float) ** 2)) - 20 * np.log10(32768)

    noise = level_db(mixed[:4000])
    assert noise == pytest.approx(digit_strings.SPEECH_LEVEL_DBFS - 20, abs=0.5)
    for start in (4000, 12000, 20000, 28000):
        speech = level_db(mixed[start : start + 4000])
        assert speech == pytest.approx(digit_strings.SPEECH_LEVEL_DBFS, abs=3.2)


# --- where the corpus comes from ------------------------------------------------------------


def test_corpora_folder_is_used_and_an_explicit_corpus_goes_first(
    corpus: Path, tmp_path: Path
) -> None:
    corpora = tmp_path / "corpora"
    corpora.mkdir()
    with zipfile.ZipFile(corpora / "free-spoken-digit-dataset-1.0.10.zip", "w") as zipped:
        for path in corpus.rglob("*.wav"):
            zipped.write(path, f"free-spoken-digit-dataset-1.0.10/recordings/{path.name}")
    run("--outdir", "a", *FEW, cwd=tmp_path, CORPORA=str(corpora))
    assert str(corpora) in (tmp_path / "a" / "corpus.txt").read_text()
    run("--outdir", "b", "--fsdd", corpus, *FEW, cwd=tmp_path, CORPORA=str(corpora))
    assert f"source: {corpus}" in (tmp_path / "b" / "corpus.txt").read_text()


def test_download_without_network_gives_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fsdd.CONNECT_LIMIT_S < 10
    monkeypatch.setattr(fsdd, "CONNECT_LIMIT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        start = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar.gz"
        assert fsdd.download(tmp_path / "downloads", url) is None
        assert time.monotonic() - start < 2
    assert fsdd.download(tmp_path / "downloads", "http://localhost:9/closed.tar.gz") is None
    assert not (tmp_path / "downloads").exists()


def test_download_of_something_else_is_refused(corpus: Path, tmp_path: Path) -> None:
    archive = tmp_path / "v1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, arcname="free-spoken-digit-dataset-1.0.10")
    with pytest.raises(DataError, match=r"not FSDD v1\.0\.10: 2760 missing \(0_george_1\.wav"):
        fsdd.download(tmp_path / "downloads", archive.as_uri())
    assert list((tmp_path / "downloads").iterdir()) == []


def test_changed_corpus_is_used_with_a_warning_that_says_what_differs(
    corpus: Path, tmp_path: Path
) -> None:
    write_wav(corpus / "recordings" / "3_anna_0.wav")
    done = run("--outdir", "data", "--fsdd", corpus, *FEW, cwd=tmp_path)
    assert done.returncode == 0
    assert "2760 missing (0_george_1.wav, " in done.stderr
    assert "1 extra (3_anna_0.wav)" in done.stderr
    assert "a variant of FSDD" in (tmp_path / "data" / "corpus.txt").read_text()
    assert "anna" not in (tmp_path / "data" / "train" / "spk2utt").read_text()


def test_chosen_speakers_are_those_of_all_sets_but_the_unseen(corpus: Path, tmp_path: Path) -> None:
    done = run("--outdir", "data", "--fsdd", corpus, "--speakers", "lucas,george", *FEW, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = tmp_path / "data"
    for name in ("train", "dev", "test_seen"):
        speakers = [line.split()[0] for line in (data / name / "spk2utt").read_text().splitlines()]
        assert speakers == ["george", "lucas"], name
    unseen = (data / "test_unseen" / "spk2utt").read_text()
    assert [line.split()[0] for line in unseen.splitlines()] == ["theo", "yweweler"]
    assert "speakers of the other sets: george lucas\n" in (data / "corpus.txt").read_text()
    refused = run("--outdir", "data", "--fsdd", corpus, "--speakers", "lucas,theo", *FEW, cwd=tmp_path)
    assert refused.returncode != 0
    assert "--speakers: 'theo' is none of george, jackson, lucas, nicolas" in refused.stderr
    assert (data / "corpus.txt").is_file()


def test_without_corpus_and_network_one_is_synthesised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpora").mkdir()
    monkeypatch.setattr(fsdd, "URL", "http://localhost:9/closed.tar.gz")
    shorter = functools.partial(synthesise_digits.synthesise, takes=(0, 5, 10))
    monkeypatch.setattr(synthesise_digits, "synthesise", shorter)
    downloads = tmp_path / "downloads"
    found = prepare_digits.find_corpus(None, str(tmp_path / "corpora"), downloads)
    assert found.name == synthesise_digits.NAME
    assert len(found.files) == 6 * 10 * 3
    counts = {"train": 8, "dev": 4, "test_seen": 4, "test_unseen": 2}
    prepare_digits.prepare(found, tmp_path / "data", counts, 1, digit_strings.Mixing())
    assert "synthetic" in (tmp_path / "data" / "corpus.txt").read_text()
    speakers = [line.split()[1] for line in open(tmp_path / "data" / "test_unseen" / "utt2spk")]
    assert set(speakers) == {"awb", "scm2"}

    again = tmp_path / "again"
    synthesise_digits.synthesise(again, takes=(0, 5, 10))
    assert fsdd.read_files(again) == found.files
    levels = [np.abs(fsdd.decode(content, name)).max() for name, content in found.files.items()]
    assert min(levels) > 1000
    assert sorted(path.name for path in downloads.iterdir()) == ["synthetic_digits"]


def test_the_real_corpus_is_the_pinned_release() -> None:
    folders = [os.environ.get("CORPORA"), ROOT.parent / "shared" / "corpora"]
    archives = [Path(folder) / ARCHIVE for folder in folders if folder]
    archive = next((path for path in archives if path.is_file()), None)
    if archive is None:
        pytest.skip("FSDD is not at hand")
    files = fsdd.read_files(archive)
    assert fsdd.content_digest(files) == fsdd.DIGEST
    assert set(files) == fsdd.complete_set()
    samples = [fsdd.decode(content, name) for name, content in files.items()]
    assert sum(map(len, samples)) == pytest.approx(21 * 60 * 8000 + 52 * 8000, rel=1e-3)


# --- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere", "no such folder or archive"),
        ("empty", "contains no recordings"),
        ("notes.txt", "neither a folder nor an archive"),
        ("damaged.tar.gz", "damaged or truncated archive"),
        ("damaged.zip", "damaged or truncated archive"),
    ],
)
def test_unusable_source_is_an_error_and_never_replaced(
    name: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for file_name in ("notes.txt", "damaged.tar.gz", "damaged.zip"):
        (tmp_path / file_name).write_bytes(b"\x1f\x8b\x08 this is no archive")
    done = run("--outdir", "data", "--fsdd", tmp_path / name, *FEW, cwd=tmp_path)
    assert_fails(done, str(tmp_path / name), expected)
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "downloads").exists()


def test_truncated_archive(corpus: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar.gz"
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(corpus, arcname="fsdd")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = run("--outdir", "data", "--fsdd", cut, *FEW, cwd=tmp_path)
    assert_fails(done, str(cut), "damaged or truncated archive")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: os.truncate(path, 1544), "header says 800 samples, found 750"),
        (lambda path: os.truncate(path, 0), "not a readable wav file (the header is cut off)"),
        (lambda path: path.write_bytes(b"RIFX" * 9), "not a readable wav file (file does not"),
        (lambda path: write_wav(path, samples=0), "contains no samples"),
        (lambda path: write_wav(path, rate=16000), "16000 Hz, recipe expects 8000"),
        (lambda path: write_wav(path, channels=2), "2 channels of 16 bit, recipe expects 1 of 16"),
    ],
)
def test_damaged_recording_is_named_and_earlier_folders_stay(
    damage, expected: str, corpus: Path, tmp_path: Path
) -> None:
    prepared = run("--outdir", "data", "--fsdd", corpus, *FEW, cwd=tmp_path)
    assert prepared.returncode == 0
    before = contents(tmp_path / "data")
    damage(corpus / "recordings" / "4_lucas_10.wav")
    done = run("--outdir", "data", "--fsdd", corpus, *FEW, cwd=tmp_path)
    assert_fails(done, "4_lucas_10.wav: ", expected)
    assert contents(tmp_path / "data") == before


def test_digit_missing_from_a_set_is_an_error(corpus: Path, tmp_path: Path) -> None:
    (corpus / "recordings" / "7_nicolas_5.wav").unlink()
    done = run("--outdir", "data", "--fsdd", corpus, *FEW, cwd=tmp_path)
    assert_fails(done, "no recording of seven by nicolas for dev (1 of 10 digits missing)")


def test_interruption_leaves_nothing_half_made(corpus: Path, tmp_path: Path) -> None:
    outdir = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        with prepare_digits.replacing(outdir, ["train"]) as partial:
            (partial / "train").mkdir()
            raise KeyboardInterrupt
    assert list(outdir.iterdir()) == []
    (outdir / ".prepare_digits.partial" / "train").mkdir(parents=True)  # killed: no clean-up
    run("--outdir", "data", "--fsdd", corpus, *FEW, cwd=tmp_path)
    assert not (outdir / ".prepare_digits.partial").exists()
    assert (outdir / "corpus.txt").is_file()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--train-strings", "3"], "train: 3 strings are too few for 4 speakers"),
        (["--digits", "6", "3"], "--digits"),
        (["--pause-ms", "-5", "3"], "--pause-ms"),
    ],
)
def test_impossible_options(
    options: list[str], expected: str, corpus: Path, tmp_path: Path
) -> None:
    done = run("--outdir", "data", "--fsdd", corpus, *options, cwd=tmp_path)
    assert_fails(done, expected)


def test_shell_script_passes_its_options_on(corpus: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(LOCAL / "data.sh"), "--outdir", "data", "--fsdd", str(corpus), *FEW],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "train" / "text").is_file()
