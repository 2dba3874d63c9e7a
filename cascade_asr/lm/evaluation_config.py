"""Options for computing perplexities, as in conf/evaluate.yaml; reading them needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.options.schema import from_mapping, option
from cascade_asr.yaml_file import read_yaml


@dataclass
class EvaluationConfig:
    """Options as in conf/evaluate.yaml; the cache has the settings for WikiText-2."""

    batch_size: int = option(10, "text columns side by side; does not affect the result")
    cache_window: int = option(3785, "tokens in the neural cache; 0: no cache")
    cache_theta: float = option(0.662, "how peaked the cache's attention is")
    cache_weight: float = option(0.1279, "share of the cache, lambda")


def load_evaluation_config(path: Path) -> EvaluationConfig:
    """Read evaluation options.

    Raises:
        ConfigError: listing every unknown key and every wrong value.
    """
    content, lines = read_yaml(path)
    config = from_mapping(EvaluationConfig, content, str(path), lines)
    problems = []
    if config.batch_size < 1:
        problems.append(f"batch_size is {config.batch_size}, expected 1 or more")
    if config.cache_window < 0:
        problems.append(f"cache_window is {config.cache_window}, expected 0 or more")
    if not 0.0 <= config.cache_weight <= 1.0:
        problems.append(f"cache_weight is {config.cache_weight}, expected 0 to 1")
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return config
