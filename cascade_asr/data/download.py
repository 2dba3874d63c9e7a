"""Fetch a large file, resume a partial download, and give up quickly without a network."""

from __future__ import annotations

import http.client
import queue
import threading
import urllib.error
import urllib.request
from pathlib import Path

CONNECT_LIMIT_S = 4.5  # two servers are tried within 10 s
STALL_LIMIT_S = 30.0  # longest wait between two blocks before the network counts as lost
_FAULTS = (OSError, ValueError, http.client.HTTPException)


def fetch(url: str, partial: Path, connect_limit_s: float = CONNECT_LIMIT_S) -> str:
    """Fetch ``url``, or the rest of it, into a file; return why it is incomplete, or "".

    Args:
        url: what to fetch.
        partial: file for what has arrived; the next call continues from there.
        connect_limit_s: limit from the start to the first bytes.

    A thread does the work because the timeouts of sockets do not cover the name
    look-up; a thread that hangs there is abandoned.
    """
    blocks: queue.Queue[bytes | Exception | int] = queue.Queue(maxsize=64)
    have = partial.stat().st_size if partial.is_file() else 0

    def work() -> None:
        try:
            request = urllib.request.Request(url)
            if have:
                request.add_header("Range", f"bytes={have}-")
            with urllib.request.urlopen(request, timeout=STALL_LIMIT_S) as response:
                resumes = str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
                blocks.put(have if resumes else 0)
                length = response.headers.get("Content-Length")
                received = 0
                while block := response.read(1 << 16):
                    received += len(block)
                    blocks.put(block)
                if length is not None and received < int(length):
                    raise ValueError(f"cut off after {received} of {length} bytes")
            blocks.put(b"")
        except _FAULTS as error:
            blocks.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        first = blocks.get(timeout=connect_limit_s)
        if isinstance(first, urllib.error.HTTPError) and first.code == 416:  # no such range
            if first.headers.get("Content-Range") == f"bytes */{have}":
                return ""  # all of it had arrived, and the process ended before it was checked
            partial.unlink(missing_ok=True)
            return "the file on the server is shorter than what was received before; start again"
        if isinstance(first, Exception):
            raise first
        with partial.open("r+b" if first else "wb") as stream:
            stream.seek(first)
            while block := blocks.get(timeout=STALL_LIMIT_S):
                if isinstance(block, Exception):
                    raise block
                stream.write(block)
            stream.truncate()
    except queue.Empty:
        return "no answer"
    except _FAULTS as error:
        return str(error) or type(error).__name__
    return ""
