"""Whether weights compute the same thing under another configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade_asr.data.features.cmvn import SpeakerMVN
from cascade_asr.networks.decoders import DECODERS
from cascade_asr.networks.encoders import ENCODERS
from cascade_asr.options.signatures import constructor_signature
from cascade_asr.speech.build import NORMALIZATIONS
from cascade_asr.speech.config import TrainConfig

# options of encoders and decoders that do not change what a trained network computes
_FREE = ("layer_drop_rate", "stochastic_depth_rate", "sampling_probability", "use_flash_attn",
         "gradient_checkpoint_layers")  # fmt: skip


def differences(
    model: TrainConfig, given: TrainConfig, reads_features: bool = True
) -> list[str]:
    """Options of ``given`` with which the weights of ``model`` would compute something different.

    Dropout and the like may differ; many other options, such as the number of
    attention heads, do not show in the shapes of the weights.

    Args:
        model: the configuration that the weights were trained with.
        given: the configuration that they are to be used with.
        reads_features: the weights include those of the lowest layer, which depends on
            how its input is normalised.
    """
    problems = []
    parts = [("encoder", ENCODERS)]
    if model.model_conf.ctc_weight < 1.0:
        parts.append(("decoder", DECODERS))
    for part, classes in parts:
        name, other = getattr(model, part), getattr(given, part)
        if name != other:
            problems.append(f"{part}: the model has {name}, not {other}")
            continue
        blocks = [
            _with_defaults(classes[name], getattr(each, f"{part}_conf")) for each in (model, given)
        ]
        problems += _differing(*blocks, f"{part}_conf")
    if not reads_features:
        return problems
    if model.normalize != given.normalize:
        problems.append(f"normalize: the model has {model.normalize}, not {given.normalize}")
    elif model.normalize is not None:
        kind = NORMALIZATIONS.get(model.normalize, SpeakerMVN)
        blocks = [_with_defaults(kind, each.normalize_conf) for each in (model, given)]
        problems += _differing(*blocks, "normalize_conf")
    return problems


def _with_defaults(target: type, conf: Mapping[str, Any]) -> dict[str, Any]:
    """A block of options completed with defaults, including nested blocks."""
    defaults = {name: each.default for name, each in constructor_signature(target).items()}
    full = defaults | dict(conf)
    for name, (function, _) in getattr(target, "nested", {}).items():
        full[name] = _with_defaults(function, full.get(name) or {})
    return full


def _differing(model: dict[str, Any], given: dict[str, Any], where: str) -> list[str]:
    problems = []
    for key in model.keys() | given.keys():
        mine, theirs = model.get(key), given.get(key)
        if "dropout" in key or key in _FREE or mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            problems += _differing(mine, theirs, f"{where}.{key}")
        else:
            problems.append(f"{where}.{key}: the model has {mine!r}, not {theirs!r}")
    return sorted(problems)
