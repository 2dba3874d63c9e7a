"""Corpora in other programs' formats as Kaldi data folders, from real audio files."""

from __future__ import annotations

import gzip
import io
import json
import logging
import math
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import kaldiio
import numpy as np
import pytest
import soundfile
from conftest import ROOT, command, run_here

from cascade_asr.data.audio.audio import SegmentReader, read_audio
from cascade_asr.data.importers.identifiers import Names, safe
from cascade_asr.data.importers.manifest import COLUMNS
from cascade_asr.data.importers.recordings import probe
from cascade_asr.data.kaldi.data_dir import load_data_dir
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.data.kaldi.validate import validate
from cascade_asr.errors import CascadeError, DataError


def tone(path: Path, seconds: float = 1.0, rate: int = 16000, channels: int = 1, pitch: float = 440) -> Path:
    """A file of a tone; its channels differ in loudness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)
    samples = np.stack([0.5 / (1 + each) * wave for each in range(channels)], axis=1)
    soundfile.write(path, samples, rate)
    return path


def encode(path: Path, *options: str) -> Path:
    """A second of sound in one of ffmpeg's formats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1:sample_rate=48000"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *options, str(path)], check=True)
    return path


def imported(kind: str, source: Path, folder: Path, *options: str) -> SimpleNamespace:
    """The command in this process, with its status and output."""
    told = io.StringIO()
    handler, logger = logging.StreamHandler(told), logging.getLogger()
    logger.addHandler(handler)
    try:
        run_here("import_data", kind, source, folder, *options)
        status = 0
    except CascadeError as error:
        print(error, file=told)
        status = 1
    finally:
        logger.removeHandler(handler)
    return SimpleNamespace(returncode=status, stderr=told.getvalue())


def tables(folder: Path) -> dict[str, dict[str, str]]:
    assert validate(folder, feats=False) == []
    return load_data_dir(folder).tables


def write_json_lines(path: Path, rows: list[dict]) -> Path:
    content = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def test_a_csv_with_odd_names_becomes_a_data_folder(tmp_path: Path):
    for name in ("a b.wav", "übung.wav", "sub/übung.wav"):
        tone(tmp_path / "audio" / name)
    manifest = tmp_path / "train.csv"
    manifest.write_bytes(
        "\ufeffpath,text,speaker\r\n"
        'audio/übung.wav,"one, two",Jörg M.\r\n'
        "audio/sub/übung.wav,three\u00a0four,Jörg M.\r\n"
        'audio/a b.wav," two  lines\nof text",anna\r\n'.encode()
    )
    done = imported("auto", manifest, tmp_path / "data/train")
    assert done.returncode == 0, done.stderr
    found = tables(tmp_path / "data/train")
    assert found["text"] == {
        "Jorg_M-ubung": "three four",
        "Jorg_M-ubung_2": "one, two",
        "anna-a_b": "two lines of text",
    }
    assert list(found["utt2spk"].values()) == ["Jorg_M", "Jorg_M", "anna"]
    assert found["wav.scp"]["anna-a_b"] == str(tmp_path / "audio/a b.wav")
    assert "segments" not in found
    lines = (tmp_path / "data/train/imported.tsv").read_text().splitlines()
    assert lines[1].split("\t") == ["Jorg_M-ubung", "", "Jörg M.", f"{manifest}:3"]
    assert lines[3].endswith(f"{manifest}:4")
    order = read_table(tmp_path / "data/train/spk2utt")
    assert order == {"Jorg_M": "Jorg_M-ubung Jorg_M-ubung_2", "anna": "anna-a_b"}


