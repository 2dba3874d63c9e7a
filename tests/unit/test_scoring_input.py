"""Reading both sides: joins, and errors with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.errors import ConfigError, DataError
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.scorer import score_texts, score_transcripts
from cascade_asr.scoring.transcripts import read_speakers, read_transcripts, speaker_of

UTF8 = ScoringOptions(encoding="utf-8")


class Sides:
    """Writes ref and hyp, reads and scores them, and keeps the warnings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []

    def score(self, ref: str | bytes, hyp: str | bytes, options=ScoringOptions(), **how):
        sides = []
        for name, content in (("ref", ref), ("hyp", hyp)):
            path = self.folder / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            sides.append(
                read_transcripts(path, options, self.warnings.append, conflicts=name == "hyp")
            )
        result = score_transcripts(*sides, options, "title", warnings=self.warnings, **how)
        self.warnings = list(result.warnings)
        return result


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


@pytest.mark.parametrize(
    ("ref", "hyp", "message"),
    [
        ("a (s-1)\n", "a (s-1)\na (s-2)\n", r"hyp:2: hypothesis \(s-2\) has no reference in .*ref"),
        ("a (s-1)\n", "a (s-1)\n\nb (S-1)\n", r"hyp:3: id \(s-1\) is already on line 1"),
        ("a (s-1)\nb (s-1)\n", "a (s-1)\n", r"ref:2: id \(s-1\) is already on line 1"),
        (";; x\n{ a / b (s-1)\n", "a (s-1)\n", r"ref:2: '{' is never closed in '{ a / b'"),
        ("x{y} b (s-1)\n", "a (s-1)\n", r"ref:1: '{' inside the word 'x{y}'.*or remove them"),
        ("a (s1)\n", "a (s1)\n", r"hyp:1: id \(s1\) has no '-' or '_' between speaker"),
        ("a ()\n", "a (s-1)\n", r"ref:1: no '\(id\)' at the end of 'a \(\)'"),
        ("", "a (s-1)\n", r"ref: contains no utterance"),
        ("a (s-1)\n", ";; nothing\n\n", r"hyp: contains no utterance"),
    ],
)
def test_errors_name_file_and_line(sides: Sides, ref: str, hyp: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sides.score(ref, hyp)


def test_invalid_utf8_is_an_error_only_under_utf8(sides: Sides) -> None:
    with pytest.raises(DataError, match=r"hyp:2: not utf-8: byte 0xe9 in column 2; convert"):
        sides.score("a (s-1)\nb (s-2)\n", b"a (s-1)\nb\xe9 (s-2)\n", UTF8)
    assert sides.score("a (s-1)\n", b"b\xe9 (s-1)\n").error_rate == 100.0


def test_missing_hypothesis_warns_or_fails(sides: Sides) -> None:
    ref, hyp = "a (s-1)\nb (s-2)\n", "a (s-1)\n"
    assert sides.score(ref, hyp).total.utterances == 1
    assert "ref:2: reference (s-2) has no hypothesis" in sides.warnings[0]
    with pytest.raises(DataError, match=r"ref:2: .*1 of 2 are not scored.*leave out --strict"):
        sides.score(ref, hyp, strict=True)


def test_repeated_reference_with_the_same_words_warns(sides: Sides) -> None:
    sides.score("a b (s-1)\nA  B (S-1)\n", "a (s-1)\n")
    assert "is already on line 1, with the same words" in sides.warnings[0]


def test_crlf_comments_and_tabs(sides: Sides) -> None:
    ref = b";; c (x-1)\r\n** i\r\na b\t(s-1)\r\n"
    assert sides.score(ref, "a  b (s-1)\r\n").total.correct == 2


def test_written_trn_reads_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(" ** b (s-1)\n\t;; (S-2)\n(uh) (s-3)\n (s-4)\nc;n {d/@}(s-5)")
    first = read_transcripts(tmp_path / "a", ScoringOptions(), print)
    first.write_trn(tmp_path / "b")
    second = read_transcripts(tmp_path / "b", ScoringOptions(), print)
    assert list(second.lines) == [b"(s-1)", b"(s-2)", b"(s-3)", b"(s-4)", b"(s-5)"]
    assert [line.text.split() for line in second.lines.values()] == [
        line.text.split() for line in first.lines.values()
    ]


def test_kaldi_text_is_joined_by_key(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("u2 b c\nu1\nu3 c (uh)\n")
    (tmp_path / "utt2spk").write_text("u1 s1\nu2 s2\nu3 s1\n")
    notes: list[str] = []
    speakers = read_speakers(tmp_path / "utt2spk", notes.append)
    read = read_transcripts(
        tmp_path / "text", ScoringOptions(), notes.append, speakers=speakers
    )
    assert [line.identifier for line in read.lines.values()] == [
        b"(s2-u2)", b"(s1-u1)", b"(s1-u3)",
    ]  # fmt: skip
    assert [line.text.strip() for line in read.lines.values()] == [b"b c", b"", b"c (uh)"]
    assert notes == []


def test_kaldi_utterance_without_speaker(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("u1 a\nu2 b\n")
    with pytest.raises(DataError, match=r"text:2: utterance 'u2' is not in utt2spk; run utils/fix"):
        read_transcripts(tmp_path / "text", UTF8, print, speakers={b"u1": b"s"})


def test_speaker_with_hyphen_warns(tmp_path: Path) -> None:
    (tmp_path / "utt2spk").write_text("u1 sp0.9-ann\n")
    notes: list[str] = []
    read_speakers(tmp_path / "utt2spk", notes.append)
    assert "'sp0.9-ann': sclite, and this table, call that one 'sp0.9'" in notes[0]


@pytest.mark.parametrize(
    ("id_type", "identifier", "speaker"),
    [("rm", b"(a_b-c_d)", b"a_b"), ("swb", b"(a_b_c)", b"a"), ("spu_id", b"(ab)", None),
     ("wsj", b"(01ic0201)", b"01i"), ("sp", b"(x-y)", b"(x-y)")],
)  # fmt: skip
def test_speaker_of_each_id_type(id_type: str, identifier: bytes, speaker: bytes | None) -> None:
    assert speaker_of(identifier, ScoringOptions(id_type=id_type)) == speaker


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'wsj'"):
        ScoringOptions(id_type="wjs")
    with pytest.raises(ConfigError, match="need --char"):
        ScoringOptions(no_ascii=True)


def test_texts_in_memory() -> None:
    reference = {"u1": ["a", "b"], "u2": ["c"]}
    result = score_texts(reference, {"u2": ["c"], "u1": ["a", "x"]}, {"u1": "s", "u2": "t"})
    assert [u.name for u in result.utterances] == ["t-u2", "s-u1"]
    assert result.counts.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert result.error_rate == pytest.approx(100 / 3)
    with pytest.raises(DataError, match="utterance 'u1' is not in utt2spk"):
        score_texts(reference, reference, {"u2": "t"})


def test_a_text_is_not_taken_for_a_list_of_words():
    """Its characters would be words, and the error rate that of characters."""
    words, text = {"u-1": ["one", "two"]}, {"u-1": "one twp"}
    for name, arguments in (("reference", (text, words)), ("hypothesis", (words, text))):
        with pytest.raises(DataError, match=rf"{name}: utterance 'u-1': expected a list of words, found 'one twp'"):
            score_texts(*arguments)


@pytest.mark.parametrize(
    ("hypothesis", "counts"),
    [
        ("a } b", (2, 0, 0, 1)),
        ("} a b", (2, 0, 0, 1)),
        ("a x} b", (2, 0, 0, 1)),
        ("a { b", (2, 0, 0, 1)),  # sclite drops '{ b'
        ("x{y} a b", (2, 0, 0, 1)),  # sclite crashes
        ("{ { a / b", (2, 0, 0, 3)),
        ("{ a / c } b", (2, 0, 0, 0)),
        ("{ " * 2000 + "a" + " }" * 2000 + " b", (2, 0, 0, 4000)),
    ],
)
def test_any_brace_of_a_hypothesis_is_scored(sides: Sides, hypothesis: str, counts: tuple) -> None:
    result = sides.score("a b (s-1)\n", f"{hypothesis} (s-1)\n")
    assert result.utterances[0].counts == counts


def test_an_open_brace_of_a_hypothesis_is_told(sides: Sides) -> None:
    sides.score("a b (s-1)\n", "a { b (s-1)\n")
    assert "hyp:1: '{' in '{' opens no alternates; it is a word" in sides.warnings[0]


def test_a_byte_order_mark_is_told(sides: Sides) -> None:
    result = sides.score("\ufeffa b (s-1)\n", "a b (s-1)\n")
    assert result.total.substitutions == 1  # as sclite counts
    assert "ref:1: the file begins with a byte order mark" in sides.warnings[0]


def test_ids_that_differ_only_by_case_are_two(tmp_path: Path) -> None:
    reference = {"U1": ["a"], "u1": ["b"]}
    result = score_texts(reference, {"u1": ["b"], "U1": ["a"]}, {"u1": "s", "U1": "s"})
    assert [(u.name, u.errors) for u in result.utterances] == [("s-u1", 0), ("s-U1", 0)]
    assert "ids (s-U1) and (s-u1) differ only in case" in result.warnings[0]
    missing = score_texts(reference, {"U1": ["a"]}, {"u1": "s", "U1": "s"})
    assert [(u.name, u.errors) for u in missing.utterances] == [("s-U1", 0)]
    assert "reference (s-u1) has no hypothesis" in missing.warnings[1]


def test_kaldi_ids_join_whatever_their_case(sides: Sides) -> None:
    assert sides.score("S-1 a\n", "s-1 a\n").total.correct == 1
    assert sides.score("S-1 a\ns-1 b\n", "S-1 a\ns-1 b\n").total.errors == 0


@pytest.mark.parametrize(
    ("spaces", "counts"), [(True, (5, 1, 1, 0)), (False, (5, 1, 0, 0))]
)
def test_characters_with_and_without_spaces(sides: Sides, spaces: bool, counts: tuple) -> None:
    options = ScoringOptions(characters=True, spaces=spaces)
    result = sides.score("the cat (s-1)\n", "thecut (s-1)\n", options)
    assert result.utterances[0].counts == counts
    result = sides.score("the { cat / dog } (s-1)\n", "the dog (s-1)\n", options)
    assert result.utterances[0].counts == (6 + spaces, 0, 0, 0)


@pytest.mark.parametrize("optional_deletable", [False, True])
@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("a { uh / @ } b", "a b"),
        ("a { uh / @ } b", "a uh b"),
        ("{ uh / { er / @ } } b", "b"),
        ("a { uh / @ }", "a"),
        ("{ uh / @ } { um / @ }", "um"),
        ("a @ b", "@ a b"),
        ("a (uh) b", "a b"),
        ("(uh) (um) b", "um b"),
        ("(uh) (um) b (uh)", "b"),
        ("a (uh) b", "a uh b"),
    ],
)
def test_a_word_that_may_be_missing_takes_its_space_along(
    sides: Sides, reference: str, hypothesis: str, optional_deletable: bool
) -> None:
    if "(" in reference and not optional_deletable:
        pytest.skip("parentheses are characters")
    options = ScoringOptions(characters=True, spaces=True, optional_deletable=optional_deletable)
    result = sides.score(f"{reference} (s-1)\n", f"{hypothesis} (s-1)\n", options)
    assert result.total.errors == 0 < result.total.correct
    assert sides.score(f"{reference} (s-1)\n", f"{hypothesis} b (s-1)\n", options).total.errors > 0
