"""Switchboard's words one by one, acronyms, repeats, segments of evaluations, Fisher."""

from __future__ import annotations

import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(ROOT / "egs/swbd/local"))
from fisher_text import find_transcripts, sentences
from hub5_sets import extend
from prepare_swbd import RELEASE, RELEASES, check_counts, check_whole, folders_of
from swbd_speakers import read_callers, speakers_of
from swbd_split import limit_repeats, split
from swbd_transcripts import Utterance, read_transcripts, utterance_id
from swbd_words import WordMap, read_acronyms

from cascade_asr.errors import ConfigError, DataError

DICTIONARY = """\
# comment
AIDS ey d z
AIDS ey ay d iy eh s z
AT&T ey t iy ax n t iy
BBC's b iy b iy s iy z
CD's s iy d iy z
IBM ay b iy eh m
TVs t iy v iy z
US y uw eh s
WB d ah b ax l y uw b iy
I ay
I's ay z
us ah s
cbs s iy b iy eh s
tv t iy v iy
ga jh iy ey
a's ey z

"""
ACRONYMS = read_acronyms(DICTIONARY.splitlines(), "dict")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("[laughter-story]", "story"),
        ("[it'n/isn't]", "it'n"),
        ("-[an]y", "-y"),
        ("ab[solute]-", "ab-"),
        ("[lem[guini]-/linguini]", "lem-"),
        ("{yuppiedom}", "yuppiedom"),
        ("them_1", "them"),
        ("ammu[n]it-", "ammu-it-"),
        ("[noise]-", "[noise]"),
        ("IBM AT&T i b m at&t AT&amp;T", "i b m at&t i b m at&t at&t"),
        # the dash was forgotten
        ("[an]y ab[solute]", "-y ab-"),
        # a bracket was forgotten
        ("ex[specially]-/especially]", "ex-"),
        # several marks at once
        ("[laughter-ab[solute]-]", "ab-"),
        ("[laughter-[it'n/isn't]]", "it'n"),
        ("[laughter-it'n/isn't]", "it'n"),
        ("[laughter-lem[guini]-/linguini]", "lem-"),
        ("[laughter-{yuppiedom}]", "yuppiedom"),
        ("[laughter-them_1]", "them"),
        ("[laughter-th[em]-]-", "th-"),
        ("-[laughter-an]", "-an"),
        ("[laughter-i]'m [laughter-them]_1", "i'm them"),
        ("{yuppiedom}'s {[it'n/isn't]} them_1's", "yuppiedom's it'n them's"),
        ("[Laughter-Story] [NOISE] [Vocalized-Noise]", "story [noise] [vocalized-noise]"),
        # markers
        ("[laughter] [noise] [vocalized-noise]", "[laughter] [noise] [vocalized-noise]"),
        ("yes[laughter] [noise]no", "yes [laughter] [noise] no"),
        ("[silence]", ""),
        ("a [SILENCE] b[silence]", "a b"),
        ("<b_aside> come <E_ASIDE> <b_aside>here", "come here"),
        ("-- - a", "a"),
        ("  a\t b  ", "a b"),
        ("", ""),
        # no marks at all
        ("uh-huh it's o'clock", "uh-huh it's o'clock"),
    ],
)
def test_words(raw: str, words: str):
    assert WordMap(ACRONYMS)(raw) == words
    assert not re.search(r"\[(?!(noise|laughter|vocalized-noise)\])|[{}<>()]", words)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("IBM IBM's", "i b m i b m's"),
        ("BBC's CD's TVs", "b b c's c d's t vs"),
        ("AIDS NASA us US WB", "aids nasa us u s w b"),
        ("I I's A a's", "i i's a a's"),
        ("cbs tv tv's gas CBS", "c b s t v t v's gas cbs"),
        ("i._b._m. I.B.M. u.s.'s d._v._d.s", "i b m i b m u s's d v ds"),
        ("I. B. M.", "i b m"),
        ("T. V.'S", "t v's"),
        ("mr. etc.", "mr. etc."),
    ],
)
def test_acronyms_by_the_dictionary(raw: str, words: str):
    assert WordMap(ACRONYMS)(raw) == words


