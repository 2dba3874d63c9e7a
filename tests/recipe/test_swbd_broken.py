"""egs/swbd, stage 0, on corpora that are damaged or incomplete, and with wrong options."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import swbd_expected as expected
import swbd_tree
from sphere_files import header, sphere_bytes
from swbd_stage0 import SETS, prepare, utterances_of
from wsj_recipe import rows

TRANS = "sw2001A-ms98-a-trans.text"
STM = "hub5e00.english.000405.stm"
SECOND = "en_4156 B en_4156_B 2.00 2.70"


class Corpora:
    """A copy of the plain tree, to be broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = swbd_tree.make_tree(folder)

    def find(self, name: str) -> Path:
        """The only file of that name."""
        (path,) = self.folder.rglob(name)
        return path

    def remove(self, name: str) -> None:
        self.find(name).unlink()

    def change(self, name: str, old: str, new: str, encoding: str = "utf-8") -> None:
        path = self.find(name)
        content = path.read_text()
        assert old in content
        path.write_bytes(content.replace(old, new, 1).encode(encoding))

    def audio(self, name: str, rate: int = 8000, channels: int = 2, **changes: str | int) -> None:
        """Half a minute of silence with a different header."""
        codes = swbd_tree.ulaw(swbd_tree.side([], 30 * 8000, 1))[:, None].repeat(channels, axis=1)
        self.find(name).write_bytes(sphere_bytes(codes, rate, "ulaw", **changes))


@pytest.fixture
def corpora(tmp_path: Path) -> Corpora:
    return Corpora(tmp_path / "corpora")


def wrong_corpus(corpora: Corpora) -> None:
    for path in [*corpora.folder.rglob("sw0*.sph"), *corpora.folder.rglob("SW0*.SPH")]:
        path.unlink()


def without_transcripts(corpora: Corpora) -> None:
    shutil.rmtree(corpora.folder / "LDC97S62/transcriptions")


def two_recordings(corpora: Corpora) -> None:
    path = corpora.find("sw02005.sph")
    shutil.copy(path, path.with_name("SW02005.sph"))


def two_transcripts(corpora: Corpora) -> None:
    path = corpora.find(TRANS)
    (path.parent / "more").mkdir()
    text = "\nsw2001A-ms98-a-0077 0.375 1.143 hi em yeah\n"
    (path.parent / "more" / TRANS.upper()).write_text(text)


def two_glms(corpora: Corpora) -> None:
    path = corpora.find("en20000405_hub5.glm")
    (path.parent / "old").mkdir()
    (path.parent / "old" / path.name.upper()).write_text("other rules\n")


def truncate(corpora: Corpora) -> None:
    path = corpora.find("sw02005.sph")
    path.write_bytes(path.read_bytes()[: 1024 + 20010])


def many_brackets(corpora: Corpora) -> None:
    for conversation in ("2001A", "2005A", "2006A"):
        corpora.change(f"sw{conversation}-ms98-a-trans.text", "uh-huh", "[x")


def second_in_the_pem(corpora: Corpora) -> None:
    corpora.change("hub5e_00.pem", "B unknown_speaker 2.00 2.70", "B unknown_speaker 2.00 2.80")


