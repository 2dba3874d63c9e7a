"""Processor time of commands, for benchmarks of single stages."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def measured(what: str, results: dict[str, float]) -> Iterator[None]:
    """Measure the processor seconds of commands run inside, including their child processes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    yield
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    results[what] = seconds
    wall = time.monotonic() - start
    print(f"{what}: {seconds:.1f} s of processor time, {wall:.1f} s passed", flush=True)
