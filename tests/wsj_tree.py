"""A miniature of the Wall Street Journal corpus in exactly LDC's layout.

    python tests/wsj_tree.py FOLDER [plain|upper|underscores|cstr]

makes 59 utterances of 10 speakers with every odd case that the discs contain, the same
bytes in every run. Speech is tones: each letter has its own two frequencies, so that
even a tiny model learns something. Sentences are our own.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from sphere_files import sphere_bytes

VARIANTS = ("plain", "upper", "underscores", "cstr")
SHORTEN = "pcm,embedded-shorten-v2.00"
RATE = 16000
LETTER_SAMPLES = 1024  # 64 ms: as fast as people read


@dataclass(frozen=True)
class Session:
    """What one speaker reads in one session.

    Attributes:
        disc, folder: where the audio is.
        dots: disc and folder of the transcripts.
        lines: utterance id and transcript as the ``.dot`` file has it; ids in
            `WITHOUT_AUDIO` have none.
    """

    disc: str
    folder: str
    dots: tuple[str, str]
    lines: dict[str, str]


WSJ0_DOTS = ("11-10.1", "wsj0/transcrp/dots/si_tr_s")
WSJ1_DOTS = ("13-34.1", "wsj1/trans/wsj1/si_tr_s")
WITHOUT_AUDIO = {"01ic0299"}

SESSIONS = (
    Session("11-1.1", "wsj0/si_tr_s", WSJ0_DOTS, {
        "011c0201": "The bank rose ,COMMA it said .PERIOD",
        "011c0202": r'\"DOUBLE-QUOTE We sold it \"DOUBLE-QUOTE',
        "011c0203": "Shares <the> fell [<door_slam] ~",
        "011c0204": "It was *declined* in May",
        "011c020a": "[loud_breath] ten %percent more",
        "011c020b": "--dash no one knew",
    }),
    Session("11-1.1", "wsj0/si_tr_s", WSJ0_DOTS, {
        "01ic0201": "Oil is at six .point two",
        "01ic0202": "[tongue_click]",
        "01ic0203": "The secu:rity !but . one [phone_ring/] of us [/phone_ring]",
        "01ic0204": "He -(re)ported in- a ~~ loss",
        "01ic0205": "A cold[cough] week [chair_squeak>]",
        "01ic0299": "This line has no audio at all",
    }),
    Session("11-2.1", "wsj0/si_tr_s", WSJ0_DOTS, {  # no gender; CRLF and a blank line
        "022c0201": "Gold lost a dollar",
        "022c0202": "They met on Monday",
        "022c0203": "Both banks agreed",
        "022c0204": "No deal was made",
    }),
    Session("13-1.1", "wsj1/si_tr_s", WSJ1_DOTS, {
        "46ac0201": "Rates were cut today",
        "46ac0202": "The firm has a plan",
        "46ac0203": "Sales doubled in June",
        "46ac0204": "We expect a small gain",
        "46ac0205": "Traders sold dollars",
        "46ac0206": "Mr. Lee was not there",
        "46ac0207": "It won't be easy",
        "46ac02az": "The vote is on Friday",
    }),
    Session("13-1.1", "wsj1/si_tr_s", WSJ1_DOTS, {
        "47bc0201": "Two plants will close",
        "47bc0202": "A judge said no",
    }),
    Session("13-1.1", "wsj1/si_tr_s", WSJ1_DOTS, {
        "47bc0301": "Steel is cheap now",
        "47bc0302": "The rest is history",
    }),
    Session("13-11.1", "wsj1/si_tr_s", WSJ1_DOTS, {
        "4a8c0201": "I. B. M. rose a point",
        "4a8c0202": "Banks want to lend",
        "4a8c0203": "Crude oil fell again",
        "4a8c0204": "The board meets soon",
        "4a8c0205": "Nobody was told",
        "4a8c0206": "Ford makes fewer cars",
        "4a8c0207": "Taxes are too high",
        "4a8c0208": "A third bid failed",
    }),
    Session("13-16.1", "wsj1/si_dt_20", ("13-34.1", "wsj1/trans/wsj1/si_dt_20"), {
        "4k0c0301": "The market was calm",
        "4k0c0302": "Costs rose ten percent",
        "4k0c0303": "She left the bank",
    }),
    Session("13-16.1", "wsj1/si_dt_20", ("13-16.1", "wsj1/trans/si_dt_20"), {
        "4k3c0301": "Trading was light",
        "4k3c0302": "[mouth_noise] He sold his shares",
        "4k3c0303": "Loans are hard to get",
        "4k3c030z": "This one is in no index",
    }),
    Session("13-16.1", "wsj1/si_dt_05", ("13-34.1", "wsj1/trans/wsj1/si_dt_05"), {
        "4k0c0401": "The price is right",
        "4k0c0402": "In no index either",
    }),
    Session("13-16.1", "wsj1/si_dt_05", ("13-34.1", "wsj1/trans/wsj1/si_dt_05"), {
        "4k3c0401": "Profits fell by half",
    }),
    Session("11-14.1", "wsj0/si_et_20", ("11-14.1", "wsj0/transcrp/dots/si_et_20"), {
        "440c0201": "The deal is done",
        "440c0202": "Wheat was mixed",
        "440c0203": "Most bonds were lower",
    }),
    Session("11-14.1", "wsj0/si_et_20", ("11-14.1", "wsj0/transcrp/dots/si_et_20"), {
        "441c0201": "Nine people were hurt",
        "441c0202": "He is the new chairman",
        "441c0203": "Stocks closed higher",
    }),
    Session("11-14.1", "wsj0/si_et_05", ("11-14.1", "wsj0/transcrp/dots/si_et_05"), {
        "440c0301": "It is a good year",
        "440c0302": "The dollar was firm",
    }),
    Session("13-33.1", "wsj1/si_et_20", ("13-33.1", "wsj1/trans/si_et_20"), {
        "4oac0201": "Growth was slow",
        "4oac0202": "The board said <said> yes",
    }),
    Session("13-33.1", "wsj1/si_et_20", ("13-33.1", "wsj1/trans/si_et_20"), {
        "4obc0201": "They ran out of money",
        "4obc0202": "Cotton rose sharply",
    }),
    Session("13-33.1", "wsj1/si_et_05", ("13-33.1", "wsj1/trans/si_et_05"), {
        "4oac0301": "Nothing was decided",
        "4oac0302": "The talks go on",
    }),
)  # fmt: skip

# Files of text, by disc and path. Lines of an index are as each disc writes them.
TEXTS = {
    ("11-13.1", "wsj0/doc/indices/train/tr_s_wv1.ndx"): """\
