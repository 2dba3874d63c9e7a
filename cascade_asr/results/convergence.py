"""What results say of convergence: of rows in words, of full training in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cascade_asr.results.measures import shown
from cascade_asr.training.convergence import in_words


def how_many_converged(verdicts: Sequence[bool | None]) -> str:
    """``converged``, ``not converged``, ``-``, or ``2 of 3 converged`` where seeds differ."""
    if len(set(verdicts)) == 1:
        return in_words(verdicts[0])
    return f"{sum(map(bool, verdicts))} of {len(verdicts)} converged"


def convergence_sentences(
    verdicts: Sequence[Mapping[str, Any] | None], metric: str, gain_of_longer: float | None
) -> list[str]:
    """Whether full training had converged: by its own epochs, and beside a longer training.

    A cascade after a training that more training alone improves says little of the
    cascade. So full training counts as converged where ``longer`` gains no more on it
    than the margin, too; that is compared where the margin is of the metric that selects.

    Args:
        verdicts: on full training, one a seed (`Convergence.record`); None where it is older.
        metric: the dev metric that selects.
        gain_of_longer: mean gain of the control ``longer`` on it; None where it was not run.
    """
    known = [each for each in verdicts if each is not None]
    if len(known) < len(verdicts):
        return []
    converged = [each["converged"] for each in known]
    seeds = f" ({sum(converged)} of {len(known)} seeds)" if len(known) > 1 else ""
    if not all(converged):
        why = f": {known[0]['reason']}" if len(known) == 1 else ""
        return [f"Full training has not converged{seeds}{why}."]
    sentence = f"Full training has converged by its own epochs{seeds}"
    if gain_of_longer is None or any(each["metric"] != metric for each in known):
        return [f"{sentence}."]
    margin = max(each["margin"] for each in known)
    if gain_of_longer > margin:
        return [
            f"{sentence}, but not beside longer, which gains {shown(gain_of_longer, metric)}, more than "
            f"the margin of {margin:.4g}."
        ]
    return [f"{sentence}, and longer gains no more than the margin of {margin:.4g}."]
