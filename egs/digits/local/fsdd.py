"""The Free Spoken Digit Dataset (FSDD): where to find it, and how to read it.

FSDD v1.0.10 (CC BY-SA 4.0, https://github.com/Jakobovski/free-spoken-digit-dataset)
has 3000 recordings of English digits, 8 kHz, 16 bit, mono: 10 digits, 6 male
speakers, 50 takes each, named ``recordings/{digit}_{speaker}_{take}.wav``.
An archive is read in memory and never unpacked.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
import queue
import re
import tarfile
import threading
import time
import urllib.request
import wave
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cascade_asr.errors import DataError

log = logging.getLogger(__name__)

NAME = "FSDD v1.0.10 (Free Spoken Digit Dataset, CC BY-SA 4.0)"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
DIGITS = 10
TAKES = 50
SAMPLE_RATE = 8000  # Hz
ARCHIVE = "free-spoken-digit-dataset-1.0.10.tar.gz"  # name of a kept download
URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"
# `content_digest` of the 3000 recordings of v1.0.10.
DIGEST = "dbd573d7cafe79c4b49f65718115e1304e24e067fa39eff18a660dc6cb9c360f"

CONNECT_LIMIT_S = 8.0  # from the start to the first bytes, before giving up on the network
STALL_LIMIT_S = 8.0  # between two blocks, before the network counts as lost
_FILE_NAME = re.compile(r"(\d)_([a-z0-9]+)_(\d+)\.wav")
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True, order=True)
class Recording:
    """One spoken digit, identified by its file name."""

    speaker: str
    digit: int
    take: int

    @property
    def file_name(self) -> str:
        """Such as ``7_george_12.wav``."""
        return f"{self.digit}_{self.speaker}_{self.take}.wav"

    @classmethod
    def from_file_name(cls, file_name: str) -> Recording | None:
        """The recording of that name, or None if it does not follow the layout."""
        match = _FILE_NAME.fullmatch(file_name)
        if match is None:
            return None
        return cls(speaker=match[2], digit=int(match[1]), take=int(match[3]))


def complete_set(speakers: tuple[str, ...] = SPEAKERS) -> set[str]:
    """File names of a complete corpus with these speakers."""
    return {
        Recording(speaker, digit, take).file_name
        for speaker in speakers
        for digit in range(DIGITS)
        for take in range(TAKES)
    }


def read_files(source: Path) -> dict[str, bytes]:
    """Read all recordings of a corpus folder or archive, undecoded.

    Args:
        source: a folder with ``recordings/`` in it or one folder below it, the
            folder ``recordings`` itself, or a .tar.gz, .tgz, .tar or .zip archive.

    Returns:
        The content of each wav file by file name, sorted by name.

    Raises:
        DataError: if ``source`` does not exist, is damaged or contains no recordings.
    """
    if source.is_dir():
        files = _read_folder(source)
    elif source.is_file():
        files = _read_archive(source)
    else:
        raise DataError(f"{source}: no such folder or archive; give the one of FSDD, from {URL}")
    if not files:
        raise DataError(
            f"{source}: contains no recordings ({{digit}}_{{speaker}}_{{take}}.wav in a folder "
            f"'recordings'); is it FSDD? Get it from {URL}"
        )
    return dict(sorted(files.items()))


def _read_folder(folder: Path) -> dict[str, bytes]:
    candidates = [folder / "recordings", folder, *sorted(folder.glob("*/recordings"))]
    for candidate in candidates:
        paths = [path for path in candidate.glob("*.wav") if _FILE_NAME.fullmatch(path.name)]
        if paths:
            return {path.name: path.read_bytes() for path in paths}
    return {}


def _read_archive(archive: Path) -> dict[str, bytes]:
    if not archive.name.endswith(_ARCHIVES):
        raise DataError(f"{archive}: neither a folder nor an archive ({', '.join(_ARCHIVES)})")
    read = _read_zip if archive.name.endswith(".zip") else _read_tar
    try:
        return read(archive)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{archive}: damaged or truncated archive ({reason}); get it again from {URL}"
        ) from error


def _recording_name(member: str) -> str | None:
    """The file name of an archive member in a folder ``recordings``, else None."""
    *folders, name = member.split("/")
    wanted = folders[-1:] == ["recordings"] and _FILE_NAME.fullmatch(name)
    return name if wanted else None


def _read_tar(archive: Path) -> dict[str, bytes]:
    files = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            name = _recording_name(member.name)
            if name and member.isfile():
                files[name] = tar.extractfile(member).read()
    return files


def _read_zip(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as zipped:
        members = {name: _recording_name(name) for name in zipped.namelist()}
        return {name: zipped.read(member) for member, name in members.items() if name}


def content_digest(files: dict[str, bytes]) -> str:
    """SHA-256 over the sorted lines ``file name, SHA-256 of its content``.

    It is the same for a folder, for GitHub's archive and for a repacked one.
    """
    lines = (f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def differences(files: dict[str, bytes], speakers: tuple[str, ...] = SPEAKERS) -> str:
    """Describe which files a corpus lacks, and which it has in addition to the layout."""
    expected = complete_set(speakers)
    parts = []
    for what, names in (("missing", expected - set(files)), ("extra", set(files) - expected)):
        if names:
            shown = ", ".join(sorted(names)[:3])
            parts.append(f"{len(names)} {what} ({shown}{', ...' if len(names) > 3 else ''})")
    return "; ".join(parts) or "all file names are right, but the content of some differs"


def decode(content: bytes, path: str) -> np.ndarray:
    """Decode one recording and check it.

    Args:
        content: a wav file.
        path: its name, for messages.

    Returns:
        (samples,) int16 at `SAMPLE_RATE`.

    Raises:
        DataError: if it is not a wav file, is truncated, or is not 8 kHz, 16 bit, mono.
    """
    try:
        with wave.open(io.BytesIO(content)) as reader:
            parameters = reader.getparams()
            found = reader.readframes(parameters.nframes)
    except (wave.Error, EOFError) as error:
        reason = str(error) or "the header is cut off"
        raise DataError(f"{path}: not a readable wav file ({reason})") from error
    if parameters.framerate != SAMPLE_RATE:
        raise DataError(f"{path}: {parameters.framerate} Hz, recipe expects {SAMPLE_RATE}")
    if parameters.nchannels != 1 or parameters.sampwidth != 2:
        raise DataError(
            f"{path}: {parameters.nchannels} channels of {8 * parameters.sampwidth} bit, "
            "recipe expects 1 of 16 bit"
        )
    if len(found) != 2 * parameters.nframes:
        raise DataError(
            f"{path}: header says {parameters.nframes} samples, found {len(found) // 2}"
        )
    if not found:
        raise DataError(f"{path}: contains no samples")
    return np.frombuffer(found, dtype="<i2").astype(np.int16)


def find_in(corpora: Path) -> Path | None:
    """FSDD in a folder of corpora, unpacked or as an archive; None if it is not there."""
    names = ("free-spoken-digit-dataset*", "fsdd*", "FSDD*")
    found = [path for name in names for path in sorted(corpora.glob(name))]
    folders = [path for path in found if path.is_dir()]
    archives = [path for path in found if path.is_file() and path.name.endswith(_ARCHIVES)]
    return next(iter(folders + archives), None)


def download(downloads: Path, url: str) -> Path | None:
    """Fetch the pinned release, unless it is already in ``downloads``.

    Returns:
        The archive with verified content, or None without a network.

    Raises:
        DataError: if what was received is not v1.0.10.
    """
    archive = downloads / ARCHIVE
    if archive.is_file():
        return archive
    log.info("downloading %s", url)
    content = _fetch(url)
    if content is None:
        return None
    downloads.mkdir(parents=True, exist_ok=True)
    partial = downloads / f".partial-{archive.name}"
    try:
        partial.write_bytes(content)
        files = _read_archive(partial)
        if content_digest(files) != DIGEST:
            raise DataError(
                f"{url}: the download is not FSDD v1.0.10: {differences(files)}; "
                "download it by hand and give it with --fsdd"
            )
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)
    return archive


def _fetch(url: str) -> bytes | None:
    """The content at ``url``, or None if nothing arrived in time.

    A thread does the work because the timeouts of sockets do not cover the name
    look-up; a thread that hangs there is abandoned.
    """
    blocks: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            with urllib.request.urlopen(url, timeout=CONNECT_LIMIT_S) as response:
                while block := response.read(1 << 16):
                    blocks.put(block)
            blocks.put(b"")
        except (OSError, ValueError, http.client.HTTPException) as error:
            blocks.put(error)

    start = time.monotonic()
    threading.Thread(target=work, daemon=True).start()
    received = []
    limit_s = CONNECT_LIMIT_S
    try:
        while block := blocks.get(timeout=limit_s):
            if isinstance(block, Exception):
                raise block
            received.append(block)
            limit_s = STALL_LIMIT_S
    except (queue.Empty, OSError, ValueError, http.client.HTTPException) as error:
        reason = str(error) or "no answer"
        log.warning("no download (%s, after %.1f s)", reason, time.monotonic() - start)
        return None
    return b"".join(received)
