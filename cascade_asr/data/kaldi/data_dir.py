"""Kaldi data folders: the tables that describe a set of utterances.

A table is a text file of lines ``id value``, sorted by id in byte order
(``LC_ALL=C sort``). The format is documented at
https://kaldi-asr.org/doc/data_prep.html. This module reads and writes whole
folders; `tables` reads and writes single tables, `validate` checks a folder, and
`edit` makes folders from folders. Nothing here imports torch or numpy: a command
on 600,000 utterances takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cascade_asr.data.kaldi.blanks import first_word
from cascade_asr.data.kaldi.tables import Segment, invert, parse_segment, scan_table, write_table
from cascade_asr.errors import DataError
from cascade_asr.files import atomic_write

UTTERANCE_TABLES = (
    "utt2spk", "text", "segments", "feats.scp", "utt2num_frames", "utt2dur",
    "utt2uniq", "utt2lang", "vad.scp",
)  # fmt: skip
RECORDING_TABLES = ("wav.scp", "reco2file_and_channel", "reco2dur")
SPEAKER_TABLES = ("spk2gender", "cmvn.scp")
# Tables that can be computed again: if incomplete or wrong, they are dropped rather
# than the utterances that they lack.
DERIVED_TABLES = ("utt2num_frames", "utt2dur", "reco2dur")
# spk2utt is utt2spk inverted: it is read only to be checked, and written anew each time.
TABLES = (*UTTERANCE_TABLES, *RECORDING_TABLES, *SPEAKER_TABLES)
FRAME_SHIFT = "frame_shift"


@dataclass
class DataDir:
    """The tables of a data folder in memory.

    Attributes:
        path: the folder, for messages.
        tables: for each file present (of `TABLES`), a mapping from id to value.
        frame_shift: of the features, in seconds, as the file ``frame_shift`` has it; empty
            if there is none.
    """

    path: Path
    tables: dict[str, dict[str, str]]
    frame_shift: str = ""

    @property
    def utterances(self) -> list[str]:
        """Utterance ids in the order of utt2spk."""
        return list(self.tables["utt2spk"])

    def is_complete(self) -> bool:
        """Whether all tables by utterance name the same utterances."""
        utterances = self.tables["utt2spk"].keys()
        return all(
            self.tables[name].keys() == utterances
            for name in UTTERANCE_TABLES
            if name in self.tables
        )

    def segment(self, utterance: str) -> Segment:
        """Segment of an utterance; without ``segments`` it is a whole recording.

        Raises:
            DataError: if ``segments`` does not have it, or its line is malformed.
        """
        if "segments" not in self.tables:
            return Segment(utterance, 0.0, None)
        if utterance not in self.tables["segments"]:
            raise DataError(
                f"{self.path}/segments: no utterance '{utterance}'; run utils/fix_data_dir.sh {self.path}"
            )
        try:
            return parse_segment(self.tables["segments"][utterance])
        except ValueError as error:
            raise DataError(f"{self.path}/segments: utterance '{utterance}': {error}") from error

    def select(self, utterances: Iterable[str]) -> DataDir:
        """Keep these utterances with their recordings and speakers.

        Takes time in proportion to the selection, not to the folder.

        Raises:
            DataError: if a table with lines would be left with none.
        """
        chosen = sorted(utterances)
        utt2spk = self.tables["utt2spk"]
        if "segments" in self.tables:
            segments = self.tables["segments"]
            recordings = {first_word(segments[name]) for name in chosen if name in segments}
        else:
            recordings = set(chosen)
        speakers = {utt2spk[name] for name in chosen}
        tables: dict[str, dict[str, str]] = {}
        for name, table in self.tables.items():
            if name in UTTERANCE_TABLES:
                keys: Iterable[str] = chosen
            elif name in RECORDING_TABLES:
                keys = sorted(recordings)
            elif name == "cmvn.scp":  # by speaker or by utterance
                keys = sorted(speakers.union(chosen))
            else:
                keys = sorted(speakers)
            tables[name] = {key: table[key] for key in keys if key in table}
            if chosen and table and not tables[name]:
                raise DataError(
                    f"{self.path}/{name}: none of its {len(table)} ids belongs to the "
                    f"{len(chosen)} utterances chosen, such as '{chosen[0]}'; run "
                    f"utils/validate_data_dir.sh {self.path}"
                )
        return DataDir(self.path, tables, self.frame_shift)

    def write(self, path: Path | str) -> None:
        """Write all tables and spk2utt to a folder, replacing those it holds.

        Tables that only the existing folder has are removed, so that nothing of an
        earlier set stays behind. utt2spk comes last: an interrupted write leaves a
        folder without it, which does not pass for a finished one.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        for name in {"utt2spk", "spk2utt", *TABLES} - (self.tables.keys() - {"utt2spk"}):
            (path / name).unlink(missing_ok=True)
        if self.frame_shift:
            with atomic_write(path / FRAME_SHIFT) as file:
                file.write(f"{self.frame_shift}\n")
        else:
            (path / FRAME_SHIFT).unlink(missing_ok=True)
        for name, table in self.tables.items():
            if name != "utt2spk":
                write_table(path / name, table)
        write_table(path / "spk2utt", invert(self.tables["utt2spk"]))
        write_table(path / "utt2spk", self.tables["utt2spk"])


def load_data_dir(path: Path | str) -> DataDir:
    """Read the tables of a data folder, without checking them against each other.

    Raises:
        DataError: if the folder or its utt2spk is missing or empty, or a table is
            malformed; the message lists every format fault with file and line.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such data folder")
    if not (path / "utt2spk").is_file():
        raise DataError(f"{path}/utt2spk: missing; a data folder names each utterance's speaker")
    scanned = {name: scan_table(path / name) for name in TABLES if (path / name).is_file()}
    faults = [fault for table in scanned.values() for fault in table.faults]
    if faults:
        raise DataError("\n".join(faults))
    if not scanned["utt2spk"].values:
        raise DataError(f"{path}/utt2spk: empty")
    tables = {name: table.values for name, table in scanned.items()}
    return DataDir(path, tables, read_frame_shift(path))


def read_frame_shift(path: Path) -> str:
    """What a folder's file ``frame_shift`` says; empty if there is none."""
    try:
        return (path / FRAME_SHIFT).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
