"""Fetch AN4 from CMU, else from ESPnet's mirror; go on where a download was cut off."""

from __future__ import annotations

import hashlib
import http.client
import logging
import queue
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from urllib.parse import urlparse

import an4

from cascade_asr.errors import DataError

log = logging.getLogger(__name__)

# As published with NVIDIA's copy of the archive. CMU's and ESPnet's could not be compared
# when this was written: another sum is a warning, and what counts is the content, which
# is counted in stage 0 and compared with each file's own checksum in stage 1.
SHA256 = "a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12"
CONNECT_LIMIT_S = 4.5  # for each server, from the start to the first bytes
STALL_LIMIT_S = 30.0  # between two blocks: a network that went away
_FAULTS = (OSError, ValueError, http.client.HTTPException)


def download(downloads: Path, urls: tuple[str, ...] = an4.URLS) -> Path:
    """The archive in ``downloads``, fetched from the first server that answers.

    What came before a download broke off is kept, and the next call goes on from there.

    Raises:
        DataError: if no server gave all of it, or what came is not AN4.
    """
    archive = downloads / "an4_sphere.tar.gz"
    if archive.is_file():
        return archive
    downloads.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in urls:
        partial = downloads / f".{archive.name}.{urlparse(url).hostname or 'file'}.partial"
        log.info("downloading %s", url)
        start = time.monotonic()
        reason = fetch(url, partial)
        if reason:
            log.warning("%s: %s, after %.1f s", url, reason, time.monotonic() - start)
            reasons.append(f"{url}: {reason}")
            continue
        check_archive(partial, url)
        partial.replace(archive)
        return archive
    raise DataError(
        "AN4 could not be downloaded:\n" + "\n".join(reasons) + "\nrun again to go on from there, "
        "or fetch an4_sphere.tar.gz (64 MB) by hand and give it with --an4"
    )


def fetch(url: str, partial: Path) -> str:
    """Fetch ``url`` into a file, or the rest of it; returns why not all came, or "".

    A thread does the work because the time limits of sockets do not cover the look-up of
    the name; a thread that hangs there is left behind.
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
        first = blocks.get(timeout=CONNECT_LIMIT_S)
        if isinstance(first, urllib.error.HTTPError) and first.code == 416:  # no such range
            partial.unlink(missing_ok=True)
            return "the file there is shorter than what came before; begin again"
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


def check_archive(path: Path, url: str) -> None:
    """Refuse what is damaged or no AN4; warn of another sum than the published one.

    Raises:
        DataError: the file is removed then.
    """
    try:
        with tarfile.open(path) as tar:
            names = [member.name for member in tar]
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        path.unlink()
        raise DataError(f"{url}: the download is damaged ({error}); run again") from error
    audio = sum(name.endswith(".sph") for name in names)
    if audio < sum(an4.UTTERANCES.values()):
        path.unlink()
        raise DataError(f"{url}: the download holds {audio} .sph files, AN4 has 1078 or more")
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() == SHA256:
        log.info("SHA-256 as published")
    else:
        log.warning("%s: SHA-256 %s, published with another copy: %s; each file is checked by "
                    "its own checksum", url, digest.hexdigest(), SHA256)  # fmt: skip
