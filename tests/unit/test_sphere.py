"""NIST SPHERE audio: every coding exact, every damage named."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import command, environment
from hypothesis import given, settings
from hypothesis import strategies as st
from sphere_files import header, shorten, sphere_bytes, write_sphere

from cascade_asr.data.audio import sphere
from cascade_asr.data.audio.audio import read_audio
from cascade_asr.data.audio.sphere import read_header, read_sphere
from cascade_asr.errors import DataError

SHORTEN = "pcm,embedded-shorten-v2.00"
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def speech(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Something that rises and falls, with stretches of digital silence."""
    random = np.random.default_rng(seed)
    samples = np.cumsum(random.integers(-60, 61, (frames, channels)), axis=0)
    samples[frames // 3 : frames // 2] = 0
    return samples.astype(np.int16)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "coding, order", [("pcm", "01"), ("pcm", "10"), pytest.param(SHORTEN, "01", marks=needs_ffmpeg)]
)
def test_linear_samples_are_exact(coding: str, order: str, channels: int, tmp_path: Path):
    samples = speech(2000, channels)
    path = write_sphere(tmp_path / "a.wv1", samples, 16000, coding, sample_byte_format=order)
    found, rate = read_sphere(path)
    assert rate == 16000 and found.dtype == np.int16
    np.testing.assert_array_equal(found, samples[:, 0] if channels == 1 else samples)


@pytest.mark.parametrize("coding", ["ulaw", "mu-law", "alaw"])
def test_logarithmic_samples_are_those_of_sox(coding: str, tmp_path: Path):
    codes = np.arange(256, dtype=np.uint8)
    path = write_sphere(tmp_path / "a.sph", codes, 8000, coding)
    found, _ = read_sphere(path)
    kind = "al" if coding == "alaw" else "ul"
    expected = subprocess.run(
        ["sox", "-t", kind, "-r", "8000", "-", "-t", "s16", "-"],
        input=codes.tobytes(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    np.testing.assert_array_equal(found, np.frombuffer(expected, "<i2"))


@needs_ffmpeg
@settings(max_examples=12, deadline=None)
@given(st.integers(1, 1200), st.integers(1, 2), st.integers(0, 99), st.sampled_from([1, 60, 4000]))
def test_any_shortened_samples_are_exact(frames: int, channels: int, seed: int, scale: int):
    random = np.random.default_rng(seed)
    samples = random.integers(-scale, scale + 1, (frames, channels)).astype(np.int16)
    path = write_sphere(Path(os.environ.get("TMPDIR", "/tmp")) / f"any{os.getpid()}.wv1", samples,
                        16000, SHORTEN)  # fmt: skip
    try:
        found, _ = read_sphere(path)
    finally:
        path.unlink()
    np.testing.assert_array_equal(found.reshape(frames, channels), samples)


def test_desphere_gives_what_ffmpeg_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("desphere")
    sphere._is_installed.cache_clear()
    samples = speech(1500, 2)
    path = write_sphere(tmp_path / "a.wv1", samples, 16000, SHORTEN)
    monkeypatch.setenv("PATH", str(tmp_path))
    np.testing.assert_array_equal(read_sphere(path)[0], samples)
    sphere._is_installed.cache_clear()


def test_the_header_alone_tells_the_length(tmp_path: Path):
    path = write_sphere(tmp_path / "a.wv1", speech(24000), 16000, SHORTEN)
    with path.open("r+b") as stream:
        stream.truncate(1024)
    found = read_header(path)
    assert (found.duration_s, found.channel_count, found.full_coding) == (1.5, 1, SHORTEN)


def test_minimum_and_maximum_are_not_believed(tmp_path: Path):
    path = write_sphere(tmp_path / "a.sph", speech(100), sample_min=3, sample_max=4)
    assert len(read_sphere(path)[0]) == 100


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty file"),
        (b"RIFF" + bytes(2000), "no NIST_1A magic"),
        (b"NIST_1A\n   abcd\n" + bytes(2000), "damaged SPHERE header: its second line is not a size"),
        (b"NIST_1A\n      9\n" + bytes(2000), "damaged SPHERE header: a size of 9 bytes"),
        (b"NIST_1A\n   1024\nsample", "damaged SPHERE header: it is 22 bytes long, not 1024"),
        (header({"sample_count": 3}), "damaged SPHERE header: no sample_rate"),
        (header({"sample_count": -3, "sample_rate": 8000}), "sample_count is -3"),
        (header({"sample_rate": 8000}).replace(b"end_head", b"bad line"), "line 4 is 'bad line"),
        (header({"sample_count": 3}).replace(b"end_head", b"        "), "no end_head"),
        (sphere_bytes(speech(9), coding="adpcm"), "coding 'adpcm' is unknown"),
        (sphere_bytes(speech(9), sample_byte_format="1"), "sample_byte_format is '1'"),
        (sphere_bytes(speech(9), sample_n_bytes=1), "1 bytes per sample; pcm must have 2"),
        (sphere_bytes(speech(20011))[: 1024 + 2 * 10005],
         "header says 20011 samples, found 10005: truncated"),
        (sphere_bytes(speech(9), sample_checksum=1), "header 1: corrupt"),
        (sphere_bytes(speech(0), sample_count=0), "holds no samples"),
    ],
)  # fmt: skip
def test_damage_is_named(content: bytes, message: str, tmp_path: Path):
    (tmp_path / "a.wv1").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_sphere(tmp_path / "a.wv1")
    assert str(caught.value).startswith(f"{tmp_path}/a.wv1: ")
    assert message in str(caught.value)


