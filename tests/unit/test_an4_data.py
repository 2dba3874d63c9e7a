"""Stage 0 of egs/an4: every layout that CMU has published, and what is wrong with a corpus."""

from __future__ import annotations

import functools
import http.server
import os
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from conftest import ROOT, environment

from cascade_asr.data.audio.audio import SegmentReader
from cascade_asr.data.download import fetch
from cascade_asr.data.kaldi.tables import Segment, read_table
from cascade_asr.errors import DataError

sys.path.insert(0, str(ROOT / "egs/an4/local"))

import an4
import download_an4

CORPORA = Path(os.environ.get("CORPORA") or ROOT.parent / "shared/corpora")
needs_mfcc = pytest.mark.skipif(
    not (CORPORA / "an4_mfcc.tar.gz").is_file(), reason="CORPORA holds no an4_mfcc.tar.gz"
)
TRAIN = {"an1-aa-b": "YES", "cen7-bb-b": "NO", "an3-cc-b": "GO"}
TEST = {"an9-dd-b": "ERASE C Q"}


def tone(count: int = 4000) -> np.ndarray:
    """A low tone, int16."""
    return (8000 * np.sin(np.arange(count) * 0.1)).astype(np.int16)


def sphere(samples: np.ndarray, order: str = "10") -> bytes:
    """A SPHERE file in CMU's layout; order 10 is big endian."""
    checksum = int(samples.astype(np.int64).sum()) % 65536
    header = (
        f"NIST_1A\n   1024\nsample_count -i {len(samples)}\nsample_rate -i 16000\n"
        f"sample_n_bytes -i 2\nsample_byte_format -s2 {order}\nchannel_count -i 1\n"
        f"sample_coding -s3 pcm\nsample_max -i 99\nsample_checksum -i {checksum}\nend_head\n"
    )
    body = samples.astype(">i2" if order == "10" else "<i2").tobytes()
    return header.encode().ljust(1024) + body


def make_corpus(folder: Path, kind: str = "10") -> Path:
    """Four utterances: SPHERE in an order, ``raw-big``, ``raw-little``, or ``mfc``."""
    root = folder / "an4"
    (root / "etc").mkdir(parents=True)
    for part, table in (("train", TRAIN), ("test", TEST)):
        lines = "".join(f"<s> {words} </s> ({name})\n" for name, words in table.items())
        (root / f"etc/an4_{part}.transcription").write_text(lines)
        for name in table:
            top = "an4_clstk" if part == "train" else "an4test_clstk"
            path = root / ("feat" if kind == "mfc" else "wav") / top / name.split("-")[1] / name
            path.parent.mkdir(parents=True)
            if kind == "mfc":
                values = (np.arange(26, dtype=np.float32) / np.float32(10)).astype(">f4")
                path.with_suffix(".mfc").write_bytes(struct.pack(">i", 26) + values.tobytes())
            elif kind.startswith("raw"):
                order = ">i2" if kind == "raw-big" else "<i2"
                path.with_suffix(".raw").write_bytes(tone().astype(order).tobytes())
            else:
                path.with_suffix(".sph").write_bytes(sphere(tone(), kind))
    return root


def prepare(outdir: Path, *options: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "egs/an4/local/prepare_an4.py"), "--outdir", str(outdir),
         "--dev-utterances", "1", *map(str, options)],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["10", "01", "raw-big", "raw-little"])
def test_audio_in_every_byte_order(tmp_path: Path, kind: str):
    make_corpus(tmp_path, kind)
    done = prepare(tmp_path / "data", "--an4", tmp_path)
    assert done.returncode == 0, done.stderr
    # the first by id with the speaker in front, as in ESPnet
    assert read_table(tmp_path / "data/train_dev/text") == {"aa-an1-b": "YES"}
    assert read_table(tmp_path / "data/train_nodev/text") == {"bb-cen7-b": "NO", "cc-an3-b": "GO"}
    assert read_table(tmp_path / "data/test/text") == {"dd-an9-b": "ERASE C Q"}
    assert read_table(tmp_path / "data/test/utt2spk") == {"dd-an9-b": "dd"}
    assert (tmp_path / "data/test/spk2utt").read_text() == "dd dd-an9-b\n"
    wav = read_table(tmp_path / "data/test/wav.scp")
    samples, rate = SegmentReader(wav).read("dd-an9-b", Segment("dd-an9-b", 0.0, None))
    assert rate == 16000
    scale = 1 if np.abs(samples).max() > 1 else 32768
    np.testing.assert_array_equal(np.rint(samples * scale).astype(int), tone())


