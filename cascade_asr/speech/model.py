"""Hybrid CTC/attention speech recognition model, which is given its parts.

Watanabe et al., "Hybrid CTC/Attention Architecture for End-to-End Speech
Recognition", IEEE JSTSP 2017: loss = w CTC + (1 - w) attention. Pure CTC (w = 1,
no decoder) and pure attention (w = 0, no CTC layer) are the extremes. The state
dict has the names of ESPnet2's ``ESPnetASRModel``.
"""

from __future__ import annotations

from dataclasses import replace

import jiwer
import torch
from torch import nn

from cascade_asr.data.kaldi.blanks import BLANKS, words
from cascade_asr.data.loader import Batch
from cascade_asr.data.tokens import BLANK_ID, IGNORE_ID, Tokenizer
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.layer import Layer, merged
from cascade_asr.networks.lower_layers import keeping
from cascade_asr.training.frozen_outputs import FrozenOutputs
from cascade_asr.training.protocols import Statistics, WithoutTrainingState

LabelSmoothingLoss = espnet_module(
    "espnet.nets.pytorch_backend.transformer.label_smoothing_loss"
).LabelSmoothingLoss

class ASRModel(nn.Module, WithoutTrainingState):
    """Encoder with a classifier consisting of CTC layer and attention decoder.

    Args:
        tokenizer: knows the V tokens; the last one is ``<sos/eos>``.
        encoder: see `cascade_asr.networks.layer.Encoder`.
        decoder: see `cascade_asr.networks.layer.Decoder`; None for pure CTC.
        ctc: `cascade_asr.networks.ctc.CTC`; None for pure attention.
        ctc_weight: share of the CTC loss, 0 to 1.
        lsm_weight: label smoothing of the attention loss.
        length_normalized_loss: divide the attention loss by tokens instead of
            utterances.
        normalize: maps features and lengths to normalised ones; or None.
        specaug: maps features and lengths to masked ones; or None. Training only.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        encoder: nn.Module,
        decoder: nn.Module | None,
        ctc: nn.Module | None,
        ctc_weight: float,
        lsm_weight: float = 0.0,
        length_normalized_loss: bool = False,
        normalize: nn.Module | None = None,
        specaug: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.vocabulary_size = len(tokenizer.tokens)
        self.sentence_edge = self.vocabulary_size - 1
        self.ctc_weight = ctc_weight
        self.length_normalized_loss = length_normalized_loss
        self.specaug = specaug
        self.normalize = normalize
        self.encoder = encoder
        self.frozen_outputs: FrozenOutputs | None = None  # of its lower layers, during training
        self.decoder = decoder
        self.ctc = ctc
        self.attention_loss = LabelSmoothingLoss(self.vocabulary_size, IGNORE_ID, lsm_weight)

    def encode(
        self, features: torch.Tensor, feature_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, T, D) and lengths (B,) to encoder output (B, T', H) and (B,)."""
        if self.training and self.specaug is not None:
            features, feature_lengths = self.specaug(features.clone(), feature_lengths)
        if self.normalize is not None:
            features, feature_lengths = self.normalize(features.clone(), feature_lengths)
        return self.encoder(features, feature_lengths)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, Statistics]:
        """The loss of a batch, summed over its utterances, and what to log.

        In evaluation the statistics include the CER and WER of the best CTC
        path without a beam (``cer_ctc``, ``wer_ctc``, in percent).
        """
        kept = self.frozen_outputs and self.frozen_outputs.of(batch.utterances, batch.features)
        with keeping(kept):
            encoder_output, encoder_lengths = self.encode(batch.features, batch.feature_lengths)
        size = len(batch)
        statistics: Statistics = {}
        loss = encoder_output.new_zeros((), dtype=torch.float32)
        if self.ctc is not None:
            ctc_loss = self.ctc.losses(
                encoder_output, encoder_lengths, batch.tokens, batch.token_lengths
            ).sum()
            statistics["loss_ctc"] = (ctc_loss.detach(), size)
            loss = loss + self.ctc_weight * ctc_loss
            if not self.training:
                statistics |= self._greedy_errors(encoder_output, encoder_lengths, batch)
        if self.decoder is not None:
            attention_loss, accuracy = self._attention(encoder_output, encoder_lengths, batch)
            statistics["loss_att"] = (attention_loss.detach(), size)
            statistics["acc"] = accuracy
            loss = loss + (1 - self.ctc_weight) * attention_loss
        statistics["loss"] = (loss.detach(), size)
        return loss, statistics

    def _attention(
        self, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, float]]:
        """Attention loss summed over utterances, and (right, all) tokens."""
        tokens_in, tokens_out = add_sentence_edges(batch.tokens, self.sentence_edge)
        logits = self.decoder(encoder_output, encoder_lengths, tokens_in, batch.token_lengths + 1)
        logits = logits.float()
        loss = self.attention_loss(logits, tokens_out) * len(batch)
        total = float((batch.token_lengths + 1).sum())
        if self.length_normalized_loss:
            loss = loss * len(batch) / total
        right = (logits.argmax(dim=-1) == tokens_out).sum()  # padding is -1 and never right
        return loss, (right, total)

    def _greedy_errors(
        self, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor, batch: Batch
    ) -> Statistics:
        references, hypotheses = [], []
        for row, best_path in enumerate(self.ctc_best_paths(encoder_output, encoder_lengths)):
            tokens = batch.tokens[row, : batch.token_lengths[row]].tolist()
            references.append(self.tokenizer.decode(tokens))
            hypotheses.append(self.tokenizer.decode(best_path))
        return error_statistics(references, hypotheses, "_ctc")

    def ctc_best_paths(
        self, encoder_output: torch.Tensor, encoder_lengths: torch.Tensor
    ) -> list[list[int]]:
        """Token ids of the best CTC path of each utterance: no repeats, no blanks."""
        paths = self.ctc.argmax(encoder_output).cpu()
        result = []
        for path, length in zip(paths, encoder_lengths.tolist(), strict=True):
            tokens = torch.unique_consecutive(path[:length]).tolist()
            result.append([token for token in tokens if token != BLANK_ID])
        return result

    def metric_names(self, split: str) -> list[str]:
        """Names of the statistics that ``forward`` returns for ``train`` or ``valid``."""
        names = ["loss"]
        if self.ctc is not None:
            names += ["loss_ctc"] + (["cer_ctc", "wer_ctc"] if split == "valid" else [])
        if self.decoder is not None:
            names += ["loss_att", "acc"]
        return names

    def layers(self, grain: str = "layer") -> list[Layer]:
        """Layers from input to output; the last one is the classifier.

        CTC layer and decoder are side by side on top of the encoder, with whatever
        normalises the encoder output: together they are the classifier.

        Args:
            grain: with ``module`` the encoder is one layer; with ``layer`` its layers
                are separate; with ``fine`` the decoder's are too, below a classifier
                of output layer and CTC.
        """
        with_classifier = getattr(self.encoder, "classifier_layers", list)()
        layers, top = [], []
        for layer in self.encoder.layers():
            (top if layer.name in with_classifier else layers).append(layer.prefixed("encoder"))
        if grain == "module":
            layers = [merged("encoder", layers)]
        parts = [name for name in ("ctc", "decoder") if getattr(self, name) is not None]
        if grain == "fine" and self.decoder is not None:
            *lower, output = (layer.prefixed("decoder") for layer in self.decoder.layers())
            layers += lower
            top.append(output)
            parts.remove("decoder")
        top += [_whole(getattr(self, name), name) for name in parts]
        aliases = (*parts, *(layer.name for layer in top if layer.name not in parts))
        return [*layers, replace(merged("classifier", top), aliases=aliases)]


