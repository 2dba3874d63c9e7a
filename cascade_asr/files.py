"""Write files so that a reader never sees a partly written one."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cascade_asr.errors import ConfigError

logger = logging.getLogger(__name__)

WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a file system that has none


def temporary_beside(path: Path) -> Path:
    """A temporary name in the folder of ``path`` that no other writer uses.

    The process number alone is not enough: jobs on two machines of a cluster may share it.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path``; rename it to ``path`` at the end if all went well.

    The content is on disk before the file is renamed, so a power cut leaves the old
    file or the new one. If the block fails, the temporary file is removed. Text
    is UTF-8, whatever the locale.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; other processes on the same file system wait.

    On a file system without locks, such as Lustre mounted without ``flock``, nobody waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            logger.warning("%s: cannot be locked (%s); going on without", path, error.strerror)
        yield


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic_write(path) as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def read_json(path: Path) -> dict:
    """Read a JSON file that this package wrote: an object.

    Raises:
        ConfigError: if it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{type(content).__name__} instead of an object")
        return content
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); move it away (mv {path} {path}.damaged) and rerun "
            "the command that wrote it"
        ) from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def toolkit_folder() -> Path:
    """The folder with ``utils/``, ``conf/`` and ``path.sh``.

    This is the clone, or ``share`` inside the package if it was installed by pip.

    Raises:
        ConfigError: if the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "share", package.parent):
        if (folder / "utils/stages.sh").is_file() and (folder / "conf").is_dir():
            return folder
    raise ConfigError(f"{package}: utils/ and conf/ are missing; install the package again")