def test_acronyms_without_a_dictionary_are_the_words_in_capitals():
    assert WordMap()("IBM NASA's I us BBCs AT&T") == "i b m n a s a's i us b b cs at&t"


def test_acronyms_of_the_dictionary():
    assert ACRONYMS == {
        "BBC's": "b b c's", "CD's": "c d's", "IBM": "i b m", "TVs": "t vs", "US": "u s",
        "WB": "w b", "cbs": "c b s", "tv": "t v", "ga": "g a",
    }  # fmt: skip


def test_a_dictionary_without_words():
    with pytest.raises(DataError, match="dict: contains no words"):
        read_acronyms(["# nothing", ""], "dict")


@pytest.mark.parametrize(
    "raw", ["[cough]", "a [cough]", "[laughter-a", "a]", "{a", "<x>", "(a)", "[a[b]", "[[noise]]x]"]
)
def test_brackets_that_are_left(raw: str):
    with pytest.raises(ValueError, match="a bracket that is not a marker"):
        WordMap({})(raw)


@given(st.text(alphabet="ab-[]{}/_1'<>() \t", max_size=25))
def test_any_text_is_clean_or_an_error(raw: str):
    try:
        words = WordMap({})(raw)
    except ValueError:
        return
    assert not set(words) & set("[]{}<>()\t")
    assert words == " ".join(words.split())


@pytest.mark.parametrize(
    ("start_s", "end_s", "name"),
    [
        (0.977625, 11.561375, "sw02001-A_000098-001156"),
        (0, 0.004, "sw02001-A_000000-000000"),
        (301.85, 302.48, "sw02001-A_030185-030248"),  # Kaldi's evaluation script cuts: 030184
        (10000.0, 10001.0, "sw02001-A_1000000-1000100"),
    ],
)
def test_ids(start_s: float, end_s: float, name: str):
    assert utterance_id("sw02001-A", start_s, end_s) == name


def test_split_is_by_bytes():
    names = {"sw02001-B_1": "b", "sw02001-A_2": "a", "sw02001-A_1": "c", "sw0200a-A_1": "d"}
    dev, train = split(names, 2)
    assert (dev, train) == (["sw02001-A_1", "sw02001-A_2"], ["sw02001-B_1", "sw0200a-A_1"])
    with pytest.raises(DataError, match="train_dev takes 4 of 4 utterances .* --dev-utterances"):
        split(names, 4)


def test_repeats_beyond_the_limit_go_whatever_the_order():
    texts = {f"u{number:04d}": "uh-huh" for number in range(50)}
    texts |= {f"v{number:04d}": "yeah" for number in range(3)}
    kept = limit_repeats(texts, 5, seed=0)
    assert kept == sorted(kept)
    assert Counter(texts[name] for name in kept) == {"uh-huh": 5, "yeah": 3}
    assert limit_repeats(dict(reversed(texts.items())), 5, seed=0) == kept
    assert limit_repeats(texts, 5, seed=1) != kept
    assert limit_repeats(texts, 50, seed=0) == sorted(texts)
    # what stays of a text does not depend on the other texts
    alone = {name: text for name, text in texts.items() if text == "uh-huh"}
    assert limit_repeats(alone, 5, seed=0) == [name for name in kept if name[0] == "u"]
    # each utterance has the same chance
    counts = Counter(name for seed in range(400) for name in limit_repeats(alone, 5, seed))
    assert len(counts) == 50 and 20 < min(counts.values()) and max(counts.values()) < 65


def utterances(*times: tuple[float, float], side: str = "A") -> dict[str, Utterance]:
    place = (Path("stm"), 1)
    made = [Utterance("en_1", side, start, end, "x", place) for start, end in times]
    return {utterance_id(each.recording, each.start_s, each.end_s): each for each in made}


def times(extended: dict[str, Utterance]) -> list[tuple[float, float]]:
    return [(round(each.start_s, 6), round(each.end_s, 6)) for each in extended.values()]


