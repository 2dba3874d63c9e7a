"""The one place that knows where ESPnet keeps its modules."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
from collections.abc import Iterator
from types import ModuleType


def espnet_module(name: str) -> ModuleType:
    """Import a module of ESPnet by the name it has in release 202511.

    Later releases have ``espnet.*`` as ``espnet2.legacy.*``, which is tried second.
    ESPnet's notice that Flash Attention is missing, printed at import, does not
    concern our users and is dropped; anything else it prints goes to stderr.

    Args:
        name: such as ``"espnet2.asr.ctc"`` or ``"espnet.nets.scorer_interface"``.

    Raises:
        ModuleNotFoundError: if neither name exists.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            return _import_with_fallback(name)
    finally:
        for line in printed.getvalue().splitlines():
            if not line.startswith("Failed to import Flash Attention"):
                print(line, file=sys.stderr)


def _import_with_fallback(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        root = name.partition(".")[0]
        missing_here = error.name is not None and (name + ".").startswith(error.name + ".")
        if root != "espnet" or not missing_here:
            raise
        return importlib.import_module("espnet2.legacy" + name.removeprefix("espnet"))


@contextlib.contextmanager
def quiet_espnet() -> Iterator[None]:
    """Keep ESPnet's line-by-line messages to the root logger out of our users' logs."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
