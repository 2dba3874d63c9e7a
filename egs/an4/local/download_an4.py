"""Fetch AN4 from CMU, else from ESPnet's mirror; resume partial downloads."""

from __future__ import annotations

import hashlib
import logging
import tarfile
import time
import zlib
from pathlib import Path
from urllib.parse import urlparse

import an4

from cascade_asr.data.download import fetch
from cascade_asr.errors import DataError

log = logging.getLogger(__name__)

# As published with NVIDIA's copy of the archive. CMU's and ESPnet's copies could not be
# compared when this was written, so a different sum only gives a warning. What matters is
# the content, which stage 0 counts and stage 1 compares with each file's own checksum.
SHA256 = "a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12"
CONNECT_LIMIT_S = 4.5  # for each server, from the start to the first bytes


def download(downloads: Path, urls: tuple[str, ...] = an4.URLS) -> Path:
    """The archive in ``downloads``, fetched from the first server that answers.

    A partial download is kept, and the next call resumes from there.

    Raises:
        DataError: if no server sent all of it, or what was sent is not AN4.
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
        reason = fetch(url, partial, CONNECT_LIMIT_S)
        if reason:
            log.warning("%s: %s, after %.1f s", url, reason, time.monotonic() - start)
            reasons.append(f"{url}: {reason}")
            continue
        check_archive(partial, url)
        partial.replace(archive)
        return archive
    raise DataError(
        "AN4 could not be downloaded:\n" + "\n".join(reasons) + "\nrun again to resume, "
        "or fetch an4_sphere.tar.gz (64 MB) by hand and give it with --an4"
    )


def check_archive(path: Path, url: str) -> None:
    """Refuse a file that is damaged or not AN4; warn if its sum is not the published one.

    Raises:
        DataError: after removing the file.
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
        raise DataError(f"{url}: the download contains {audio} .sph files, AN4 has 1078 or more")
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() == SHA256:
        log.info("SHA-256 as published")
    else:
        log.warning("%s: SHA-256 %s, that published with another copy is %s; each file is checked "
                    "against its own checksum", url, digest.hexdigest(), SHA256)  # fmt: skip