@pytest.mark.parametrize(
    ("given_times", "extended_times"),
    [
        ([(1, 2), (3, 4)], [(0.9, 2.1), (2.9, 4.1)]),
        ([(0.04, 2), (2.12, 9.95)], [(0, 2.06), (2.06, 10)]),
        ([(1, 2), (2, 3)], [(0.9, 2), (2, 3.1)]),
        ([(1, 2.5), (2, 3)], [(0.9, 2.5), (2, 3.1)]),
        ([(0, 10)], [(0, 10)]),
    ],
)
def test_segments_are_extended_without_overlap(given_times, extended_times):
    assert times(extend(utterances(*given_times), {}, {"en_1": 10.0})) == extended_times


def test_what_is_not_scored_is_a_neighbour_and_the_other_side_is_none():
    ignored = utterances((2.1, 3))
    both = utterances((1, 2)) | utterances((1.5, 2.5), side="B")
    assert times(extend(both, ignored, {"en_1": 10.0})) == [(0.9, 2.05), (1.4, 2.6)]


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 99)), min_size=1, max_size=12))
def test_any_segments_stay_inside_and_meet_at_most(drawn: list[tuple[int, int]]):
    given_times = {(start / 100, (start + length) / 100) for start, length in drawn}
    before = utterances(*sorted(given_times))
    after = extend(before, {}, {"en_1": 10.0})
    assert list(after) == list(before)
    for name, each in after.items():
        old = before[name]
        assert max(0, old.start_s - 0.1) <= each.start_s + 1e-9 <= old.start_s + 2e-9
        assert old.end_s - 2e-9 <= each.end_s - 1e-9 <= min(10, old.end_s + 0.1)
    names = sorted(before, key=lambda name: before[name][2:4])
    for first, second in pairwise(names):
        room = before[second].start_s - before[first].end_s
        assert after[second].start_s - after[first].end_s >= min(0, room) - 1e-9


def test_callers(tmp_path: Path):
    path = tmp_path / "conv_tab.csv"
    path.write_bytes(b'2001,Y,1020,1044,303,0,910304,1218,1222, ,\r\n\r\n4940,"N"," 1000",1001\r\n')
    callers = read_callers(path)
    assert callers == {"sw02001-A": "1020", "sw02001-B": "1044", "sw04940-A": "1000",
                       "sw04940-B": "1001"}  # fmt: skip
    sides = ["sw02001-B", "sw03000-A"]
    assert speakers_of(sides, callers) == {"sw02001-B": "1044", "sw03000-A": "sw03000-A"}
    assert speakers_of(sides, None) == {side: side for side in sides}
    path.write_text("2001,Y,1020,1044\n2001,Y,1020,1045\n")
    with pytest.raises(DataError, match=r"conv_tab.csv:2: sw02001-B has callers 1044 and 1045"):
        read_callers(path)


@pytest.mark.parametrize(
    ("recordings", "segments", "sides", "message"),
    [
        (2435, 264333, 4870, None),
        (2435, 264333, 4869, None),  # one side is almost all silence
        (2438, 264700, 4876, None),  # another number of segments, which is not known
        (2438, 264700, 4870, "Switchboard: 4870 sides (LDC's corpus: 4876 or 4875); without"),
        (2434, 264333, 4870, "Switchboard: 2434 recordings (LDC's corpus: 2435 or 2438); without"),
        (2435, 264332, 4868, "Switchboard: 264332 segments (LDC's corpus: 264333), 4868 sides ("),
    ],
)
def test_counts(recordings: int, segments: int, sides: int, message: str | None, caplog):
    found = {"recordings": recordings, "segments": segments, "sides": sides}
    expected = RELEASES.get(recordings, RELEASE)
    check_counts("Switchboard", found, expected, strict=False)
    assert bool(caplog.records) is (message is not None)
    if message is None:
        check_counts("Switchboard", found, expected, strict=True)
    else:
        with pytest.raises(DataError, match=re.escape(message)):
            check_counts("Switchboard", found, expected, strict=True)


def test_folders_in_one_word(tmp_path: Path):
    for name in ("a", "b", "with space"):
        (tmp_path / name).mkdir()
    assert folders_of("x", f"{tmp_path}/a  {tmp_path}/b") == [tmp_path / "a", tmp_path / "b"]
    assert folders_of("x", f"{tmp_path}/with space") == [tmp_path / "with space"]
    assert folders_of("x", f"{tmp_path}/a {tmp_path}/a") == [tmp_path / "a"]
    with pytest.raises(ConfigError, match=f"--x {tmp_path}/c: no such folder"):
        folders_of("x", f"{tmp_path}/a {tmp_path}/c")
    with pytest.raises(ConfigError, match="--x: where is the corpus"):
        folders_of("x", " ")


