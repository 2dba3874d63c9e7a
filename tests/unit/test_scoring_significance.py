"""Intervals and comparisons: known values, symmetry, determinism."""

from __future__ import annotations

import math
import random

import pytest

from cascade_asr.errors import DataError
from cascade_asr.results.speech import sentence
from cascade_asr.scoring.changes import changes
from cascade_asr.scoring.scorer import score_texts
from cascade_asr.scoring.significance import compare, interval, segment_differences


def texts(words: list[str], wrong: int) -> tuple[dict, dict]:
    """100 one-word utterances, the first ``wrong`` of them misrecognised."""
    reference = {f"s{i % 5}-{i}": words[:1] for i in range(100)}
    hypothesis = {
        name: (["x"] if i < wrong else words[:1]) for i, name in enumerate(reference)
    }
    return reference, hypothesis


def test_interval_is_the_binomials() -> None:
    result = score_texts(*texts(["a"], 20))
    found = interval(result, samples=4000, seed=1)
    # 20% of 100 draws: standard deviation 4%, so 95% within about 12.2 and 27.8.
    assert found.low == pytest.approx(12.5, abs=1.0)
    assert found.high == pytest.approx(28.0, abs=1.0)
    assert found == interval(result, samples=4000, seed=1)
    assert found != interval(result, samples=4000, seed=2)
    assert interval(result, samples=0) is None


def test_interval_over_speakers_is_wider_where_speakers_differ() -> None:
    reference = {f"s{i % 5}-{i}": ["a"] for i in range(100)}
    hypothesis = {name: (["x"] if name.startswith("s1") else ["a"]) for name in reference}
    result = score_texts(reference, hypothesis)
    by_utterance, by_speaker = interval(result), interval(result, unit="speaker")
    assert by_speaker.high - by_speaker.low > 2 * (by_utterance.high - by_utterance.low)


def test_no_reference_words_give_no_interval() -> None:
    assert interval(score_texts({"a-1": []}, {"a-1": ["x"]})) is None


def test_one_utterance_or_speaker_gives_no_interval() -> None:
    """All sets resampled from it are equal: an interval of no width, and B better for certain."""
    words = "a b c d".split()
    one = [score_texts({"s-1": words}, {"s-1": text}) for text in (["x", *words[1:]], words)]
    assert one[0].error_rate == 25.0 and interval(one[0]) is None
    found = compare(*one)
    assert found.difference == -25.0
    assert all(math.isnan(each) for each in (found.low, found.high, found.probability_b_better))
    assert "-25.0 % WER, no MAPSSWE test, without variance over segments (only one)" in sentence("B against A", found)
    reference = {f"s-{number}": words for number in range(9)}
    speaker = [score_texts(reference, reference | {"s-1": ["x"]}), score_texts(reference, reference)]
    assert interval(speaker[0]) is not None and interval(speaker[0], unit="speaker") is None
    assert math.isnan(compare(*speaker, unit="speaker").probability_b_better)


def test_probability_that_b_is_better() -> None:
    reference, first = texts(["a"], 20)
    _, second = texts(["a"], 10)
    a, b = score_texts(reference, first, title="A"), score_texts(reference, second, title="B")
    better, worse = compare(a, b), compare(b, a)
    assert better.difference == -10.0
    assert better.probability_b_better > 0.99
    assert worse.probability_b_better == pytest.approx(1 - better.probability_b_better)
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low))
    same = compare(a, a)
    assert (same.probability_b_better, same.mapsswe.z, same.mapsswe.segments) == (0.5, 0.0, 20)


def test_mapsswe_by_hand() -> None:
    # One word per utterance: 30 segments, A alone is wrong in 20, B alone in 10.
    reference = {f"s-{i}": ["a"] for i in range(40)}
    first = {name: (["x"] if i < 20 else ["a"]) for i, name in enumerate(reference)}
    second = {name: (["x"] if 20 <= i < 30 else ["a"]) for i, name in enumerate(reference)}
    test = compare(score_texts(reference, first), score_texts(reference, second)).mapsswe
    mean, variance = 10 / 30, (30 - 100 / 30) / 29
    assert (test.segments, test.mean) == (30, pytest.approx(mean))
    assert test.z == pytest.approx(mean / math.sqrt(variance / 30))
    assert test.p == pytest.approx(0.0569, abs=5e-4)  # z = 1.904
    assert not test.significant


def test_without_variance_there_is_no_matched_pairs_test() -> None:
    """A system that is better by one error in each of 20 segments is not "not significant"."""
    reference = {f"s-{i}": ["a"] for i in range(40)}
    first = {name: (["x"] if i < 20 else ["a"]) for i, name in enumerate(reference)}
    compared = compare(score_texts(reference, first), score_texts(reference, reference))
    test = compared.mapsswe
    assert (test.segments, test.mean, test.z) == (20, 1.0, 0.0)  # as in sc_stats
    assert math.isnan(test.p) and compared.probability_b_better > 0.999
    told = sentence("B against A", compared)
    assert told.endswith(
        "P(better) > 0.999, no MAPSSWE test, without variance over segments (1 in each of 20)"
    )
    assert sentence("A against A", compare(*[score_texts(reference, first)] * 2)).endswith(
        "MAPSSWE Z 0.00, p > 0.999, not significant"
    )


@pytest.mark.parametrize(
    ("a", "b", "differences"),
    [
        (b"CCCC", b"CCCC", []),
        (b"CCSCCCCDCC", b"CCCCCCCCCC", [1, 1]),
        (b"CCSCDCC", b"CCCCCCC", [2]),
        (b"SCC", b"CCC", [1]),
        (b"CCC", b"CCCI", [-1]),
        (b"CCCI", b"CCC", [1]),
        (b"ICC", b"CSC", [0]),
    ],
)
def test_segments(a: bytes, b: bytes, differences: list[int]) -> None:
    assert list(segment_differences(a, b)) == differences


def test_segments_hold_all_errors() -> None:
    draw = random.Random(3)
    for _ in range(300):
        a, b = (bytes(draw.choices(b"CCCCSDI", k=draw.randint(0, 20))) for _ in range(2))
        words = max(len(a.replace(b"I", b"")), len(b.replace(b"I", b"")))
        a += b"C" * (words - len(a.replace(b"I", b"")))
        b += b"C" * (words - len(b.replace(b"I", b"")))
        errors = [len(side) - side.count(b"C") for side in (a, b)]
        assert sum(segment_differences(a, b)) == errors[0] - errors[1]


def test_different_utterances_cannot_be_compared() -> None:
    a = score_texts({"a-1": ["x"], "a-2": ["x"]}, {"a-1": ["x"], "a-2": ["x"]}, title="A")
    b = score_texts({"a-1": ["x"], "a-2": ["x"]}, {"a-1": ["x"]}, title="B")
    with pytest.raises(DataError, match=r"1 are in only one of them, first \(a-2\)"):
        compare(a, b)


def test_table_of_changes() -> None:
    reference = {"s-1": "a b c".split(), "s-2": "d e".split(), "s-3": ["f"]}
    a = score_texts(reference, {"s-1": "a x c".split(), "s-2": "d e".split(), "s-3": ["f"]})
    b = score_texts(reference, {"s-1": "a b c".split(), "s-2": "d".split(), "s-3": ["f"]})
    table = changes(a, b)
    assert [(c.utterance, c.change, c.mended, c.broken) for c in table] == [
        ("s-2", 1, "", "e"),
        ("s-1", -1, "b", ""),
    ]
    assert (table[0].reference, table[0].hypothesis_a, table[0].hypothesis_b) == ("d e", "d e", "d")