@pytest.mark.parametrize("first", ["noise", "silence"])
def test_the_byte_order_is_that_of_most_files(tmp_path: Path, first: str):
    make_corpus(tmp_path, "raw-big")
    noise = np.random.default_rng(3).integers(-20000, 20000, len(tone()))
    samples = noise if first == "noise" else np.zeros(len(tone()))
    path = min((tmp_path / "an4/wav").rglob("*.raw"))
    path.write_bytes(samples.astype(">i2").tobytes())
    done = prepare(tmp_path / "data", "--an4", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "-t raw" in (tmp_path / "data/test/wav.scp").read_text()
    wav = read_table(tmp_path / "data/test/wav.scp")
    read, _ = SegmentReader(wav).read("dd-an9-b", Segment("dd-an9-b", 0.0, None))
    scale = 1 if np.abs(read).max() > 1 else 32768
    np.testing.assert_array_equal(np.rint(read * scale).astype(int), tone())


def test_a_wrong_byte_order_is_refused(tmp_path: Path):
    make_corpus(tmp_path, "raw-little")
    done = prepare(tmp_path / "data", "--an4", tmp_path, "--raw-byte-order", "big")
    assert done.returncode == 1 and "its samples are little endian, not big" in done.stderr


def test_cepstra_from_an_archive(tmp_path: Path):
    make_corpus(tmp_path, "mfc")
    with tarfile.open(tmp_path / "an4_mfcc.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "an4", arcname="an4")
    done = prepare(tmp_path / "data", "--an4-mfcc", tmp_path / "an4_mfcc.tar.gz")
    assert done.returncode == 0, done.stderr
    entries = read_table(tmp_path / "data/train_nodev/feats.scp")
    assert list(entries) == ["bb-cen7-b", "cc-an3-b"]
    expected = np.arange(26, dtype=np.float32).reshape(2, 13) / np.float32(10)
    np.testing.assert_array_equal(kaldiio.load_mat(entries["cc-an3-b"]), expected)
    assert not (tmp_path / "data/test/wav.scp").exists()


@needs_mfcc
def test_the_real_cepstra(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "egs/an4/local/prepare_an4.py"), "--outdir", str(tmp_path),
         "--an4-mfcc", str(CORPORA / "an4_mfcc.tar.gz")],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sizes = {}
    for name in ("train_nodev", "train_dev", "test"):
        text = read_table(tmp_path / name / "text")
        sizes[name] = (len(text), sum(len(words.split()) for words in text.values()))
    assert sizes["train_nodev"][0] == 848
    assert sizes["train_dev"] == (100, 591) and sizes["test"] == (130, 773)  # ESPnet's counts
    assert sum(len(words) for words in read_table(tmp_path / "test/text").values()) == 2565


def break_missing_audio(root: Path) -> None:
    (root / "wav/an4_clstk/aa/an1-aa-b.sph").unlink()


def break_transcription(root: Path) -> None:
    path = root / "etc/an4_train.transcription"
    path.write_text(path.read_text() + "HELLO an7-aa-b\n")


def break_repeat(root: Path) -> None:
    path = root / "etc/an4_train.transcription"
    path.write_text(path.read_text() + "HELLO (an1-aa-b)\n")


def break_part(root: Path) -> None:
    (root / "etc/an4_test.transcription").unlink()


def break_audio(root: Path) -> None:
    (root / "wav/an4_clstk/aa/an1-aa-b.sph").write_bytes(b"RIFF" * 400)


def break_folder(root: Path) -> None:
    (root / "wav").rename(root / "sound")


def leave_cepstra_alone(root: Path) -> None:
    (root / "wav").rename(root / "feat")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (break_missing_audio, "1 of 4 files missing, first: an1-aa-b.sph"),
        (break_transcription, "an4_train.transcription:4: expected 'WORDS (an251-fash-b)'"),
        (break_repeat, "an4_train.transcription:4: 'an1-aa-b' appears here a second time"),
        (break_part, "an4_test.transcription: missing"),
        (break_audio, "no NIST_1A magic"),
        (break_folder, "has no folder wav/\n"),
        (leave_cepstra_alone, "an4 has no folder wav/, but feat/: give it as --an4-mfcc"),
    ],
)
def test_faults_are_named(tmp_path: Path, fault, message: str):
    fault(make_corpus(tmp_path))
    done = prepare(tmp_path / "data", "--an4", tmp_path / "an4")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "data/train_nodev").exists()


