"""egs/wsj on discs that are damaged or incomplete, and with wrong options."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import wsj_expected as expected
import wsj_tree
from sphere_files import header, sphere_bytes
from wsj_recipe import make_recipe, prepare, rows, run


class Discs:
    """A copy of the plain tree, to be broken."""

    def __init__(self, folder: Path) -> None:
        self.options = wsj_tree.make_tree(folder)
        self.wsj0, self.wsj1 = Path(self.options[1]), Path(self.options[3])

    def find(self, name: str) -> Path:
        """The only file of that name."""
        (path,) = [*self.wsj0.rglob(name), *self.wsj1.rglob(name)]
        return path

    def change(self, name: str, old: str, new: str, encoding: str = "utf-8") -> None:
        path = self.find(name)
        content = path.read_text()
        assert old in content
        path.write_bytes(content.replace(old, new).encode(encoding))

    def audio(self, name: str, **changes) -> None:
        """A different header, or a different file."""
        path = self.find(name)
        samples = wsj_tree.tones("nothing", "46ac0201")
        path.write_bytes(sphere_bytes(samples, **changes))


@pytest.fixture
def discs(tmp_path: Path) -> Discs:
    return Discs(tmp_path / "discs")


def missing_disc(discs: Discs) -> None:
    shutil.rmtree(discs.wsj0 / "11-1.1")


def wrong_corpus(discs: Discs) -> None:
    shutil.rmtree(discs.wsj1)
    (discs.wsj1 / "swb1_d1").mkdir(parents=True)


def other_release(discs: Discs) -> None:
    discs.find("si_tr_s.ndx").unlink()


def two_cases(discs: Discs) -> None:
    (discs.wsj0 / "11-1.1/wsj0/si_tr_s/01I").mkdir()


def two_transcripts(discs: Discs) -> None:
    path = discs.find("01ic0200.dot")
    (path.parent / "more").mkdir()
    (path.parent / "more/01ic0200.DOT").write_text("\nOil is at seven (01ic0201)\n")


def two_audio_files(discs: Discs) -> None:
    discs.change(
        "tr_s_wv1.ndx", "011/011c0202", "01i/01ic0201.wv1\n11_2_1:wsj0/si_tr_s/022/01ic0201"
    )
    shutil.copy(discs.find("022c0201.wv1"), discs.find("022c0201.wv1").with_name("01ic0201.wv1"))


def no_words(discs: Discs) -> None:
    discs.change("440c0200.dot", "Wheat was mixed", "~ [<cough]")


def no_transcript(discs: Discs) -> None:
    discs.find("441c0200.dot").unlink()


BROKEN = {
    "missing disc": (
        missing_disc,
        ("WSJ disk 11-1.1 not found under {wsj0} and {wsj1} (needed by tr_s_wv1.ndx:3); found: "
         "11-2.1 11-10.1 11-13.1 11-14.1 13-1.1 13-11.1 13-16.1 13-32.1 13-33.1 13-34.1"),
    ),
    "wrong corpus": (
        wrong_corpus, "{wsj1} has no wsj1/doc/indices/si_tr_s.ndx: is this LDC94S13?"),
    "other release": (
        other_release, "{wsj1} has no wsj1/doc/indices/si_tr_s.ndx: is this LDC94S13?"),
    "absent audio": (
        lambda discs: discs.find("46ac0203.wv1").unlink(),
        ("train_si284: 1 of 35 files missing, first: 13-1.1/wsj1/si_tr_s/46a/46ac0203.wv1 "
         "(si_tr_s.ndx:4)"),
    ),
    "not sphere": (
        lambda discs: discs.find("46ac0203.wv1").write_bytes(b"RIFF" + bytes(2000)),
        "46ac0203.wv1: no NIST_1A magic",
    ),
    "damaged header": (
        lambda discs: discs.find("46ac0203.wv1").write_bytes(header({"sample_count": 4})),
        "46ac0203.wv1: damaged SPHERE header: no sample_rate",
    ),
    "unsupported coding": (
        lambda discs: discs.audio("46ac0203.wv1", sample_coding="pcm,embedded-wavpack"),
        "46ac0203.wv1: coding 'pcm,embedded-wavpack' is unknown",
    ),
    "rate": (
        lambda discs: discs.audio("46ac0203.wv1", rate=8000),
        "46ac0203.wv1: 8000 Hz, recipe expects 16000",
    ),
    "channels": (
        lambda discs: discs.audio("46ac0203.wv1", channel_count=2),
        "46ac0203.wv1: 2 channels, need 1",
    ),
    "bad dot line": (
        lambda discs: discs.change("01ic0200.dot", " (01ic0204)", " 01ic0204"),
        "01ic0200.dot:4: no '(uttid)' at the end of 'He -(re)ported in- a ~~ loss 01ic0204'",
    ),
    "bad index line": (
        lambda discs: discs.change("si_tr_s.ndx", "13_1_1: /wsj1/si_tr_s/46a/46ac0202.wv1", "13_1"),
        "si_tr_s.ndx:3: expected 'DISC: PATH'",
    ),
    "two transcripts": (
        two_transcripts, "01ic0200.dot:1 and "),
    "two audio files": (
        two_audio_files, "train_si284: '01ic0201' in tr_s_wv1.ndx:4 and tr_s_wv1.ndx:5, with "),
    "two cases": (two_cases, "si_tr_s holds 01I and 01i, which differ only in case; remove one"),
    "test set without a transcript": (
        no_transcript,
        ("test_eval92: 3 utterances without a transcript: 441c0201 441c0202 441c0203; a set that "
         "is scored must be complete"),
    ),
    "test set without words": (
        no_words, "test_eval92: 1 utterances whose transcript contains no words: 440c0202"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_discs_leave_no_data_folder(name: str, discs: Discs, tmp_path: Path):
    damage, message = BROKEN[name]
    damage(discs)
    done = prepare(tmp_path / "data", *discs.options)
    assert done.returncode == 1, done.stderr
    assert message.format(wsj0=discs.wsj0, wsj1=discs.wsj1) in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_what_a_training_set_can_do_without(discs: Discs, tmp_path: Path):
    discs.find("46ac0203.wv1").unlink()
    discs.find("47bc0300.dot").unlink()
    discs.change("4a8c0200.dot", "Nobody was told", "[<cough] ~")
    discs.change("46ac0200.dot", "Rates", "Ratés", "latin-1")
    again = discs.find("46ac0200.dot")
    (again.parent / "copy").mkdir()
    shutil.copy(again, again.parent / "copy")
    more = ["--sets", "train_si284", "--allow-missing"]
    done = prepare(tmp_path / "data", *discs.options, *more)
    assert done.returncode == 0, done.stderr
    for message in (
        "1 of 35 files missing, first: 13-1.1/wsj1/si_tr_s/46a/46ac0203.wv1 (si_tr_s.ndx:4); left",
        "2 utterances without a transcript: 47bc0301 47bc0302; left out",
        "1 utterances whose transcript contains no words: 4a8c0205; left out",
        "46ac0200.dot:1: not UTF-8; read as latin-1",
        "7 transcripts occur twice, such as '46ac020",
    ):
        assert message in done.stderr, done.stderr
    texts = rows(tmp_path / "data/train_si284/text")
    assert texts["46ac0201"] == "RATÉS WERE CUT TODAY"
    missing = {"46ac0203", "47bc0301", "47bc0302", "4a8c0205"}
    assert texts.keys() == expected.table("train_si284").keys() - missing
    done = prepare(tmp_path / "strict", *discs.options, *more, "--strict")
    assert done.returncode == 1
    assert "train_si284: 31 utterances; LDC's discs have 37416; without --strict" in done.stderr
    assert not (tmp_path / "strict").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_damaged_audio_stops_stage_1(discs: Discs, tmp_path: Path):
    recipe = make_recipe(tmp_path)
    truncated, corrupt = discs.find("46ac0201.wv1"), discs.find("022c0201.wv1")
    truncated.write_bytes(truncated.read_bytes()[:9000])
    discs.audio("46ac0203.wv1", sample_checksum=1)
    corrupt.write_bytes(corrupt.read_bytes()[:-40] + bytes(40))
    done = run(recipe, *discs.options, "--stop-stage", "2")
    assert done.returncode == 1
    logs = "".join(path.read_text() for path in (recipe / "dump/train_si284/log").iterdir())
    assert f"{truncated}: header says 24576 samples, found " in logs
    assert "46ac0203.wv1: checksum " in logs and ", header 1: corrupt" in logs
    assert str(corrupt) in logs
    assert not (recipe / "dump/train_si284/feats.scp").exists()
    assert not (recipe / "dump/.stage1.done").exists()
    assert not (recipe / "dump/tokens").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "Expected --wsj0 DIR --wsj1 DIR (LDC's discs), or --wsj DIR; found none of them"),
        (["--wsj0", "/"], "or --wsj DIR; found --wsj0"),
        (["--wsj", "/no/such"], "--wsj /no/such: no such folder"),
        (["--wsj", "{empty}"], "{empty}: neither disc folders such as 11-13.1 nor a folder wsj0"),
        (["--wsj", "{empty}", "--sets", "train_si248"], "did you mean 'train_si284'?"),
    ],
)
def test_wrong_options(options: list[str], message: str, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    empty = str(tmp_path / "empty")
    done = prepare(tmp_path / "data", *(option.format(empty=empty) for option in options))
    assert done.returncode == 1
    assert message.format(empty=empty) in done.stderr, done.stderr
    assert not (tmp_path / "data").exists()


def test_the_recipe_says_where_the_corpus_is_expected(tmp_path: Path):
    recipe = make_recipe(tmp_path)
    done = run(recipe, "--stop-stage", "0")
    assert done.returncode == 1
    assert "where is the corpus?" in done.stderr
    assert not (recipe / "data").exists()
