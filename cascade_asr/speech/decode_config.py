"""Decoding options with ESPnet2's keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cascade_asr.options.schema import from_mapping, option
from cascade_asr.yaml_file import read_yaml


@dataclass
class DecodeConfig:
    """Options of a decoding, as in conf/decode.yaml."""

    search: str = option("beam", "beam, or ctc_best_path: CTC without a search, almost instant")
    beam_size: int = option(10, "hypotheses kept", least=1, most=10_000)
    nbest: int = option(1, "texts written per utterance, best first", least=1, most=10_000)
    ctc_weight: float = option(0.5, "share of the CTC score; 1 is pure CTC", least=0, most=1)
    penalty: float = option(0.0, "score added for each token")
    maxlenratio: float = option(
        0.0,
        "longest hypothesis in tokens per encoder frame; 0: until it ends itself; negative: tokens",
    )
    minlenratio: float = option(0.0, "shortest hypothesis in tokens per encoder frame; negative: tokens")
    lm_weight: float = option(0.0, "weight of the language model's score; 0: no language model", least=0)
    lm: str | None = option(None, "folder of a trained language model, such as exp/lm/full")
    batch_frames: int = option(
        6000, "feature frames decoded together, padding included; limits memory", least=1
    )


def load_decode_config(path: Path) -> DecodeConfig:
    """Read decoding options.

    Raises:
        ConfigError: listing every unknown key and every wrong value.
    """
    content, lines = read_yaml(path)
    return from_mapping(DecodeConfig, content, str(path), lines, _relations)


def changed(config: DecodeConfig, options: Mapping[str, Any], where: str) -> DecodeConfig:
    """Decoding options with some replaced, all of them checked as those of a file.

    Args:
        config: options, which need not come from a file.
        options: new values by name.
        where: where the new values stand, for the messages.

    Raises:
        ConfigError: listing every unknown name and every wrong value.
    """
    return from_mapping(DecodeConfig, {**asdict(config), **options}, where, {}, _relations)


def _relations(config: DecodeConfig) -> list[str]:
    problems = []
    if config.search not in ("beam", "ctc_best_path"):
        problems.append(f"search is '{config.search}', expected beam or ctc_best_path")
    if config.search == "ctc_best_path" and config.lm_weight > 0.0:
        problems.append("lm_weight needs a search: write search: beam, or leave lm_weight out")
    if config.search == "ctc_best_path" and config.nbest > 1:
        problems.append("nbest needs a search: ctc_best_path finds one text; write search: beam")
    for name, ratio in (("maxlenratio", config.maxlenratio), ("minlenratio", config.minlenratio)):
        if -1.0 < ratio < 0.0:
            problems.append(f"{name} is {ratio:g}, but a negative one is a number of tokens: -1, -2 and so on")
    if int(config.minlenratio) <= int(config.maxlenratio) < 0:
        problems.append(
            f"minlenratio is {config.minlenratio:g} and maxlenratio {config.maxlenratio:g}: the fewest tokens "
            "must be fewer than the most, or no text is found"
        )
    if config.minlenratio > max(1.0, config.maxlenratio) and config.maxlenratio >= 0.0:
        problems.append(
            f"minlenratio is {config.minlenratio:g} tokens per encoder frame, more than any text has; for a number "
            f"of tokens write {-config.minlenratio:g}"
        )
    if config.lm_weight > 0.0 and not config.lm:
        problems.append("lm_weight needs lm: the folder of a language model, such as exp/lm/full")
    return problems