# What is damaged, and parts of the message.
BROKEN: dict[str, tuple[Callable[[Corpora], object] | str, ...]] = {
    "wrong corpus": (wrong_corpus, "/LDC97S62 has no sw0*.sph: is this LDC97S62?"),
    "no transcripts": (
        without_transcripts, "/LDC97S62 has no sw*-ms98-a-trans.text with words: name the folder "),
    "absent audio": (
        lambda corpora: corpora.remove("sw02005.sph"),
        "Switchboard: 1 of 6 files missing, first: sw02005.sph (",
        "/sw2005A-ms98-a-trans.text:2); copy them, or use --allow-missing",
    ),
    "absent audio of an evaluation": (
        lambda corpora: corpora.remove("en_4910.sph"),
        "eval2000: 1 of 4 files missing, first: en_4910.sph (",
    ),
    "two recordings": (two_recordings, "recording sw02005 is both "),
    "not sphere": (
        lambda corpora: corpora.find("sw02005.sph").write_bytes(b"RIFF" + bytes(2000)),
        "/sw02005.sph: no NIST_1A magic",
    ),
    "damaged header": (
        lambda corpora: corpora.find("sw02005.sph").write_bytes(header({"sample_count": 4})),
        "/sw02005.sph: damaged SPHERE header: no sample_rate",
    ),
    "truncated": (truncate, "/sw02005.sph: header says 191918 samples, found 10005: truncated"),
    "unsupported coding": (
        lambda corpora: corpora.audio("sw02005.sph", sample_coding="ulaw,embedded-wavpack"),
        "/sw02005.sph: coding 'ulaw,embedded-wavpack' is unknown",
    ),
    "rate": (
        lambda corpora: corpora.audio("sw02005.sph", rate=16000),
        "/sw02005.sph: 16000 Hz, recipe expects 8000",
    ),
    "channels": (
        lambda corpora: corpora.audio("fsh_60262.sph", channels=1),
        "/fsh_60262.sph: 1 channel, need 2",
    ),
    "bad transcript line": (
        lambda corpora: corpora.change(TRANS, "0004 1.9055", "0004 x1.9055"),
        f"/{TRANS}:4: expected 'sw2001A-ms98-a-0002 0.977625 11.561375 words', found 'sw2001A-ms98",
    ),
    "unknown bracket": (
        lambda corpora: corpora.change(TRANS, "it rains", "[cough] rains"),
        f"/{TRANS}:19: '[cough]': a bracket that is not a marker; correct the transcript",
    ),
    "unknown brackets": (many_brackets, "sw2006A-ms98-a-trans.text:7: '[x': a bracket"),
    "two transcripts": (
        two_transcripts,
        "'sw02001-A_000038-000114' in ",
        f"/{TRANS.upper()}:2 and ",
        f"/{TRANS}:2 with different texts; remove the wrong one",
    ),
    "no length": (
        lambda corpora: corpora.change(TRANS, "1.905500 3.121500", "3.000 3.000"),
        f"/{TRANS}:4: sw02001-A_000300-000300: zero/negative length 3.00-3.00",
    ),
    "negative length": (
        lambda corpora: corpora.change(TRANS, "1.905500 3.121500", "3.121500 1.905500"),
        "sw02001-A_000312-000191: zero/negative length 3.12-1.91",
    ),
    "end beyond the audio": (
        lambda corpora: corpora.change(TRANS, "21.863500", "24.75"),
        ("sw02001-A_002122-002475 ends at 24.75 s but sw02001 ends at 24.62 s (1 of 153 segments "
         "end so); is this the recording of that transcript? --allow-missing leaves them out"),
    ),
    "end of an evaluation's segment beyond the audio": (
        lambda corpora: corpora.change("sw_45097.stm", "4.9 6.3 ", "4.9 7.5 "),
        "sw_45097-B_000490-000750 ends at 7.50 s but sw_45097 ends at ",
        "segments end so); is this the recording of that transcript?\n",
    ),
    "table of callers": (
        lambda corpora: corpora.change("conv_tab.csv", "2005,Y", "Conversation,Y"),
        "/conv_tab.csv:2: expected 'conversation,kind,pin,pin,...', found 'Conversation,Y,1020",
    ),
    "no pem": (
        lambda corpora: corpora.remove("hub5e_00.pem"),
        "/LDC2002T43 has no hub5e_00.pem: is this LDC2002S09?",
    ),
    "no stm": (
        lambda corpora: corpora.remove(STM),
        f"/LDC2002T43 has no {STM}: is this LDC2002T43?",
    ),
    "no glm": (
        lambda corpora: corpora.remove("en20030506.glm"),
        "/LDC2007S10 has no en20030506.glm: is this LDC2007S10?",
    ),
    "two glms": (two_glms, "differ; name the folder of one of them"),
    "wrong rt03": (
        lambda corpora: shutil.rmtree(corpora.folder / "LDC2007S10/data/references"),
        "/LDC2007S10 has no eval03/english/cts/*.stm: is this LDC2007S10?",
    ),
    "segment not in the stm": (
        lambda corpora: corpora.change(STM, SECOND, f";; {SECOND}"),
        "differ: the first segment that only one has is 'en_4156-B_000200-000270' (",
        "/hub5e_00.pem:8); 28 segments in the pem, 27 in the stm",
    ),
    "segment with another time": (
        second_in_the_pem,
        "'en_4156-B_000200-000270' (",
        f"/{STM}:9); 28 segments in the pem, 28 in the stm",
    ),
    "bad pem line": (
        lambda corpora: corpora.change("hub5e_00.pem", "4156 B unknown_speaker 2.00", "4156 B 2.0"),
        "/hub5e_00.pem:8: expected 'file channel speaker begin end', found 'en_4156 B 2.0 2.70'",
    ),
    "bad stm line": (
        lambda corpora: corpora.change(STM, "en_4156_B 2.00 2.70", "en_4156_B 2.00"),
        f"/{STM}:9: expected 'file channel speaker begin end <label> words', found 'en_4156 B en_",
    ),
    "time that is none": (
        lambda corpora: corpora.change("sw_45097.stm", "2.2 3.3", "nan 3.3"),
        "/sw_45097.stm:5: expected 'file channel speaker begin end <label> words', found 'sw_45097",
    ),
    "bad channel": (
        lambda corpora: corpora.change(STM, SECOND, SECOND.replace(" B ", " 3 ")),
        f"/{STM}:9: channel '3'; expected A or B, or 1 or 2",
    ),
    "segment of an evaluation without length": (
        lambda corpora: corpora.change("sw_45097.stm", "0.35 1.6 ", "1.6 1.6 "),
        "/sw_45097.stm:4: sw_45097-A_000160-000160: zero/negative length 1.60-1.60",
    ),
    "two texts of a segment": (
        lambda corpora: corpora.change(STM, SECOND, f"{SECOND} <O,en,M,en-M> YEAH\n{SECOND}"),
        "'en_4156-B_000200-000270' in ",
    ),
    "no fisher": (
        lambda corpora: corpora.remove("fe_03_05851.txt"),
        "/LDC2005T19 has no fe_03_*.txt: is this LDC2004T19 or LDC2005T19?",
    ),
    "bad fisher line": (
        lambda corpora: corpora.change("fe_03_00004.txt", "1.40 2.60 A:", "1.40 2.60 A"),
        "/fe_03_00004.txt:5: expected '7.38 8.78 A: words', found '1.40 2.60 A do you [cough]",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_corpora_leave_no_data_folder(name: str, corpora: Corpora, tmp_path: Path):
    damage, *messages = BROKEN[name]
    damage(corpora)
    done = prepare(tmp_path / "data", *corpora.tree.options, "--sets", *SETS)
    assert done.returncode == 1, done.stderr
    for message in messages:
        assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_transcripts_beside_the_corpus_are_found(corpora: Corpora, tmp_path: Path):
    place = corpora.folder / "LDC97S62/transcriptions"
    found = [path for path in place.rglob("*") if path.name.lower().startswith("swb_ms98")]
    (found[0] if found else place).rename(corpora.folder / "swb_ms98_transcriptions")
    done = prepare(tmp_path / "data", *corpora.tree.options[:6], "--sets", "train_dev")
    assert done.returncode == 0, done.stderr
    assert "swb_ms98_transcriptions beside it" in done.stderr


def test_an_error_leaves_the_old_folders_as_they_were(corpora: Corpora, tmp_path: Path):
    old = tmp_path / "train_dev/text"
    old.parent.mkdir()
    old.write_text("old\n")
    corpora.change("fe_03_00004.txt", "1.40 2.60 A:", "1.40 2.60 A")  # the last that is read
    done = prepare(tmp_path, *corpora.tree.options)
    assert done.returncode == 1
    assert old.read_text() == "old\n"
    assert {path.name for path in tmp_path.iterdir()} == {"corpora", "train_dev"}


def test_what_can_be_done_without(corpora: Corpora, tmp_path: Path):
    for name in ("sw02005.sph", "en_4910.sph"):
        corpora.remove(name)
    corpora.change("sw_45097.stm", "SHE SAID", "[MUSIC] SAID")
    corpora.change("sw2006B-ms98-a-trans.text", "21.763250 good night", "22.5 good night")
    corpora.change(TRANS, "do you have", "do yoü have", "latin-1")
    corpora.change(STM, "THEY'RE IN THE LAKE", "THEY'RE IN THE CAFÉ", "latin-1")
    again = corpora.find("sw3001A-ms98-a-trans.text")
    (again.parent / "copy").mkdir()
    shutil.copy(again, again.parent / "copy")
    corpora.change("en20000405_hub5.glm", "\n", "\r\n")
    options = [*corpora.tree.options, "--sets", *SETS, "--allow-missing"]
    done = prepare(tmp_path / "data", *options)
    assert done.returncode == 0, done.stderr
    for message in (
        "Switchboard: 1 of 6 files missing, first: sw02005.sph (",
        "; left out: sw02005\n",
        "eval2000: 1 of 4 files missing, first: en_4910.sph (",
        f"/{TRANS}:4: not UTF-8; read as latin-1",
        "14 transcripts occur twice, such as 'sw03001-A_0000",
        "en20000405_hub5.glm: Windows line ends",
        "/sw_45097.stm:10: no word: [MUSIC]",
        "sw02006 ends at 22.26 s (1 of 125 segments end so); left out",
    ):
        assert message in done.stderr, done.stderr
    everything = expected.table(expected.SWITCHBOARD)
    kept = {key for key, each in everything.items() if not each.recording.startswith("sw02005")}
    found = rows(tmp_path / "data/train_dev/text") | rows(tmp_path / "data/train_nodup/text")
    assert found.keys() == kept - {"sw02006-B_002100-002176"}
    assert found["sw02001-A_000191-000312"] == "do yoü have a dog"
    evaluation = tmp_path / "data/eval2000"
    left = {key for key in utterances_of("eval2000") if not key.startswith("en_4910")}
    assert rows(evaluation / "hub5/segments").keys() == rows(evaluation / "text").keys() == left
    stm = (evaluation / "hub5/stm").read_text("utf-8")
    assert rows(evaluation / "text")["en_4156-B_000400-000550"] == "they're in the café"
    assert "THEY'RE IN THE CAFÉ\n" in stm  # in UTF-8, as are hypotheses
    assert "en_4910" not in stm and "en_4156" in stm  # else its words would be deletions
    assert "\r" not in (evaluation / "hub5/glm").read_text()
    assert rows(tmp_path / "data/rt03/text")["sw_45097-B_000250-000390"] == "said so"


def test_the_release_that_lacks_three_transcribed_conversations(corpora: Corpora, tmp_path: Path):
    folder = corpora.find("sw02006.sph").parent
    there = len([*corpora.folder.glob("LDC97S62/**/[Ss][Ww]0*")])
    for number in range(2435 - there):
        (folder / f"sw0{5000 + number}.sph").touch()
    corpora.find("sw04940.SPH".upper()).rename(folder / "sw09999.sph")
    options = ["--swbd", corpora.tree.swbd, "--sets", "train_nodup"]
    done = prepare(tmp_path / "data", *options)
    assert done.returncode == 0, done.stderr
    assert "Switchboard: 1 of 6 files missing, first: sw04940.sph (" in done.stderr
    assert " recordings (LDC's" not in done.stderr
    assert "sw04940-A" not in (tmp_path / "data/train_nodup/wav.scp").read_text()
    (folder / "sw09999.sph").unlink()
    done = prepare(tmp_path / "data", *options)
    assert done.returncode == 1
    assert "; copy them, or use --allow-missing" in done.stderr


def test_nothing_left_is_not_allowed(corpora: Corpora, tmp_path: Path):
    for path in corpora.folder.rglob("fsh_60262.sph"):
        path.unlink()
    corpora.remove("sw_45097.sph")
    options = ["--rt03", corpora.tree.rt03, "--sets", "rt03", "--allow-missing"]
    done = prepare(tmp_path / "data", *options)
    assert done.returncode == 1
    assert "rt03: 2 of 2 files missing, first: fsh_60262.sph (" in done.stderr


@pytest.mark.parametrize("name", ["train_dev", "eval2000", "rt03"])
def test_strict(name: str, corpora: Corpora, tmp_path: Path):
    options = [*corpora.tree.options[:6], "--sets", name, "--strict"]
    done = prepare(tmp_path / "data", *options)
    assert done.returncode == 1
    assert "(LDC's corpus: " in done.stderr and "; without --strict this is a" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--eval2000: where is the corpus? Expected --eval2000 DIR"),
        (["--sets", "train_dev"], "--swbd: where is the corpus? Expected --swbd DIR"),
        (["--sets", "rt03", "--rt03", "/no/such"], "--rt03 /no/such: no such folder"),
        (["--sets", "train_dev", "--swbd", "{empty} /no/such"], "--swbd /no/such: no such folder"),
        (["--sets", "train_dev", "--swbd", "{empty}"], "{empty} has no sw0*.sph: is this LDC97S62"),
        (["--sets", "train_nodupp"], "no set 'train_nodupp'; did you mean 'train_nodup'?"),
        (["--max-repeats", "0"], "--max-repeats 0: expected a number of at least 1"),
        (["--sets", "train_dev", "--swbd", "{empty}", "--conv-tab", "/no/such"],
         "--conv-tab /no/such: no such file"),
    ],
)  # fmt: skip
def test_wrong_options(options: list[str], message: str, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    empty = str(tmp_path / "empty")
    done = prepare(tmp_path / "data", *(option.format(empty=empty) for option in options))
    assert done.returncode == 1
    assert message.format(empty=empty) in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_train_dev_must_leave_something(corpora: Corpora, tmp_path: Path):
    options = ["--swbd", corpora.tree.swbd, "--sets", "train_dev", "--dev-utterances", "153"]
    done = prepare(tmp_path / "data", *options)
    assert done.returncode == 1
    assert "train_dev takes 153 of 153 utterances and leaves none" in done.stderr
