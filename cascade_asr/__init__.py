"""Top-down cascade training for speech recognition and language models."""

import os
from typing import Any

from cascade_asr.version import __version__ as __version__

# On a CPU, PyTorch caches compiled kernels for a thousand shapes of each kind; batches
# of ever new lengths then fill gigabytes without running any faster. Its libraries read
# this when torch is first imported; a user's own setting wins.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "16")

# Threads that wait for each other must not burn processor time that others need:
# with one busy neighbour an update would take several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """``cascade_asr.Cascade`` and ``load``, imported at first use: torch takes seconds."""
    if name == "Cascade":
        from cascade_asr.library.cascade import Cascade

        return Cascade
    if name == "load":
        from cascade_asr.library.transcriber import load

        return load
    raise AttributeError(f"module 'cascade_asr' has no attribute '{name}'")
