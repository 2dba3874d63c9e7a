"""A miniature of Switchboard, eval2000, rt03 and Fisher in exactly LDC's layout.

    python tests/swbd_tree.py FOLDER [plain|discs]

makes 6 conversations of Switchboard with 154 segments of speech, 4 of eval2000, 2 of
rt03 and 3 Fisher transcripts, with every odd case that the corpora contain, the same bytes
in every run. Speech is tones: each letter has its own two frequencies, so that even a
tiny model learns something. ``discs`` is the release on 23 discs, in upper case, with
the transcripts in a separate folder.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from sphere_files import sphere_bytes
from swbd_calls import CALLS, CONV_TAB, DICTIONARY, EVAL2000_STM, FISHER, GLM, RT03_STM
from wsj_tree import SINE

VARIANTS = ("plain", "discs")
RATE = 8000
LETTER_SAMPLES = 512  # 64 ms
MARKER = re.compile(r"\[(noise|laughter|vocalized-noise|silence)\]|<[^>]*>|IGNORE_\S*")

FOLDERS = {"2001": "d1", "2005": "d1", "2006": "d2", "2167": "d3", "3001": "d3", "4940": "d4"}
DOUBLED = "2006"  # sample_count is the total of both channels, as in release 1
OVERSHOT = ("3001", 400)  # the recording ends 0.05 s before the last segment does
UPPER_CASE = "4940"
WITH_CARRIAGE_RETURNS = "2005B"
WITHOUT_TRANSCRIPT = "4999"


@dataclass(frozen=True)
class SwbdTree:
    """Where the parts of the miniature are.

    Attributes:
        swbd: audio and transcripts: one folder, or two with a space in between.
        eval2000: the folders of speech and of transcripts, with a space in between.
        rt03: the folder of rt03.
        fisher: the folders of both parts, with a space in between.
        conv_tab: the table of callers.
    """

    swbd: str
    eval2000: str
    rt03: str
    fisher: str
    conv_tab: str

    @property
    def options(self) -> list[str]:
        """All of it, as options of the recipe."""
        return ["--swbd", self.swbd, "--eval2000", self.eval2000, "--rt03", self.rt03,
                "--fisher", self.fisher, "--conv-tab", self.conv_tab]  # fmt: skip


def ulaw(samples: np.ndarray) -> np.ndarray:
    """Codes of G.711 for int16 samples, uint8, any shape."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32635) + 132
    exponent = sum((magnitude >= 1 << bit).astype(np.int32) for bit in range(8, 15))
    mantissa = magnitude >> exponent + 3 & 15
    return (~(np.where(samples < 0, 128, 0) | exponent << 4 | mantissa) & 255).astype(np.uint8)


