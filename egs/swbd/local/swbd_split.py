"""Switchboard's development set, and its training set without too many equal texts."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from cascade_asr.errors import DataError


def split(utterances: Mapping[str, str], dev_utterances: int) -> tuple[list[str], list[str]]:
    """The first utterances in byte order are the development set, the others train.

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
    """Utterances such that no text is there more than ``limit`` times; sorted.

    Which ones of a frequent text (``uh-huh``) stay depends on the seed and their ids
    alone. Kaldi's rule keeps as many on average, others at each run.

    Args:
        texts: by utterance.
        limit: of utterances with the same text.
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
