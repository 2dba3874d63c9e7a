"""Bounds and choices for network options, shared by encoders and decoders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

WIDTH = (1, 65_536)  # units, channels
COUNT = (1, 1_000)  # layers, blocks, heads
KERNEL = (1, 10_001)  # frames
PROBABILITY = (0, 1)

CHOSEN_BY_NAME = "it is chosen by pos_enc_layer_type; leave it out"


def one_of(*accepted: Any) -> tuple[tuple[Any, ...], str]:
    """An entry of ``unsupported`` for an option that accepts only these values."""
    listing = ", ".join("null" if each is None else str(each) for each in accepted)
    return accepted, f"expected {listing}"


def even_kernels(conf: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    """Problems with kernels that would shift or shorten the sequence."""
    return [
        (name, f"{conf[name]} is even; a kernel must be odd to keep the length of a sequence")
        for name in names
        if isinstance(conf.get(name), int) and conf[name] % 2 == 0
    ]


def undivided_width(
    conf: Mapping[str, Any], width: str, default: int, heads: str, default_heads: int
) -> list[tuple[str, str]]:
    """The problem if a width is not a multiple of the number of attention heads."""
    size, number = conf.get(width, default), conf.get(heads, default_heads)
    if not (isinstance(size, int) and isinstance(number, int)) or number < 1 or size % number == 0:
        return []
    return [(heads, f"{width} {size} cannot be divided among {number} heads")]
