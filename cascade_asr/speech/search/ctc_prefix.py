"""CTC scores of hypotheses that grow by one token, for a whole grid at once.

Watanabe et al. 2017, "Hybrid CTC/Attention Architecture", algorithm 2. The
recursion over frames has a closed form: with X the cumulative log-probability of
a token, the paths that end in it at frame t sum to

    r_n[t] = X[t] + log sum_{s <= t} exp(phi[s-1] - X[s-1]),

a cumulative log-sum; likewise for those that end in a blank. Candidates need
only their prefix score, which is one matrix product; the sums are computed for the
hypotheses that stay. All in float64. Axes: B utterances, K hypotheses, T frames.
"""

from __future__ import annotations

import torch

from cascade_asr.data.tokens import BLANK_ID

IMPOSSIBLE = -1.0e10  # log-probability of the impossible, as in ESPnet
LEAST_PRODUCT = -600.0  # below this log-probability a product of float64 may underflow
FEW_CANDIDATES = 8  # with this many times more tokens, scoring only candidates is cheaper


class CTCPrefix:
    """Scores the next tokens of a grid of hypotheses.

    Args:
        log_probabilities: (B, T, V), from the CTC layer.
        lengths: (B,) int64, frames of each utterance.
        width: K, hypotheses per utterance.
        sentence_edge: the token that ends a hypothesis.
    """

    def __init__(
        self, log_probabilities: torch.Tensor, lengths: torch.Tensor, width: int, sentence_edge: int
    ) -> None:
        frames = torch.arange(log_probabilities.size(1), device=log_probabilities.device)
        self._valid = frames < lengths.to(frames.device).unsqueeze(1)  # (B, T)
        self._invalid = ~self._valid.unsqueeze(1)  # (B, 1, T)
        scores = log_probabilities.transpose(1, 2).double().clamp(min=IMPOSSIBLE)  # (B, V, T)
        self._frame_scores = scores.masked_fill(self._invalid, 0.0)
        self._by_product = bool(self._frame_scores.min() > LEAST_PRODUCT)
        self._probabilities = self._frame_scores.exp() * self._valid.unsqueeze(1)
        last_frame = (lengths.to(frames.device) - 1).view(-1, 1, 1)
        self._last_frame = last_frame.repeat(1, width, 1)  # (B, K, 1)
        vocabulary = log_probabilities.size(2)
        self._first_rows = torch.arange(len(lengths), device=frames.device).unsqueeze(1) * vocabulary
        self._edge = sentence_edge
        blanks = self._frame_scores[:, BLANK_ID].cumsum(dim=1)
        self._blanks = blanks.unsqueeze(1)  # (B, 1, T)
        self._ending_in_blank = blanks.unsqueeze(1).repeat(1, width, 1)  # (B, K, T)
        self._ending_in_token = torch.full_like(self._ending_in_blank, IMPOSSIBLE)
        self._before_first = 0.0  # log-probability of being at the start before frame 0
        self._prefix = blanks.new_zeros(blanks.size(0), width)
        self._last_tokens = torch.full(
            self._prefix.shape, -1, dtype=torch.int64, device=frames.device
        )

    def scores(self, candidates: torch.Tensor | None) -> torch.Tensor:
        """What each candidate token adds to the score of its hypothesis.

        Args:
            candidates: (B, K, C) int64; None: all V tokens.

        Returns:
            (B, K, C) or (B, K, V) float64.
        """
        total = torch.logaddexp(self._ending_in_token, self._ending_in_blank)
        sums = self._summed(self._shifted(total), candidates)
        last = self._last_tokens.unsqueeze(2)
        if candidates is None:
            candidates = torch.arange(sums.size(2), device=sums.device)
        repeated = self._summed_for(self._shifted(self._ending_in_blank), self._last_tokens)
        sums = torch.where(candidates == last, repeated.unsqueeze(2), sums)
        ended = total.gather(2, self._last_frame)
        sums = torch.where(candidates == self._edge, ended, sums)
        sums = sums.masked_fill(candidates == BLANK_ID, IMPOSSIBLE)
        self._sums = sums
        return sums - self._prefix.unsqueeze(2)

    def advance(self, best: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Replace the hypotheses by ``parents`` extended by ``tokens``, (B, K) each.

        Args:
            best: (B, K), their positions among all K x C candidates.
            parents: slots of the grid.
            tokens: ids.
        """
        rows = parents.unsqueeze(2).expand(-1, -1, self._ending_in_blank.size(2))
        in_token = self._ending_in_token.gather(1, rows)
        in_blank = self._ending_in_blank.gather(1, rows)
        same = (tokens == self._last_tokens.gather(1, parents)).unsqueeze(2)
        before = torch.where(same, in_blank, torch.logaddexp(in_token, in_blank))
        self._prefix = self._sums.flatten(1).gather(1, best)
        shifted = self._shifted(before)
        frame_scores = self._rows(self._frame_scores, tokens)  # (B, K, T)
        cumulated = frame_scores.cumsum(dim=2)
        in_token = cumulated + (shifted - (cumulated - frame_scores)).logcumsumexp(dim=2)
        self._before_first = IMPOSSIBLE
        entered = self._shifted(in_token) - self._shifted(self._blanks, 0.0)
        self._ending_in_token = in_token
        self._ending_in_blank = self._blanks + entered.logcumsumexp(dim=2)
        self._last_tokens = tokens

    def keep(self, utterances: torch.Tensor) -> None:
        """Drop all utterances of the grid except these (B',)."""
        for name in ("_valid", "_invalid", "_frame_scores", "_probabilities", "_last_frame", "_blanks",
                     "_ending_in_blank", "_ending_in_token", "_prefix", "_last_tokens"):  # fmt: skip
            setattr(self, name, getattr(self, name)[utterances])
        self._first_rows = self._first_rows[: len(utterances)]

    def _shifted(self, values: torch.Tensor, first: float | None = None) -> torch.Tensor:
        """Values (B, K, T) shifted by one frame; in front, the value before the first frame."""
        first = self._before_first if first is None else first
        return torch.cat([torch.full_like(values[:, :, :1], first), values[:, :, :-1]], dim=2)

    def _summed(self, before: torch.Tensor, candidates: torch.Tensor | None) -> torch.Tensor:
        """log sum_t exp(before[t] + frame score[t]) of tokens: (B, K, T) to (B, K, C or V)."""
        before = before.masked_fill(self._invalid, -torch.inf)
        if not self._by_product:
            return self._summed_slowly(before, candidates)
        largest = before.amax(dim=2, keepdim=True)
        shares = (before - largest).exp()
        vocabulary = self._probabilities.size(1)
        if candidates is not None and FEW_CANDIDATES * candidates.size(2) < vocabulary:
            rows = self._rows(self._probabilities, candidates.flatten(1)).unflatten(1, candidates.shape[1:])
            sums = torch.matmul(rows, shares.unsqueeze(3)).squeeze(3)
        else:
            sums = torch.matmul(shares, self._probabilities.transpose(1, 2))
            sums = sums if candidates is None else sums.gather(2, candidates)
        return (largest + sums.log()).clamp(min=2 * IMPOSSIBLE)

    def _summed_slowly(
        self, before: torch.Tensor, candidates: torch.Tensor | None
    ) -> torch.Tensor:
        """The same without a matrix product, one hypothesis at a time to save memory."""
        sums = []
        for slot in range(before.size(1)):
            scores = self._frame_scores
            if candidates is not None:
                scores = self._rows(scores, candidates[:, slot])
            sums.append((before[:, slot : slot + 1] + scores).logsumexp(dim=2))
        return torch.stack(sums, dim=1).clamp(min=2 * IMPOSSIBLE)

    def _summed_for(self, before: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The same for one token of each hypothesis, (B, K)."""
        before = before.masked_fill(self._invalid, -torch.inf)
        scores = self._rows(self._frame_scores, tokens.clamp(min=0))
        return (before + scores).logsumexp(dim=2).clamp(min=2 * IMPOSSIBLE)

    def _rows(self, values: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Values (B, V, T) of tokens (B, N): (B, N, T)."""
        rows = (self._first_rows + tokens).flatten()
        return values.flatten(0, 1).index_select(0, rows).unflatten(0, tokens.shape)
