"""CMU AN4: where to find it, and how to read its layout.

AN4 (Carnegie Mellon University, 1991; free for any use with its notice) has 948
training and 130 test utterances, 16 kHz, by 84 people who spell names and
say dates and commands. ``etc/an4_{train,test}.transcription`` has lines
``WORDS (an251-fash-b)``; the audio is ``wav/{an4_clstk,an4test_clstk}/SPEAKER/ID.sph``
(or ``.raw``: only samples, in the byte order of the archive's name); the cepstra of
another archive are ``feat/{an4_clstk,an4test_clstk}/SPEAKER/ID.mfc``.
"""

from __future__ import annotations

import re
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from cascade_asr.data.archives import unpack_tar
from cascade_asr.data.audio.corpus_files import read_lines
from cascade_asr.errors import DataError

URLS = (
    "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz",
    "https://huggingface.co/datasets/espnet/an4/resolve/main/an4_sphere.tar.gz",
)
PARTS = ("train", "test")
UTTERANCES = {"train": 948, "test": 130}
CEPSTRA = 13
SAMPLE_RATE = 16000  # Hz
_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^()\s]+)\)\s*")
_ID = re.compile(r"(?P<prompt>[^-]+)-(?P<speaker>[^-]+)-(?P<rest>.+)")
_SENTENCE_ENDS = ("<s>", "</s>", "<sil>")


@dataclass(frozen=True)
class Utterance:
    """One utterance of the corpus.

    Attributes:
        corpus_id: CMU's id, such as ``an251-fash-b``.
        speaker: such as ``fash``.
        words: the words as transcribed, without sentence-end marks.
    """

    corpus_id: str
    speaker: str
    words: str

    @property
    def identifier(self) -> str:
        """ESPnet's id, speaker first: ``fash-an251-b``."""
        match = _ID.fullmatch(self.corpus_id)
        assert match is not None
        return f"{match['speaker']}-{match['prompt']}-{match['rest']}"


def find_root(folder: Path) -> Path:
    """The folder of the corpus that has ``etc/an4_train.transcription``.

    Raises:
        DataError: if neither ``folder`` nor a folder in it has it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder or archive; give the folder of AN4, with etc/ in it")
    for candidate in (folder, folder / "an4", *sorted(folder.glob("*/an4")), *sorted(folder.glob("*"))):
        if (candidate / "etc/an4_train.transcription").is_file():
            return candidate
    found = ", ".join(sorted(each.name for each in folder.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{folder} has no etc/an4_train.transcription: is this AN4 (an4_sphere.tar.gz from CMU)? "
        f"It contains {found}"
    )


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive of the corpus into ``folder``, unless this has been done already.

    Returns:
        The root of the corpus.

    Raises:
        DataError: if the archive is damaged.
    """
    done = folder / ".complete"
    stamp = f"{archive.resolve()} {archive.stat().st_size} {archive.stat().st_mtime_ns}"
    if not (done.is_file() and done.read_text() == stamp):
        done.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(archive) as tar:
                unpack_tar(tar, folder)
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataError(
                f"{archive}: damaged or truncated archive ({reason}); get it again; the audio is at "
                f"{URLS[0]}"
            ) from error
        done.write_text(stamp)
    return find_root(folder)


