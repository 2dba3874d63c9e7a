"""Switchboard's development set, and its training set without too many identical texts."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from cascade_asr.errors import DataError


def split(utterances: Mapping[str, str], dev_utterances: int) -> tuple[list[str], list[str]]:
    """Take the first utterances in byte order as development set, the others for training.

    Args:
        utterances: texts by utterance.
        dev_utterances: size of the development set.

    Raises:
        DataError: if nothing would be left to train on.
    """
    order = sorted(utterances)
    if len(order) <= dev_utterances:
        raise DataError(
            f"train_dev takes {dev_utterances} of {len(order)} utterances and leaves none to "
            "train on; use a smaller --dev-utterances"
        )
    return order[:dev_utterances], order[dev_utterances:]


def limit_repeats(texts: Mapping[str, str], limit: int, seed: int) -> list[str]:
    """Sorted utterances among which no text occurs more than ``limit`` times.

    Which utterances of a frequent text (``uh-huh``) are kept depends only on the seed and
    their ids. Kaldi's rule keeps as many on average, but different ones in each run.

    Args:
        texts: texts by utterance.
        limit: largest number of utterances with the same text.
        seed: any number.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for utterance, text in texts.items():
        groups[text].append(utterance)
    kept: list[str] = []
    for group in groups.values():
        if len(group) > limit:
            group = sorted(group, key=lambda name: _rank(name, seed))[:limit]
        kept += group
    return sorted(kept)


def _rank(utterance: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {utterance}".encode(), digest_size=8).digest()
