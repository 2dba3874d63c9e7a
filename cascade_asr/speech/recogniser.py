"""Joint CTC/attention/LM beam search, by ESPnet's search over our model.

Watanabe et al. 2017, sections II.C and III: the score of a partial hypothesis is
w CTC prefix score + (1 - w) attention score + g language model score.
"""

from __future__ import annotations

from typing import Any

import torch

from cascade_asr.errors import ConfigError
from cascade_asr.networks.espnet import espnet_module, quiet_espnet
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.model import ASRModel

BatchScorer = espnet_module("espnet.nets.scorer_interface").BatchScorerInterface
BatchBeamSearch = espnet_module("espnet.nets.batch_beam_search").BatchBeamSearch
BeamSearch = espnet_module("espnet.nets.beam_search").BeamSearch
CTCPrefixScorer = espnet_module("espnet.nets.scorers.ctc").CTCPrefixScorer
LengthBonus = espnet_module("espnet.nets.scorers.length_bonus").LengthBonus


class Recognizer:
    """Turns features into text.

    Args:
        model: in evaluation mode, on its device.
        config: decoding options. A model without decoder is decoded with
            ``ctc_weight`` 1 and one without CTC with 0, whatever they say.
        language_model: scorer of the same tokens, where ``lm_weight`` is above 0
            (see `cascade_asr.lm.fusion`).

    Raises:
        ConfigError: if nothing has a weight, or the language model is missing.
    """

    def __init__(
        self, model: ASRModel, config: DecodeConfig, language_model: Any | None = None
    ) -> None:
        self.model = model
        self.config = config
        if config.search == "ctc_best_path":
            if model.ctc is None:
                raise ConfigError("decoding: search ctc_best_path needs a model with a CTC layer")
            return
        ctc_weight = config.ctc_weight
        if model.decoder is None:
            ctc_weight = 1.0
        elif model.ctc is None:
            ctc_weight = 0.0
        scorers = {"length_bonus": LengthBonus(model.vocabulary_size)}
        if model.decoder is not None and ctc_weight < 1.0:
            scorers["decoder"] = model.decoder
        if model.ctc is not None and ctc_weight > 0.0:
            scorers["ctc"] = CTCPrefixScorer(ctc=model.ctc, eos=model.sentence_edge)
        if len(scorers) == 1:
            raise ConfigError("decoding: neither CTC nor decoder has a weight")
        if config.lm_weight > 0.0:
            if language_model is None:
                raise ConfigError("decoding: lm_weight is above 0 but no language model was given")
            scorers["lm"] = language_model
        batched = all(isinstance(scorer, BatchScorer) for scorer in scorers.values())
        self.search = (BatchBeamSearch if batched else BeamSearch)(
            scorers=scorers,
            weights={
                "decoder": 1.0 - ctc_weight,
                "ctc": ctc_weight,
                "lm": config.lm_weight,
                "length_bonus": config.penalty,
            },
            # in ESPnet's first step there are as many hypotheses as tokens, and a blank among
            # them would win: the CTC scores of what follows it add up to 0
            beam_size=min(config.beam_size, model.vocabulary_size - 1),
            vocab_size=model.vocabulary_size,
            sos=model.sentence_edge,
            eos=model.sentence_edge,
            token_list=model.tokenizer.tokens,
            pre_beam_score_key=None if ctc_weight == 1.0 else "full",
        )
        self.search.to(next(model.parameters()).device).eval()

    @torch.no_grad()
    def recognize(self, features: torch.Tensor) -> tuple[str, float]:
        """The best hypothesis for the features (T, D) of one utterance.

        Returns:
            Its text and its score (log-probability, weighted); an empty text
            where the search ends without any hypothesis.
        """
        device = next(self.model.parameters()).device
        lengths = torch.tensor([features.size(0)])
        encoder_output, encoder_lengths = self.model.encode(features[None].to(device), lengths)
        if int(encoder_lengths[0]) < 1:
            return "", float("-inf")
        if self.config.search == "ctc_best_path":
            return self._best_path(encoder_output, encoder_lengths)
        with quiet_espnet():
            hypotheses = self.search(
                encoder_output[0],
                maxlenratio=self.config.maxlenratio,
                minlenratio=self.config.minlenratio,
            )
        if not hypotheses:
            return "", float("-inf")
        best = hypotheses[0]
        tokens = [int(token) for token in best.yseq[1:]]
        return self.model.tokenizer.decode(tokens), float(best.score)

    def _best_path(
        self, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor
    ) -> tuple[str, float]:
        """The text of the most probable CTC path (1, T', H), and that path's log-probability."""
        (tokens,) = self.model.ctc_best_paths(encoder_output, encoder_lengths)
        score = self.model.ctc.log_softmax(encoder_output)[0].amax(dim=1).sum()
        return self.model.tokenizer.decode(tokens), float(score)
