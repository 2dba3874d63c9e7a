"""From features to text, by joint CTC/attention/LM beam search or by the best CTC path.

Watanabe et al. 2017, sections II.C and III: the score of a partial hypothesis is
w CTC prefix score + (1 - w) attention score + g language model score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from cascade_asr.data.tokens import BLANK_ID
from cascade_asr.errors import ConfigError
from cascade_asr.networks.fast.inference import inference_form
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.loading import groups_of_like_lengths
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.search.build import build_search
from cascade_asr.speech.search.hypothesis import Hypothesis

LEAST_FILLED = 0.9  # share of the longest utterance's frames for joint encoding on a CPU
NO_TEXT = Hypothesis(tokens=[], score=float("-inf"), parts={})


class Recognizer:
    """Turns features into text, one utterance or a batch at a time.

    Args:
        model: model in evaluation mode, on its device.
        config: decoding options. A model without decoder is decoded with
            ``ctc_weight`` 1 and one without CTC with 0, whatever they say.
        language_model: scorer for the same tokens, if ``lm_weight`` is above 0
            (see `cascade_asr.lm.fusion`).

    Raises:
        ConfigError: if nothing has a weight, or the language model is missing.
    """

    def __init__(
        self, model: ASRModel, config: DecodeConfig, language_model: Any | None = None
    ) -> None:
        self.model = model
        self.config = config
        self._network = inference_form(model)
        if config.search == "ctc_best_path":
            if model.ctc is None:
                raise ConfigError("decoding: search ctc_best_path needs a model with a CTC layer")
            self._search = self._best_paths
        else:
            self._search = build_search(model, config, language_model)

    def recognize(self, features: torch.Tensor) -> tuple[str, float]:
        """The best hypothesis for the features (T, D) of one utterance.

        Returns:
            Its text and its score (weighted log-probability); an empty text if
            the search ends without any hypothesis.
        """
        return self.recognize_batch([features])[0]

    def recognize_batch(self, features: Sequence[torch.Tensor]) -> list[tuple[str, float]]:
        """The same for several utterances, (T, D) each."""
        return [(self.text(each[0]), each[0].score) for each in self.hypotheses(features)]

    def text(self, hypothesis: Hypothesis) -> str:
        """The text of a hypothesis."""
        return self.model.tokenizer.decode(hypothesis.tokens)

    def hypotheses(self, features: Sequence[torch.Tensor]) -> list[list[Hypothesis]]:
        """All hypotheses of several utterances, (T, D) each, best first.

        If the search ends without any, or there are too few frames for the
        encoder, there is one without tokens and with a score of minus infinity.
        """
        return [found for found, _ in self.with_ctc(features, False)]

    @torch.no_grad()
    def with_ctc(
        self, features: Sequence[torch.Tensor], wanted: bool = True
    ) -> list[tuple[list[Hypothesis], np.ndarray | None]]:
        """`hypotheses`, together with CTC's log-probabilities (T', V), for the times.

        These are None if they are not wanted, the model has no CTC layer or there
        are too few frames for the encoder.
        """
        encoder_output, encoder_lengths = self.encode(features)
        rows = (encoder_lengths >= 1).nonzero().flatten()
        result: list[tuple[list[Hypothesis], np.ndarray | None]]
        result = [([NO_TEXT], None) for _ in features]
        if len(rows):
            encoder_output = encoder_output[rows.to(encoder_output.device)]
            found = self._search(encoder_output, encoder_lengths[rows])
            ctc = None
            if wanted and self.model.ctc is not None:
                ctc = self._network.ctc.log_softmax(encoder_output).float().cpu().numpy()
            for place, (row, hypotheses) in enumerate(zip(rows.tolist(), found, strict=True)):
                own = None if ctc is None else ctc[place, : int(encoder_lengths[row])]
                result[row] = (hypotheses or [NO_TEXT], own)
        return result

    @torch.no_grad()
    def encode(self, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder output (B, T', H) of several utterances, and its lengths (B,) on the CPU.

        On a CPU, where a frame of padding costs as much as any other, only utterances of
        similar lengths pass through the encoder together; on a GPU all of them do.
        """
        device = next(self.model.parameters()).device
        frames = [each.size(0) for each in features]
        outputs: list[torch.Tensor] = [torch.empty(0)] * len(frames)
        lengths = torch.zeros(len(frames), dtype=torch.int64)
        least = getattr(self.model.encoder, "least_filled", LEAST_FILLED)
        for group in groups_of_like_lengths(frames, 0.0 if device.type == "cuda" else least):
            padded = pad_sequence([features[index] for index in group], batch_first=True)
            counts = torch.tensor([frames[index] for index in group])
            output, output_lengths = self._network.encode(padded.to(device), counts)
            lengths[group] = output_lengths.cpu()
            for row, index in enumerate(group):
                outputs[index] = output[row, : max(1, int(lengths[index]))]
        if len(outputs) == 1:
            return outputs[0].unsqueeze(0), lengths
        return pad_sequence(outputs, batch_first=True), lengths

    def _best_paths(
        self, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor
    ) -> list[list[Hypothesis]]:
        """The most probable CTC path of each utterance, and its log-probability."""
        scores, best = self._network.ctc.log_softmax(encoder_output).max(dim=2)  # (B, T')
        best, scores = best.cpu(), scores.double().cpu()
        found = []
        for row, length in enumerate(encoder_lengths.tolist()):
            path = best[row, :length].unique_consecutive()
            score = float(scores[row, :length].sum())
            tokens = path[path != BLANK_ID].tolist()
            found.append([Hypothesis(tokens, score, {"ctc": score})])
        return found
