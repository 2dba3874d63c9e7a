"""Fetch parts of LibriSpeech from OpenSLR, resume partial downloads, and unpack them."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from librispeech import PARTS

from cascade_asr.data.archives import unpack_tar
from cascade_asr.data.download import CONNECT_LIMIT_S, fetch
from cascade_asr.errors import DataError

log = logging.getLogger(__name__)

SERVERS = ("https://www.openslr.org/resources", "https://openslr.elda.org/resources")
UNPACKED = 1.1  # unpacked size relative to the archive: FLAC does not shrink


def download(parts: Sequence[str], folder: Path, servers: Sequence[str] = SERVERS) -> Path:
    """The folder with all these parts unpacked, each in ``PART/LibriSpeech/PART``.

    Raises:
        DataError: if the disk is too small, no server sent all of a part, or its MD5 differs.
    """
    missing = [part for part in parts if not (folder / part / ".complete").is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(missing, folder)
    for part in missing:
        unpack(fetch_part(part, folder, servers), part, folder)
    return folder


def _check_space(parts: Sequence[str], folder: Path) -> None:
    archives = [part for part in parts if not (folder / f"{part}.tar.gz").is_file()]
    needed = sum(PARTS[part].gigabytes for part in archives)
    needed += UNPACKED * sum(PARTS[part].gigabytes for part in parts)
    free = shutil.disk_usage(folder).free / 1e9
    if needed > free:
        raise DataError(
            f"{folder}: {', '.join(parts)} need {needed:.1f} GB, but {free:.1f} GB are free; make it a "
            "link to a larger disk, or give the corpus with --librispeech"
        )


def fetch_part(part: str, folder: Path, servers: Sequence[str]) -> Path:
    """The archive of one part, with the MD5 that OpenSLR publishes."""
    archive = folder / f"{part}.tar.gz"
    if archive.is_file():
        return archive
    partial = folder / f".{archive.name}.partial"  # the same file on all servers
    reasons = []
    for server in servers:
        url = f"{server}/{PARTS[part].resource}/{archive.name}"
        log.info("downloading %s (%.2f GB)", url, PARTS[part].gigabytes)
        reason = fetch(url, partial, CONNECT_LIMIT_S)
        if not reason:
            check_sum(partial, part, url)
            partial.replace(archive)
            return archive
        log.warning("%s: %s", url, reason)
        reasons.append(f"{url}: {reason}")
    raise DataError(
        f"{part} could not be downloaded:\n" + "\n".join(reasons) + "\nrun again to resume, "
        f"or fetch {archive.name} by hand into {folder}, or give the unpacked corpus with --librispeech"
    )


def check_sum(path: Path, part: str, origin: str) -> None:
    """Refuse a file whose MD5 differs.

    Raises:
        DataError: after removing the file.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != PARTS[part].md5:
        path.unlink()
        raise DataError(
            f"{origin}: MD5 {found}, that of {part} is {PARTS[part].md5}: damaged, removed; run again"
        )


def unpack(archive: Path, part: str, folder: Path) -> None:
    """Unpack an archive into ``folder/PART``; the file ``.complete`` there marks it as complete.

    Raises:
        DataError: if it is damaged, or contains something else.
    """
    target = folder / part
    shutil.rmtree(target, ignore_errors=True)
    log.info("unpacking %s", archive)
    try:
        with tarfile.open(archive) as tar:
            unpack_tar(tar, target)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: damaged ({error}); remove it and run again") from error
    if not (target / "LibriSpeech" / part).is_dir():
        raise DataError(f"{archive}: contains no LibriSpeech/{part}; remove it and run again")
    (target / ".complete").touch()
