"""What the record of a training says about its compute; old records can be read, too."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

WAITED = 1.25  # ratio of wall to processor time from which a training on the CPU had to wait


def device_type(record: dict) -> str:
    """``CPU`` or ``GPU``; old records only describe the device in words.

    These words started with ``CPU``, or were such as ``1 x NVIDIA H100``.
    """
    return record.get("device_type") or (
        "CPU" if record["device"].upper().startswith("CPU") else "GPU"
    )


def device_of(record: dict) -> str:
    """Device, ranks and threads in words; times can be compared only if these are equal."""
    return record["device"]


def processor_seconds(record: dict) -> float:
    """GPU time of all ranks if GPUs were used, else processor time of all ranks.

    A record without ``device_type`` only has the processor time of the first rank: NaN
    if there were more ranks.
    """
    ranks = record.get("ranks", 1)
    if device_type(record) == "GPU":
        return record["seconds"] * ranks
    if "device_type" not in record and ranks > 1:
        return math.nan
    return record.get("cpu_seconds", math.nan)


def disturbance(record: dict) -> str:
    """Why the seconds of a training are not those of one undisturbed run; empty if they are.

    On the CPU, a process that computes all the time uses at least as many processor
    seconds as wall seconds; with far fewer, it shared its processor or waited.
    """
    if resumed := record.get("resumed", 0):
        return "interrupted once" if resumed == 1 else f"interrupted {resumed} times"
    if device_type(record) == "CPU" and record["seconds"] >= 10:
        own = processor_seconds(record) / record.get("ranks", 1)
        if own > 0 and record["seconds"] > WAITED * own:
            return f"waited: {record['seconds']:.0f} s for {own:.0f} s of processor time"
    return ""


def own_parameters(records: Sequence[dict]) -> int | None:
    """Parameters of the last training's network; None if not recorded."""
    return records[-1].get("parameters")


def total(records: Sequence[dict], key: str) -> int | None:
    """The sum over trainings; None if one of them lacks the value."""
    values = [record.get(key) for record in records]
    return None if None in values else sum(values)


def mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if a value is unknown."""
    return None if None in values else statistics.mean(values)


def in_words(count: float | None) -> str:
    """``1.23e+15``, ``1,234`` if it is short, or ``-`` if it is unknown."""
    if count is None:
        return "-"
    return f"{count:,.0f}" if count < 1e6 else f"{count:.3g}"


def seconds_in_words(seconds: float) -> str:
    """``450 s``, or ``not known``."""
    return "not known" if math.isnan(seconds) else f"{seconds:.0f} s"
