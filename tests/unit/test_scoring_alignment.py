"""The alignment: hand-made cases, and the fast method against the plain recursion."""

from __future__ import annotations

import random

import pytest

from cascade_asr.scoring.alignment import align_networks, align_words
from cascade_asr.scoring.network import read_network
from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.scorer import score_texts
from cascade_asr.scoring.words import plain_words, split_characters

OPTIONAL = ScoringOptions(optional_deletable=True)
FRAGMENTS = ScoringOptions(fragments=True)


def network(text: str, options: ScoringOptions = ScoringOptions()):
    return read_network(text.encode(), options, "here", lambda message: None)


def operations(reference: str, hypothesis: str, options: ScoringOptions = ScoringOptions()) -> str:
    return align_networks(
        network(reference, options), network(hypothesis, options)
    ).operations.decode()


def textbook(reference: list[bytes], hypothesis: list[bytes]) -> bytes:
    """Costs 4, 3, 3 and sclite's ties, one cell at a time."""
    cost = {(0, 0): 0}
    move = {}
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            if i == j == 0:
                continue
            far = 10**9
            diagonal = deletion = insertion = far
            if i and j:
                same = reference[i - 1] == hypothesis[j - 1]
                diagonal = cost[i - 1, j - 1] + (0 if same else 4)
            if i:
                deletion = cost[i - 1, j] + 3
            if j:
                insertion = cost[i, j - 1] + 3
            if diagonal <= deletion and diagonal <= insertion:
                cost[i, j], move[i, j] = diagonal, "C" if same else "S"
            elif deletion < insertion:
                cost[i, j], move[i, j] = deletion, "D"
            else:
                cost[i, j], move[i, j] = insertion, "I"
    i, j, path = len(reference), len(hypothesis), ""
    while i or j:
        step = move[i, j]
        path = step + path
        i, j = i - (step != "I"), j - (step != "D")
    return path.encode()


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b b a", "c c c a b", "SSSCI"),
        ("d b c", "c a e", "SSS"),
        ("a b", "b c", "DCI"),
        ("", "a", "I"),
        ("a", "", "D"),
        ("", "", ""),
        ("a b c", "a b c", "CCC"),
    ],
)
def test_ties_are_broken_as_in_sclite(reference: str, hypothesis: str, expected: str) -> None:
    pair = (reference.encode().split(), hypothesis.encode().split())
    assert align_words([pair]) == [expected.encode()]
    assert operations(reference, hypothesis) == expected


def test_batches_equal_the_textbook_recursion() -> None:
    draw = random.Random(1)
    pairs = []
    for _ in range(600):
        vocabulary = [b"a", b"b", b"c", b"d"][: draw.randint(1, 4)]
        pairs.append(tuple(draw.choices(vocabulary, k=draw.randint(0, 14)) for _ in range(2)))
    assert align_words(pairs) == [textbook(*pair) for pair in pairs]


def test_networks_equal_batches_on_plain_words() -> None:
    draw = random.Random(2)
    for _ in range(100):
        sides = [" ".join(draw.choices("abc", k=draw.randint(0, 8))) for _ in range(2)]
        pair = tuple(side.encode().split() for side in sides)
        assert operations(*sides).encode() == align_words([pair])[0]


def test_lengths_do_not_disturb_each_other_in_a_batch() -> None:
    long = ([b"x"] * 300 + [b"y"], [b"z"] * 290)
    short = ([b"a"], [b"b"])
    assert align_words([long, short]) == [textbook(*long), b"S"]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("{ a / b c / { d / @ } } x", "b c x", "CCC"),
        ("{ a / b c / { d / @ } } x", "x", "C"),
        ("{ a / b c / { d / @ } } x", "d x", "CC"),
        ("{ / a / } x", "x", "DC"),
        ("@ a @", "a", "C"),
        ("a", "@", "D"),
    ],
)
def test_alternates_and_null_words(reference: str, hypothesis: str, expected: str) -> None:
    assert operations(reference, hypothesis) == expected


def test_optional_words_count_as_correct_when_missing() -> None:
    alignment = align_networks(network("a (uh) b", OPTIONAL), network("a b", OPTIONAL))
    assert alignment.operations == b"CCC"
    assert list(alignment.hypothesis) == [b"a", b"", b"b"]
    assert operations("(uh) b", "uh b", OPTIONAL) == "CC"
    assert operations("a (uh) b", "a b") == "CDC"


@pytest.mark.parametrize(
    ("reference", "hypothesis", "same"),
    [("wh-", "what", True), ("-ing", "going", True), ("going", "-ing", True),
     ("wh-", "that", False), ("-", "what", False), ("-ing", "ng", False)],
)  # fmt: skip
def test_fragments(reference: str, hypothesis: str, same: bool) -> None:
    assert operations(reference, hypothesis, FRAGMENTS) == ("C" if same else "S")
    assert operations("wh-", "what") == "S"


def test_characters() -> None:
    utf8 = ScoringOptions(encoding="utf-8", characters=True)
    assert plain_words("née".encode(), utf8) == ["n".encode(), "é".encode(), b"e"]
    assert len(plain_words("née".encode(), ScoringOptions(characters=True))) == 4
    whole = ScoringOptions(encoding="utf-8", characters=True, no_ascii=True, delete_hyphen=True)
    assert split_characters("ab-c中d".encode(), whole) == [b"abc", "中".encode(), b"d"]


def test_only_ascii_letters_are_folded() -> None:
    total = score_texts({"u": ["CAT", "É"]}, {"u": ["cat", "é"]}).total
    assert (total.correct, total.substitutions) == (1, 1)
    sensitive = ScoringOptions(case_sensitive=True)
    assert score_texts({"u": ["CAT"]}, {"u": ["cat"]}, options=sensitive).error_rate == 100.0