; tr_s_wv1.ndx
;; speaker-independent training, Sennheiser
11_1_1:wsj0/si_tr_s/011/011c0201.wv1
11_1_1:wsj0/si_tr_s/011/011c0202.wv1
11_1_1:wsj0/si_tr_s/011/011c0203.wv1
11_1_1:wsj0/si_tr_s/011/011c0204.wv1
11_1_1:wsj0/si_tr_s/011/011c020a.wv1
11_1_1:wsj0/si_tr_s/011/011c020b.wv1
11_1_1:wsj0/si_tr_s/01i/01ic0201.wv1
11_1_1:wsj0/si_tr_s/01i/01ic0202.wv1
11_1_1:wsj0/si_tr_s/01i/01ic0203.wv1
11_1_1:wsj0/si_tr_s/01i/01ic0204.wv1
11_1_1:wsj0/si_tr_s/01i/01ic0205.wv1
11_2_1:wsj0/si_tr_s/022/022c0201.wv1
11_2_1:wsj0/si_tr_s/022/022c0202.wv1
11_2_1:wsj0/si_tr_s/022/022c0203.wv1
11_2_1:wsj0/si_tr_s/022/022c0204.wv1
11_2_1:wsj0/si_tr_s/401/401c0201.wv1
11_2_1:wsj0/si_tr_s/401/401c0202.wv1
""",
    ("13-34.1", "wsj1/doc/indices/si_tr_s.ndx"): """\
