"""What all commands share: one way to fail and one way to log."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

from cascade_asr.errors import CascadeError

LINE = logging.Formatter("%(asctime)s %(levelname)s: %(message)s", "%Y-%m-%d %H:%M:%S")
COLOURS = {logging.WARNING: "33", logging.ERROR: "1;31", logging.CRITICAL: "1;31"}


class _Coloured(logging.Formatter):
    """Log lines in which the level of a warning or an error is coloured."""

    def format(self, record: logging.LogRecord) -> str:
        line = LINE.format(record)
        colour = COLOURS.get(record.levelno)
        level = f" {record.levelname}: "
        return line.replace(level, f"\033[{colour}m{level}\033[0m", 1) if colour else line


def line_format(stream: TextIO) -> logging.Formatter:
    """Formatter for a stream: coloured on a terminal, unless the environment says otherwise."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return LINE if plain or not stream.isatty() else _Coloured()


class _Terminal(logging.StreamHandler):
    """Log lines on stderr that do not break a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
        if tqdm is None:
            super().emit(record)
        else:
            tqdm.write(self.format(record), file=sys.stderr)


def log_to(path: Path) -> logging.Handler:
    """Also append the log to a file; return the handler that does so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(LINE)
    logging.getLogger().addHandler(handler)
    return handler


def run(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and exit with its status.

    A user's mistake (`CascadeError`), a fault of the machine such as a full disk
    (`OSError`) and a lack of memory end with one message and status 1; Ctrl-C ends with
    a warning and status 130; output that nobody reads any more, as of ``| head``, ends it
    silently with that of SIGPIPE, 141; a bug of ours ends with a traceback and status 1. No failure
    waits for remaining threads or processes: these may be what failed. Set
    ``CASCADE_ASR_TRACEBACK=1`` to see where a message came from.
    """
    _take_utf8()
    terminal = _Terminal(sys.stderr)
    terminal.setFormatter(line_format(sys.stderr))
    logging.basicConfig(level=logging.INFO, handlers=[terminal])
    try:
        status = main() or 0
        if sys.stdout is not None:  # it is None if the file was closed
            sys.stdout.flush()
    except KeyboardInterrupt:
        logging.getLogger().warning("%s: interrupted", os.path.basename(sys.argv[0]))
        _leave(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone(sys.stdout):
            _leave(128 + signal.SIGPIPE)
        expected = isinstance(error, (CascadeError, OSError)) or _is_lack_of_memory(error)
        trace = bool(os.environ.get("CASCADE_ASR_TRACEBACK")) or not expected
        name = os.path.basename(sys.argv[0])
        level = getattr(error, "level", logging.ERROR)
        logging.getLogger().log(level, "%s: %s", name, _in_words(error), exc_info=trace)
        _leave(getattr(error, "exit_status", 1))
    sys.exit(status)


def _reader_has_gone(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe whose other end is closed."""
    poll = select.poll()
    try:
        poll.register(stream, 0)
    except (OSError, TypeError, ValueError):
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _take_utf8() -> None:
    """Read and write names and texts as UTF-8, whatever the environment says.

    In an ASCII locale with ``PYTHONUTF8=0`` Python cannot even open a file with an accent in
    its name; only restarting the interpreter changes that.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # for child processes
        os.environ.pop("PYTHONIOENCODING", None)
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(encoding="utf-8", errors=errors)


LACK_OF_MEMORY = re.compile(
    r"can't allocate memory|out of memory|cannot allocate memory|can't start new thread", re.I
)


def _is_lack_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and LACK_OF_MEMORY.search(str(error)) is not None
    )


def _in_words(error: BaseException) -> str:
    if _is_lack_of_memory(error):
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return (
            f"out of memory ({reason}); ask for more, or lower batch_bins or batch_size; "
            "a training that is started again resumes"
        )
    if isinstance(error, (CascadeError, OSError)):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _leave(status: int) -> NoReturn:
    """Exit at once, without exit handlers and without waiting for threads or processes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        for child in multiprocessing.active_children():
            child.kill()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)
