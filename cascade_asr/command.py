"""What every command shares: one way to fail, one way to log."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from cascade_asr.errors import CascadeError

LINE = logging.Formatter("%(asctime)s %(levelname)s: %(message)s", "%Y-%m-%d %H:%M:%S")


class _Terminal(logging.StreamHandler):
    """Lines on stderr that do not tear a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
        if tqdm is None:
            super().emit(record)
        else:
            tqdm.write(self.format(record), file=sys.stderr)


def log_to(path: Path) -> None:
    """Append the log to a file as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(LINE)
    logging.getLogger().addHandler(handler)


def run(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and exit with its status.

    A user's mistake (`CascadeError`) and a fault of the machine such as a full
    disk (`OSError`) end with one message and status 1; Ctrl-C with 130. Set
    ``CASCADE_ASR_TRACEBACK=1`` to see where a message came from.
    """
    terminal = _Terminal(sys.stderr)
    terminal.setFormatter(LINE)
    logging.basicConfig(level=logging.INFO, handlers=[terminal])
    try:
        status = main() or 0
    except (CascadeError, OSError) as error:
        if os.environ.get("CASCADE_ASR_TRACEBACK"):
            raise
        logging.getLogger().error("%s: %s", os.path.basename(sys.argv[0]), error)
        status = getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
