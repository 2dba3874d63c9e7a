"""What results say about convergence: a few words per row, a sentence about full training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cascade_asr.results.measures import shown
from cascade_asr.training.convergence import in_words


def how_many_converged(verdicts: Sequence[bool | None]) -> str:
    """``converged``, ``not converged``, ``-``, or ``2 of 3 converged`` if seeds differ."""
    if len(set(verdicts)) == 1:
        return in_words(verdicts[0])
    return f"{sum(map(bool, verdicts))} of {len(verdicts)} converged"


def convergence_sentences(
    verdicts: Sequence[Mapping[str, Any] | None], metric: str, gain_of_longer: float | None
) -> list[str]:
    """Whether full training had converged, judged by its own epochs and against ``longer``.

    If more training alone improves full training, a gain of the cascade says little about
    the cascade. So full training counts as converged only if ``longer``, too, gains no
    more than the margin, in the metric that the margin refers to.

    Args:
        verdicts: on full training, one per seed (`Convergence.record`); None in older records.
        metric: the dev metric used for selection.
        gain_of_longer: mean gain of the control ``longer`` over it in the metric of the
            verdicts; None if that is unknown.
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
    judged = {each["metric"] for each in known}
    if gain_of_longer is None or len(judged) > 1:
        return [f"{sentence}."]
    judged_by, margin = judged.pop(), max(each["margin"] for each in known)
    unit = "" if judged_by == metric else f" of {judged_by}"
    if gain_of_longer > margin:
        return [
            f"{sentence}, but not compared with longer, which gains "
            f"{shown(gain_of_longer, judged_by)}{unit}, more than the margin of {margin:.4g}."
        ]
    return [f"{sentence}, and longer gains no more than the margin of {margin:.4g}{unit}."]
