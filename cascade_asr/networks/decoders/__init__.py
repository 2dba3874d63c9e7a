"""Decoders: ESPnet's classes with ordered layers, faster in training.

To add a decoder, subclass ESPnet's class, give it ``layers``, let ``forward``
return only the logits, and add it to `DECODERS`; see `cascade_asr.networks.encoders`
for an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade_asr.errors import ConfigError, nearest, told
from cascade_asr.networks.decoders.attention import check_attention
from cascade_asr.networks.decoders.rnn import RNNDecoder
from cascade_asr.networks.decoders.transformer import TransformerDecoder
from cascade_asr.networks.espnet import quiet_espnet
from cascade_asr.networks.fast.products import use_linear
from cascade_asr.networks.layer import Decoder
from cascade_asr.options.signatures import check_conf

DECODERS: dict[str, type] = {
    "rnn": RNNDecoder,
    "transformer": TransformerDecoder,
}


def check_decoder(name: str, conf: Mapping[str, Any]) -> list[str]:
    """All problems with the ``decoder`` and ``decoder_conf`` entries of a configuration."""
    if name not in DECODERS:
        suggestion = nearest(name, DECODERS) or f"; there are: {', '.join(DECODERS)}"
        return [f"decoder: unknown decoder '{name}'{suggestion}"]
    given = ["vocab_size", "encoder_output_size"]
    problems = check_conf(DECODERS[name], conf, "decoder_conf", given=given)
    if name == "rnn":
        problems += check_attention(conf.get("att_conf", {}))
    return problems


def build_decoder(
    name: str, vocabulary_size: int, encoder_output_size: int, conf: Mapping[str, Any]
) -> Decoder:
    """Build a decoder from ESPnet2's configuration keys.

    Args:
        name: ESPnet2's name, a key of `DECODERS`.
        vocabulary_size: V; its last token is <sos/eos>.
        encoder_output_size: H, the width of the encoder output.
        conf: ``decoder_conf`` of the configuration.

    Raises:
        ConfigError: with all problems, if the name is unknown, or a key is
            unknown or misspelt, or a value is of the wrong type or refused.
    """
    problems = check_decoder(name, conf)
    if problems:
        raise ConfigError("\n".join(problems))
    sizes = {"vocab_size": vocabulary_size, "encoder_output_size": encoder_output_size}
    try:
        with quiet_espnet():
            decoder = DECODERS[name](**sizes, **conf)
    except Exception as error:  # whatever an ESPnet constructor raises for such values
        raise ConfigError(
            f"decoder_conf: {name} refuses this configuration: {told(error)}"
        ) from error
    use_linear(decoder)
    return decoder
