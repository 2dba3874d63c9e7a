"""Encoders: ESPnet's classes with ordered layers, independent of padding.

To add an encoder, subclass ESPnet's class, give it ``output_lengths`` and
``layers``, and add it to `ENCODERS`:

    class MyEncoder(espnet_module("espnet2.asr.encoder.my_encoder").MyEncoder):
        def forward(self, features, feature_lengths):
            output, lengths, _ = super().forward(features, feature_lengths)
            return zero_padding(output, lengths), lengths

        def output_lengths(self, feature_lengths):
            return feature_lengths // 2

        def layers(self):
            blocks = range(len(self.blocks))
            return [layer_of(self, "embed", ["embed"])] + [
                layer_of(self, f"block{i}", [f"blocks.{i}"]) for i in blocks
            ]

        def classifier_layers(self):
            return []

    ENCODERS["my"] = MyEncoder
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade_asr.errors import ConfigError, nearest, told
from cascade_asr.networks.encoders.rnn import RNNEncoder, VGGRNNEncoder
from cascade_asr.networks.encoders.self_attention import (
    ConformerEncoder,
    EBranchformerEncoder,
    TransformerEncoder,
)
from cascade_asr.networks.espnet import quiet_espnet
from cascade_asr.networks.fast.products import use_linear
from cascade_asr.networks.layer import Encoder
from cascade_asr.options.signatures import check_conf

ENCODERS: dict[str, type] = {
    "vgg_rnn": VGGRNNEncoder,
    "rnn": RNNEncoder,
    "transformer": TransformerEncoder,
    "conformer": ConformerEncoder,
    "e_branchformer": EBranchformerEncoder,
}


def check_encoder(name: str, conf: Mapping[str, Any]) -> list[str]:
    """All problems with the ``encoder`` and ``encoder_conf`` entries of a configuration."""
    if name not in ENCODERS:
        suggestion = nearest(name, ENCODERS) or f"; there are: {', '.join(ENCODERS)}"
        return [f"encoder: unknown encoder '{name}'{suggestion}"]
    return check_conf(ENCODERS[name], conf, "encoder_conf", given=["input_size"])


def build_encoder(name: str, input_size: int, conf: Mapping[str, Any]) -> Encoder:
    """Build an encoder from ESPnet2's configuration keys.

    Args:
        name: ESPnet2's name, a key of `ENCODERS`.
        input_size: D, the width of the features.
        conf: ``encoder_conf`` of the configuration.

    Raises:
        ConfigError: with all problems, if the name is unknown, or a key is
            unknown or misspelt, or a value is of the wrong type or refused.
    """
    problems = check_encoder(name, conf)
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        with quiet_espnet():
            encoder = ENCODERS[name](input_size=input_size, **conf)
    except Exception as error:  # whatever an ESPnet constructor raises for such values
        raise ConfigError(
            f"encoder_conf: {name} refuses this configuration: {told(error)}"
        ) from error
    use_linear(encoder)
    return encoder