@pytest.fixture(autouse=True)
def informed():
    """Also log notes, as the command does."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)


def test_every_fault_is_told_with_its_line_and_nothing_is_written(tmp_path: Path):
    tone(tmp_path / "good.wav")
    tone(tmp_path / "stereo.wav", channels=2)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "short.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:2000])
    rows = [
        "path\ttext\tstart\tend",
        "good.wav\tfine\t\t",
        "absent.wav\tone\t\t",
        "good.wav\t \t\t",
        "good.wav\tone\t0.5\t0.2",
        "good.wav\tone\t0\t1.3",
        "good.wav\tone\tnan\t",
        "good.wav\tone",
        "stereo.wav\tone\t\t",
        "empty.wav\tone\t\t",
        "text.wav\tone\t\t",
        "short.wav\tone\t\t",
        "good.wav\tone\u200btwo\t\t",
        "https://x.org/a.wav\tone\t\t",
        ".\tone\t\t",
    ]
    manifest = tmp_path / "m.tsv"
    manifest.write_text("\n".join(rows) + "\n")
    done = command("cascade_asr.cli.import_data", "manifest", manifest, tmp_path / "data/train")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for line, words in {
        3: f"no such audio file: {tmp_path}/absent.wav",
        4: "the text is empty",
        5: "the start 0.5 is not before the end 0.2",
        6: "0 to 1.3 s, but",
        7: "start 'nan': expected seconds",
        8: "2 fields, but line 1 names 4 columns",
        9: "stereo.wav has 2 channels",
        10: "empty.wav: empty file",
        11: "neither libsndfile nor ffmpeg reads it",
        12: "truncated",
        13: "U+200B",
        14: "is a URL",
        15: "a folder, not an audio file",
    }.items():
        (told,) = [each for each in done.stderr.splitlines() if f"{manifest}:{line}: " in each]
        assert words in told
    assert "13 faults, nothing written" in done.stderr
    assert not (tmp_path / "data/train").exists() and not list(tmp_path.glob("data/.*"))
    kept = imported("manifest", manifest, tmp_path / "data/train", "--skip-faults")
    assert kept.returncode == 0 and "13 faulty lines left out, 1 utterances kept" in kept.stderr
    assert list(tables(tmp_path / "data/train")["text"].values()) == ["fine"]


def test_parts_channels_and_rates(tmp_path: Path):
    tone(tmp_path / "call.wav", 2.0, 8000, channels=2)
    tone(tmp_path / "mono.flac", 1.0, 16000)
    rows = [
        {"audio_filepath": "call.wav", "text": "left", "offset": 0.25, "duration": 0.5, "channel": 1,
         "speaker": 7},
        {"audio_filepath": "call.wav", "text": "right", "offset": 1, "duration": 1.05, "channel": "B",
         "speaker": 8},
        {"audio_filepath": "mono.flac", "text": "all", "speaker": 9},
    ]  # fmt: skip
    manifest = write_json_lines(tmp_path / "nemo.json", rows)
    mixed = imported("auto", manifest, tmp_path / "out")
    assert mixed.returncode == 1 and "(1 of 8000 Hz, 1 of 16000 Hz); give --sample-rate" in mixed.stderr
    done = imported("auto", manifest, tmp_path / "out", "--sample-rate", "8000")
    assert done.returncode == 0 and "1 utterances end up to 0.1 s after" in done.stderr, done.stderr
    found = tables(tmp_path / "out")
    assert found["segments"] == {
        "7-call-1-0000025-0000075": "call-1 0.250000 0.750000",
        "8-call-2-0000100-0000200": "call-2 1.000000 2.000000",
        "9-mono": "mono 0.000000 1.000000",
    }
    samples, rate = read_audio(found["wav.scp"]["call-2"])
    assert rate == 8000 and samples.shape == (16000,)
    assert np.abs(samples).max() == pytest.approx(0.25 * 32768, rel=0.01)
    samples, rate = read_audio(found["wav.scp"]["mono"])
    assert rate == 8000 and samples.shape == (8000,)
    reader = SegmentReader(found["wav.scp"])
    data = load_data_dir(tmp_path / "out")
    part, rate = reader.read("7-call-1-0000025-0000075", data.segment("7-call-1-0000025-0000075"))
    assert len(part) == 4000


def test_the_page_has_every_usual_name_of_a_column():
    page = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
    assert not [name for names in COLUMNS.values() for name in names if f"`{name}`" not in page]


def test_durations_without_starts_are_compared_with_the_files(tmp_path: Path):
    tone(tmp_path / "call.wav", 2.0, 8000)
    rows = [{"path": "call.wav", "text": "all", "duration": 2.05}]
    same = imported("auto", write_json_lines(tmp_path / "a.jsonl", rows), tmp_path / "a")
    assert same.returncode == 0 and "duration than" not in same.stderr, same.stderr
    rows = [{"path": "call.wav", "text": str(n), "from": n / 2, "duration": 0.5} for n in range(3)]
    manifest = write_json_lines(tmp_path / "b.jsonl", rows)
    other = imported("auto", manifest, tmp_path / "b")
    assert "3 utterances have another duration than their file (" in other.stderr
    assert f"b.jsonl:1: 0.5 s, but {tmp_path}/call.wav lasts 2.00 s)" in other.stderr
    named = imported("auto", manifest, tmp_path / "b", "--columns", "start=from")
    assert named.returncode == 0 and "duration than" not in named.stderr
    assert len(tables(tmp_path / "b")["segments"]) == 3


def test_whole_files_with_several_texts_are_told(tmp_path: Path):
    """Columns of times that are not known: each line would get the whole recording."""
    tone(tmp_path / "call.wav", 2.0)
    rows = [{"path": "call.wav", "text": each, "from": n, "to": n + 1} for n, each in enumerate("ab")]
    manifest = write_json_lines(tmp_path / "a.jsonl", rows)
    done = imported("auto", manifest, tmp_path / "a")
    assert "1 utterances have the same whole file as one with another text (" in done.stderr
    assert f"a.jsonl:1 and {manifest}:2: {tmp_path}/call.wav)" in done.stderr
    named = imported("auto", manifest, tmp_path / "a", "--columns", "start=from,end=to")
    assert named.returncode == 0 and "another text" not in named.stderr
    same = write_json_lines(tmp_path / "b.jsonl", [{"path": "call.wav", "text": "a"}] * 2)
    assert "another text" not in imported("auto", same, tmp_path / "b").stderr


def test_whole_numbers_may_be_written_as_floats(tmp_path: Path):
    """As tables with missing values write them."""
    tone(tmp_path / "a.wav", channels=2), tone(tmp_path / "b.wav")
    rows = [{"path": "a.wav", "text": "a", "speaker": 7.0, "id": 1.0, "channel": 2.0},
            {"path": "b.wav", "text": "b", "speaker": 7, "id": 2, "channel": None}]  # fmt: skip
    done = imported("auto", write_json_lines(tmp_path / "a.jsonl", rows), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out")["utt2spk"] == {"7-1": "7", "7-2": "7"}


@pytest.mark.parametrize("coding", ["signed-integer", "mu-law", "gsm-full-rate", "ima-adpcm"])
def test_a_pipes_wav_has_its_true_duration_in_every_coding(tmp_path: Path, coding: str):
    """Its header does not know it; codings in blocks have hundreds of samples in one."""
    tone(tmp_path / "a.wav", 2.0, 8000)
    command_line = f"sox {tmp_path}/a.wav -e {coding} -t wav - trim 0 2>/dev/null | cat > {tmp_path}/b.wav"
    subprocess.run(["bash", "-c", command_line], check=True)
    assert probe(tmp_path / "b.wav").duration_s == pytest.approx(2.0, abs=0.04)


def test_a_flac_file_written_by_a_pipe_is_named(tmp_path: Path):
    """Its header says 0 samples, which libsndfile takes for the most that there can be."""
    tone(tmp_path / "a.wav", 2.0, 8000)
    flac = tmp_path / "b.flac"
    subprocess.run(["bash", "-c", f"sox {tmp_path}/a.wav -t flac - trim 0 | cat > {flac}"], check=True)
    assert soundfile.info(flac).frames > 1 << 62
    (tmp_path / "m.csv").write_text("path,text\nb.flac,one\n")
    done = imported("manifest", tmp_path / "m.csv", tmp_path / "out")
    assert f"m.csv:2: {flac}: its header does not say how long it is" in done.stderr
    for entry in (str(flac), f"cat {flac} |"):
        with pytest.raises(DataError, match="b.flac.*: its header does not say how long it is"):
            read_audio(entry)
    converted, _ = read_audio(f"ffmpeg -v error -i {flac} -f wav - |")
    np.testing.assert_array_equal(converted, read_audio(f"{tmp_path}/a.wav")[0])


def test_what_only_ffmpeg_reads_becomes_a_pipe(tmp_path: Path):
    encode(tmp_path / "it's.m4a", "-ac", "2")
    manifest = tmp_path / "m.csv"
    manifest.write_text("file;sentence\nit's.m4a;one, two\n")
    done = imported("manifest", manifest, tmp_path / "out", "--sample-rate", "16000", "--channel", "mean")
    assert done.returncode == 0, done.stderr
    assert "name no speaker" in done.stderr
    (entry,) = tables(tmp_path / "out")["wav.scp"].values()
    samples, rate = read_audio(entry)
    assert rate == 16000 and samples.ndim == 1 and len(samples) == pytest.approx(16000, abs=1100)
    for name, options in (("a.mka", ["-c:a", "aac"]), ("a.m4a", ["-movflags", "+faststart"])):
        content = encode(tmp_path / name, *options).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        manifest.write_text(f"file;sentence\n{name};one, two\n")
        done = imported("manifest", manifest, tmp_path / "out2")
        assert f"m.csv:2: {tmp_path}/{name}: truncated: it ends before its header says" in done.stderr


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("wav,words2\nx,y\n", (), "no column for text; there are: wav, words2"),
        ("path,text,text\nx,y,z\n", (), "the column 'text' appears twice"),
        ("path,text\n", (), "nothing but a header"),
        ("", (), "empty"),
        ('path,text\nx,"y\n', (), "m.csv:2: quotes that do not end"),
        ("path,text\nx,y\n", ("--columns", "txt=text"), "--columns 'txt=text': expected"),
        ("path,text\nx,y\n", ("--columns", "text=nothing"), "no column 'nothing'"),
        ("path,text\nx,y\n", ("--split", "dev"), "--split has no meaning for manifest"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read(tmp_path: Path, content: str, options: tuple, message: str):
    (tmp_path / "m.csv").write_text(content)
    done = imported("manifest", tmp_path / "m.csv", tmp_path / "out", *options)
    assert done.returncode == 1
    assert message in done.stderr and not (tmp_path / "out").exists()


def test_a_row_with_faulty_quotes_costs_no_other_row(tmp_path: Path):
    tone(tmp_path / "a.wav")
    rows = ["path,text", "a.wav,one", 'a.wav,"two" more', "a.wav,three", 'a.wav,"four', "a.wav,five"]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    done = imported("manifest", tmp_path / "m.csv", tmp_path / "out")
    assert "m.csv:3: quotes that do not end" in done.stderr
    assert "m.csv:5: quotes that do not end" in done.stderr and "2 faults" in done.stderr
    done = imported("manifest", tmp_path / "m.csv", tmp_path / "out", "--skip-faults")
    assert done.returncode == 0 and "2 faulty lines left out, 3 utterances kept" in done.stderr
    assert sorted(tables(tmp_path / "out")["text"].values()) == ["five", "one", "three"]


def test_half_a_character_is_told_with_its_line(tmp_path: Path):
    """JSON may contain single UTF-16 surrogates, which no file can hold."""
    tone(tmp_path / "a.wav")
    for field, what in (("text", "text"), ("speaker", "speaker"), ("id", "id")):
        row = {"path": "a.wav", "text": "one", field: "x\ud83d"}
        manifest = write_json_lines(tmp_path / "m.jsonl", [row])
        done = imported("manifest", manifest, tmp_path / "out")
        assert f"m.jsonl:1: the {what} 'x\\ud83d' has half a character (U+D83D)" in done.stderr


def test_common_voice_with_mp3_and_quotes_in_its_text(tmp_path: Path):
    language = tmp_path / "cv-corpus/cy"
    encode(language / "clips/common_voice_cy_1.mp3")
    encode(language / "clips/common_voice_cy_2.mp3", "-ar", "32000")
    ids = ["ab" * 64, "ab" * 63 + "cd"]
    (language / "train.tsv").write_text(
        "client_id\tpath\tsentence\tup_votes\n"
        f'{ids[0]}\tcommon_voice_cy_1.mp3\t"Helo," meddai.\t2\n'
        f'{ids[1]}\tcommon_voice_cy_2\t"""Da iawn,"" meddai."\t2\n'
    )
    (language / "dev.tsv").write_text("client_id\tpath\tsentence\n" f"{ids[0]}\tnone.mp3\tdim\n")
    unnamed = imported("common-voice", language, tmp_path / "out")
    assert unnamed.returncode == 1 and "give --split with one of dev, train" in unnamed.stderr
    done = imported("auto", language, tmp_path / "out", "--split", "train", "--sample-rate", "16000")
    assert done.returncode == 0, done.stderr
    found = tables(tmp_path / "out")
    speaker = "ab" * 8
    assert found["text"] == {
        f"{speaker}-common_voice_cy_1": '"Helo," meddai.',
        f"{speaker}_2-common_voice_cy_2": '"Da iawn," meddai.',
    }
    for entry in found["wav.scp"].values():
        samples, rate = read_audio(entry)
        assert rate == 16000 and len(samples) == pytest.approx(16000, rel=0.1)
    missing = imported("auto", language / "dev.tsv", tmp_path / "out")
    assert missing.returncode == 1
    assert f"{language}/dev.tsv:2: no such audio file: {language}/clips/none.mp3" in missing.stderr
    assert len(tables(tmp_path / "out")["text"]) == 2  # the previous folder is intact


