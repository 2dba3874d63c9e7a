"""Batches: every utterance once, none too large, the same plan every time."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_asr.data.batches import (
    BATCH_TYPES,
    BatchOptions,
    epoch_order,
    padding_share,
    plan_batches,
)
from cascade_asr.data.loader import merge_small
from cascade_asr.errors import ConfigError, DataError

corpora = st.integers(0, 60).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(1, 3000), min_size=count, max_size=count),
        st.lists(st.integers(0, 400), min_size=count, max_size=count),
    )
)


def as_lists(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


def size_limit(options: BatchOptions, frames: np.ndarray, tokens: np.ndarray) -> int:
    """Utterances that a folded batch may hold, by ESPnet2's rule."""
    longest = max(frames.max() // options.fold_length[0], tokens.max() // options.fold_length[1])
    return max(1, options.batch_size // (1 + longest))


@settings(max_examples=80, deadline=None)
@given(
    corpora,
    st.sampled_from(BATCH_TYPES),
    st.integers(1, 40_000),
    st.integers(1, 12),
    st.integers(1, 83),
)
def test_every_utterance_is_in_one_batch_and_no_batch_is_too_large(
    corpus, batch_type, bins, batch_size, dimension
):
    frames, tokens = (np.array(values, dtype=np.int64) for values in corpus)
    options = BatchOptions(batch_type, bins, batch_size)
    batches = plan_batches(frames, tokens, dimension, options)
    assert sorted(index for batch in as_lists(batches) for index in batch) == list(
        range(len(frames))
    )
    assert as_lists(plan_batches(frames, tokens, dimension, options)) == as_lists(batches)
    for batch in batches:
        longest_frames, longest_tokens = frames[batch].max(), tokens[batch].max()
        if len(batch) == 1:
            continue
        if batch_type == "numel":
            assert len(batch) * (longest_frames * dimension + longest_tokens) <= bins
        elif batch_type == "length":
            assert len(batch) * (longest_frames + longest_tokens) <= bins
        elif batch_type == "folded":
            assert len(batch) <= size_limit(options, frames[batch], tokens[batch])
        else:
            assert len(batch) <= batch_size


@settings(max_examples=60, deadline=None)
@given(corpora, st.sampled_from(("numel", "length")), st.integers(1, 40_000))
def test_a_batch_ends_only_where_the_next_utterance_does_not_fit(corpus, batch_type, bins):
    frames, tokens = (np.array(values, dtype=np.int64) for values in corpus)
    batches = plan_batches(frames, tokens, 4, BatchOptions(batch_type, bins))
    width = 4 if batch_type == "numel" else 1
    for batch, following in zip(batches, batches[1:], strict=False):
        with_next = np.append(batch, following[0])
        padded = frames[with_next].max() * width + tokens[with_next].max()
        assert len(with_next) * padded > bins


def test_batches_go_from_short_to_long_and_unsorted_keeps_the_order():
    frames = np.array([500, 20, 90, 20])
    tokens = np.array([5, 9, 2, 3])
    by_length = plan_batches(frames, tokens, 8, BatchOptions("sorted", batch_size=2))
    assert as_lists(by_length) == [[3, 1], [2, 0]]
    kept = plan_batches(frames, tokens, 8, BatchOptions("unsorted", batch_size=3))
    assert as_lists(kept) == [[0, 1, 2], [3]]


def test_numel_counts_padded_elements_by_hand():
    frames, tokens = np.array([10, 12, 12]), np.array([7, 1, 1])
    # two utterances padded to 12 frames of 5 features and 7 tokens: 2 x (60 + 7) = 134
    assert as_lists(plan_batches(frames, tokens, 5, BatchOptions("numel", 134))) == [[0, 1], [2]]
    assert as_lists(plan_batches(frames, tokens, 5, BatchOptions("numel", 133))) == [[0], [1, 2]]


def test_an_unknown_type_is_refused_with_those_that_exist():
    with pytest.raises(
        ConfigError, match="unknown batch_type 'bins'; expected one of numel, length"
    ):
        plan_batches(np.array([1]), np.array([1]), 1, BatchOptions("bins"))


def test_padding_share_by_hand():
    frames = np.array([10, 5, 8])
    # 2 x 10 + 8 = 28 frames, of which 5 are padding
    assert padding_share([np.array([0, 1]), np.array([2])], frames) == pytest.approx(5 / 28)
    assert padding_share([np.array([0]), np.array([1]), np.array([2])], frames) == 0.0


def test_sorting_keeps_the_padding_low():
    random = np.random.default_rng(0)
    frames, tokens = random.integers(100, 1500, 4000), random.integers(5, 60, 4000)
    bucketed = plan_batches(frames, tokens, 80, BatchOptions("numel", 1_000_000))
    shuffled = plan_batches(frames, tokens, 80, BatchOptions("unsorted", batch_size=16))
    assert padding_share(bucketed, frames) < 0.02 < 0.3 < padding_share(shuffled, frames)


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_only():
    order = epoch_order(500, seed=3, epoch=2)
    assert sorted(order) == list(range(500))
    assert np.array_equal(order, epoch_order(500, seed=3, epoch=2))
    assert not np.array_equal(order, epoch_order(500, seed=3, epoch=3))
    assert not np.array_equal(order, epoch_order(500, seed=4, epoch=2))
    # seed 2, epoch 3 is not seed 3, epoch 2
    assert not np.array_equal(order, epoch_order(500, seed=2, epoch=3))
    assert np.array_equal(epoch_order(5, seed=3, epoch=1, short_first=True), np.arange(5))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 8))
def test_small_batches_are_joined_no_more_than_needed(sizes, smallest):
    ends = np.cumsum([0, *sizes])
    batches = [np.arange(start, end) for start, end in zip(ends, ends[1:], strict=False)]
    if ends[-1] < smallest or not sizes:
        with pytest.raises(DataError, match="fewer utterances than training processes"):
            merge_small(batches, smallest)
        return
    merged = merge_small(batches, smallest)
    assert np.concatenate(merged).tolist() == list(range(ends[-1]))
    assert all(len(batch) >= smallest for batch in merged)
    # a batch grows by one neighbour at a time, and the last by a remainder smaller than smallest
    assert all(len(batch) < smallest + max(sizes) for batch in merged[:-1])
    assert len(merged[-1]) < 2 * smallest + max(sizes)
    if smallest == 1:
        assert as_lists(merged) == as_lists(batches)


def test_600_000_utterances_are_planned_in_seconds():
    random = np.random.default_rng(0)
    frames, tokens = random.integers(100, 1500, 600_000), random.integers(5, 60, 600_000)
    started = time.process_time()
    batches = plan_batches(frames, tokens, 80, BatchOptions("numel", 4_000_000))
    assert time.process_time() - started < 10
    assert sum(map(len, batches)) == 600_000
