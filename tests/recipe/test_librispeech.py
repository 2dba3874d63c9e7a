"""egs/librispeech as a user calls it, on a miniature in OpenSLR's layout."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, copy_recipe, environment, write_yaml

from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.errors import DataError

sys.path.insert(0, str(ROOT / "egs/librispeech/local"))
import download_librispeech
import librispeech

SPEAKERS = """; SPEAKERS.TXT
;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-5    | 25.03 | Kristin LeMoine
19   | M | train-clean-5    | 25.19 | A Reader | with a bar
84   | F | dev-clean-2      | 8.01  | Christie Nowak
1272 | M | dev-clean-2      | 8.02  | John Rose
61   | M | test-clean       | 8.05  | Paul-Gabriel Wiener
"""
TINY = {
    "encoder": "rnn",
    "encoder_conf": {"num_layers": 2, "hidden_size": 16, "output_size": 16, "subsample": [2, 2]},
    "model_conf": {"ctc_weight": 1.0},
    "init": "chainer",
    "normalize": "utterance_mvn",
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_type": "sorted",
    "batch_size": 4,
    "max_epoch": 1,
    "keep_nbest_models": 1,
    "num_workers": 0,
    "use_tensorboard": False,
}
READERS = {"train-clean-5": (14, 19), "dev-clean-2": (84, 1272), "test-clean": (61,)}


def make_corpus(folder: Path, parts: tuple[str, ...] = tuple(READERS)) -> Path:
    """The folder LibriSpeech: two chapters of two utterances of noise for each reader."""
    random = np.random.default_rng(0)
    root = folder / "LibriSpeech"
    for part in parts:
        for reader in READERS[part]:
            for chapter in (208, 1234):
                place = root / part / str(reader) / str(chapter)
                place.mkdir(parents=True)
                lines = []
                for number in range(2):
                    name = f"{reader}-{chapter}-{number:04d}"
                    samples = random.normal(0, 0.1, 16000 + 1600 * number)
                    soundfile.write(place / f"{name}.flac", samples, 16000, subtype="PCM_16")
                    lines.append(f"{name} {'I CAN' if number else chr(73) + chr(39) + 'LL NOT'}\n")
                (place / f"{reader}-{chapter}.trans.txt").write_text("".join(lines))
    (root / "SPEAKERS.TXT").write_text(SPEAKERS)
    for name in ("BOOKS.TXT", "CHAPTERS.TXT", "LICENSE.TXT", "README.TXT"):
        (root / name).write_text("; as in the archives\n")
    return root


def test_a_miniature_through_all_stages(tmp_path: Path):
    corpus = make_corpus(tmp_path / "corpus")
    recipe = copy_recipe(tmp_path, "librispeech")
    write_yaml(recipe / "tiny.yaml", TINY)
    write_yaml(recipe / "cuts.yaml", {"cuts": ["ctc"]})

    def run(*options: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["./run.sh", "--part", "mini", "--librispeech", str(corpus), "--train-config", "tiny.yaml",
             "--cascade-config", "cuts.yaml", "--decode-config", "conf/decode_fast.yaml", "--nj", "1", "--ngpu", "0", "--cascade-stages",
             "none", "--report-samples", "0", "--speed-perturb-factors", "", *map(str, options)],
            cwd=recipe, env=environment(), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    missing = run("--stop-stage", "0")
    assert missing.returncode == 1
    assert "dev-clean, dev-other, test-other missing; of LibriSpeech it has: train-clean-5, " \
        "dev-clean-2, test-clean" in missing.stderr  # fmt: skip
    strict = run("--stop-stage", "0", "--eval-sets", "test_clean", "--strict", "true")
    assert strict.returncode == 1 and "8 utterances, train-clean-5 has 1519" in strict.stderr
    assert "'dev' is none of" in run("--eval-sets", "dev").stderr
    done = run("--eval-sets", "test_clean", "--vocabulary-size", "12")
    assert done.returncode == 0, done.stderr
    assert "results cannot be compared" in done.stderr
    texts = read_table(recipe / "dump/train_mini/text")
    assert len(texts) == 8 and texts["19-1234-0000"] == "I'LL NOT"
    assert read_table(recipe / "data/dev_clean_2/spk2gender") == {"1272": "m", "84": "f"}
    table = (recipe / "exp/tiny_mini/RESULTS.md").read_text()
    assert "test_clean WER" in table


def test_every_fault_of_a_part_is_told(tmp_path: Path):
    root = make_corpus(tmp_path, ("dev-clean-2",))
    part = root / "dev-clean-2"
    assert librispeech.find_part(tmp_path, "dev-clean-2") == part
    assert librispeech.find_part(root, "dev-clean-2") == part
    assert librispeech.find_part(part, "dev-clean-2") == part
    assert librispeech.find_part(root, "dev-clean") is None
    path = part / "84/208/84-208.trans.txt"
    path.write_text("84-208-0000 I CAN\n84-208-0000 I CAN\n85-208-0001 I\n84-208-0009 NO\n84-208-0001 i can\n")
    with pytest.raises(DataError) as caught:
        librispeech.read_part(part, "dev-clean-2")
    told = str(caught.value).split("\n")
    assert told == [
        f"{path}:2: '84-208-0000' appears here a second time",
        f"{path}:3: expected an id such as 84-208-0000, found '85-208-0001'",
        f"{path}:4: '84-208-0009': no 84-208-0009.flac beside it",
        f"{path}:5: '84-208-0001': expected words in A-Z and ', found 'i can'",
    ]
    (tmp_path / "S.TXT").write_text("14 | X | a\n")
    with pytest.raises(DataError, match="S.TXT:1: expected 'ID"):
        librispeech.read_genders(tmp_path / "S.TXT")


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves files of a folder, or the rest of them; the first request is cut off."""

    folder = Path()
    requests: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        content = (self.folder / self.path.rpartition("/")[2]).read_bytes()
        begin = int(wanted[6:-1]) if wanted else 0
        self.requests.append((self.path, wanted))
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:] if wanted or len(self.requests) > 1 else content[:1000])

    def log_message(self, *arguments) -> None:
        pass


