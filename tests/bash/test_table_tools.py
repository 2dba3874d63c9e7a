"""Drives the tools for tables and data folders that Kaldi's recipes use."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[2] / "utils"


@pytest.fixture
def run(tmp_path):
    def call(script: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(UTILS / script), *map(str, arguments)], capture_output=True, text=True,
            input=stdin, cwd=tmp_path, timeout=60,
        )  # fmt: skip

    return call


TEN = "".join(f"u{number} x  y{number}\n" for number in range(10))


def chosen(result: subprocess.CompletedProcess) -> list[int]:
    assert result.returncode == 0, result.stderr
    return [int(line.split()[0][1:]) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([3], [4, 6, 9]),
        ([5], [1, 4, 6, 7, 9]),
        ([10], list(range(10))),
        (["--first", 3], [0, 1, 2]),
        (["--last", 3], [7, 8, 9]),
        (["--quiet", 11], list(range(10))),
    ],
)
def test_subset(run, options, expected):
    result = run("subset_scp.pl", *options, stdin=TEN)
    assert chosen(result) == expected
    assert set(result.stdout.splitlines()) <= set(TEN.splitlines())  # blanks within stay


def test_subset_refuses(run):
    assert "has 10 lines, fewer than 11" in run("subset_scp.pl", 11, stdin=TEN).stderr
    assert run("subset_scp.pl", 0, stdin=TEN).returncode == 1
    assert "cannot read absent" in run("subset_scp.pl", 1, "absent").stderr


def test_split_into_files_and_into_one_job(run, tmp_path):
    (tmp_path / "t").write_text(TEN)
    assert run("split_scp.pl", "t", "a", "b", "c").returncode == 0
    parts = [(tmp_path / name).read_text() for name in "abc"]
    assert [part.count("\n") for part in parts] == [4, 3, 3] and "".join(parts) == TEN
    for job in range(3):
        assert run("split_scp.pl", "-j", 3, job, "t").stdout == parts[job]
        assert run("split_scp.pl", "--one-based", "-j", 3, job + 1, "t").stdout == parts[job]
    assert run("split_scp.pl", "-j", 3, 1, "t", "out").returncode == 0
    assert (tmp_path / "out").read_text() == parts[1]


def test_stdin_and_stdout_among_files(run, tmp_path):
    (tmp_path / "t").write_text(TEN)
    speakers = "".join(f"u{i} {s}\n" for i, s in enumerate("aaaabbcccd"))
    for arguments, stdin in ((("--utt2spk=-", "t"), speakers), (("--utt2spk=utt2spk", "-"), TEN)):
        (tmp_path / "utt2spk").write_text(speakers)
        result = run("split_scp.pl", *arguments, "1", "-", "3", stdin=stdin)
        assert (result.returncode, result.stderr) == (0, "")
        parts = (tmp_path / "1").read_text(), result.stdout, (tmp_path / "3").read_text()
        assert [part.count("\n") for part in parts] == [4, 2, 4] and "".join(parts) == TEN
    (tmp_path / "list").write_text("u1\nu7\n")
    assert chosen(run("filter_scp.pl", "list", "t", "-", stdin=TEN)) == [1, 7, 1, 7]
    assert chosen(run("filter_scp.pl", "list", stdin=TEN)) == [1, 7]
    assert chosen(run("filter_scp.pl", "-", "t", stdin="u1 x\nu7\n")) == [1, 7]
    assert chosen(run("filter_scp.pl", "--exclude", "-", "list", "t", stdin=TEN.replace("u3", "v"))) == [3]
    for tables in ((), ("t", "-")):
        assert "a table cannot both come from stdin" in run("filter_scp.pl", "-", *tables, stdin=TEN).stderr


def test_split_keeps_speakers_together(run, tmp_path):
    (tmp_path / "t").write_text(TEN)
    speakers = "aaaabbcccd"
    (tmp_path / "utt2spk").write_text("".join(f"u{i} {s}\n" for i, s in enumerate(speakers)))
    assert run("split_scp.pl", "--utt2spk=utt2spk", "t", "1", "2", "3").returncode == 0
    found = [chosen_speakers((tmp_path / name).read_text(), speakers) for name in "123"]
    assert found == ["aaaa", "bb", "cccd"]
    message = run("split_scp.pl", "--utt2spk=utt2spk", "t", *"12345").stderr
    assert "t has 4 speakers, too few for 5 parts" in message


def chosen_speakers(part: str, speakers: str) -> str:
    return "".join(speakers[int(line.split()[0][1:])] for line in part.splitlines())


def test_a_last_line_without_its_end_stays_a_line(run, tmp_path):
    for seed in range(9):  # it comes first for some of them
        result = run("shuffle_list.pl", "--srand", seed, stdin="a\nb\nc")
        assert sorted(result.stdout.split("\n")) == ["", "a", "b", "c"]
    (tmp_path / "t").write_text("u0 x\nu1 y\nu2 z")
    (tmp_path / "utt2spk").write_text("u0 a\nu1 b\nu2 a\n")
    assert run("split_scp.pl", "--utt2spk=utt2spk", "t", "1").returncode == 0
    assert (tmp_path / "1").read_text() == "u0 x\nu2 z\nu1 y\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["t", *"abcdefghijk"], "t has 10 lines, too few for 11 parts"),
        (["-j", "3", "3", "t"], "expected a job from 0 to 2"),
        (["--one-based", "-j", "3", "0", "t"], "expected a job from 1 to 3"),
        (["t"], "expected TABLE PART..."),
        (["--wrong", "t"], "unknown option --wrong"),
    ],
)
def test_split_refuses(run, tmp_path, arguments, message):
    (tmp_path / "t").write_text(TEN)
    result = run("split_scp.pl", *arguments)
    assert result.returncode == 1 and message in result.stderr


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["-f", "2"], "a x y c\na\n"),
        (["-f", "2-2"], "a x y c\na\n"),
        (["-f", "2:2"], "a x y c\na\n"),  # as Kaldi's tool allows
        (["-f", "2-", "--permissive"], "a x y c\na\n"),
        (["-f", "-2", "--permissive"], "a x y c\na\n"),
        (["--permissive"], "a x y c\na\n"),
    ],
)
def test_map(run, tmp_path, fields, expected):
    (tmp_path / "map").write_text("b x y\nd\n")
    result = run("apply_map.pl", *fields, "map", stdin="a b c\na d\n")
    assert (result.returncode, result.stdout) == (0, expected)
    assert ("warning" in result.stderr) == ("--permissive" in fields)


def test_map_refuses(run, tmp_path):
    (tmp_path / "map").write_text("b x y\nd\n")
    result = run("apply_map.pl", "map", stdin="b d\nd q\n")
    assert result.returncode == 1 and "line 2: 'q' is not in map" in result.stderr
    assert "fields are counted from 1" in run("apply_map.pl", "-f", "3-2", "map").stderr
    (tmp_path / "map").write_text("b x\nb y\n")
    assert "map:2: 'b' appears here a second time" in run("apply_map.pl", "map").stderr


@pytest.mark.parametrize("script", ["split_scp.pl", "subset_scp.pl", "apply_map.pl", "copy_data_dir.sh"])
def test_usage(run, script):
    result = run(script, "--help")
    assert result.returncode == 0 and "Usage: " in result.stdout and "e.g.: " in result.stdout


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text("a-1 sox  'x  1.wav' |\nb-1 cat b.wav |\n")
    (folder / "text").write_text("a-1 ONE\nb-1 TWO\n")
    (folder / "utt2spk").write_text("a-1 a\nb-1 b\n")
    (folder / "spk2utt").write_text("a a-1\nb b-1\n")
    (folder / "spk2gender").write_text("a f\nb m\n")
    return folder


def test_a_folder_is_copied_with_new_ids(run, source, tmp_path):
    options = ["--utt-prefix", "n-", "--spk-prefix", "n-", "--utt-suffix=-x"]
    result = run("copy_data_dir.sh", *options, "data", "copy")
    assert result.returncode == 0, result.stderr
    found = {path.name: path.read_text() for path in (tmp_path / "copy").iterdir()}
    assert found == {
        "wav.scp": "n-a-1-x sox  'x  1.wav' |\nn-b-1-x cat b.wav |\n",
        "text": "n-a-1-x ONE\nn-b-1-x TWO\n",
        "utt2spk": "n-a-1-x n-a\nn-b-1-x n-b\n",
        "spk2utt": "n-a n-a-1-x\nn-b n-b-1-x\n",
        "spk2gender": "n-a f\nn-b m\n",
        "utt2uniq": "n-a-1-x a-1\nn-b-1-x b-1\n",
    }


def test_recordings_of_segments_keep_their_ids(run, source, tmp_path):
    (source / "wav.scp").write_text("rec cat r.wav |\n")
    (source / "segments").write_text("a-1 rec 0 1\nb-1 rec 1 2\n")
    result = run("copy_data_dir.sh", "--utt-suffix", "-x", "--validate-opts", "--no-wav", "data", "copy")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "copy/wav.scp").read_text() == "rec cat r.wav |\n"
    assert (tmp_path / "copy/segments").read_text() == "a-1-x rec 0 1\nb-1-x rec 1 2\n"


@pytest.mark.parametrize(
    ("keys", "copied"),
    [(("a", "b"), ["sa", "sb"]), (("a-1", "b-1"), ["ua-1", "ub-1"])],
)
def test_statistics_of_speakers_or_of_utterances_keep_theirs(run, source, tmp_path, keys, copied):
    (source / "stats").write_text("x")
    (source / "cmvn.scp").write_text("".join(f"{key} {source}/stats\n" for key in keys))
    result = run("copy_data_dir.sh", "--utt-prefix", "u", "--spk-prefix", "s", "data", "copy")
    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in (tmp_path / "copy/cmvn.scp").read_text().splitlines()] == copied


def test_copying_refuses(run, source):
    assert "are the same folder" in run("copy_data_dir.sh", "data", "./data").stderr
    assert "expected SOURCE DESTINATION" in run("copy_data_dir.sh", "data").stderr
    assert "a blank would end the id" in run("copy_data_dir.sh", "--utt-prefix", "a b", "data", "x").stderr


def test_symbols_and_numbers(run, tmp_path):
    (tmp_path / "words.txt").write_text("<eps> 0\na 1\nb 2\n<unk> 3\n")
    (tmp_path / "text").write_text("a-1 a  b\na-2\n")
    numbers = run("sym2int.pl", "-f", "2-", "words.txt", "text")
    assert numbers.stdout == "a-1 1 2\na-2\n"
    assert run("sym2int.pl", "-f", "2:", "words.txt", "text").stdout == numbers.stdout
    back = run("int2sym.pl", "-f", "2-", "words.txt", stdin=numbers.stdout)
    assert back.stdout == "a-1 a b\na-2\n"
    unknown = run("sym2int.pl", "-f", "2-", "words.txt", stdin="a-1 a c\n")
    assert unknown.returncode == 1 and "-:1: 'c' is not in words.txt" in unknown.stderr
    for value in ("<unk>", "3"):
        mapped = run("sym2int.pl", "--map-oov", value, "-f", "2-", "words.txt", stdin="a-1 a c\n")
        assert mapped.stdout == "a-1 1 3\n" and "such as 'c'" in mapped.stderr
    assert "not in words.txt" in run("sym2int.pl", "--map-oov", "x", "words.txt", stdin="").stderr
    assert run("int2sym.pl", "words.txt", stdin="1 9\n").returncode == 1
    (tmp_path / "words.txt").write_text("a 1\na 2\n")
    assert "a second time" in run("sym2int.pl", "words.txt", stdin="a\n").stderr


def test_shuffling_depends_on_the_seed_alone(run):
    first = run("shuffle_list.pl", "--srand", "1", stdin=TEN).stdout
    assert first == run("shuffle_list.pl", "--srand=1", stdin=TEN).stdout != TEN
    assert sorted(first.splitlines()) == sorted(TEN.splitlines())
    assert first != run("shuffle_list.pl", stdin=TEN).stdout
    assert "expected a number" in run("shuffle_list.pl", "--srand", "x", stdin=TEN).stderr
