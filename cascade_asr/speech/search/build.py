"""Build the beam search for a model from decoding options."""

from __future__ import annotations

from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.networks.decoders.attention import has_own_loop
from cascade_asr.networks.decoders.rnn import RNNDecoder
from cascade_asr.networks.decoders.transformer import TransformerDecoder
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.networks.fast.inference import inference_form
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.model import ASRModel
from cascade_asr.speech.search.beam import BeamSearch, StartStep
from cascade_asr.speech.search.espnet_search import EspnetSearch
from cascade_asr.speech.search.rnn_step import RNNSteps
from cascade_asr.speech.search.transformer_step import TransformerSteps

_positions = espnet_module("espnet.nets.pytorch_backend.transformer.embedding")


def build_search(
    model: ASRModel, config: DecodeConfig, language_model: Any | None = None
) -> BeamSearch | EspnetSearch:
    """Our own search, or ESPnet's for a decoder that ours does not know.

    Args:
        model: model in evaluation mode, on its device.
        config: decoding options; a model without decoder is decoded with ``ctc_weight``
            1 and one without CTC with 0, whatever they say.
        language_model: scorer for the same tokens, if ``lm_weight`` is above 0.

    Raises:
        ConfigError: if nothing has a weight, or the language model is missing.
    """
    ctc_weight = config.ctc_weight
    if model.decoder is None:
        ctc_weight = 1.0
    elif model.ctc is None:
        ctc_weight = 0.0
    has_decoder = model.decoder is not None and ctc_weight < 1.0
    has_ctc = model.ctc is not None and ctc_weight > 0.0
    if not has_decoder and not has_ctc:
        raise ConfigError("decoding: neither CTC nor decoder has a weight")
    if config.lm_weight > 0.0 and language_model is None:
        raise ConfigError("decoding: lm_weight is above 0 but no language model was given")
    weights = {
        "decoder": 1.0 - ctc_weight,
        "ctc": ctc_weight,
        "lm": config.lm_weight,
        "length_bonus": config.penalty,
    }
    # a blank is not a token, and in the first step there is only one hypothesis
    width = min(config.beam_size, model.vocabulary_size - 1)
    if config.lm_weight <= 0.0:
        language_model = None
    starts: dict[str, StartStep] = {}
    if has_decoder:
        step = _decoder_step(model)
        if step is None:
            return EspnetSearch(model, config, weights, width, language_model)
        starts["decoder"] = step
    if language_model is not None:
        language_model.to(next(model.parameters()).device).eval()
        starts["lm"] = language_model.steps()
    return BeamSearch(
        starts=starts,
        ctc=inference_form(model.ctc).log_softmax if has_ctc else None,
        weights=weights,
        width=width,
        sentence_edge=model.sentence_edge,
        pre_beam=ctc_weight != 1.0,
        always_scores_edge=not isinstance(model.decoder, RNNDecoder),
        maxlenratio=config.maxlenratio,
        minlenratio=config.minlenratio,
    )


def _decoder_step(model: ASRModel) -> StartStep | None:
    """The function that starts scoring with the decoder; None if only ESPnet can do it."""
    decoder = model.decoder
    if type(decoder) is RNNDecoder and has_own_loop(decoder.att_list[0]):
        return RNNSteps(inference_form(decoder))
    if type(decoder) is TransformerDecoder:
        if type(decoder.embed[-1]) is _positions.PositionalEncoding:
            return TransformerSteps(inference_form(decoder))
    return None