def test_downloads_go_on_and_are_compared_with_their_md5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    corpus = make_corpus(tmp_path / "made", ("dev-clean-2",))
    archive = tmp_path / "dev-clean-2.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, arcname="LibriSpeech")
    size = archive.stat().st_size
    handler = type("Handler", (Ranges,), {"folder": tmp_path, "requests": []})
    part = librispeech.PARTS["dev-clean-2"]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers = [f"http://127.0.0.1:{server.server_port}/resources"]

        def fetch() -> Path:
            return download_librispeech.download(["dev-clean-2"], tmp_path / "d", servers)

        with pytest.raises(DataError, match="run again to resume"):
            fetch()
        with pytest.raises(DataError, match=f"that of dev-clean-2 is {part.md5}: damaged, removed"):
            fetch()
        assert handler.requests == [("/resources/31/dev-clean-2.tar.gz", None),
                                    ("/resources/31/dev-clean-2.tar.gz", "bytes=1000-")]  # fmt: skip
        assert size > 1000 and list((tmp_path / "d").iterdir()) == []
        digest = hashlib.md5(archive.read_bytes()).hexdigest()
        right = librispeech.Part(part.resource, digest, 8, 0.001)
        monkeypatch.setitem(librispeech.PARTS, "dev-clean-2", right)
        part = librispeech.find_part(fetch(), "dev-clean-2")
        assert len(librispeech.read_part(part, "dev-clean-2")) == 8
        assert (part.parent / "SPEAKERS.TXT").is_file()  # else spk2gender is not made
        fetch()
        assert len(handler.requests) == 3  # not asked again
        server.shutdown()
    huge = librispeech.Part(12, "", 1, 1e9)
    monkeypatch.setitem(librispeech.PARTS, "dev-clean", huge)
    with pytest.raises(DataError, match="GB are free; make it a link to a larger disk"):
        download_librispeech.download(["dev-clean"], tmp_path / "d", servers)


def test_without_a_network_it_gives_up_in_time(tmp_path: Path):
    limit = download_librispeech.CONNECT_LIMIT_S * len(download_librispeech.SERVERS)
    assert limit < 10
    start = time.monotonic()
    with pytest.raises(DataError, match="give the unpacked corpus with --librispeech"):
        download_librispeech.download(["dev-clean-2"], tmp_path, ["http://localhost:9"] * 2)
    assert time.monotonic() - start < 5 and os.listdir(tmp_path) == []
