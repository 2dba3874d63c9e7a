"""Decoding options with ESPnet2's keys."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.options.schema import from_mapping, option
from cascade_asr.yaml_file import read_yaml


@dataclass
class DecodeConfig:
    """One decoding, as conf/decode.yaml writes it."""

    search: str = option("beam", "beam, or ctc_best_path: CTC without a search, in no time")
    beam_size: int = option(10, "hypotheses kept")
    ctc_weight: float = option(0.5, "share of the CTC score; 1 is CTC alone")
    penalty: float = option(0.0, "score added for each token")
    maxlenratio: float = option(
        0.0,
        "longest hypothesis by encoder frames; 0: until it ends itself; negative: tokens",
    )
    minlenratio: float = option(0.0, "shortest hypothesis by encoder frames; negative: tokens")
    lm_weight: float = option(0.0, "weight of the language model's score; 0: without one")
    lm: str | None = option(None, "folder of a trained language model, such as exp/lm/full")
    batch_frames: int = option(
        6000, "feature frames decoded together, padding included: bounds the memory"
    )


def load_decode_config(path: Path) -> DecodeConfig:
    """Read decoding options.

    Raises:
        ConfigError: with every unknown key and every wrong value.
    """
    content, lines = read_yaml(path)
    config = from_mapping(DecodeConfig, content, str(path), lines)
    problems = []
    if config.search not in ("beam", "ctc_best_path"):
        problems.append(f"search is '{config.search}', expected beam or ctc_best_path")
    if config.search == "ctc_best_path" and config.lm_weight > 0.0:
        problems.append("lm_weight needs a search: write search: beam, or leave lm_weight out")
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{field.name} is {value}, expected a finite number")
    if config.batch_frames < 1:
        problems.append(f"batch_frames is {config.batch_frames}, expected 1 or more")
    if config.beam_size < 1:
        problems.append(f"beam_size is {config.beam_size}, expected 1 or more")
    if not 0.0 <= config.ctc_weight <= 1.0:
        problems.append(f"ctc_weight is {config.ctc_weight}, expected 0 to 1")
    if config.lm_weight < 0.0:
        problems.append(f"lm_weight is {config.lm_weight}, expected 0 or more")
    if config.lm_weight > 0.0 and not config.lm:
        problems.append("lm_weight needs lm: the folder of a language model, such as exp/lm/full")
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return config
