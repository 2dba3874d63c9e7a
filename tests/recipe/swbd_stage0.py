"""Stage 0 of egs/swbd alone, and its data folders against what was written by hand."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import swbd_expected as expected
from conftest import ROOT, environment
from wsj_recipe import rows

SETS = ("train_nodup", "train_dev", "eval2000", "rt03")
DEV_UTTERANCES = 20
READER = ["python", "-m", "cascade_asr.cli.sphere", "--channel"]


def prepare(outdir: Path, *options: str, **changes: str) -> subprocess.CompletedProcess:
    """``local/data.sh`` as stage 0 calls it, with a small train_dev."""
    return subprocess.run(
        [str(ROOT / "egs/swbd/local/data.sh"), "--outdir", str(outdir), "--dev-utterances",
         str(DEV_UTTERANCES), *options],
        env=environment(**changes), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def utterances_of(name: str) -> dict[str, expected.Expected]:
    """What a set must hold, where no text is too frequent."""
    if name in ("eval2000", "rt03"):
        return expected.table(getattr(expected, name.upper()))
    table = expected.table(expected.SWITCHBOARD)
    order = list(table)
    chosen = order[:DEV_UTTERANCES] if name == "train_dev" else order[DEV_UTTERANCES:]
    return {key: table[key] for key in chosen}


def check_data(
    data: Path, name: str, speakers: dict[str, str] | None = None, pipe: str = ""
) -> None:
    """A data folder against what was written by hand.

    Args:
        data: with the folder.
        name: of the set.
        speakers: by side; None where each is its own.
        pipe: what wav.scp sends the audio through.
    """
    table = utterances_of(name)
    sides = list(dict.fromkeys(each.recording for each in table.values()))
    speakers = {side: (speakers or {}).get(side, side) for side in sides}
    folder = data / name
    assert rows(folder / "text") == {key: each.text for key, each in table.items()}
    assert rows(folder / "segments") == {
        key: f"{each.recording} {each.start} {each.end}" for key, each in table.items()
    }
    assert rows(folder / "utt2spk") == {
        key: speakers[each.recording] for key, each in table.items()
    }
    of_speaker: dict[str, list[str]] = {}
    for key, each in table.items():
        of_speaker.setdefault(speakers[each.recording], []).append(key)
    assert rows(folder / "spk2utt") == {key: " ".join(ids) for key, ids in of_speaker.items()}
    assert rows(folder / "reco2file_and_channel") == {
        side: f"{side[:-2]} {side[-1]}" for side in sides
    }
    gender = folder / "spk2gender"
    assert (gender.read_text() if gender.exists() else None) == (
        expected.RT03_GENDERS if name == "rt03" else None
    )
    audio = rows(folder / "wav.scp")
    assert list(audio) == sides
    for side, entry in audio.items():
        command, behind = entry.split(" |", 1)
        *words, channel, path = shlex.split(command)
        assert (words, channel) == (READER, "1" if side.endswith("A") else "2")
        assert behind.strip() == pipe
        assert Path(path).stem.lower() == side[:-2] and Path(path).is_file()
    if name in ("eval2000", "rt03"):
        check_hub5(folder / "hub5", table)


def check_hub5(folder: Path, table: dict[str, expected.Expected]) -> None:
    """Times and reference of an evaluation."""
    assert rows(folder / "segments") == {
        key: f"{each.recording} {expected.original_times(key)}" for key, each in table.items()
    }
    stm = (folder / "stm").read_text()
    if "en_4156" in stm:
        assert stm.startswith(expected.EVAL2000_STM)
        assert stm.count("\n") == 10 + expected.COUNTS["eval2000"] + 1
    else:
        lines = stm.splitlines(keepends=True)
        assert "".join(line for line in lines if not line.startswith(";;")) == expected.RT03_STM
    assert "((" not in stm and "ASIDE" not in stm