def test_objects_of_json_lines_have_columns_too(tmp_path: Path):
    """As datasets of Hugging Face write them; a row may lack the object."""
    tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav")
    rows = [{"audio": {"path": f"{name}.wav", "array": None}, "text": name} for name in "ab"]
    done = imported("auto", write_json_lines(tmp_path / "m.jsonl", rows), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out")["text"] == {"a": "a", "b": "b"}
    rows = [{"source": {"wav": {"name": "a.wav"}}, "text": "a"}, {"source": None, "text": "b"}]
    manifest = write_json_lines(tmp_path / "deep.jsonl", rows)
    done = imported("auto", manifest, tmp_path / "deep", "--columns", "path=source.wav.name", "--skip-faults")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "deep")["text"] == {"a": "a"}
    other = imported("auto", manifest, tmp_path / "deep", "--columns", "path=source")
    assert "no column 'source' (--columns path=source); there are: source.wav.name, text" in other.stderr


def test_links_of_an_audio_folder_keep_their_names_and_their_split(tmp_path: Path):
    """A cache of Hugging Face: files of a snapshot are links to numbers in another folder."""
    snapshot = tmp_path / "snapshot"
    for number, name in (("0f", "train/a.wav"), ("1f", "test/b.wav")):
        (tmp_path / "blobs").mkdir(exist_ok=True)
        tone(tmp_path / "tone.wav").rename(tmp_path / "blobs" / number)
        (snapshot / name).parent.mkdir(parents=True)
        (snapshot / name).symlink_to(tmp_path / "blobs" / number)
    tone(snapshot / "train/c.wav")
    (snapshot / "metadata.csv").write_text("file_name,text\ntrain/a.wav,one\ntest/b.wav,two\ntrain/c.wav,six\n")
    done = imported("audiofolder", snapshot, tmp_path / "out", "--split", "train")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out")["text"] == {"a": "one", "c": "six"}
    # '..' behind a link is a folder above the link's target
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/er")
    tone(tmp_path / "deep/a.wav")
    (tmp_path / "m.csv").write_text("path,text\nlink/../a.wav,one\n")
    assert imported("manifest", tmp_path / "m.csv", tmp_path / "out2").returncode == 0
    assert tables(tmp_path / "out2")["wav.scp"] == {"a": f"{tmp_path}/deep/a.wav"}