def test_folders_that_are_not_the_corpus(tmp_path: Path):
    (tmp_path / "other/recordings").mkdir(parents=True)
    (tmp_path / "bad.tar.gz").write_bytes(b"\x1f\x8bnothing")
    (tmp_path / "text.txt").write_text("a")
    for given, message in (
        ("none", "no such folder or archive"),
        ("other", "has no etc/an4_train.transcription: is this AN4"),
        ("bad.tar.gz", "damaged or truncated archive"),
        ("text.txt", "neither a folder nor an archive"),
    ):
        done = prepare(tmp_path / "data", "--an4", tmp_path / given)
        assert done.returncode == 1 and message in done.stderr and given in done.stderr


def test_damaged_cepstra(tmp_path: Path):
    root = make_corpus(tmp_path, "mfc")
    path = next(root.rglob("an3-cc-b.mfc"))
    good = path.read_bytes()
    for content, message in (
        (good[:-8], "header says 26 values, found 24"),
        (b"", "header says 0 values, found 0"),
        (struct.pack(">i", 2) + good[4:12], "2 values are not frames of 13 cepstra"),
        (good[:4] + struct.pack(">f", np.nan) + good[8:], "values that are not finite"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            an4.read_cepstra(path)
    path.write_bytes(struct.pack("<i", 26) + np.arange(26, dtype="<f4").tobytes())
    assert an4.read_cepstra(path)[1, 12] == 25.0


def test_no_network_gives_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert len(an4.URLS) * download_an4.CONNECT_LIMIT_S < 10
    monkeypatch.setattr(download_an4, "CONNECT_LIMIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        start = time.monotonic()
        urls = (f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar.gz", "http://localhost:9/x.tar.gz")
        with pytest.raises(DataError, match="fetch an4_sphere.tar.gz .* give it with --an4") as caught:
            download_an4.download(tmp_path, urls)
        assert time.monotonic() - start < 3
    assert "no answer" in str(caught.value) and "refused" in str(caught.value)


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves ``content``, or the rest of it; the first request is cut off in the middle."""

    content = b""
    requests: list[str | None] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.requests.append(wanted)
        begin = int(wanted[6:-1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            size = len(self.content)
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        end = len(self.content) if wanted else len(self.content) // 2
        self.wfile.write(self.content[begin:end])

    def log_message(self, *arguments) -> None:
        pass


def test_a_download_that_broke_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_corpus(tmp_path)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "an4", arcname="an4")
    content = (tmp_path / "x.tar.gz").read_bytes()
    requests: list[str | None] = []
    handler = type("Handler", (Ranges,), {"content": content, "requests": requests})
    monkeypatch.setattr(an4, "UTTERANCES", {"train": 3, "test": 1})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fetch = functools.partial(
            download_an4.download, tmp_path / "d", (f"http://127.0.0.1:{server.server_port}/x",)
        )
        with pytest.raises(DataError, match="run again to resume"):
            fetch()
        assert fetch().read_bytes() == content
        assert requests == [None, f"bytes={len(content) // 2}-"]
        assert [path.name for path in (tmp_path / "d").iterdir()] == ["an4_sphere.tar.gz"]
        server.shutdown()


@pytest.mark.parametrize("size", [1000, 900])
def test_a_download_that_had_arrived_is_kept(tmp_path: Path, size: int):
    """It may take minutes to check, and a process may be stopped meanwhile."""

    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()

        def log_message(self, *arguments) -> None:
            pass

    partial = tmp_path / "partial"
    partial.write_bytes(bytes(1000))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Short) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        reason = fetch(f"http://127.0.0.1:{server.server_port}/x", partial)
        server.shutdown()
    assert partial.exists() == (size == 1000) == (reason == "")


def test_something_else_is_refused(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="the download is damaged"):
        download_an4.download(tmp_path / "d", ((tmp_path / "x").as_uri(),))
    assert list((tmp_path / "d").iterdir()) == []