;; si_tr_s.ndx
13_1_1: /wsj1/si_tr_s/46a/46ac0201.wv1
13_1_1: /wsj1/si_tr_s/46a/46ac0202.wv1
13_1_1: /wsj1/si_tr_s/46a/46ac0203.wv1
13_1_1: /wsj1/si_tr_s/46a/46ac0204.wv1
13_1_1: /wsj1/si_tr_s/46a/46ac0205.wv1
13_1_1: /wsj1/si_tr_s/46a/46ac0206.wv1
13_1_1: /wsj1/si_tr_s/46a/46ac0207.wv1
13_1_1: /wsj1/si_tr_s/46a/46ac02az.wv1
13_1_1: /wsj1/si_tr_s/47b/47bc0201.wv1
13_1_1: /wsj1/si_tr_s/47b/47bc0202.wv1
13_1_1: /wsj1/si_tr_s/47b/47bc0301.wv1
13_1_1: /wsj1/si_tr_s/47b/47bc0302.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0201.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0202.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0203.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0204.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0205.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0206.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0207.wv1
13_11_1: /wsj1/si_tr_s/4a8/4a8c0208.wv1
""",
    ("13-34.1", "wsj1/doc/indices/h1_p0.ndx"): """\
;; h1_p0.ndx
13_16_1:wsj1/si_dt_20/4k0/4k0c0301.wv1
13_16_1:wsj1/si_dt_20/4k0/4k0c0302.wv1
13_16_1:wsj1/si_dt_20/4k0/4k0c0303.wv1
13_16_1:wsj1/si_dt_20/4k3/4k3c0301.wv1
13_16_1:wsj1/si_dt_20/4k3/4k3c0302.wv1
13_16_1:wsj1/si_dt_20/4k3/4k3c0303.wv1
""",
    ("13-34.1", "wsj1/doc/indices/h2_p0.ndx"): """\
13_16_1:wsj1/si_dt_05/4k0/4k0c0401.wv1
13_16_1:wsj1/si_dt_05/4k3/4k3c0401.wv1
""",
    ("11-13.1", "wsj0/doc/indices/test/nvp/si_et_20.ndx"): """\
11_14_1:wsj0/si_et_20/440/440c0201
11_14_1:wsj0/si_et_20/440/440c0202
11_14_1:wsj0/si_et_20/440/440c0203
11_14_1:wsj0/si_et_20/441/441c0201
11_14_1:wsj0/si_et_20/441/441c0202
11_14_1:wsj0/si_et_20/441/441c0203
""",
    ("11-13.1", "wsj0/doc/indices/test/nvp/si_et_05.ndx"): """\
11_14_1:wsj0/si_et_05/440/440c0301
11_14_1:wsj0/si_et_05/440/440c0302
""",
    ("13-32.1", "wsj1/doc/indices/wsj1/eval/h1_p0.ndx"): """\
13_32_1: /wsj1/si_et_20/4OA/4OAc0201.wv1
13_32_1: /wsj1/si_et_20/4OA/4OAc0202.wv1
13_32_1: /wsj1/si_et_20/4ob/4obc0201.wv1
13_32_1: /wsj1/si_et_20/4ob/4obc0202.wv1
""",
    ("13-32.1", "wsj1/doc/indices/wsj1/eval/h2_p0.ndx"): """\
13_32_1: /wsj1/si_et_05/4OA/4OAc0301.wv1
13_32_1: /wsj1/si_et_05/4OA/4OAc0302.wv1
""",
    ("11-13.1", "wsj0/doc/spkrinfo.txt"): """\
;; Speakers of the evaluation test
ID   Sex  Dialect
---  ---  -------
440  M    Midland
441  F    Western
""",
    ("13-34.1", "wsj1/doc/train/spkrinfo.txt"): """\
;; wsj1 training speakers
46A  F  28 Northern
47B  M  40 Southern
4A8  M  33 Western
""",
    ("13-34.1", "wsj1/doc/dev_spok/spkrinfo.txt"): """\