def recording(path: str, name: str = "r1", **more) -> dict:
    return {"id": name, "sources": [{"type": "file", "channels": [0], "source": path}],
            "sampling_rate": 16000, "num_samples": 32000, "duration": 2.0, **more}  # fmt: skip


def test_lhotse_supervisions_with_their_recordings(tmp_path: Path):
    tone(tmp_path / "audio/r1.wav", 2.0)
    recordings = write_json_lines(tmp_path / "recordings.jsonl.gz", [recording("audio/r1.wav")])
    rows = [
        {"id": "r1-b", "recording_id": "r1", "start": 1.0, "duration": 1.0, "channel": 0,
         "text": "TWO", "language": "English", "speaker": "s"},
        {"id": "s-a", "recording_id": "r1", "start": 0.0, "duration": 0.9, "channel": 0, "text": "ONE",
         "speaker": "s"},
    ]  # fmt: skip
    supervisions = write_json_lines(tmp_path / "supervisions.jsonl.gz", rows)
    alone = imported("auto", supervisions, tmp_path / "out")
    assert alone.returncode == 1 and "give the manifest of their recordings" in alone.stderr
    done = imported("lhotse", supervisions, tmp_path / "out", "--recordings", str(recordings))
    assert done.returncode == 0, done.stderr
    found = tables(tmp_path / "out")
    assert found["text"] == {"s-a": "ONE", "s-r1-b": "TWO"}
    assert found["segments"] == {"s-a": "r1 0.000000 0.900000", "s-r1-b": "r1 1.000000 2.000000"}
    wrong = write_json_lines(tmp_path / "wrong.jsonl", [
        {**rows[0], "recording_id": "r9"}, {**rows[1], "text": None}, {**rows[1], "speaker": "s\ud83d"},
        {**rows[1], "id": "\ud83d"}, {**rows[1], "start": math.nan},
    ])  # fmt: skip
    told = imported("lhotse", wrong, tmp_path / "out2", "--recordings", str(recordings)).stderr
    for number, what in ((1, "recording 'r9' is not in"), (2, "no text"), (5, "start nan and duration"),
                         (3, "the speaker 's\\ud83d' has half a character"),
                         (4, "the id '\\ud83d' has half a character")):  # fmt: skip
        assert f"{wrong}:{number}: {what}" in told


