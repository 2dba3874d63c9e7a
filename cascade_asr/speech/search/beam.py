"""The beam search: a grid of B utterances by K hypotheses, one token per step.

It finds what ESPnet 202511's ``asr_inference`` finds, which searches in two ways:
with ``BatchBeamSearch`` if every scorer can score hypotheses together (always except
for the RNN decoder), and with ``BeamSearch``. They differ if CTC scores only the
candidates of a pre-beam: the first always scores the sentence edge too.

Two departures, in cases where ESPnet fails: hypotheses longer than the encoder
output are impossible for CTC (ESPnet: IndexError), and a blank is never a token
(ESPnet allows one if the beam is as wide as the vocabulary).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from cascade_asr.data.tokens import BLANK_ID
from cascade_asr.speech.search.ctc_prefix import CTCPrefix
from cascade_asr.speech.search.ending import RETRY_STEP, EndDetection, length_bounds
from cascade_asr.speech.search.hypothesis import History, Hypothesis

PRE_BEAM_RATIO = 1.5


class Step(Protocol):
    """Scores the next token of every hypothesis of a grid, keeping its own states."""

    def scores(self, tokens: torch.Tensor) -> torch.Tensor:
        """Last tokens (B x K,) to log-probabilities (B x K, V)."""

    def select(self, rows: torch.Tensor) -> None:
        """Replace the hypotheses by those of ``rows``, which may be fewer."""

    def keep(self, utterances: torch.Tensor) -> None:
        """Drop all utterances except these (B',)."""


# from encoder output (B, T', H), lengths (B,) and K to a step
StartStep = Callable[[torch.Tensor, torch.Tensor, int], Step]


@dataclass
class BeamSearch:
    """Joint search with decoder, CTC and language model.

    Attributes:
        starts: functions that start scoring a batch, by name: ``decoder``, ``lm``.
        ctc: maps encoder output (B, T', H) to log-probabilities (B, T', V); None: no CTC.
        weights: weights of ``decoder``, ``lm``, ``ctc`` and ``length_bonus``.
        width: K, hypotheses kept.
        sentence_edge: the token that begins and ends hypotheses.
        pre_beam: whether CTC scores only the most likely candidates.
        always_scores_edge: whether the sentence end is a candidate even then.
    """

    starts: dict[str, StartStep]
    ctc: Callable[[torch.Tensor], torch.Tensor] | None
    weights: dict[str, float]
    width: int
    sentence_edge: int
    pre_beam: bool
    always_scores_edge: bool
    maxlenratio: float = 0.0
    minlenratio: float = 0.0

    def __call__(
        self, encoder_output: torch.Tensor, lengths: torch.Tensor
    ) -> list[list[Hypothesis]]:
        """Search a batch (B, T', H) with these lengths (B,), each at least 1.

        Returns:
            For each utterance, all hypotheses that ended, best first.
        """
        found = self._search(encoder_output, lengths, self.minlenratio)
        ratio = self.minlenratio
        while ratio >= RETRY_STEP and not all(found):
            ratio = max(0.0, ratio - RETRY_STEP)
            empty = [index for index, each in enumerate(found) if not each]
            again = self._search(encoder_output[empty], lengths[empty], ratio)
            for index, hypotheses in zip(empty, again, strict=True):
                found[index] = hypotheses
        return found

    def _search(
        self, encoder_output: torch.Tensor, lengths: torch.Tensor, minlenratio: float
    ) -> list[list[Hypothesis]]:
        grid = _Grid(self, encoder_output, lengths)
        bounds = [
            length_bounds(frames, self.maxlenratio, minlenratio) for frames in lengths.tolist()
        ]
        found: list[list[Hypothesis]] = [[] for _ in bounds]
        histories = [History() for _ in bounds]
        detections = [EndDetection() for _ in bounds]
        running = [index for index, (longest, _) in enumerate(bounds) if longest > 0]
        if running and len(running) < len(bounds):
            grid.keep(running)
        step = 0
        while running:
            scores, parents, tokens, parts = grid.advance().lists()
            staying = []
            for row, index in enumerate(running):
                longest, shortest = bounds[index]
                histories[index].add(parents[row], tokens[row])
                is_last = step == longest - 1
                goes_on = False
                for slot, (token, score) in enumerate(zip(tokens[row], scores[row], strict=True)):
                    if score == -torch.inf:
                        continue
                    if not is_last and token != self.sentence_edge:
                        goes_on = True
                    elif step >= shortest:
                        ended = histories[index].read(slot)
                        if is_last:
                            ended.append(self.sentence_edge)
                        named = {
                            name: values[row][slot]
                            for name, values in zip(grid.part_names, parts, strict=True)
                        }
                        found[index].append(Hypothesis(ended, score, named))
                        detections[index].add(step, score)
                is_over = self.maxlenratio == 0.0 and detections[index].is_over(step)
                if goes_on and not is_over:
                    staying.append(row)
            if staying and len(staying) < len(running):
                grid.keep(staying)
            running = [running[row] for row in staying]
            step += 1
        for hypotheses in found:
            hypotheses.sort(key=lambda each: each.score, reverse=True)
        return found


@dataclass
class _Told:
    """What a step sends to the host, in one transfer.

    Attributes:
        values: (3 + P, B, K) float64: scores, parents, tokens, and parts of the scores.
    """

    values: torch.Tensor

    def lists(
        self,
    ) -> tuple[list[list[float]], list[list[int]], list[list[int]], list[list[list[float]]]]:
        """Scores, parents and tokens (B, K), and parts (P, B, K)."""
        parents, tokens = self.values[1:3].long().tolist()
        return self.values[0].tolist(), parents, tokens, self.values[3:].tolist()


class _Grid:
    """The running hypotheses, on the device."""

    def __init__(
        self, search: BeamSearch, encoder_output: torch.Tensor, lengths: torch.Tensor
    ) -> None:
        self._search = search
        self._steps = {
            name: start(encoder_output, lengths, search.width)
            for name, start in search.starts.items()
        }
        self._ctc = None
        if search.ctc is not None:
            self._ctc = CTCPrefix(
                search.ctc(encoder_output), lengths, search.width, search.sentence_edge
            )
        self.part_names = [*self._steps, *(["ctc"] if self._ctc else [])]
        if search.weights.get("length_bonus"):
            self.part_names.append("length_bonus")
        size = (lengths.size(0), search.width)
        device = encoder_output.device
        self._first_slots = torch.arange(size[0], device=device).unsqueeze(1) * search.width
        self._tokens = torch.full(size, search.sentence_edge, device=device)
        self._totals = torch.full(size, -torch.inf, dtype=torch.float64, device=device)
        self._totals[:, 0] = 0.0  # in the first step there is only one hypothesis
        self._parts = torch.zeros(
            len(self.part_names), *size, dtype=torch.float64, device=device
        )

    def advance(self) -> _Told:
        """Extend the hypotheses by one token."""
        search = self._search
        size = self._tokens.shape
        last = self._tokens.flatten()
        full = {
            name: step.scores(last).unflatten(0, size).double()
            for name, step in self._steps.items()
        }
        weighted = sum(search.weights[name] * scores for name, scores in full.items())
        candidates, ctc = None, None
        if self._ctc is not None:
            candidates = self._candidates(weighted) if full else None
            ctc = self._ctc.scores(candidates)
            if candidates is not None:
                weighted = weighted.gather(2, candidates)
                full = {name: scores.gather(2, candidates) for name, scores in full.items()}
            weighted = weighted + search.weights["ctc"] * ctc
            weighted = self._without_blanks(weighted, candidates)
            weighted = self._without_repeats(weighted, candidates)
        bonus = search.weights.get("length_bonus", 0.0)
        weighted = weighted + bonus + self._totals.unsqueeze(2)
        scores, best = weighted.flatten(1).topk(search.width, dim=1)
        parents = best // weighted.size(2)
        tokens = best % weighted.size(2)
        if candidates is not None:
            tokens = candidates.flatten(1).gather(1, best)
        gained = [each.flatten(1).gather(1, best) for each in full.values()]
        if ctc is not None:
            gained.append(ctc.flatten(1).gather(1, best))
        if bonus:
            gained.append(torch.ones_like(scores))
        before = self._parts.gather(2, parents.expand(len(gained), -1, -1))
        self._parts = before + torch.stack(gained)
        self._select(best, parents, tokens)
        self._tokens = tokens
        self._totals = scores.masked_fill(tokens == search.sentence_edge, -torch.inf)
        told = torch.cat([torch.stack([scores, parents.double(), tokens.double()]), self._parts])
        return _Told(told.cpu())

    def keep(self, rows: list[int]) -> None:
        """Continue with only these utterances of the grid."""
        utterances = torch.tensor(rows, device=self._tokens.device)
        width = self._tokens.size(1)
        slots = torch.arange(width, device=utterances.device)
        flat = (utterances.unsqueeze(1) * width + slots).flatten()
        for step in self._steps.values():
            step.select(flat)
            step.keep(utterances)
        if self._ctc is not None:
            self._ctc.keep(utterances)
        self._tokens, self._totals = self._tokens[utterances], self._totals[utterances]
        self._parts = self._parts[:, utterances]

    def _candidates(self, weighted: torch.Tensor) -> torch.Tensor | None:
        """The most likely tokens (B, K, C) before CTC; None: all of them."""
        search = self._search
        size = int(PRE_BEAM_RATIO * search.width)
        if not search.pre_beam or size >= weighted.size(2):
            return None
        candidates = weighted.topk(size, dim=2).indices
        if search.always_scores_edge:
            edge = torch.full_like(candidates[:, :, :1], search.sentence_edge)
            candidates = torch.cat([candidates, edge], dim=2)
        return candidates

    def _without_blanks(
        self, weighted: torch.Tensor, candidates: torch.Tensor | None
    ) -> torch.Tensor:
        if self._search.width == 1:
            return weighted  # it may be the only candidate
        if candidates is not None:
            return weighted.masked_fill(candidates == BLANK_ID, -torch.inf)
        blank = torch.tensor([BLANK_ID], device=weighted.device)
        return weighted.index_fill(2, blank, -torch.inf)

    def _without_repeats(
        self, weighted: torch.Tensor, candidates: torch.Tensor | None
    ) -> torch.Tensor:
        """Count the added sentence edge only where it was not yet a candidate."""
        if candidates is None or not self._search.always_scores_edge:
            return weighted
        is_there = (candidates[:, :, :-1] == self._search.sentence_edge).any(dim=2)
        added = weighted[:, :, -1:].masked_fill(is_there.unsqueeze(2), -torch.inf)
        return torch.cat([weighted[:, :, :-1], added], dim=2)

    def _select(self, best: torch.Tensor, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        rows = (self._first_slots[: parents.size(0)] + parents).flatten()
        for step in self._steps.values():
            step.select(rows)
        if self._ctc is not None:
            self._ctc.advance(best, parents, tokens)