def side(segments: list[tuple[float, str]], length: int, seed: int) -> np.ndarray:
    """(length,) int16 samples of one caller: tones where there is speech, noise everywhere.

    Integers only, so that every machine makes the same bytes.
    """
    raw = np.random.PCG64(seed).random_raw(length)
    samples = (raw % 64).astype(np.int64) - 32
    voice = 96 + seed % 9  # percent: each speaker is a little higher or lower
    time = np.arange(LETTER_SAMPLES)
    for start_s, text in segments:
        place = round(start_s * RATE) + LETTER_SAMPLES
        for letter in MARKER.sub(" ", text).strip().upper():
            if letter.isalpha() and place + LETTER_SAMPLES <= length:
                number = ord(letter) - ord("A")
                for hertz in (300 + 40 * number, 1450 + 70 * (number * 7 % 26)):
                    phase = time * (hertz * voice * 256 // 100) // RATE
                    samples[place : place + LETTER_SAMPLES] += SINE[phase % 256]
            place += LETTER_SAMPLES
    return samples.astype(np.int16)


def call(sides: list[list[tuple[float, float, str]]], name: str, shorter: int = 0) -> bytes:
    """A conversation as mu-law SPHERE; segments are start, end and text."""
    end_s = max(end for segments in sides for _, end, _ in segments)
    length = round(end_s * RATE) + (-shorter or RATE // 2)
    digits = int(re.sub(r"\D", "", name))
    spoken = [[(start, text) for start, _, text in segments] for segments in sides]
    channels = [side(spoken[i], length, 2 * digits + i) for i in range(2)]
    codes = ulaw(np.stack(channels, axis=1))
    changes = {"sample_count": 2 * length} if name == DOUBLED else {}
    return sphere_bytes(codes, RATE, "ulaw", database_id="SWB1", conversation_id=name, **changes)


def segments_of(name: str) -> list[tuple[float, float, str]]:
    """Start, end and words of a side's segments of speech."""
    rows = (line.split(" ", 2) for line in CALLS[name].splitlines())
    return [(float(start), float(end), words) for start, end, words in rows]


def transcript(name: str) -> str:
    """A side as its file has it: numbered, with the silence in between."""
    lines, last = [], "0.000000"
    rows = [line.split(" ", 2) for line in CALLS[name].splitlines()]
    for start, end, words in rows or [["11.250000", "23.000000", "[silence]"]]:
        if start != last:
            lines.append((last, start, "[silence]"))
        lines.append((start, end, words))
        last = end
    ids = [f"sw{name}-ms98-a-{number:04d}" for number in range(1, len(lines) + 1)]
    end_of_line = "\r\n" if name == WITH_CARRIAGE_RETURNS else "\n"
    text = [" ".join([key, *line]) + end_of_line for key, line in zip(ids, lines, strict=True)]
    return "".join(text) + ("\n" if name.startswith("2006") else "")


def stm_segments(stm: str, file: str) -> list[list[tuple[float, float, str]]]:
    """Segments of both sides of one conversation."""
    sides: list[list[tuple[float, float, str]]] = [[], []]
    for line in stm.splitlines():
        words = line.split(None, 6)
        if words[0] == file and words[2] != "inter_segment_gap":
            text = words[6] if words[6:] else ""
            sides["1A2B".index(words[1]) // 2].append((float(words[3]), float(words[4]), text))
    return sides


def pem(stm: str) -> str:
    """The segments alone, as hub5e_00.pem lists them."""
    rows = (line.split() for line in stm.splitlines() if not line.startswith(";;"))
    lines = [f"{row[0]} {row[1]} unknown_speaker {row[3]} {row[4]}\n" for row in rows]
    return ";; hub5e_00.pem\n" + "".join(lines)


@cache
def _files() -> dict[str, bytes]:
    """All files by path, before a variant renames them."""
    files: dict[str, bytes] = {}
    for name, disc in FOLDERS.items():
        sides = [segments_of(f"{name}{letter}") for letter in "AB"]
        shorter = OVERSHOT[1] if name == OVERSHOT[0] else 0
        stem = f"SW0{name}.SPH" if name == UPPER_CASE else f"sw0{name}.sph"
        files[f"LDC97S62/swb1_{disc}/data/{stem}"] = call(sides, name, shorter)
    files[f"LDC97S62/swb1_d4/data/sw0{WITHOUT_TRANSCRIPT}.sph"] = call(
        [[(0.0, 1.0, "no one wrote it down")], []], WITHOUT_TRANSCRIPT
    )
    texts = {f"LDC97S62/swb1_d{disc}/readme.txt": "Switchboard-1\n" for disc in range(1, 5)}
    folder = "LDC97S62/transcriptions/swb_ms98_transcriptions"
    for name in CALLS:
        stem = f"{folder}/{name[:2]}/{name[:4]}/sw{name}-ms98-a"
        texts[f"{stem}-trans.text"] = transcript(name)
        texts[f"{stem}-word.text"] = f"sw{name}-ms98-a-0001 0.0 0.1 decoy\n"
    texts[f"{folder}/AAREADME.text"] = "About the transcripts\n"
    texts[f"{folder}/sw-ms98-dict.text"] = DICTIONARY
    texts["LDC97S62-docs/conv_tab.csv"] = CONV_TAB
    for file in ("en_4156", "en_4910", "sw_4390", "sw_4484"):
        audio = call(stm_segments(EVAL2000_STM, file), file)
        files[f"LDC2002S09/hub5e_00/english/{file}.sph"] = audio
    texts["LDC2002S09/hub5e_00/english/hub5e_00.pem"] = pem(EVAL2000_STM)
    reference = "LDC2002T43/2000_hub5_eng_eval_tr/reference"
    texts[f"{reference}/hub5e00.english.000405.stm"] = EVAL2000_STM
    texts[f"{reference}/en20000405_hub5.glm"] = GLM
    for file, stm in RT03_STM.items():
        audio = call(stm_segments(stm, file), file)
        files[f"LDC2007S10/data/audio/eval03/english/cts/{file}.sph"] = audio
        texts[f"LDC2007S10/data/references/eval03/english/cts/{file}.stm"] = stm
    texts["LDC2007S10/data/trans_rules/en20030506.glm"] = GLM
    for path, text in FISHER.items():
        texts[f"{'LDC2005T19' if '_p2_' in path else 'LDC2004T19'}/{path}"] = text
    return files | {path: text.encode() for path, text in texts.items()}


def make_tree(folder: Path, variant: str = "plain") -> SwbdTree:
    """Write the tree and return where its parts are."""
    assert variant in VARIANTS
    for path, content in _files().items():
        if variant == "discs" and path.startswith("LDC97S62/"):
            if "/transcriptions/" in path:
                path = path.split("/", 2)[2]
            else:
                path = path.upper().replace("/SWB1_D", "/SWB1_0")
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    swbd = f"{folder}/LDC97S62"
    return SwbdTree(
        swbd=f"{swbd} {folder}/swb_ms98_transcriptions" if variant == "discs" else swbd,
        eval2000=f"{folder}/LDC2002S09 {folder}/LDC2002T43",
        rt03=f"{folder}/LDC2007S10",
        fisher=f"{folder}/LDC2004T19 {folder}/LDC2005T19",
        conv_tab=f"{folder}/LDC97S62-docs/conv_tab.csv",
    )


if __name__ == "__main__":
    tree = make_tree(Path(sys.argv[1]), *sys.argv[2:3])
    print(*(f"'{word}'" if " " in word else word for word in tree.options))
