"""ESPnet's beam search, for decoders that our own search does not know."""

from __future__ import annotations

from typing import Any

import torch

from cascade_asr.networks.espnet import espnet_module, quiet_espnet
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.search.ending import length_bounds
from cascade_asr.speech.search.hypothesis import Hypothesis

_BatchScorer = espnet_module("espnet.nets.scorer_interface").BatchScorerInterface
_BatchBeamSearch = espnet_module("espnet.nets.batch_beam_search").BatchBeamSearch
_BeamSearch = espnet_module("espnet.nets.beam_search").BeamSearch
_CTCPrefixScorer = espnet_module("espnet.nets.scorers.ctc").CTCPrefixScorer
_LengthBonus = espnet_module("espnet.nets.scorers.length_bonus").LengthBonus


class EspnetSearch:
    """Searches one utterance at a time, as ESPnet's ``asr_inference`` does.

    Args:
        model: model with a decoder that is one of ESPnet's scorers.
        config: decoding options.
        weights: weights of ``decoder``, ``ctc``, ``lm`` and ``length_bonus``.
        width: number of hypotheses kept.
        language_model: one of ESPnet's scorers, or None.
    """

    def __init__(
        self,
        model: ASRModel,
        config: DecodeConfig,
        weights: dict[str, float],
        width: int,
        language_model: Any | None,
    ) -> None:
        self._config = config
        self._has_ctc = model.ctc is not None and weights["ctc"] > 0.0
        scorers = {"decoder": model.decoder, "length_bonus": _LengthBonus(model.vocabulary_size)}
        if self._has_ctc:
            scorers["ctc"] = _CTCPrefixScorer(ctc=model.ctc, eos=model.sentence_edge)
        if language_model is not None:
            scorers["lm"] = language_model
        batched = all(isinstance(scorer, _BatchScorer) for scorer in scorers.values())
        self._search = (_BatchBeamSearch if batched else _BeamSearch)(
            scorers=scorers,
            weights=weights,
            beam_size=width,
            vocab_size=model.vocabulary_size,
            sos=model.sentence_edge,
            eos=model.sentence_edge,
            token_list=model.tokenizer.tokens,
            pre_beam_score_key="full",
        )
        self._search.to(next(model.parameters()).device).eval()

    def __call__(
        self, encoder_output: torch.Tensor, lengths: torch.Tensor
    ) -> list[list[Hypothesis]]:
        """For each utterance of (B, T', H) and (B,), all hypotheses that ended, best first."""
        return [
            self._one(encoder_output[row, :length]) for row, length in enumerate(lengths.tolist())
        ]

    def _one(self, encoder_output: torch.Tensor) -> list[Hypothesis]:
        maxlenratio = self._config.maxlenratio
        longest, _ = length_bounds(encoder_output.size(0), maxlenratio, 0.0)
        if self._has_ctc and longest > encoder_output.size(0):
            maxlenratio = -float(encoder_output.size(0))  # ESPnet's CTC ends at the last frame
        with quiet_espnet():
            found = self._search(encoder_output, maxlenratio, self._config.minlenratio)
        return [
            Hypothesis(
                tokens=[int(token) for token in each.yseq[1:]],
                score=float(each.score),
                parts={name: float(value) for name, value in each.scores.items()},
            )
            for each in found
        ]
