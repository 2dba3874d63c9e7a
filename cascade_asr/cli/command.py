"""What every command shares: one way to fail, one way to log."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from cascade_asr.errors import CascadeError


def run(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and exit with its status.

    A user's mistake (`CascadeError`) and a fault of the machine such as a full
    disk (`OSError`) end with one message and status 1; Ctrl-C with 130. Set
    ``CASCADE_ASR_TRACEBACK=1`` to see where a message came from.
    """
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        stream=sys.stderr,
    )
    try:
        status = main() or 0
    except (CascadeError, OSError) as error:
        if os.environ.get("CASCADE_ASR_TRACEBACK"):
            raise
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        status = getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
