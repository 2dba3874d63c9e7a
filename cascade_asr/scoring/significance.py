"""Is one system better than another? MAPSSWE and the paired bootstrap.

Gillick and Cox, "Some statistical issues in the comparison of speech
recognition algorithms", ICASSP 1989, section 4 (matched pairs); Bisani and Ney,
"Bootstrap estimates for confidence intervals in ASR performance evaluation",
ICASSP 2004.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cascade_asr.errors import ConfigError, DataError
from cascade_asr.scoring.alignment import CORRECT, INSERTION
from cascade_asr.scoring.score import Interval, ScoreResult

CONFIDENCE = 0.95
CRITICAL_Z = 1.96
BOUNDARY_WORDS = 2
DRAWS_PER_STEP = 2_000_000
UNITS = ("utterance", "speaker")


@dataclass(frozen=True)
class Mapsswe:
    """Matched-pairs sentence-segment word error test, as in NIST's sc_stats.

    Attributes:
        segments: number of segments with an error in either system.
        mean: mean over segments of (errors of A - errors of B).
        deviation: standard deviation of that difference, divisor n - 1.
        z: mean / (deviation / sqrt(segments)); 0 if all differences are equal.
        p: two-sided probability of such a z by chance; NaN if all differences are equal but not
            0: without variance there is no test, although sc_stats says "No".
        significant: whether |z| > 1.96.
    """

    segments: int
    mean: float
    deviation: float
    z: float
    p: float
    significant: bool

    def in_words(self, digits: int = 2) -> str:
        """``MAPSSWE Z 2.12, p 0.034``, or why there is no test; z with so many digits."""
        if math.isnan(self.p):
            each = f"{abs(self.mean):g} in each of {self.segments}" if self.segments > 1 else "only one"
            return f"no MAPSSWE test, without variance over segments ({each})"
        return f"MAPSSWE Z {self.z:.{digits}f}, {shown_probability('p', self.p)}"


@dataclass(frozen=True)
class Comparison:
    """System B against system A on the same utterances; rates in percent.

    Attributes:
        difference: error rate of B - error rate of A; negative if B is better.
        low: lower end of the 95% interval of the difference.
        high: upper end.
        probability_b_better: share of resampled sets in which B has the lower
            error rate; ties count half.
    """

    title_a: str
    title_b: str
    error_rate_a: float
    error_rate_b: float
    difference: float
    low: float
    high: float
    probability_b_better: float
    mapsswe: Mapsswe
    samples: int
    seed: int
    unit: str


def interval(
    result: ScoreResult, samples: int = 1000, seed: int = 0, unit: str = "utterance"
) -> Interval | None:
    """95% percentile interval of the error rate.

    Args:
        samples: number of sets resampled with replacement.
        seed: seed of the draws; the same seed gives the same interval.
        unit: draw utterances, or speakers (wider if speakers differ).

    Returns:
        The interval, or None without samples, without reference words, and for a single
        utterance or speaker, of which all resampled sets are equal.
    """
    if not _can_resample([result], samples, unit):
        return None
    low, high = np.quantile(_resampled_rates([result], samples, seed, unit)[0], _TAILS)
    return Interval(float(low), float(high), CONFIDENCE, samples, seed, unit)


_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def compare(
    result_a: ScoreResult,
    result_b: ScoreResult,
    samples: int = 1000,
    seed: int = 0,
    unit: str = "utterance",
) -> Comparison:
    """Compare two systems on the same utterances.

    The interval and the probability are NaN where there is no `interval`.

    Raises:
        DataError: if the systems were not scored on the same utterances.
    """
    pair = [result_a, matching(result_a, result_b)]
    probability, low, high = math.nan, math.nan, math.nan
    if _can_resample(pair, samples, unit):
        rates = _resampled_rates(pair, samples, seed, unit)
        difference = rates[1] - rates[0]
        probability = float(np.mean((difference < 0) + 0.5 * (difference == 0)))
        low, high = (float(value) for value in np.quantile(difference, _TAILS))
    return Comparison(
        result_a.title,
        result_b.title,
        result_a.error_rate,
        result_b.error_rate,
        result_b.error_rate - result_a.error_rate,
        low,
        high,
        probability,
        mapsswe(*pair),
        samples,
        seed,
        unit,
    )


def matching(result_a: ScoreResult, result_b: ScoreResult) -> ScoreResult:
    """The second result with its utterances in the order of the first.

    Raises:
        DataError: if an utterance is in only one of them.
    """
    by_id = {utterance.identifier: utterance for utterance in result_b.utterances}
    ids = [utterance.identifier for utterance in result_a.utterances]
    alone = sorted(set(ids) ^ set(by_id))
    if alone:
        raise DataError(
            f"{result_a.title} and {result_b.title} were scored on different utterances: "
            f"{len(alone)} are in only one of them, first {alone[0].decode('utf-8', 'replace')}; "
            "score both on the same set"
        )
    ordered = [by_id[identifier] for identifier in ids]
    return ScoreResult(result_b.title, ordered, result_b.options, result_b.warnings)


def _can_resample(results: list[ScoreResult], samples: int, unit: str) -> bool:
    """Whether resampled sets can differ in their error rates."""
    words = all(result.total.words for result in results)
    return samples > 0 and words and len(_errors_and_words(results[0], unit)) > 1


def _resampled_rates(
    results: list[ScoreResult], samples: int, seed: int, unit: str
) -> np.ndarray:
    """Error rates of resampled sets, (systems, samples), with the same draws for all."""
    sums = [_errors_and_words(result, unit) for result in results]
    units = len(sums[0])
    generator = np.random.default_rng(seed)
    rates = np.empty((len(results), samples))
    step = max(1, DRAWS_PER_STEP // units)
    for begin in range(0, samples, step):
        end = min(samples, begin + step)
        draws = generator.integers(units, size=(end - begin, units), dtype=np.int32)
        for system, packed in enumerate(sums):
            drawn = packed[draws].sum(axis=1)
            words = np.maximum(drawn & _LOW_HALF, 1)
            rates[system, begin:end] = 100.0 * (drawn >> 32) / words
    return rates


_LOW_HALF = (1 << 32) - 1


def _errors_and_words(result: ScoreResult, unit: str) -> np.ndarray:
    """(units,) int64: errors in the upper, reference words in the lower 32 bits.

    Drawing one number per unit costs half as much as drawing two.
    """
    if unit not in UNITS:
        raise ConfigError(f"--bootstrap-unit {unit}: choose one of {', '.join(UNITS)}")
    counts = result.counts
    packed = (counts[:, 1:].sum(axis=1) << 32) + counts[:, :3].sum(axis=1)
    if unit == "utterance":
        return packed
    numbers: dict[bytes, int] = {}
    groups = [numbers.setdefault(u.speaker, len(numbers)) for u in result.utterances]
    sums = np.zeros(len(numbers), np.int64)
    np.add.at(sums, groups, packed)
    return sums


def mapsswe(result_a: ScoreResult, result_b: ScoreResult) -> Mapsswe:
    """Run the matched-pairs test on results with the same order of utterances."""
    differences = [
        difference
        for a, b in zip(result_a.utterances, result_b.utterances)
        for difference in segment_differences(a.alignment.operations, b.alignment.operations)
    ]
    count = len(differences)
    mean = sum(differences) / count if count else 0.0
    squares = sum((difference - mean) ** 2 for difference in differences)
    deviation = math.sqrt(squares / (count - 1)) if squares else 0.0
    z = mean / (deviation / math.sqrt(count)) if deviation else 0.0
    p = math.nan if mean and not deviation else math.erfc(abs(z) / math.sqrt(2))
    return Mapsswe(count, mean, deviation, z, p, abs(z) > CRITICAL_Z)


def segment_differences(operations_a: bytes, operations_b: bytes) -> Iterator[int]:
    """Errors of A minus errors of B in each segment of one utterance.

    Both alignments are followed along their common reference. A segment ends
    where both systems have two correct words in a row; these belong to it, and
    so do the two correct words before it.

    >>> list(segment_differences(b"CCSCCCCDCC", b"CCCCCCCCCC"))
    [1, 1]
    """
    if operations_a == operations_b == b"C" * len(operations_a):
        return
    a = b = good_a = good_b = run = 0
    state = "good"
    while a < len(operations_a):
        while a < len(operations_a) and operations_a[a] == INSERTION:
            a, state = a + 1, "error"
        while b < len(operations_b) and operations_b[b] == INSERTION:
            b, state = b + 1, "error"
        both = operations_a[a : a + 1] == operations_b[b : b + 1] == b"C"
        if state == "good" and both:
            good_a, good_b = a, b
        elif not both:
            state = "error"
        else:
            run = run + 1 if state == "run" else 1
            state = "run"
            if run == BOUNDARY_WORDS:
                yield from _difference(operations_a[: a + 1], operations_b[: b + 1], good_a, good_b)
                good_a, good_b, state = a, b, "good"
        a, b = min(a + 1, len(operations_a)), min(b + 1, len(operations_b))
    if state != "good" or b < len(operations_b):
        yield from _difference(operations_a, operations_b, good_a, good_b)


def _difference(
    operations_a: bytes, operations_b: bytes, good_a: int, good_b: int
) -> Iterator[int]:
    """One segment's difference; nothing if neither system has an error."""
    errors = []
    for operations, good in ((operations_a, good_a), (operations_b, good_b)):
        segment = operations[max(0, good - (BOUNDARY_WORDS - 1)) :]
        errors.append(len(segment) - segment.count(CORRECT))
    if any(errors):
        yield errors[0] - errors[1]


def shown_probability(name: str, value: float) -> str:
    """``p 0.074``, ``p < 0.001``, ``P(better) > 0.999``: never exactly 0 or 1."""
    if value < 0.001:
        return f"{name} < 0.001"
    return f"{name} > 0.999" if value > 0.999 else f"{name} {value:.3f}"
