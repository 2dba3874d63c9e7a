"""Kaldi data folders: reading, checking and making them."""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_asr.data.kaldi.data_dir import load_data_dir
from cascade_asr.data.kaldi.edit import (
    combine,
    fix,
    listed_utterances,
    select_utterances,
)
from cascade_asr.data.kaldi.parts import split
from cascade_asr.data.kaldi.speed import perturb_speed
from cascade_asr.data.kaldi.tables import Segment, parse_segment, read_table, write_table
from cascade_asr.data.kaldi.tidy import tidy
from cascade_asr.data.kaldi.validate import validate
from cascade_asr.errors import DataError


def write(path: Path, **tables: str) -> Path:
    """Write tables; the keyword wav_scp stands for wav.scp."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        (path / name.replace("_scp", ".scp")).write_text(content)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two speakers, four utterances, recordings used whole, features."""
    names = ["a-1", "a-2", "b-1", "b-2"]
    for name in names:
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    (tmp_path / "fbank.ark").write_bytes(bytes(100))
    return write(
        tmp_path / "train",
        wav_scp="".join(f"{n} {tmp_path}/{n}.wav\n" for n in names),
        text="".join(f"{n} WORD {n[-1]}\n" for n in names),
        utt2spk="".join(f"{n} {n[0]}\n" for n in names),
        spk2utt="a a-1 a-2\nb b-1 b-2\n",
        feats_scp="".join(f"{n} {tmp_path}/fbank.ark:{10 * i}\n" for i, n in enumerate(names)),
        utt2num_frames="".join(f"{n} {100 + i}\n" for i, n in enumerate(names)),
        utt2dur="".join(f"{n} 1.0{i}\n" for i, n in enumerate(names)),
    )


@pytest.fixture
def segmented(tmp_path) -> Path:
    (tmp_path / "r.wav").write_bytes(b"RIFF")
    return write(
        tmp_path / "segmented",
        wav_scp=f"r1 {tmp_path}/r.wav\nr2 cat {tmp_path}/r.wav |\n",
        segments="a-1 r1 0.0 1.5\na-2 r1 1.5 3.25\nb-1 r2 0.50 -1\n",
        text="a-1 X\na-2 Y\nb-1 Z\n",
        utt2spk="a-1 a\na-2 a\nb-1 b\n",
        spk2utt="a a-1 a-2\nb b-1\n",
        spk2gender="a f\nb m\n",
        reco2file_and_channel="r1 r1 A\nr2 r2 B\n",
    )


def check(path: Path) -> list[str]:
    """Faults of a folder that needs no features, without the folder's path."""
    faults = validate(path, feats=False)
    return [
        fault.replace(f"{path}/", "").replace(f"; run utils/fix_data_dir.sh {path}", " [fix]")
        for fault in faults
    ]


# Tables


def test_read_table_splits_only_at_the_first_blank(tmp_path):
    path = tmp_path / "text"
    path.write_text("a one  two\nb\tthree\nc \nd\ne caf\u00e9\u00a0ole \u3000x\n", encoding="utf-8")
    assert read_table(path) == {
        "a": "one  two", "b": "three", "c": "", "d": "", "e": "caf\u00e9\u00a0ole \u3000x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1\nb 2\na 1\n", "text:3: 'a' appears here a second time"),
        (b"a 1\na 2\n", "text:2: 'a' appears here a second time, with another value"),
        (b"a 1\n\nb 2\n", "text:2: the line is blank"),
        (b"a 1\n b 2\n", "text:2: the line begins with a space"),
        (b"a 1\nb caf\xe9\n", "text:2: not UTF-8 (byte 0xe9 in column 6)"),
        (b"\xef\xbb\xbfa 1\n", "text:1: the file begins with a byte order mark"),
    ],
)
def test_read_table_names_file_and_line(tmp_path, content, message):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert message in str(caught.value)


def test_read_table_of_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="text: cannot be read: No such file"):
        read_table(tmp_path / "text")


def test_windows_line_ends_are_dropped_with_a_warning(tmp_path, caplog):
    path = tmp_path / "text"
    path.write_bytes(b"a 1\r\nb\r\n")
    assert read_table(path) == {"a": "1", "b": ""}
    assert f"{path}: Windows line ends" in caplog.text


@pytest.mark.parametrize("content", ["a-1 a\r\na-2 a\r", "a-1 a\r\r\na-2 a\r\r\n", "a-1 a\na-2 a\r"])
def test_a_carriage_return_at_any_end_makes_no_other_speaker(tmp_path, content):
    """It did at the end of a file without line end, and where a file had two."""
    folder = write(tmp_path / "d", utt2spk="")
    (folder / "utt2spk").write_bytes(content.encode())
    tidy(folder)
    assert (folder / "spk2utt").read_text() == "a a-1 a-2\n"
    fix(folder)
    assert (folder / "utt2spk").read_bytes() == b"a-1 a\na-2 a\n" and fix(folder) == []


IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\n\r")).map(
    lambda text: text.strip(" \t")
)


@settings(deadline=None, max_examples=50)
@given(table=st.dictionaries(IDS.filter(lambda key: key[0] != "\ufeff"), VALUES))
def test_a_written_table_is_read_back_sorted_by_bytes(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("table") / "text"
    write_table(path, table)
    found = read_table(path)
    assert found == table
    assert list(found) == sorted(table, key=lambda key: key.encode())
    assert [entry.name for entry in path.parent.iterdir()] == ["text"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("r 1", "expected 'utterance recording start end', found 3 words"),
        ("r 1 x", "must be seconds"),
        ("r 2 2", "the start 2 is not before the end 2"),
        ("r -1 2", "must be seconds, 0 or more"),
        ("r nan 2", "must be seconds, 0 or more"),
    ],
)
def test_malformed_segments(value, message):
    with pytest.raises(ValueError, match=message):
        parse_segment(value)


def test_segments(segmented, folder):
    data = load_data_dir(segmented)
    assert data.segment("a-2") == Segment("r1", 1.5, 3.25)
    assert data.segment("b-1") == Segment("r2", 0.5, None)
    assert load_data_dir(folder).segment("a-2") == Segment("a-2", 0.0, None)


# Validation


def test_folders_in_order_have_no_faults(folder, segmented):
    assert validate(folder) == []
    assert validate(segmented, feats=False) == []


@pytest.mark.parametrize("name", ["wav.scp", "text", "feats.scp"])
def test_a_table_is_demanded_only_where_it_is_needed(folder, name):
    (folder / name).unlink()
    key = name.removesuffix(".scp")
    assert validate(folder) == [f"{folder}/{name}: missing"]
    assert validate(folder, **{key: False}) == []


