"""The neural cache: a pointer to recent tokens, used only in evaluation.

Grave, Joulin, Usunier, "Improving Neural Language Models with a Continuous
Cache", ICLR 2017, equations 2 and 3, and Merity et al. 2018, section 6:

    p(w) = (1 - lambda) p_model(w) + lambda sum_i softmax_i(theta h_t . h_i) [w_i = w]

over the ``window`` latest pairs of a hidden vector h_i and the token w_i that
followed it. h is the output of the last LSTM layer. Departure from Merity's
code: the cache works from the second token on, not only once it is full.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from cascade_asr.errors import ConfigError
from cascade_asr.lm.perplexity import ScoredText, perplexity_of

BLOCK = 512  # tokens scored at a time


@torch.no_grad()
def cache_log_probabilities(
    scored: ScoredText,
    tokens: np.ndarray,
    window: int,
    theta: float,
    weight: float,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Log-probabilities of a text with the cache mixed in.

    Args:
        scored: the scored text, with hidden vectors.
        tokens: (N,) token ids.
        window: number of tokens in the cache.
        theta: flatness of the attention over them; larger is more peaked.
        weight: lambda, share of the cache.
        device: device to compute on.

    Returns:
        (N,) float64, natural logarithms.

    Raises:
        ConfigError: for a number that is out of range.
    """
    if window < 1 or not 0.0 <= weight <= 1.0:
        raise ConfigError(
            f"cache: window is {window}, expected 1 or more; weight is {weight}, expected 0 to 1"
        )
    assert scored.hidden is not None, "the cache needs hidden vectors"
    words = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)).to(device)
    model = scored.log_probabilities.exp()
    mixed = model.clone()
    for start in range(0, len(words), BLOCK):
        stop = min(start + BLOCK, len(words))
        first = max(0, start - window)
        queries = scored.hidden[start:stop].to(device)
        keys = scored.hidden[first:stop].to(device)
        attention = theta * queries @ keys.t()  # (tokens, cache)
        now = torch.arange(start, stop, device=device).unsqueeze(1)
        then = torch.arange(first, stop, device=device).unsqueeze(0)
        usable = (then < now) & (then >= now - window)
        attention = attention.masked_fill(~usable, -math.inf).softmax(dim=1)
        same = words[first:stop].unsqueeze(0) == words[start:stop].unsqueeze(1)
        pointer = (attention * same).sum(dim=1).double().cpu()
        here = (1 - weight) * model[start:stop] + weight * pointer
        if start == 0:
            here[0] = model[0]  # nothing to point to
        mixed[start:stop] = here
    return mixed.log()


def cache_perplexity(
    scored: ScoredText,
    tokens: np.ndarray,
    window: int,
    theta: float,
    weight: float,
    device: torch.device | str = "cpu",
) -> float:
    """Perplexity with the cache; arguments as for `cache_log_probabilities`."""
    mixed = cache_log_probabilities(scored, tokens, window, theta, weight, device)
    return perplexity_of(-float(mixed.mean()))