def read_transcription(path: Path) -> list[Utterance]:
    """Utterances of a transcription, in its order.

    Raises:
        DataError: naming file and line of anything other than ``WORDS (id)``, of an id
            that does not show its speaker, of an id that occurs twice, and of a line
            without words.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing; is the corpus complete?")
    utterances: dict[str, Utterance] = {}
    faults = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        name = _ID.fullmatch(match["id"]) if match else None
        if match is None or name is None:
            faults.append(f"{path}:{number}: expected 'WORDS (an251-fash-b)', found '{line}'")
            continue
        words = [word for word in match["words"].split() if word not in _SENTENCE_ENDS]
        if not words:
            faults.append(f"{path}:{number}: '{match['id']}' has no words")
        if match["id"] in utterances:
            faults.append(f"{path}:{number}: '{match['id']}' appears here a second time")
        utterances[match["id"]] = Utterance(match["id"], name["speaker"], " ".join(words))
    if faults:
        raise DataError("\n".join(faults[:20]))
    if not utterances:
        raise DataError(f"{path}: empty")
    return list(utterances.values())


def find_by_id(root: Path, folder: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files below ``root/folder``, by the utterance that they are named after.

    Raises:
        DataError: if there are none.
    """
    if not (root / folder).is_dir():
        other = {"wav": "feat", "feat": "wav"}[folder]
        option = {"wav": "--an4", "feat": "--an4-mfcc"}
        advice = f", but {other}/: give it as {option[other]}" if (root / other).is_dir() else ""
        raise DataError(f"{option[folder]}: {root} has no folder {folder}/{advice}")
    found: dict[str, Path] = {}
    for path in sorted((root / folder).rglob("*")):
        if path.suffix.lower() in suffixes:
            # the same utterance as .sph and .raw: prefer SPHERE, which has a header
            if path.stem not in found or suffixes.index(path.suffix.lower()) == 0:
                found[path.stem] = path
    if not found:
        raise DataError(f"{root}/{folder}: no {' or '.join(suffixes)} file in it")
    return found


def roughness(samples: np.ndarray) -> float:
    """Mean difference of neighbouring samples, relative to their mean size."""
    values = samples.astype(np.float64)
    return float(np.abs(np.diff(values)).mean() / max(np.abs(values).mean(), 1.0))


def check_byte_order(paths: list[Path], stated: str) -> str:
    """The byte order of headerless files: ``big`` or ``little``.

    Speech changes little from sample to sample; with its bytes swapped it is noise.

    Args:
        paths: .raw files.
        stated: ``big``, ``little``, or ``auto``.

    Raises:
        DataError: for a file without whole samples, or one that contradicts the order of
            the others or the one stated.
    """
    orders: dict[Path, tuple[float, float]] = {}
    for path in paths:
        content = path.read_bytes()
        if not content or len(content) % 2:
            raise DataError(f"{path}: {len(content)} bytes are not 16-bit samples")
        orders[path] = (
            roughness(np.frombuffer(content, ">i2")),
            roughness(np.frombuffer(content, "<i2")),
        )
    if stated == "auto":  # a single file may be noise
        evidence = sum(np.log((big + 1e-9) / (little + 1e-9)) for big, little in orders.values())
        stated = "big" if evidence < 0 else "little"
    for path, (big, little) in orders.items():
        found = "big" if big < little else "little"
        if found != stated and max(big, little) > 2 * min(big, little):
            raise DataError(
                f"{path}: its samples are {found} endian, not {stated}; give --raw-byte-order {found} "
                "if all files are"
            )
    return stated


def read_cepstra(path: Path) -> np.ndarray:
    """Read Sphinx cepstra: an int32 count of floats and float32, in either byte order.

    Returns:
        (T, 13) float32.

    Raises:
        DataError: if the size is not what the count says, or a value is not finite.
    """
    content = path.read_bytes()
    floats = (len(content) - 4) // 4
    for order in (">", "<"):
        if len(content) >= 4 and struct.unpack(f"{order}i", content[:4])[0] == floats:
            break
    else:
        stated = struct.unpack(">i", content[:4])[0] if len(content) >= 4 else 0
        raise DataError(f"{path}: header says {stated} values, found {max(floats, 0)}")
    if len(content) != 4 + 4 * floats or floats == 0 or floats % CEPSTRA:
        raise DataError(f"{path}: {floats} values are not frames of {CEPSTRA} cepstra")
    cepstra = np.frombuffer(content, f"{order}f4", offset=4).astype(np.float32).reshape(-1, CEPSTRA)
    if not np.isfinite(cepstra).all():
        raise DataError(f"{path}: values that are not finite")
    return cepstra


def is_archive(path: Path) -> bool:
    """Whether the name is that of a tar archive."""
    return PurePosixPath(path.name).name.endswith((".tar.gz", ".tgz", ".tar", ".tar.bz2"))
