"""Archives are unpacked into their folder and nowhere else, by old and new versions of Python."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from cascade_asr.data.archives import unpack_tar

pytestmark = pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")


@pytest.fixture(params=["filters", "no filters"], autouse=True)
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12 has Python 3.11.2, where tarfile has no filters."""
    if request.param == "no filters":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


def archive(*members: tarfile.TarInfo) -> tarfile.TarFile:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member in members:
            content = b"text" if member.isfile() else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return tarfile.open(fileobj=stream)


def member(name: str, kind: bytes = tarfile.REGTYPE, **more) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def test_files_and_folders_come_with_usual_permissions(tmp_path: Path):
    folder = member("an4", tarfile.DIRTYPE, mode=0o755)
    with archive(folder, member("an4/wav/a.raw", mode=0o400, uid=12345)) as tar:
        unpack_tar(tar, tmp_path)
    path = tmp_path / "an4/wav/a.raw"
    assert path.read_bytes() == b"text"
    path.write_bytes(b"may be written and removed")
    assert path.owner() == tmp_path.owner()


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"),
        member("inside/../../outside"),
        member("device", tarfile.CHRTYPE),
        member("link", tarfile.SYMTYPE, linkname="../../outside"),
    ],
)
def test_nothing_is_written_elsewhere(tmp_path: Path, evil: tarfile.TarInfo):
    folder = tmp_path / "folder"
    folder.mkdir()
    with archive(evil) as tar, pytest.raises(tarfile.TarError):
        unpack_tar(tar, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