def _whole(part: nn.Module, name: str) -> Layer:
    """A submodule as one layer."""
    dropouts = tuple(key for key, each in part.named_modules() if isinstance(each, nn.Dropout))
    layer = Layer(
        name="",
        parameters=tuple(key for key, _ in part.named_parameters()),
        buffers=tuple(key for key, _ in part.named_buffers()),
        dropouts=dropouts,
    )
    return replace(layer.prefixed(name), name=name)


def add_sentence_edges(
    tokens: torch.Tensor, sentence_edge: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decoder input and target from (B, U) tokens padded with -1.

    Returns:
        ``<sos> y1 … yU`` padded with ``<eos>``, and ``y1 … yU <eos>`` padded
        with -1; both (B, U+1).
    """
    batch = tokens.size(0)
    lengths = (tokens != IGNORE_ID).sum(dim=1, keepdim=True)
    edge = tokens.new_full((batch, 1), sentence_edge)
    tokens_in = torch.cat([edge, tokens.masked_fill(tokens == IGNORE_ID, sentence_edge)], dim=1)
    tokens_out = torch.cat([tokens, tokens.new_full((batch, 1), IGNORE_ID)], dim=1)
    return tokens_in, tokens_out.scatter(1, lengths, sentence_edge)


def _words(texts: list[str]) -> list[list[str]]:
    return [words(text) for text in texts]


def _characters(texts: list[str]) -> list[list[str]]:
    return [list(text.strip(BLANKS)) for text in texts]


def error_statistics(references: list[str], hypotheses: list[str], suffix: str) -> Statistics:
    """Quick CER and WER by jiwer, in percent: unit costs, not sclite's, but sclite's words.

    jiwer's own transforms would also split words at Unicode blanks.
    """
    pairs = [
        (reference, hypothesis)
        for reference, hypothesis in zip(references, hypotheses, strict=True)
        if words(reference)
    ]
    if not pairs:
        return {}
    references, hypotheses = map(list, zip(*pairs, strict=True))
    statistics = {}
    for name, cut in (("cer", _characters), ("wer", _words)):
        output = jiwer.process_words(references, hypotheses, cut, cut)
        errors = output.substitutions + output.deletions + output.insertions
        total = output.substitutions + output.deletions + output.hits
        statistics[name + suffix] = (100.0 * errors, float(total))
    return statistics
