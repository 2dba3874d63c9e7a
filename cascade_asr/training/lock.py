"""One writer at a time for a folder, also on a network file system.

A lock is a file that only one process can create. It says who holds it, and its
modification time is the holder's sign of life. The lock of a dead process on this
machine is taken over at once, that of another machine's when it has given no sign of
life for `SILENT_S`. A holder checks the file before each write, as an attempt of a
Slurm job does (`cascade_asr.training.fencing`), and exits if it has lost the lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cascade_asr.errors import CascadeError

BEAT_S = 20.0  # between two signs of life
SILENT_S = 600.0  # after which a silent process on another machine counts as dead


class Locked(CascadeError):
    """Another process is writing there."""


class Lost(CascadeError):
    """Another process has taken over the lock."""

    exit_status = 86


class Lock:
    """A lock that this process holds.

    Args:
        path: path of its file.
        token: token of this holder, in the file.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self.token = token
        self._stop = threading.Event()
        self._process = os.getpid()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            with contextlib.suppress(OSError):
                if (_read(self.path) or {}).get("token") == self.token:
                    os.utime(self.path)

    def check(self) -> None:
        """Return if this process may still write.

        Raises:
            Lost: if another process holds the lock by now.
        """
        found = _read(self.path) or {}
        if found.get("token") != self.token:
            raise Lost(f"{self.path}: {_name(found)} has taken over; this process stops")

    def release(self) -> None:
        """Release the lock."""
        self._stop.set()
        with contextlib.suppress(OSError):
            if os.getpid() == self._process and (_read(self.path) or {}).get("token") == self.token:
                self.path.unlink()


def take(path: Path, what: str, replaces: str = "") -> Lock:
    """Take the lock, or say who holds it.

    Args:
        path: path of its file.
        what: what is written under the lock, for the message.
        replaces: name of the work; a lock of the same name is taken over, because its
            holder is known to be superseded. Empty: no lock is.

    Raises:
        Locked: if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    own = {**_this_process(), "token": token, "work": replaces, "since": time.time()}
    for _ in range(20):
        if _create(path, own):
            return Lock(path, token)
        found = _read(path)
        if found is None:
            continue  # released meanwhile
        superseded = bool(replaces) and found.get("work") == replaces
        if not superseded and not _is_dead(path, found):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.get("since", 0)))
            raise Locked(
                f"{what}: {_name(found)} is writing there since {since}; wait for it, or end it. "
                f"If it is certainly gone, remove {path}"
            )
        _remove(path, found)
    raise Locked(f"{what}: other processes keep taking {path}; start again later")


@contextmanager
def held(path: Path, what: str) -> Iterator[Lock]:
    """Hold a lock during a block; see `take`."""
    lock = take(path, what)
    try:
        yield lock
    finally:
        lock.release()


def holder(path: Path) -> str:
    """Who holds a lock, in words; empty if nobody does, or only a process that is gone."""
    found = _read(path)
    try:
        return "" if found is None or _is_dead(path, found) else _name(found)
    except OSError:  # without permission to write this is unknown: nobody should rely on it
        return _name(found or {})


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "start": _start_of(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID", ""),
    }


def _machine() -> str:
    """Identifies this boot of this machine and its namespace of process ids."""
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        words.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(words)


def _start_of(pid: int) -> str:
    """When a process started, to recognise a reused process id; empty if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _is_dead(path: Path, found: dict[str, Any]) -> bool:
    if found.get("machine") == _machine():
        return found.get("start") != _start_of(found.get("pid", 0))
    try:
        # by the clock of the file system, which may differ from that of any machine
        probe = path.with_name(f"{path.name}.{secrets.token_hex(4)}.now")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now - path.stat().st_mtime > SILENT_S
    except FileNotFoundError:
        return False  # released meanwhile


def _create(path: Path, content: dict[str, Any]) -> bool:
    """Create the file together with its content; False if it exists."""
    temporary = path.with_name(f"{path.name}.{content['token']}")
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(json.dumps(content) + "\n")
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _remove(path: Path, found: dict[str, Any]) -> None:
    """Remove the lock that was read, but not another that has replaced it meanwhile."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if (_read(aside) or {}).get("token") != found.get("token"):
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def _read(path: Path) -> dict[str, Any] | None:
    """Who holds it; None if nobody does; empty if the file is unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _name(found: dict[str, Any]) -> str:
    if not found:
        return "an unknown process"
    job = f", Slurm job {found['job']}" if found.get("job") else ""
    return f"process {found.get('pid')} on {found.get('host')}{job}"
