"""Unpack corpus archives without trusting the names in them."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path


def unpack_tar(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack everything into ``folder``, and nothing anywhere else.

    Files are owned by the current user and get the usual permissions.

    Raises:
        tarfile.TarError: for a name that leads out of the folder, a device and the like;
            before Python 3.11.4, which has no filters for this, also for links.
    """
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    root = folder.resolve()
    members = tar.getmembers()
    for member in members:
        if not (member.isfile() or member.isdir()):
            raise tarfile.ExtractError(f"{member.name}: neither a file nor a folder")
        if not (root / member.name).resolve().is_relative_to(root):
            raise tarfile.ExtractError(f"{member.name}: leads out of the folder")
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        member.mode = 0o755 if member.isdir() else 0o644
    tar.extractall(folder, members)