def test_lhotse_cuts(tmp_path: Path):
    tone(tmp_path / "r1.wav", 2.0)
    sentence = {"id": "u1", "recording_id": "r1", "start": 0.25, "duration": 0.5, "channel": 0,
                "text": "one", "speaker": "s"}  # fmt: skip
    cut = {"id": "c1", "start": 1.0, "duration": 1.0, "channel": 0, "supervisions": [sentence],
           "recording": recording("r1.wav"), "type": "MonoCut"}  # fmt: skip
    cuts = write_json_lines(tmp_path / "cuts.jsonl.gz", [cut])
    done = imported("auto", cuts, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out")["segments"] == {"s-u1": "r1 1.250000 1.750000"}
    resampled = {**cut, "recording": recording("r1.wav", transforms=[{"name": "Resample", "kwargs": {}}])}
    assert imported("auto", write_json_lines(tmp_path / "r.jsonl", [resampled]), tmp_path / "out1").returncode == 0
    faster = {**cut, "recording": recording("r1.wav", transforms=[{"name": "Speed"}])}
    mixed = {"id": "m", "tracks": [], "type": "MixedCut"}
    command_source = {**cut, "recording": {**cut["recording"], "sources": [
        {"type": "command", "channels": [0], "source": "touch pwned"}]}}  # fmt: skip
    odd = [{**cut, "supervisions": 5}, {**cut, "recording": {"sources": 7}}, {**cut, "start": "x"},
           {**cut, "supervisions": [{**sentence, "start": -2}]}]  # fmt: skip
    bad = write_json_lines(tmp_path / "bad.jsonl", [faster, mixed, command_source, *odd])
    told = imported("auto", bad, tmp_path / "out2").stderr
    for line, words in ((1, "transforms"), (2, "a MixedCut, which mixes"), (3, "type 'command'"),
                        (4, "not as lhotse writes it"), (7, "start -1 and duration")):  # fmt: skip
        assert f"{bad}:{line}: " in told and words in told
    assert "7 faults" in told and not (tmp_path / "pwned").exists()


def test_hugging_face_audio_folders(tmp_path: Path):
    for name in ("train", "test"):
        tone(tmp_path / f"corpus/data/{name}/{name}1.wav")
        (tmp_path / f"corpus/data/{name}/metadata.csv").write_text(
            f"file_name,transcription,speaker_id\n{name}1.wav,hello {name},1\n"
        )
    which = imported("audiofolder", tmp_path / "corpus", tmp_path / "out")
    assert which.returncode == 1 and "give --split with one of test, train" in which.stderr
    done = imported("auto", tmp_path / "corpus", tmp_path / "out", "--split", "test")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out")["text"] == {"1-test1": "hello test"}
    flat = tmp_path / "flat"
    for name in ("train/a.wav", "test/b.wav"):
        tone(flat / name)
    write_json_lines(flat / "metadata.jsonl", [
        {"file_name": "train/a.wav", "text": "one"}, {"file_name": "test/b.wav", "text": "two"}])  # fmt: skip
    done = imported("audiofolder", flat, tmp_path / "out3", "--split", "train")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out3")["text"] == {"a": "one"}
    for options in ((), ("--split", "dev")):
        which = imported("audiofolder", flat, tmp_path / "out3", *options)
        assert which.returncode == 1 and "give --split with one of test, train" in which.stderr
    speakers = tmp_path / "speakers"
    for name in ("ann/a.wav", "bob/b.wav"):
        tone(speakers / name)
    write_json_lines(speakers / "metadata.jsonl", [
        {"file_name": "ann/a.wav", "text": "one"}, {"file_name": "bob/b.wav", "text": "two"}])  # fmt: skip
    done = imported("auto", speakers, tmp_path / "out4")
    assert done.returncode == 0 and len(tables(tmp_path / "out4")["text"]) == 2, done.stderr
    (speakers / "c.wav").write_bytes((speakers / "ann/a.wav").read_bytes())
    write_json_lines(speakers / "metadata.jsonl", [{"file_name": "c.wav", "text": "one"}])
    none = imported("auto", speakers, tmp_path / "out4", "--split", "train")
    assert "no split train; its files are in no sub-folder: leave out --split" in none.stderr


def test_a_kaldi_folder_is_sorted_and_its_paths_are_absolute(tmp_path: Path):
    tone(tmp_path / "mine/b.wav"), tone(tmp_path / "mine/a.wav")
    for name, value in {"wav.scp": "u2 b.wav\nu1 a.wav\n", "text": "u2 two\nu1 one\n",
                        "utt2spk": "u1 u1\nu2 u2\n"}.items():  # fmt: skip
        (tmp_path / "mine" / name).write_text(value)
    done = imported("auto", tmp_path / "mine", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert list(tables(tmp_path / "out")["wav.scp"].items()) == [
        ("u1", str(tmp_path / "mine/a.wav")), ("u2", str(tmp_path / "mine/b.wav"))]  # fmt: skip
    kaldiio.save_ark(str(tmp_path / "mine/f.ark"), {"u1": np.zeros((9, 2), np.float32)})
    (tmp_path / "mine/feats.scp").write_text("u1 f.ark:3[0:8]\nu2 f.ark:3\n")
    (tmp_path / "mine/utt2spk").write_text("u1 s\nu2 u2\n")
    (tmp_path / "mine/cmvn.scp").write_text("s f.ark:3\nu2 f.ark:3\n")  # neither is used, but both are checked
    (tmp_path / "mine/vad.scp").write_text("u1 f.ark:3\nu2 f.ark:3\n")
    done = imported("auto", tmp_path / "mine", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert tables(tmp_path / "out")["feats.scp"]["u1"] == f"{tmp_path}/mine/f.ark:3[0:8]"
    assert tables(tmp_path / "out")["cmvn.scp"]["s"] == f"{tmp_path}/mine/f.ark:3"
    assert f"{tmp_path}/out/utt2spk: 1 of 2 utterance ids do not begin" in done.stderr


def test_a_folder_that_is_somebody_elses_is_not_replaced(tmp_path: Path):
    tone(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text("path,text\na.wav,one\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    done = imported("manifest", tmp_path / "m.csv", tmp_path / "out")
    assert done.returncode == 1 and "was not made by import-data" in done.stderr
    assert (tmp_path / "out/thesis.tex").is_file()


def test_names_are_safe_and_differ_by_more_than_case():
    assert safe("Ångström/Ωmega 1") == "Angstrom_mega_1"
    assert safe("日本") == "x" and safe("a b\tc") == "a_b_c" and safe("-rf") == "rf"
    names = Names()
    assert [names.of(thing, wanted) for thing, wanted in ((1, "a"), (2, "A"), (1, "b"), (3, "a"))] == [
        "a", "A_2", "a", "a_3"]  # fmt: skip
    assert names.changed == 2


def test_a_hundred_thousand_files_of_one_name_are_named_at_once():
    """Trying every number for each of them took hours for a million."""
    names = Names()
    started = time.process_time()
    assert [names.of(each, "audio") for each in range(100_000)][-1] == "audio_100000"
    assert time.process_time() - started < 30
