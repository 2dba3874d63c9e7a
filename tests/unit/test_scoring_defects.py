"""Where sclite crashes, hangs or miscounts, ours does the right thing and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.errors import DataError
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.sclite_reports import alignment_report, percent_report
from cascade_asr.scoring.score import ScoreResult
from cascade_asr.scoring.scorer import score_transcripts
from cascade_asr.scoring.transcripts import read_transcripts


def score(folder: Path, ref: str, hyp: str, options=ScoringOptions()) -> ScoreResult:
    notes: list[str] = []
    sides = []
    for name, content in (("ref", ref), ("hyp", hyp)):
        (folder / name).write_text(content)
        sides.append(read_transcripts(folder / name, options, notes.append, "trn"))
    return score_transcripts(*sides, options, "t", warnings=notes)


def test_last_line_without_newline_counts(tmp_path: Path) -> None:
    result = score(tmp_path, "a (s-1)\nb (s-2)\n", "a (s-1)\nb (s-2)")
    assert result.total.utterances == 2
    assert "hyp: the last line has no newline; it counts here" in result.warnings[0]


def test_empty_alternation_is_nothing(tmp_path: Path) -> None:
    result = score(tmp_path, "a { } b (s-1)\n", "a b (s-1)\n")
    assert (result.total.correct, result.total.errors) == (2, 0)
    assert "ref:1: '{ }' holds no word" in result.warnings[0]


def test_id_without_separator_is_not_the_previous_speakers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hyp:2: id \(xy\).*--id-type sp"):
        score(tmp_path, "a (s-1)\na (xy)\n", "a (s-1)\na (xy)\n")


def test_long_word_opposite_a_gap_prints_stars(tmp_path: Path) -> None:
    word = "w" * 45
    result = score(tmp_path, f"a {word} (s-1)\n", "a (s-1)\n")
    assert b"HYP:  a " + b"*" * 45 + b" \n" in alignment_report(result)
    assert "1 words have more than 40 bytes" in result.warnings[0]


def test_word_longer_than_a_line_ends(tmp_path: Path) -> None:
    word = "w" * 1200
    report = alignment_report(score(tmp_path, f"a {word} b (s-1)\n", f"a {word} b (s-1)\n"))
    assert report.count(b">> REF:") == 2


def test_markup_characters_are_characters(tmp_path: Path) -> None:
    characters = ScoringOptions(characters=True)
    result = score(tmp_path, "x@y (s-1)\n", "xy (s-1)\n", characters)
    assert (result.total.correct, result.total.deletions) == (2, 1)
    assert "'@' inside words is scored as a character here" in result.warnings[0]


def test_hyphens_only_leave_nothing(tmp_path: Path) -> None:
    options = ScoringOptions(characters=True, delete_hyphen=True)
    assert score(tmp_path, "a -- b (s-1)\n", "a b (s-1)\n", options).total.errors == 0


def test_optional_words_at_the_beginning_of_branches_end(tmp_path: Path) -> None:
    options = ScoringOptions(characters=True, optional_deletable=True)
    text = "{ (ab) / (cd) / e } (s-1)\n"
    assert score(tmp_path, text, "cd (s-1)\n", options).total.correct == 2


def test_speakers_without_reference_stay_out_of_the_statistics(tmp_path: Path) -> None:
    ref = " (a-1)\n (b-1)\nx x (c-1)\nx x (d-1)\n"
    hyp = "y y (a-1)\ny (b-1)\nx z (c-1)\nx x (d-1)\n"
    result = score(tmp_path, ref, hyp)
    lines = percent_report(result).decode().splitlines()
    mean = next(line for line in lines if "Mean" in line)
    # Speakers c and d: 50% and 100% correct, 50% and 0% errors; none of a's and b's insertions.
    assert mean.split("|")[3].split() == ["75.0+", "25.0+", "0.0+", "0.0+", "25.0+", "75.0"]
    assert "2 speakers have no reference words, first 'a'" in result.warnings[-1]