FAULTS = {
    "no utt2spk": ("utt2spk", None, ["utt2spk: missing"]),
    "no spk2utt": ("spk2utt", None, ["spk2utt: missing [fix]"]),
    "empty table": ("utt2dur", "", [
        "utt2dur: empty",
        *(f"utt2spk:{i}: utterance '{n}' is not in utt2dur [fix]"
          for i, n in enumerate(["a-1", "a-2", "b-1", "b-2"], 1)),
    ]),
    "unsorted": ("text", "a-2 X\na-1 X\nb-1 X\nb-2 X\n",
                 ["text:2: not sorted: 'a-1' after 'a-2' [fix]"]),
    "repeated line": ("text", "a-1 X\na-1 X\na-2 X\nb-1 X\nb-2 X\n",
                      ["text:2: 'a-1' appears here a second time [fix]"]),
    "contradiction": ("text", "a-1 X\na-1 Y\na-2 X\nb-1 X\nb-2 X\n", [
        "text:2: 'a-1' appears here a second time, with another value; decide by hand which "
        "line is right"]),
    "text without audio": ("text", "a-1 X\na-2 X\na-3 X\nb-1 X\nb-2 X\n",
                           ["text:3: utterance 'a-3' is not in utt2spk [fix]"]),
    "audio without text": ("text", "a-1 X\na-2 X\nb-2 X\n",
                           ["utt2spk:3: utterance 'b-1' is not in text [fix]"]),
    "no audio file": ("wav.scp", "a-1 /no.wav\na-2 true |\nb-1 |\nb-2 x.ark:5\n", [
        "wav.scp:1: 'a-1': no such audio file: /no.wav",
        "wav.scp:3: 'b-1': an empty pipe",
        "wav.scp:4: 'b-2': no such audio file: x.ark"]),
    "speakers": ("spk2utt", "a a-1\nc b-1 b-2\n", [
        "spk2utt:1: speaker 'a' has other utterances than in utt2spk [fix]",
        "spk2utt:2: speaker 'c' is not in utt2spk [fix]",
        "spk2utt: speaker 'b' is missing [fix]"]),
    "words in utt2spk": ("utt2spk", "a-1 a\na-2 a x\nb-1 b\nb-2 b\n", [
        "utt2spk:2: expected 'utterance speaker', found 3 words for 'a-2'",
        "spk2utt:1: speaker 'a' has other utterances than in utt2spk [fix]",
        "spk2utt: speaker 'a x' is missing [fix]"]),
    "frames": ("utt2num_frames", "a-1 100\na-2 0\nb-1 3.5\nb-2 200\n", [
        "utt2num_frames:2: 'a-2': '0' is not a number of frames",
        "utt2num_frames:3: 'b-1': '3.5' is not a number of frames",
        "utt2num_frames:4: 'b-2': 200 frames of 0.01 s do not fit its duration of 1.03 s"]),
    "durations": ("utt2dur", "a-1 1\na-2 -1\nb-1 inf\nb-2 x\n", [
        "utt2dur:2: 'a-2': '-1' is not a duration in seconds",
        "utt2dur:3: 'b-1': 'inf' is not a duration in seconds",
        "utt2dur:4: 'b-2': 'x' is not a duration in seconds"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_at_its_line(folder, fault):
    name, content, expected = FAULTS[fault]
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    assert check(folder) == expected


SEGMENT_FAULTS = {
    "unknown recording": ("segments", "a-1 r1 0 1\na-2 r3 1 2\nb-1 r2 0 1\n",
        ["segments:2: recording 'r3' of utterance 'a-2' is not in wav.scp [fix]",
         "segments:2: recording 'r3' of utterance 'a-2' is not in reco2file_and_channel"]),
    "unused recording": ("segments", "a-1 r1 0 1\na-2 r1 1 2\nb-1 r1 2 3\n",
        ["wav.scp:2: recording 'r2' is not in segments [fix]",
         "reco2file_and_channel:2: recording 'r2' is not in segments [fix]"]),
    "times": ("segments", "a-1 r1 1 1\na-2 r1 2 1\nb-1 r2 x 1\n",
        ["segments:1: 'a-1': the start 1 is not before the end 1 [fix]",
         "segments:2: 'a-2': the start 2 is not before the end 1 [fix]",
         "segments:3: 'b-1': start 'x' and end '1' must be seconds [fix]"]),
    "gender": ("spk2gender", "a f\nc x\n",
        ["spk2gender:2: speaker 'c' is not in utt2spk [fix]",
         "spk2gender: speaker 'b' is missing",
         "spk2gender:2: 'c': 'x' is not m or f"]),
    "channel": ("reco2file_and_channel", "r1 r1\nr2 r2 A\n",
        ["reco2file_and_channel:1: 'r1': expected 'recording file channel', found 2 words"]),
    "frames": ("utt2num_frames", "a-1 150\na-2 900\nb-1 77\n",
        ["utt2num_frames:2: 'a-2': 900 frames of 0.01 s do not fit its duration of 1.75 s"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", SEGMENT_FAULTS)
def test_each_fault_of_segmented_recordings_is_found(segmented, fault):
    name, content, expected = SEGMENT_FAULTS[fault]
    (segmented / name).write_text(content)
    assert check(segmented) == expected


def test_all_faults_come_at_once(folder):
    (folder / "text").write_bytes(b"a-2 X\na-1 caf\xe9\n\nb-1 Z\n")
    (folder / "wav.scp").unlink()
    (folder / "spk2utt").write_text("a a-1 a-2\n")
    found = check(folder)
    assert len(found) == 6
    assert found[0] == "wav.scp: missing"
    assert "text:2: not UTF-8 (byte 0xe9 in column 8)" in found[1]


def test_audio_inside_an_archive_is_refused(folder, tmp_path):
    """As in an ESPnet2 dump; stage 1 did not find the file."""
    (tmp_path / "audio.ark").write_bytes(b"a-1 AUDIO")
    write(folder, wav_scp=f"a-1 {tmp_path}/audio.ark:4\na-2 true |\nb-1 true |\nb-2 true |\n")
    assert validate(folder) == [
        f"{folder}/wav.scp:1: 'a-1': audio inside an archive is not read: {tmp_path}/audio.ark; write each "
        "recording to a file"
    ]


def test_a_truncated_archive_of_features_is_found(folder, tmp_path):
    (tmp_path / "fbank.ark").write_bytes(bytes(25))
    assert validate(folder) == [
        f"{folder}/feats.scp:4: 'b-2': the archive {tmp_path}/fbank.ark ends before byte 30: "
        "it is truncated"
    ]


def test_a_folder_that_does_not_exist(tmp_path):
    assert validate(tmp_path / "no") == [f"{tmp_path}/no: no such data folder"]


def test_odd_speaker_ids_and_empty_transcripts_are_only_warnings(folder, caplog):
    (folder / "utt2spk").write_text("a-1 z\na-2 z\nb-1 b\nb-2 b\n")
    (folder / "spk2utt").write_text("b b-1 b-2\nz a-1 a-2\n")
    (folder / "text").write_text("a-1\na-2 X\nb-1 X\nb-2 X\n")
    assert validate(folder) == []
    assert "2 of 4 utterance ids do not begin with their speaker's id ('a-1')" in caplog.text
    assert "1 empty transcripts, such as 'a-1'" in caplog.text


# Fixing


def test_fix_repairs_what_validate_says_it_repairs(segmented):
    (segmented / "segments").write_text(
        "b-1 r2 0.5 -1\na-1 r1 0.0 1.5\na-2 r1 1.5 1.5\nc-1 r9 0 1\n"
    )
    (segmented / "text").write_text("a-2 Y\n\na-1 X\na-1 X\nb-1 Z\nc-1 Q\n")
    (segmented / "utt2dur").write_text("a-1 1.5\n")
    (segmented / "spk2utt").unlink()
    assert all("[fix]" in fault for fault in check(segmented) if "reco2file" not in fault)
    before = (segmented / "text").read_text()
    notes = "\n".join(fix(segmented))
    assert check(segmented) == []
    assert read_table(segmented / "text") == {"a-1": "X", "b-1": "Z"}
    assert read_table(segmented / "spk2utt") == {"a": "a-1", "b": "b-1"}
    assert (segmented / ".backup" / "text").read_text() == before
    assert "removed the segment of 'a-2': the start 1.5 is not before the end 1.5" in notes
    assert "no 'r9' in wav.scp" in notes
    assert "removed the incomplete" in notes and not (segmented / "utt2dur").exists()
    assert fix(segmented) == []
    assert (segmented / ".backup" / "text").read_text() == before  # not the repaired one


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a-1 X\na-1 Y\n", "text:2: 'a-1' appears here a second time, with another value"),
        (b"a-1 caf\xe9\n", "text:1: not UTF-8"),
        (b"c-1 X\n", "no utterance is in all of"),
    ],
)
def test_fix_changes_nothing_where_it_cannot_help(folder, content, message):
    (folder / "text").write_bytes(content)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=message):
        fix(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# Subset, combine, split, speed


@pytest.mark.parametrize("seed", range(5))
def test_any_subset_is_a_folder_in_order(segmented, tmp_path, seed):
    data = load_data_dir(segmented)
    generator = random.Random(seed)
    chosen = generator.sample(data.utterances, generator.randint(1, 3))
    data.select(chosen).write(tmp_path / "subset")
    assert validate(tmp_path / "subset", feats=False) == []
    assert load_data_dir(tmp_path / "subset").utterances == sorted(chosen)


def test_ways_to_select(folder, segmented):
    data = load_data_dir(folder)
    assert select_utterances(data, 2, "first") == ["a-1", "a-2"]
    assert select_utterances(data, 3, "last") == ["a-2", "b-1", "b-2"]
    assert sorted(select_utterances(data, 4, "random")) == data.utterances
    assert select_utterances(data, 2, "random", 1) == select_utterances(data, 2, "random", 1)
    assert len({tuple(select_utterances(data, 2, "random", seed)) for seed in range(20)}) > 3
    assert [name[0] for name in select_utterances(data, 1, "per-spk")] == ["a", "b"]
    assert sorted(select_utterances(data, 9, "per-spk")) == data.utterances
    assert {name[0] for name in select_utterances(data, 2, "speakers")} in ({"a"}, {"b"})
    assert sorted(select_utterances(data, 3, "speakers")) == data.utterances
    data.tables["utt2num_frames"] = {"a-1": "9", "a-2": "3", "b-1": "20", "b-2": "3"}
    assert select_utterances(data, 3, "shortest") == ["a-2", "b-2", "a-1"]
    with pytest.raises(DataError, match="has 4 utterances, fewer than the 5 wanted"):
        select_utterances(data, 5, "random")
    with pytest.raises(DataError, match="give the lengths"):
        select_utterances(load_data_dir(segmented), 1, "shortest")


def test_lists_of_utterances_and_speakers(folder, tmp_path):
    data = load_data_dir(folder)
    (tmp_path / "list").write_text("b-1 anything\na-2\n")
    assert sorted(listed_utterances(data, tmp_path / "list")) == ["a-2", "b-1"]
    (tmp_path / "list").write_text("b\n")
    assert listed_utterances(data, tmp_path / "list", speakers=True) == ["b-1", "b-2"]
    (tmp_path / "list").write_text("a-1\nb-11\n")
    with pytest.raises(DataError) as caught:
        listed_utterances(data, tmp_path / "list")
    assert "list:2: utterance 'b-11' is not in" in str(caught.value)
    assert "did you mean 'b-1'?" in str(caught.value)
    assert "1 of 2 are not there; to leave them out: utils/filter_scp.pl" in str(caught.value)
    (tmp_path / "list").write_text("\n")
    for speakers in (False, True):
        with pytest.raises(DataError, match="list: empty; expected an id on each line"):
            listed_utterances(data, tmp_path / "list", speakers)


def test_unknown_ids_are_told_at_once_in_a_large_folder(tmp_path):
    """Looking for a similar id among 264,000 took 20 s for each of them."""
    data = load_data_dir(many(tmp_path / "train", {f"s{i:04d}": 50 for i in range(1000)}))
    (tmp_path / "list").write_text("".join(f"t{i:04d}-00\n" for i in range(30)))
    started = time.process_time()
    with pytest.raises(DataError, match="\n30 of 30 are not there"):
        listed_utterances(data, tmp_path / "list")
    assert time.process_time() - started < 5


def test_a_write_leaves_no_table_of_an_earlier_set(folder, segmented, tmp_path):
    load_data_dir(folder).write(tmp_path / "out")
    load_data_dir(segmented).write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in segmented.iterdir()
    }


def test_the_frame_shift_goes_with_the_features(folder, tmp_path):
    """Word times would be computed with the usual 10 ms otherwise."""
    (folder / "frame_shift").write_text("0.0125\n")
    fix(folder)
    part = split(folder, 2) / "1"
    load_data_dir(folder).select(["a-1"]).write(tmp_path / "few")
    combine([folder, part]).write(tmp_path / "both")
    for path in (folder, part, tmp_path / "few", tmp_path / "both"):
        assert (path / "frame_shift").read_text() == "0.0125\n"
    perturb_speed(load_data_dir(folder), 0.9).write(tmp_path / "few")
    assert not (tmp_path / "few/frame_shift").exists()
    (part / "frame_shift").write_text("0.01250\n")
    assert combine([folder, part]).frame_shift == "0.0125"
    (part / "frame_shift").unlink()
    with pytest.raises(DataError, match=r"split2/1: features have a frame shift of 0.01 s, but of 0.0125 s in"):
        combine([folder, part])


def test_combine_unites_and_reports_contradictions(folder, segmented, tmp_path, caplog):
    other = write(
        tmp_path / "other", wav_scp="c-1 true |\nc-2 true |\n", text="c-1 X\nc-2 X\n",
        utt2spk="c-1 c\nc-2 c\n", utt2dur="c-1 2.5\nc-2 3\n",
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        combine([segmented, other]).write(tmp_path / "both")
    assert validate(tmp_path / "both", feats=False) == []
    assert read_table(tmp_path / "both/segments")["c-1"] == "c-1 0 2.5"
    assert read_table(tmp_path / "both/spk2utt") == {"a": "a-1 a-2", "b": "b-1", "c": "c-1 c-2"}
    assert f"spk2gender left out: {other} has none" in caplog.text
    assert combine([folder, folder]).utterances == ["a-1", "a-2", "b-1", "b-2"]
    with pytest.raises(DataError) as caught:
        combine([segmented, folder])
    assert f"{folder}/text: 'a-1' has the value 'WORD 1', but 'X' in another" in str(caught.value)


def test_folders_with_the_same_speaker_are_combined_without_its_statistics(folder, tmp_path, caplog):
    load_data_dir(folder).select(["a-1", "b-1"]).write(tmp_path / "one")
    load_data_dir(folder).select(["a-2", "b-2"]).write(tmp_path / "two")
    for place, name in enumerate(("one", "two")):
        (tmp_path / name / "cmvn.scp").write_text(f"a {tmp_path}/fbank.ark:{place}\nb {tmp_path}/fbank.ark:9\n")
    both = combine([tmp_path / "one", tmp_path / "two"])
    assert both.utterances == ["a-1", "b-1", "a-2", "b-2"] and "cmvn.scp" not in both.tables
    assert f"cmvn.scp left out: {tmp_path}/two/cmvn.scp: 'a' has the value" in caplog.text
    shutil.copy(tmp_path / "one/cmvn.scp", tmp_path / "two/cmvn.scp")
    assert len(combine([tmp_path / "one", tmp_path / "two"]).tables["cmvn.scp"]) == 2


def many(path: Path, speakers: dict[str, int]) -> Path:
    names = [f"{spk}-{i:02d}" for spk, count in speakers.items() for i in range(count)]
    return write(path, utt2spk="".join(f"{name} {name[:-3]}\n" for name in names))


def test_tables_that_are_incomplete_or_malformed_are_named(folder, segmented):
    (folder / "utt2num_frames").unlink()
    for content in ("a-1 1\n", "a-1 1\na-2 x\nb-1 1\nb-2 1\n"):
        (folder / "utt2dur").write_text(content)
        with pytest.raises(DataError, match="to give the lengths; utils/get_utt2dur.sh .*/train makes"):
            select_utterances(load_data_dir(folder), 2, "shortest")
    with pytest.raises(DataError, match="train/utt2dur: 'a-2': 'x' is not a duration in seconds; run"):
        perturb_speed(load_data_dir(folder), 0.9)
    lines = (segmented / "segments").read_text().splitlines()
    (segmented / "segments").write_text(f"{lines[1]}\n")
    with pytest.raises(DataError, match="segments: no utterance 'a-1'; run utils/fix_data_dir.sh"):
        select_utterances(load_data_dir(segmented), 1, "shortest")
    (segmented / "segments").write_text("a-1 r1 0 x\n")
    with pytest.raises(DataError, match="segments: 'a-1': start '0' and end 'x' must be seconds; run"):
        perturb_speed(load_data_dir(segmented), 0.9)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("per_utterance", [False, True])
def test_parts_are_even_disjoint_and_whole(tmp_path, parts, per_utterance):
    sizes = {f"s{i}": 1 + (7 * i) % 10 for i in range(10)}
    folder = many(tmp_path / "train", sizes)
    destination = split(folder, parts, "utterance" if per_utterance else "speaker")
    assert destination == folder / (f"split{parts}utt" if per_utterance else f"split{parts}")
    found = [read_table(destination / str(part + 1) / "utt2spk") for part in range(parts)]
    names = [name for part in found for name in part]
    assert sorted(names) == list(read_table(folder / "utt2spk"))
    assert len(set(names)) == len(names)
    lengths = [len(part) for part in found]
    if per_utterance:
        assert max(lengths) - min(lengths) <= 1
    else:
        speakers = [speaker for part in found for speaker in set(part.values())]
        assert len(speakers) == len(set(speakers)) == 10
        assert max(lengths) <= sum(sizes.values()) / parts + max(sizes.values())


def test_recordings_stay_whole_in_parts(segmented, tmp_path):
    (segmented / "segments").write_text("a-1 r2 0 1\na-2 r1 0 1.5\nb-1 r2 2 3\n")
    assert split(segmented, 2, "recording") == segmented / "split2reco"
    parts = [load_data_dir(segmented / f"split2reco/{part}") for part in (1, 2)]
    assert [each.utterances for each in parts] == [["a-2"], ["a-1", "b-1"]]
    assert [list(each.tables["wav.scp"]) for each in parts] == [["r1"], ["r2"]]
    with pytest.raises(DataError, match="has 2 recordings: cannot make 3 parts; --per-utt splits recordings too"):
        split(segmented, 3, "recording")
    whole = many(tmp_path / "whole", {"a": 2, "b": 1})  # without segments, each utterance is a recording
    split(whole, 3, "recording")
    assert list(read_table(whole / "split3reco/2/utt2spk")) == ["a-01"]


def test_splitting_again_replaces_the_parts(tmp_path):
    folder = many(tmp_path / "train", {"a": 2, "b": 2})
    split(folder, 2)
    many(folder, {"c": 2, "d": 2})
    split(folder, 2)
    assert list(read_table(folder / "split2/1/utt2spk")) == ["c-00", "c-01"]
    assert sorted(path.name for path in folder.iterdir()) == ["split2", "utt2spk"]


def test_too_many_parts(tmp_path):
    folder = many(tmp_path / "train", {"a": 2, "b": 2})
    with pytest.raises(DataError, match="has 2 speakers: cannot make 3 parts; --per-utt splits"):
        split(folder, 3)
    with pytest.raises(DataError, match="has 4 utterances: cannot make 5 parts"):
        split(folder, 5, "utterance")


def test_speed_perturbation(segmented, tmp_path):
    perturb_speed(load_data_dir(segmented), 0.9).write(tmp_path / "slow")
    assert validate(tmp_path / "slow", feats=False) == []
    audio = read_table(tmp_path / "slow/wav.scp")
    assert audio == {
        "sp0.9-r1": f"sox -R -D -t wav {tmp_path}/r.wav -t wav - speed 0.9 |",
        "sp0.9-r2": f"cat {tmp_path}/r.wav | sox -R -D -t wav - -t wav - speed 0.9 |",
    }
    assert read_table(tmp_path / "slow/segments") == {
        "sp0.9-a-1": "sp0.9-r1 0.000000 1.666667",
        "sp0.9-a-2": "sp0.9-r1 1.666667 3.611111",
        "sp0.9-b-1": "sp0.9-r2 0.555556 -1",
    }
    assert read_table(tmp_path / "slow/utt2spk")["sp0.9-b-1"] == "sp0.9-b"
    assert read_table(tmp_path / "slow/spk2gender") == {"sp0.9-a": "f", "sp0.9-b": "m"}
    assert read_table(tmp_path / "slow/utt2uniq")["sp0.9-a-1"] == "a-1"


def test_speed_perturbation_leaves_features_out_and_scales_durations(folder):
    fast = perturb_speed(load_data_dir(folder), 1.25)
    assert "feats.scp" not in fast.tables and "utt2num_frames" not in fast.tables
    assert fast.tables["utt2dur"]["sp1.25-a-1"] == "0.800000"


def test_speed_1_gives_other_ids_and_the_same_audio(segmented):
    """As recipes for Kaldi's tool have it: speeds 0.9, 1.0 and 1.1, then all combined."""
    (segmented / "utt2dur").write_text("a-1 1.5\na-2 1.75\nb-1 2\n")
    data = load_data_dir(segmented)
    same = perturb_speed(data, 1.0).tables
    assert same["wav.scp"] == {f"sp1.0-{key}": value for key, value in data.tables["wav.scp"].items()}
    assert same["segments"] == {"sp1.0-a-1": "sp1.0-r1 0.0 1.5", "sp1.0-a-2": "sp1.0-r1 1.5 3.25",
                                "sp1.0-b-1": "sp1.0-r2 0.50 -1"}  # fmt: skip
    assert same["utt2spk"]["sp1.0-a-1"] == "sp1.0-a" and same["utt2uniq"]["sp1.0-a-1"] == "a-1"
    assert same["utt2dur"]["sp1.0-a-2"] == "1.75"


@pytest.mark.parametrize("factor", [0, -1, float("nan")])
def test_speeds_that_make_no_sense(folder, factor):
    with pytest.raises(DataError, match="cannot perturb speed by"):
        perturb_speed(load_data_dir(folder), factor)


def test_the_commands_load_neither_torch_nor_numpy():
    code = "import cascade_asr.cli.data_dir, sys; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# White space, and what fix, subset and combine promise


def run_tool(name: str, *words) -> subprocess.CompletedProcess:
    """Run a command of utils/ as its script does."""
    return subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.data_dir", name, *map(str, words)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("blank", ["\t", "  ", " \t", "\v", "\f"])
def test_any_ascii_blank_separates_in_every_table(segmented, tmp_path, blank):
    expected = load_data_dir(segmented).tables
    for table in segmented.iterdir():
        table.write_text(table.read_text().replace(" ", blank) if table.name != "wav.scp"
                         else table.read_text().replace(" ", blank, 1))  # fmt: skip
    assert not [fault for fault in check(segmented) if "text" not in fault]
    load_data_dir(segmented).select(["a-1", "b-1"]).write(tmp_path / "subset")
    assert list(read_table(tmp_path / "subset/wav.scp")) == ["r1", "r2"]
    split(segmented, 2)
    assert list(read_table(segmented / "split2/2/wav.scp")) == ["r2"]
    fix(segmented)
    assert load_data_dir(segmented).tables["wav.scp"] == expected["wav.scp"]
    assert len(load_data_dir(segmented).utterances) == 3


def test_no_table_becomes_empty_without_an_error(segmented, tmp_path):
    (segmented / "spk2gender").write_text("c f\n")
    with pytest.raises(DataError, match="spk2gender: none of its 1 ids"):
        load_data_dir(segmented).select(["a-1"])
    with pytest.raises(DataError, match="spk2gender: none of its 1 ids"):
        split(segmented, 2)
    assert not (segmented / "split2").exists()


ODD_CHARACTERS = {
    "\u00a0": "U+00A0 NO-BREAK SPACE in column 2", "\u3000": "U+3000 IDEOGRAPHIC SPACE",
    "\u200b": "U+200B ZERO WIDTH SPACE", "\ufeff": "U+FEFF", "\r": "U+000D CARRIAGE RETURN",
    "\x07": "U+0007 BELL", "\u2028": "U+2028", "\x85": "U+0085", "\u200d": "U+200D",
    "\x1c": "U+001C", "\x7f": "U+007F",
}  # fmt: skip


@pytest.mark.parametrize("character", ODD_CHARACTERS)
def test_blanks_that_sclite_does_not_know_are_named(folder, character):
    lines = f"a-1 X{character}Y\na-2 WORD\nb-1 W\nb-2 W\n"
    (folder / "text").write_bytes(lines.encode())
    (fault,) = check(folder)
    assert "text:1: 'a-1'" in fault
    assert ODD_CHARACTERS[character] in fault


def test_control_characters_can_be_allowed_but_not_blanks(folder):
    (folder / "text").write_text("a-1 X\aY\na-2 W\nb-1 W\nb-2 W\n")
    assert run_tool("validate", "--non-print", "--no-spk-sort", folder).returncode == 0
    assert run_tool("validate", folder).returncode == 1
    (folder / "text").write_text("a-1 X\u00a0Y\na-2 W\nb-1 W\nb-2 W\n")
    assert run_tool("validate", "--non-print", folder).returncode == 1


def test_joiners_that_are_spelling_are_no_fault(folder):
    (folder / "text").write_text("a-1 \u0645\u06cc\u200c\u062e\u0648\na-2 W\nb-1 W\nb-2 W\n")
    assert check(folder) == []


def test_fix_of_a_folder_of_features(folder):
    (folder / "wav.scp").unlink()
    (folder / "reco2dur").write_text("a-1 1\na-2 1\n")
    fix(folder)
    assert not (folder / "reco2dur").exists()
    assert validate(folder, wav=False) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spk2gender", "a f\n"), ("spk2gender", "c f\n"), ("utt2dur", "a-1 x\na-2 1\nb-1 1\nb-2 1\n"),
        ("utt2dur", "a-1 1\n"), ("utt2num_frames", "a-1 0\na-2 1\nb-1 1\nb-2 1\n"),
        ("utt2dur", "z 1\n"),
    ],
)  # fmt: skip
def test_after_fix_the_folder_is_in_order(folder, name, content):
    (folder / name).write_text(content)
    assert check(folder)
    assert f"{folder}/{name}" in " ".join(fix(folder))
    assert check(folder) == []
    assert (folder / ".backup" / name).read_text() == content
    assert len(load_data_dir(folder).utterances) == 4


def test_fix_refuses_an_utterance_of_two_speakers(folder):
    (folder / "utt2spk").write_text("a-1 a\na-2 a extra\nb-1 b\nb-2 b\n")
    with pytest.raises(DataError, match=r"utt2spk:2: expected 'utterance speaker', found 3 words"):
        fix(folder)
    assert "extra" in (folder / "utt2spk").read_text()


def test_combine_takes_extra_files_and_fixes_unless_told_not_to(folder, tmp_path):
    data = load_data_dir(folder)
    for name, chosen in (("one", ["a-1", "a-2"]), ("two", ["b-1", "b-2"])):
        data.select(chosen).write(tmp_path / name)
        (tmp_path / name / "utt2snr").write_text("".join(f"{each} 10\n" for each in chosen))
    (tmp_path / "two/text").write_text("b-1 W\n")
    sources = [tmp_path / "one", tmp_path / "two"]
    done = run_tool("combine", "--extra-files", "utt2snr no_such", tmp_path / "all", *sources)
    assert done.returncode == 0, done.stderr
    assert list(read_table(tmp_path / "all/utt2snr")) == ["a-1", "a-2", "b-1", "b-2"]
    assert list(read_table(tmp_path / "all/utt2spk")) == ["a-1", "a-2", "b-1"]
    done = run_tool("combine", "--skip-fix", "true", tmp_path / "raw", *sources)
    assert done.returncode == 0, done.stderr
    assert list(read_table(tmp_path / "raw/utt2spk")) == ["a-1", "a-2", "b-1", "b-2"]


def test_tidy_sorts_and_makes_spk2utt_but_mends_no_fault(tmp_path: Path):
    write(tmp_path, utt2spk="b-1 b\na-2 a\na-1 a\n", text="b-1 x\na-1 y\na-2 z\n")
    notes = tidy(tmp_path)
    assert (tmp_path / "utt2spk").read_text() == "a-1 a\na-2 a\nb-1 b\n"
    assert (tmp_path / "spk2utt").read_text() == "a a-1 a-2\nb b-1\n"
    assert len(notes) == 3 and "not in the order of LC_ALL=C; sorted" in notes[0]
    assert tidy(tmp_path) == []
    (tmp_path / "spk2utt").write_text("b b-1\na a-2 a-1\n")
    assert "written anew" in tidy(tmp_path)[0]
    for name, content in (("text", "b-1 x\na-1 y\na-1 z\n"), ("spk2utt", "c a-1 a-2\nb b-1\n")):
        (tmp_path / name).write_text(content)
        assert tidy(tmp_path) == [] and (tmp_path / name).read_text() == content


def test_fix_keeps_further_tables_in_step(folder: Path):
    (folder / "utt2ctm").write_text("b-1 x\na-1 y\nz-9 z\n")
    (folder / "spk2age").write_text("b 7\na 8\nz 9\n")
    (folder / "other").write_text("b\na\n")
    done = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.data_dir", "fix", "--utt-extra-files",
         "utt2ctm absent", "--spk-extra-files=spk2age", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "utt2ctm").read_text() == "a-1 y\nb-1 x\n"  # a gap drops no utterance
    assert (folder / "spk2age").read_text() == "a 8\nb 7\n"
    assert (folder / "other").read_text() == "b\na\n"
    assert (folder / ".backup/utt2ctm").read_text() == "b-1 x\na-1 y\nz-9 z\n"
    assert len(read_table(folder / "utt2spk")) == 4
    (folder / "utt2ctm").write_text("q x\n")
    with pytest.raises(DataError, match="none of its 1 ids is one of the utterances"):
        fix(folder, ["utt2ctm"])


def test_ids_that_look_the_same_are_told_apart(folder):
    """As where wav.scp has file names from macOS; fix_data_dir.sh would drop these utterances."""
    for name in ("text", "utt2spk", "spk2utt", "wav.scp", "feats.scp", "utt2num_frames", "utt2dur"):
        other = "be\u0301" if name == "wav.scp" else "b\u00e9"
        path = folder / name
        path.write_text(path.read_text().replace("\nb", f"\n{other}").replace(" b", f" {other}"))
    faults = validate(folder)
    assert len(faults) == 2 and all("run utils" not in fault for fault in faults), faults
    assert faults[0].endswith(
        "wav.scp:3: recording 'be\u0301-1' has other code points in utt2spk (an accent composed or apart); "
        "write both in Unicode's NFC"
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [({"Ann B-1": "x"}, "the id 'Ann B-1' is not one word"), ({"": "x"}, "the id '' is not one word"),
     ({"u1": "one\ntwo"}, "the id 'u1' has a line end in its value")],
)  # fmt: skip
def test_what_would_be_read_as_other_ids_is_not_written(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        write_table(tmp_path / "text", table)
    assert not (tmp_path / "text").exists()