4k0  F  31 Western
4k3  M  52 Northern
""",
    ("13-32.1", "wsj1/doc/evl_spok/spkrinfo.txt"): "; evaluation\r\n4OA  F  25\r\n4OB  M  61\r\n",
}

# Not on the discs: a user may have it from elsewhere. 022 is in none of the files.
TRAIN_SPEAKERS = "011  F  Midland\n01I  M  Northern\n"

NEWSPAPER = {
    "87/w7_001.z": "<DOC>\n<s> the market rose today </s>\nThe market rose today\nprices fell\n",
    "88/w8_001.z": "<p>\nTwo banks merged last week\n</p>\nno one was surprised\n",
    "89/w9_001.z": "<DOC>\n<DOCNO> 891102-0192 </DOCNO>\nStocks, bonds and gold were mixed\n",
}


def lzw(content: bytes) -> bytes:
    """What ``compress`` writes, with codes of at most 9 bits."""
    table = {bytes([value]): value for value in range(256)}
    codes, known = [], b""
    for value in content:
        longer = known + bytes([value])
        if longer in table:
            known = longer
            continue
        codes.append(table[known])
        if len(table) + 1 < 512:  # code 256 clears the table: never used
            table[longer] = len(table) + 1
        known = bytes([value])
    codes.append(table[known])
    number = sum(code << (9 * place) for place, code in enumerate(codes))
    return b"\x1f\x9d\x89" + number.to_bytes(-(-9 * len(codes) // 8), "little")


SINE = np.array([round(1400 * math.sin(2 * math.pi * step / 256)) for step in range(256)])


def tones(text: str, utterance: str) -> np.ndarray:
    """(samples,) int16 of a text: two tones a letter, noise everywhere.

    Integers only, so that every machine makes the same bytes.
    """
    raw = np.random.PCG64(int(utterance, 36)).random_raw(LETTER_SAMPLES * (len(text) + 4))
    samples = (raw % 64).astype(np.int64) - 32
    voice = 96 + int(utterance[:3], 36) % 9  # percent: each speaker is a little higher or lower
    place = 2 * LETTER_SAMPLES
    time = np.arange(LETTER_SAMPLES)
    for letter in text.upper():
        if letter.isalpha():
            number = ord(letter) - ord("A")
            for hertz in (250 + 45 * number, 1700 + 150 * (number * 7 % 26)):
                phase = time * (hertz * voice * 256 // 100) // RATE
                samples[place : place + LETTER_SAMPLES] += SINE[phase % 256]
        place += LETTER_SAMPLES
    return samples.astype(np.int16)


@cache
def _files() -> dict[tuple[str, str], bytes]:
    """All files by disc and path, before a variant renames them."""
    files = {place: text.encode() for place, text in TEXTS.items()}
    for path, text in NEWSPAPER.items():
        files["13-32.1", f"wsj1/doc/lng_modl/lm_train/np_data/{path}"] = lzw(text.encode())
    for session in SESSIONS:
        first = next(iter(session.lines))
        speaker, stem = first[:3], first[:6] + "00"
        disc, folder = session.dots
        lines = [f"{text} ({name})" for name, text in session.lines.items()]
        ends = "\r\n" if speaker == "022" else "\n"
        if speaker == "022":
            lines.insert(2, "")
        dots = "".join(line + ends for line in lines)
        files[disc, f"{folder}/{speaker}/{stem}.dot"] = dots.encode()
        files[disc, f"{folder}/{speaker}/{stem}.ptx"] = b"prompts, not what was said\n"
        for name, text in session.lines.items():
            if name in WITHOUT_AUDIO:
                continue
            audio = sphere_bytes(tones(text, name), RATE, SHORTEN, utterance_id=name)
            path = f"{session.folder}/{speaker}/{name}"
            files[session.disc, f"{path}.wv1"] = audio
            files[session.disc, f"{path}.wv2"] = b"the second microphone\n"
            files[session.disc, f"{path}.lsn"] = f"DECOY ({name})\n".encode()
    return files


def make_tree(folder: Path, variant: str = "plain") -> list[str]:
    """Write the tree and return the options that a recipe finds it with."""
    for (disc, path), content in _files().items():
        if variant == "cstr":
            place = folder / "cstr" / path
        else:
            corpus = "LDC93S6A" if disc.startswith("11") else "LDC94S13A"
            if variant == "underscores":
                corpus, disc = f"{corpus}/discs", disc.replace("-", "_")
                if disc != "13_34.1":  # seen together with 11_13_1
                    disc = disc.replace(".", "_")
            elif variant == "upper" and disc == "13-16.1":
                path = path.upper()
            place = folder / corpus / disc / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    (folder / "wsj0-train-spkrinfo.txt").write_text(TRAIN_SPEAKERS)
    if variant == "cstr":
        return ["--wsj", f"{folder}/cstr"]
    return ["--wsj0", f"{folder}/LDC93S6A", "--wsj1", f"{folder}/LDC94S13A"]


if __name__ == "__main__":
    print(*make_tree(Path(sys.argv[1]), *sys.argv[2:3]))
