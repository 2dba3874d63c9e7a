"""Normalisation of WSJ's transcripts, word by word, and finding files in any case."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "egs/wsj/local"))
from wsj_discs import Corpus
from wsj_transcripts import normalise

from cascade_asr.errors import DataError


@pytest.mark.parametrize(
    "raw, plain, clean",
    [
        (r"\"double-quote", '"DOUBLE-QUOTE', "DOUBLE-QUOTE"),
        (r"\.period", ".PERIOD", "PERIOD"),
        ("%percent .point", "PERCENT POINT", "PERCENT POINT"),
        ("%percents", "%PERCENTS", "PERCENTS"),
        ("a [<door_slam] b [door_slam>] c", "A B C", "A B C"),
        ("a [phone/] b [/phone] c x[phone/]", "A B C", "A B C"),
        ("~ . ~~ ...ellipsis", "~~ ...ELLIPSIS", "ELLIPSIS"),
        ("[cough] wor[cough]ld [loud_breath]s", "<NOISE> <NOISE> <NOISE>",
         "<NOISE> <NOISE> <NOISE>"),
        ("<the> <don't> <two words>", "THE DON'T <TWO WORDS>", "THE DON'T TWO WORDS"),
        ("--dash -dash", "-DASH -DASH", "DASH DASH"),
        ("*declined* secu:rity !but", "*DECLINED* SECU:RITY !BUT", "DECLINED SECURITY BUT"),
        ("-(re)ported in- u. s. a.'s", "-(RE)PORTED IN- U. S. A.'S", "PORTED IN U. S. A.'S"),
        ("'em 'single-quote left-hand", "'EM 'SINGLE-QUOTE LEFT-HAND",
         "'EM SINGLE-QUOTE LEFT-HAND"),
        ("(left-paren yes )right-paren", "(LEFT-PAREN YES )RIGHT-PAREN",
         "LEFT-PAREN YES RIGHT-PAREN"),
    ],
)  # fmt: skip
def test_words(raw: str, plain: str, clean: str):
    assert normalise(raw) == plain
    assert normalise(raw, clean_words=True) == clean


def make(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


@pytest.mark.parametrize("disc", ["11-13.1", "11_13_1", "11_13.1", "a/b/11-13.1", "A/11-13_1"])
def test_a_disc_is_found_whatever_its_name(disc: str, tmp_path: Path):
    corpus = Corpus({"--wsj": make(tmp_path, f"{disc}/WSJ0/Doc/x.NDX", "readme.txt")})
    found = corpus.find("11-13.1", "wsj0/doc/x.ndx", "here")
    assert found == tmp_path / disc / "WSJ0/Doc/x.NDX"
    assert corpus.find("11-13.1", "wsj0/doc/y.ndx", "here") is None
    assert corpus.find_all(".ndx") == [found]
    with pytest.raises(
        DataError, match=r"disk 11-2.1 not found under .* \(needed by x:3\); found: 11-13.1"
    ):
        corpus.find("11-2.1", "wsj0/y", "x:3")


def test_a_folder_that_may_not_be_read_is_not_searched(tmp_path: Path, monkeypatch, caplog):
    make(tmp_path, "lost+found/x", "11-13.1/wsj0/a.ndx")
    listdir = os.listdir

    def guarded(folder: Path) -> list[str]:
        if Path(folder).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", guarded)
    assert Corpus({"--wsj": tmp_path}).find("11-13.1", "wsj0/a.ndx", "x") == tmp_path / "11-13.1/wsj0/a.ndx"
    assert "lost+found: may not be read, and is not searched for discs" in caplog.text


def test_a_disc_deeper_than_three_levels_is_not_found(tmp_path: Path):
    with pytest.raises(DataError, match="neither disc folders such as 11-13.1 nor a folder wsj0"):
        Corpus({"--wsj": make(tmp_path, "a/b/c/11-13.1/wsj0/x")})


@pytest.mark.parametrize("given", ["", "wsj0"])
def test_the_layout_without_discs(given: str, tmp_path: Path):
    make(tmp_path, "wsj0/doc/x.ndx", "WSJ1/doc/y.ndx")
    corpus = Corpus({"--wsj": tmp_path / given})
    assert corpus.find("11-13.1", "wsj0/doc/x.ndx", "here") == tmp_path / "wsj0/doc/x.ndx"
    if not given:
        assert corpus.require("13-34.1", "wsj1/doc/y.ndx", "x") == tmp_path / "WSJ1/doc/y.ndx"


def test_one_disc_in_two_places_stops(tmp_path: Path):
    make(tmp_path, "a/11-1.1/wsj0/x", "b/11_1_1/wsj0/x")
    with pytest.raises(DataError, match="WSJ disc 11-1.1 is both .*; name one of them"):
        Corpus({"--wsj0": tmp_path / "a", "--wsj1": tmp_path / "b"})
    corpus = Corpus({"--wsj0": tmp_path / "a", "--wsj1": tmp_path / "a"})
    assert corpus.find_all("x") == [tmp_path / "a/11-1.1/wsj0/x"]