def test_the_checksum_names_both_sums(tmp_path: Path):
    path = write_sphere(tmp_path / "a.sph", np.array([40, 83], np.int16), sample_checksum=456)
    with pytest.raises(DataError, match="a.sph: checksum 123, header 456: corrupt"):
        read_sphere(path)


@needs_ffmpeg
def test_a_truncated_or_changed_shorten_file_is_noticed(tmp_path: Path):
    samples = speech(20000)
    whole = sphere_bytes(samples, 16000, SHORTEN)
    path = tmp_path / "a.wv1"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="header says 20000 samples, found .*truncated|decode it"):
        read_sphere(path)
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0x10
    path.write_bytes(changed)
    with pytest.raises(DataError, match="checksum .*: corrupt|truncated|cannot decode it"):
        read_sphere(path)


def test_a_count_over_both_channels_is_understood(tmp_path: Path, caplog):
    codes = np.arange(200, dtype=np.uint8).reshape(100, 2)
    path = write_sphere(tmp_path / "a.sph", codes, 8000, "ulaw", sample_count=200)
    assert read_sphere(path)[0].shape == (100, 2)
    assert "sample_count 200 is the total of 2 channels" in caplog.text


def test_more_samples_than_the_header_says_are_left_out(tmp_path: Path, caplog):
    samples = speech(300)
    path = tmp_path / "a.sph"
    path.write_bytes(sphere_bytes(samples) + bytes(20))
    np.testing.assert_array_equal(read_sphere(path)[0], samples[:, 0])
    assert "10 samples more than the header says" in caplog.text


@pytest.mark.parametrize(
    "coding, message",
    [
        (SHORTEN, f"coding '{SHORTEN}' needs ffmpeg, desphere or sph2pipe"),
        ("ulaw,embedded-shorten-v2.00",
         "coding 'ulaw,embedded-shorten-v2.00' needs desphere or sph2pipe"),
        ("pcm,wavpack", "coding 'pcm,wavpack' is unknown"),
    ],
)  # fmt: skip
def test_a_missing_decoder_is_named(coding: str, message: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sphere, "_is_installed", lambda name: False)
    path = write_sphere(tmp_path / "a.wv1", speech(300), 16000, coding)
    with pytest.raises(DataError, match=message):
        read_sphere(path)


def test_the_command_prints_wav_that_others_read(tmp_path: Path):
    samples = speech(800, 2)
    path = write_sphere(tmp_path / "a b.sph", samples)
    done = subprocess.run(
        f"python -m cascade_asr.cli.sphere --channel 2 '{path}' | sox -t wav - -t s16 -",
        shell=True, env=environment(), capture_output=True, check=True,
    )  # fmt: skip
    np.testing.assert_array_equal(np.frombuffer(done.stdout, "<i2"), samples[:, 1])
    done = command("cascade_asr.cli.sphere", "--channel", "3", path)
    assert done.returncode == 1
    assert "a b.sph: no channel 3; it has 2" in done.stderr


def test_wav_scp_takes_files_and_the_command_without_starting_it(tmp_path: Path, monkeypatch):
    samples = speech(1600, 2)
    path = write_sphere(tmp_path / "a b.sph", samples)
    python = "python -m cascade_asr.cli.sphere"
    slower = read_audio(f"{python} --channel 1 '{path}' | sox -t wav - -t wav - speed 0.5 |")[0]
    assert abs(len(slower) - 3200) < 10
    monkeypatch.setenv("PATH", str(tmp_path))  # nothing can be started from here on
    for entry, expected in (
        (str(path), samples),
        (f"{python} '{path}' |", samples),
        (f"{python} --channel 2 '{path}' |", samples[:, 1]),
    ):
        found, rate = read_audio(entry)
        assert found.dtype == np.float32 and rate == 16000
        np.testing.assert_array_equal(found, expected)


def test_real_files_are_read_as_soundfile_reads_them(tmp_path: Path):
    archive = Path(os.environ.get("CORPORA", "/nowhere")) / "mini_an4.tar.gz"
    if not archive.is_file():
        pytest.skip("CORPORA has no mini_an4.tar.gz")
    with tarfile.open(archive) as files:
        members = [each for each in files.getmembers() if each.name.endswith(".sph")]
        for member in members:
            content = files.extractfile(member).read()
            (tmp_path / "a.sph").write_bytes(content)
            found, rate = read_sphere(tmp_path / "a.sph")
            assert rate == 16000
            np.testing.assert_array_equal(
                found, soundfile.read(io.BytesIO(content), dtype="int16")[0]
            )
    assert len(members) == 8


def test_the_encoder_compresses():
    samples = speech(20000)
    assert len(shorten(samples)) < 0.55 * samples.nbytes
