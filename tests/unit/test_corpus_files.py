"""Files of corpora as sites keep them: any case, any depth, old encodings, odd headers."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from sphere_files import write_sphere

from cascade_asr.data.audio import corpus_files
from cascade_asr.data.audio.corpus_files import AnyCase, find_files, read_headers, read_lines, shown
from cascade_asr.data.audio.sphere import frame_count, read_header
from cascade_asr.errors import DataError

CODES = np.full((1000, 2), 255, np.uint8)


@pytest.fixture(autouse=True)
def forget_warnings():
    """Each test starts like a new process."""
    corpus_files._warned.clear()


def make(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def test_paths_of_any_case(tmp_path: Path):
    make(tmp_path, "Disc/DATA/a.SPH", "other/x")
    files = AnyCase()
    assert files.resolve(tmp_path, "disc/data/A.sph") == tmp_path / "Disc/DATA/a.SPH"
    assert files.resolve(tmp_path, "disc/data") == tmp_path / "Disc/DATA"
    assert files.resolve(tmp_path, "disc/b") is None
    assert files.resolve(tmp_path, "other/x/y") is None
    make(tmp_path, "Other/z")
    with pytest.raises(DataError, match=f"{tmp_path} holds Other and other, which differ only"):
        AnyCase().resolve(tmp_path, "other/x")


def test_files_at_any_depth(tmp_path: Path):
    make(tmp_path, "a/b/c/1.SPH", "a/2.sph", "3.Sph", "b/4.wav", "c/5-trans.text", "d.sph/6.wav")
    found = [str(path.relative_to(tmp_path)) for path in find_files([tmp_path], (".sph", ".text"))]
    assert found == ["3.Sph", "a/2.sph", "a/b/c/1.SPH", "c/5-trans.text"]
    assert find_files([tmp_path / "a/b", tmp_path / "c"], ".sph") == [tmp_path / "a/b/c/1.SPH"]


def test_companions_that_macos_writes_are_no_files_of_a_corpus(tmp_path: Path):
    make(tmp_path, "84/121123/84-121123.trans.txt", "84/121123/._84-121123.trans.txt", "__MACOSX/84/._x.trans.txt")
    assert find_files([tmp_path], ".trans.txt") == [tmp_path / "84/121123/84-121123.trans.txt"]


def test_links_to_a_folder_above_are_not_followed(tmp_path: Path):
    make(tmp_path, "a/1.sph", "b/2.sph")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "c").symlink_to("b")
    found = [str(path.relative_to(tmp_path)) for path in find_files([tmp_path], ".sph")]
    assert found == ["a/1.sph", "b/2.sph", "c/2.sph"]


def test_lines_of_old_files(tmp_path: Path, caplog):
    path = tmp_path / "text"
    path.write_bytes("é\nb".encode())
    assert read_lines(path) == ["é", "b"] and not caplog.records
    path.write_bytes(b"a\r\nb\xe9\r\n")
    assert read_lines(path) == ["a", "bé", ""]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}:2: not UTF-8; read as latin-1",
        f"{path}: Windows line ends; read without the carriage returns",
    ]
    with pytest.raises(DataError, match="nothing: cannot be read: No such file"):
        read_lines(tmp_path / "nothing")


def test_only_the_first_files_of_a_kind_are_named(tmp_path: Path, caplog):
    for number in range(9):
        path = tmp_path / str(number)
        path.write_bytes(b"a\r\n")
        read_lines(path)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 6
    assert messages[4].startswith(f"{tmp_path}/4: Windows")
    assert messages[5].startswith("further files are not named: Windows")


def test_some_names():
    assert shown(["a", "b"], limit=2) == "a b"
    assert shown("abcde", limit=2) == "a b and 3 more"


def test_headers_that_cannot_be_used(tmp_path: Path):
    good = write_sphere(tmp_path / "good.sph", CODES, 8000, "ulaw")
    mono = write_sphere(tmp_path / "mono.sph", CODES[:, :1], 8000, "ulaw")
    fast = write_sphere(tmp_path / "fast.sph", CODES, 16000, "ulaw")
    assert read_headers([good], 8000, 2)[good].sample_count == 1000
    with pytest.raises(DataError) as error:
        read_headers([good, mono, fast], 8000, 2)
    assert str(error.value) == f"{mono}: 1 channel, need 2\n(and 1 more files cannot be used)"
    with pytest.raises(DataError, match="2 channels, need 1"):
        read_headers([good], 8000, 1)
    with pytest.raises(DataError, match="16000 Hz, recipe expects 8000"):
        read_headers([fast], 8000, 2)


@pytest.mark.parametrize(
    ("sample_count", "frames"),
    [(1000, 1000), (2000, 1000), (900, 900)],  # as it is, of both channels, with a tail
)
def test_frames_by_header_and_size(sample_count: int, frames: int, tmp_path: Path, caplog):
    path = write_sphere(tmp_path / "x.sph", CODES, 8000, "ulaw", sample_count=sample_count)
    with caplog.at_level(logging.WARNING):
        assert frame_count(read_header(path)) == frames
    assert not caplog.records  # thousands of files may be so


def test_frames_of_a_truncated_and_of_a_compressed_file(tmp_path: Path):
    path = write_sphere(tmp_path / "x.sph", CODES, 8000, "ulaw")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match="header says 1000 samples, found 999: truncated"):
        frame_count(read_header(path))
    samples = np.arange(500, dtype=np.int16)
    packed = write_sphere(tmp_path / "y.wv1", samples, 16000, "pcm,embedded-shorten-v2.00")
    assert frame_count(read_header(packed)) == 500