def fisher(folder: Path, text: str, name: str = "data/trans/000/fe_03_00001.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("latin-1"))
    return path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("7.38 8.78 A: and so: on", ["and so: on"]),
        ("7.38 8.78 B1: Yes [Laugh]", ["yes [laughter]"]),
        ("7.38 8.78 B:", []),
        (" 7.38\t8.78  A:\tyes", ["yes"]),
        ("7.38 8.78 B: (( no )) yes", []),
        ("7 8.7 A: [sigh] [cough] a [mn] [breath] [lipsmack]",
         ["[noise] [noise] a [noise] [noise] [noise]"]),
        ("7 8 A: t._v. i- -- ", ["t v i-"]),
        ("7 8 A: [foreign] x", []),
        ("7 8 A: caf\xe9\r", ["caf\xe9"]),
    ],
)  # fmt: skip
def test_fisher(line: str, words: list[str], tmp_path: Path):
    path = fisher(tmp_path, f"# fe_03_00001.sph\n# Transcribed at the LDC\n\n{line}\n")
    assert list(sentences([path])) == words


def test_fisher_takes_the_final_transcripts(tmp_path: Path):
    first = fisher(tmp_path, "x")
    fisher(tmp_path, "y", "data/bbn_orig/000/fe_03_00001.txt")
    fisher(tmp_path, "y", "doc/readme.txt")
    assert find_transcripts([tmp_path]) == [first]
    deep = fisher(tmp_path / "Trans", "x")  # the site's own folder
    fisher(tmp_path / "Trans", "y", "data/bbn_orig/000/fe_03_00001.txt")
    assert find_transcripts([tmp_path / "Trans"]) == [deep]
    assert find_transcripts([deep.parent]) == [deep]
    other = fisher(tmp_path / "again", "z")
    with pytest.raises(DataError, match=f"{first} and {other} are the same conversation"):
        find_transcripts([tmp_path / "data", tmp_path / "again"])


def write_transcripts(folder: Path, count: int, flaws: dict[int, str]) -> list[Path]:
    """One side of a conversation of many lines, some of which have other words."""
    lines = [
        f"sw2001A-ms98-a-{number:04d} {number}.0 {number}.9 {flaws.get(number, 'well yeah')}"
        for number in range(count)
    ]
    path = folder / "sw2001A-ms98-a-trans.text"
    path.write_text("\n".join(lines) + "\n")
    return [path]


def test_a_few_unknown_markers_cost_their_segments_and_are_told(tmp_path: Path, caplog):
    paths = write_transcripts(tmp_path, 3000, {7: "[laughter-] so", 2500: "{x"})
    left_out: dict[str, str] = {}
    found = read_transcripts(paths, left_out=left_out)
    assert len(found) == 2998 and "sw02001-A_000700-000790" not in found
    assert left_out.keys() == {"sw02001-A_000700-000790", "sw02001-A_250000-250090"}
    told = "\n".join(record.getMessage() for record in caplog.records)
    for place in (f"{paths[0]}:8: '[laughter-]'", f"{paths[0]}:2501: '{{x'"):
        assert place in told
    assert "2 segments left out because of unknown markers" in told
    with pytest.raises(DataError, match=":8: "):
        read_transcripts(paths, strict=True)
    ordered = sorted(found)
    check_whole("train_dev", ordered[:5], left_out)
    with pytest.raises(DataError, match=r"(?s):8: .*train_dev is scored, and would lack 1 segments"):
        check_whole("train_dev", ordered[:50], left_out)


def test_too_many_unknown_markers_stop(tmp_path: Path):
    paths = write_transcripts(tmp_path, 3000, dict.fromkeys(range(4), "[laughter-]"))
    with pytest.raises(DataError) as caught:
        read_transcripts(paths)
    assert str(caught.value).count("a bracket that is not a marker") == 4
