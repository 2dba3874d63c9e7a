"""Drives the data-folder scripts in utils/ as a recipe does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [
    "validate_data_dir.sh", "fix_data_dir.sh", "subset_data_dir.sh", "combine_data.sh",
    "split_data.sh", "perturb_data_dir_speed.sh", "get_utt2dur.sh",
]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Call a script of utils/ in tmp_path, with this Python as `python`."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)

    def call(script: str, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(ROOT / "utils" / script), *map(str, arguments)],
            capture_output=True,
            text=True,
            input=stdin,
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
            timeout=30,
        )

    return call


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six utterances of three speakers, in order; audio of one second."""
    path = tmp_path / "data" / "train"
    path.mkdir(parents=True)
    names = [f"{speaker}-{number}" for speaker in "abc" for number in (1, 2)]
    for name in names:
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(16000))
    (path / "wav.scp").write_text("".join(f"{name} {name}.wav\n" for name in names))
    (path / "text").write_text("".join(f"{name} ONE TWO\n" for name in names))
    (path / "utt2spk").write_text("".join(f"{name} {name[0]}\n" for name in names))
    (path / "spk2utt").write_text("".join(f"{s} {s}-1 {s}-2\n" for s in "abc"))
    return path


def ids(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_wrong_calls(run, script):
    result = run(script, "--help")
    assert result.returncode == 0
    assert f"usage: utils/{script}" in result.stdout
    assert f"example: utils/{script}" in " ".join(result.stdout.split())
    assert run(script).returncode != 0
    wrong = run(script, "--no-such-option", "x", "y", "z")
    assert wrong.returncode != 0 and "Traceback" not in wrong.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_folder_is_one_line(run, script):
    arguments = {"split_data.sh": ["no", "2"], "combine_data.sh": ["out", "no"],
                 "subset_data_dir.sh": ["no", "2", "out"],
                 "perturb_data_dir_speed.sh": ["0.9", "no", "out"]}  # fmt: skip
    result = run(script, *arguments.get(script, ["no"]))
    assert result.returncode == 1
    assert "no" in result.stderr and "Traceback" not in result.stderr
    assert not result.stdout


def test_validate_exits_1_and_lists_all_faults(run, folder):
    assert run("validate_data_dir.sh", "--no-feats", folder).returncode == 0
    assert run("validate_data_dir.sh", folder).returncode == 1
    (folder / "text").write_bytes(b"a-1 X\na-1 X\n\nb-1 caf\xe9\nz-\xff Y\n")
    (folder / "wav.scp").write_text("a-1 gone.wav\n")
    (folder / "spk2utt").unlink()
    result = run("validate_data_dir.sh", "--no-feats", "data/train")
    assert result.returncode == 1
    for message in [
        "data/train/spk2utt: missing; run utils/fix_data_dir.sh data/train",
        "data/train/text:2: 'a-1' appears here a second time; run utils/fix_data_dir.sh",
        "data/train/text:3: the line is blank",
        "data/train/text:4: not UTF-8",
        "data/train/text:5: not UTF-8",
        "data/train/utt2spk:2: utterance 'a-2' is not in text",
        "data/train/utt2spk:6: recording 'c-2' is not in wav.scp",
        "data/train/wav.scp:1: 'a-1': no such audio file: gone.wav",
    ]:
        assert message in result.stderr
    faults = [line for line in result.stderr.splitlines() if line.startswith("data/train/")]
    assert f"data/train: {len(faults)} faults" in result.stderr


def test_fix_makes_a_folder_valid_and_keeps_a_backup(run, folder):
    (folder / "text").write_text("c-1 Z\na-1 X\nx-1 W\n")
    assert run("fix_data_dir.sh", folder).returncode == 0
    assert run("validate_data_dir.sh", "--no-feats", folder).returncode == 0
    assert ids(folder / "wav.scp") == ["a-1", "c-1"]
    assert (folder / ".backup/text").read_text() == "c-1 Z\na-1 X\nx-1 W\n"


def test_subset(run, folder, tmp_path):
    assert run("subset_data_dir.sh", "--first", folder, 3, "out").returncode == 0
    assert ids(tmp_path / "out/text") == ["a-1", "a-2", "b-1"]
    assert run("subset_data_dir.sh", "--seed", 3, folder, 4, "out").returncode == 0
    first = ids(tmp_path / "out/text")
    assert len(first) == 4
    assert run("subset_data_dir.sh", "--seed=3", folder, 4, "again").returncode == 0
    assert ids(tmp_path / "again/text") == first
    (tmp_path / "list").write_text("b-2\na-1\n")
    assert run("subset_data_dir.sh", "--utt-list", "list", folder, "out").returncode == 0
    assert ids(tmp_path / "out/wav.scp") == ["a-1", "b-2"]
    assert run("validate_data_dir.sh", "--no-feats", "out").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data/train", "7", "out"], "has 6 utterances, fewer than the 7 wanted"),
        (["data/train", "many", "out"], "expected a number of utterances, found 'many'"),
        (["data/train", "out"], "expected SOURCE N DESTINATION"),
        (["--utt-list", "gone", "data/train", "out"], "gone: cannot be read: No such file"),
        (["data/train", "3", "data/train"], "must be different folders"),
    ],
)
def test_subset_refuses(run, folder, tmp_path, arguments, message):
    result = run("subset_data_dir.sh", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_combine(run, folder, tmp_path):
    run("subset_data_dir.sh", "--first", folder, 3, "one")
    run("subset_data_dir.sh", "--last", folder, 4, "two")
    assert run("combine_data.sh", "both", "one", "two").returncode == 0
    assert (tmp_path / "both/spk2utt").read_text() == (folder / "spk2utt").read_text()
    text = (tmp_path / "two/text").read_text()
    (tmp_path / "two/text").write_text(text.replace("b-1 ONE", "b-1 ELEVEN"))
    result = run("combine_data.sh", "contradiction", "one", "two")
    assert result.returncode == 1
    assert "two/text: 'b-1' has the value 'ELEVEN TWO', but 'ONE TWO'" in result.stderr
    assert not (tmp_path / "contradiction").exists()


@pytest.mark.parametrize("script", [*SCRIPTS, "copy_data_dir.sh", "perturb_data_dir_speed_3way.sh", "score_sclite.sh"])
def test_utils_may_be_a_link_in_a_folder_of_ones_own(script, tmp_path):
    """As Kaldi's recipes have it; the folder may have a path.sh of its own."""
    (tmp_path / "path.sh").write_text("exit 3\n")
    (tmp_path / "utils").symlink_to(ROOT / "utils")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    done = subprocess.run([f"utils/{script}", "--help"], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0 and script in done.stdout, done.stderr


def test_options_may_be_written_with_underscores_as_in_espnet(run, folder):
    (folder / "utt2category").write_text("".join(f"{name} CLEAN\n" for name in reversed(ids(folder / "text"))))
    assert run("fix_data_dir.sh", "--utt_extra_files", "utt2category", folder).returncode == 0
    assert ids(folder / "utt2category") == ids(folder / "text")
    done = run("combine_data.sh", "--extra_files=utt2category", "--skip_fix", "true", "one_x", folder, folder)
    assert done.returncode == 0, done.stderr
    assert ids(folder.parent.parent / "one_x/utt2category") == ids(folder / "text")
    (folder / "utt2dur").write_text("".join(f"{name} 1\n" for name in ids(folder / "text")))
    done = run("get_utt2dur.sh", "--read_entire_file", "true", folder)
    assert done.returncode == 0, done.stderr


def test_three_speeds_as_espnet_makes_them(run, folder):
    for number, factor in enumerate(("0.9", "1.0", "1.1"), 1):
        assert run("perturb_data_dir_speed.sh", factor, folder, f"temp{number}").returncode == 0
    done = run("combine_data.sh", "--extra-files", "utt2uniq", "train_sp", "temp1", "temp2", "temp3")
    assert done.returncode == 0, done.stderr
    names = ids(folder / "text")
    assert ids(folder.parent.parent / "train_sp/text") == [f"sp{f}-{name}" for f in ("0.9", "1.0", "1.1") for name in names]


def test_split(run, folder):
    assert run("split_data.sh", folder, 3).returncode == 0
    parts = [ids(folder / f"split3/{part}/utt2spk") for part in (1, 2, 3)]
    assert parts == [["a-1", "a-2"], ["b-1", "b-2"], ["c-1", "c-2"]]
    assert run("validate_data_dir.sh", "--no-feats", folder / "split3/2").returncode == 0
    assert run("split_data.sh", "--per-utt", folder, 6).returncode == 0
    assert ids(folder / "split6utt/4/text") == ["b-2"]
    assert run("split_data.sh", "--per-reco", folder, 2).returncode == 0
    assert ids(folder / "split2reco/2/text") == ["b-2", "c-1", "c-2"]
    assert "--per-utt splits speakers too" in run("split_data.sh", folder, 4).stderr


@pytest.mark.skipif(shutil.which("sox") is None, reason="sox is not installed")
def test_the_pipes_of_speed_perturbation_change_the_length(run, folder, tmp_path):
    (folder / "wav.scp").write_text(
        "".join(f"{name} cat {name}.wav |\n" if name[0] == "a" else f"{name} {name}.wav\n"
                for name in ids(folder / "utt2spk"))
    )  # fmt: skip
    assert run("perturb_data_dir_speed.sh", 0.8, folder, "slow").returncode == 0
    assert run("validate_data_dir.sh", "--no-feats", "slow").returncode == 0
    pipes = dict(line.split(" ", 1) for line in (tmp_path / "slow/wav.scp").open())
    for name in ("sp0.8-a-1", "sp0.8-b-1"):
        command = ["bash", "-c", pipes[name].rstrip().removesuffix("|")]
        audio, again = (
            subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
            for _ in range(2)
        )
        assert (len(audio) - 44) / 2 == pytest.approx(8000 / 0.8, abs=100)
        assert audio == again  # sox dithers at random: features would never be the same again


def test_small_tables_in_perl(run, tmp_path):
    utt2spk = "a-1 a\nb-1 b\na-2 a\n"
    spk2utt = run("utt2spk_to_spk2utt.pl", stdin=utt2spk).stdout
    assert spk2utt == "a a-1 a-2\nb b-1\n"
    assert run("spk2utt_to_utt2spk.pl", stdin=spk2utt).stdout == "a-1 a\na-2 a\nb-1 b\n"
    (tmp_path / "list").write_text("a-2 x\nb-1\n")
    assert run("filter_scp.pl", "list", stdin=utt2spk).stdout == "b-1 b\na-2 a\n"
    assert run("filter_scp.pl", "--exclude", "list", stdin=utt2spk).stdout == "a-1 a\n"
    (tmp_path / "speakers").write_text("b\n")
    assert run("filter_scp.pl", "-f", 2, "speakers", stdin=utt2spk).stdout == "b-1 b\n"


@pytest.mark.parametrize(
    ("script", "arguments", "stdin", "message"),
    [
        ("utt2spk_to_spk2utt.pl", [], "a a\nb b c\n", "-:2: expected 'utterance speaker'"),
        ("utt2spk_to_spk2utt.pl", [], "a a\na b\n", "-:2: 'a' appears here a second time"),
        ("spk2utt_to_utt2spk.pl", [], "a a-1\nb\n", "-:2: expected 'speaker utterance...'"),
        ("filter_scp.pl", ["gone"], "a b\n", "cannot read gone"),
        ("filter_scp.pl", ["-x", "gone"], "a b\n", "unknown option -x"),
        ("filter_scp.pl", ["-f", "2", "/dev/null"], "a b\nc\n", "-:2: expected at least 2 words"),
        ("filter_scp.pl", [], "", "usage: filter_scp.pl"),
        # Perl's <> would only warn, and the table made from it would be empty
        ("filter_scp.pl", ["/dev/null", "gone"], "", "filter_scp.pl: cannot read gone"),
        ("utt2spk_to_spk2utt.pl", ["gone"], "", "utt2spk_to_spk2utt.pl: cannot read gone"),
        ("spk2utt_to_utt2spk.pl", ["gone"], "", "spk2utt_to_utt2spk.pl: cannot read gone"),
        ("utt2spk_to_spk2utt.pl", ["."], "", "utt2spk_to_spk2utt.pl: cannot read ."),
        ("shuffle_list.pl", ["."], "", "shuffle_list.pl: cannot read ."),
        ("sym2int.pl", ["symbols", "."], "", "sym2int.pl: cannot read ."),
    ],
)
def test_faults_in_small_tables(run, tmp_path, script, arguments, stdin, message):
    (tmp_path / "symbols").write_text("a 1\n")
    result = run(script, *arguments, stdin=stdin)
    assert result.returncode != 0
    assert message in result.stderr


@pytest.mark.parametrize("script", ["utt2spk_to_spk2utt.pl", "spk2utt_to_utt2spk.pl", "filter_scp.pl"])
def test_help_of_filters(run, script):
    result = run(script, "--help")
    assert result.returncode == 0
    assert f"Usage: {script}" in result.stdout and not result.stderr


def test_durations_and_three_speeds(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name, seconds in (("a-1", 1.0), ("a-2", 0.5)):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(int(seconds * 16000)))
    (data / "wav.scp").write_text(f"a-1 {tmp_path}/a-1.wav\na-2 cat {tmp_path}/a-2.wav |\n")
    (data / "text").write_text("a-1 x\na-2 y\n")
    (data / "utt2spk").write_text("a-1 a\na-2 a\n")
    (data / "spk2utt").write_text("a a-1 a-2\n")
    for words in (
        ["get_utt2dur.sh", data],
        ["perturb_data_dir_speed_3way.sh", data, tmp_path / "sp"],
        ["perturb_data_dir_speed_3way.sh", "--always-include-prefix", "true", data, tmp_path / "all"],
    ):
        done = subprocess.run([str(ROOT / "utils" / words[0]), *map(str, words[1:])], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (data / "utt2dur").read_text() == "a-1 1\na-2 0.5\n"
    ids = {name: [line.split()[0] for line in (tmp_path / name / "utt2spk").read_text().splitlines()]
           for name in ("sp", "all")}  # fmt: skip
    copies = ["sp0.9-a-1", "sp0.9-a-2", "sp1.1-a-1", "sp1.1-a-2"]
    assert ids["sp"] == ["a-1", "a-2", *copies]
    assert ids["all"] == [*copies[:2], "sp1.0-a-1", "sp1.0-a-2", *copies[2:]]
    assert "sp0.9-a-1 1.111111" in (tmp_path / "sp/utt2dur").read_text()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_segment_behind_its_recording_has_no_duration(folder, tmp_path):
    (folder / "utt2spk").write_text("a-1 a\n")
    (folder / "segments").write_text("a-1 a-1 3 -1\n")
    done = subprocess.run([ROOT / "utils/get_utt2dur.sh", folder], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "such as 'a-1', at 3 s of 1.00 s of 'a-1'" in done.stderr
    assert not (folder / "utt2dur").exists()


def test_durations_of_features_alone_and_kaldis_options(tmp_path):
    import kaldiio
    import numpy as np

    data = tmp_path / "data"
    data.mkdir()
    frames = {"a-1": 50, "a-2": 7}
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/feats.ark,{data}/feats.scp") as write:
        for name, count in frames.items():
            write(name, np.zeros((count, 3), np.float32))
    (data / "utt2spk").write_text("a-1 a\na-2 a\n")
    kaldis = ["--nj", "4", "--cmd", "run.pl --mem 2G", "--read-entire-file", "true"]
    for options, told, shift in (
        (kaldis, {}, 0.01),
        (["--frame-shift", "0.02"], {}, 0.02),
        (["--frame-shift", "0.02"], {"utt2num_frames": "a-1 50\na-2 7\n", "frame_shift": "0.03\n"}, 0.03),
    ):
        for name, content in told.items():
            (data / name).write_text(content)
        (data / "utt2dur").unlink(missing_ok=True)
        words = [ROOT / "utils/get_utt2dur.sh", *options, data]
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        expected = "".join(f"{name} {count * shift:g}\n" for name, count in frames.items())
        assert (data / "utt2dur").read_text() == expected
    for shift in ("0", "10ms"):
        done = subprocess.run([*map(str, [*words[:1], "--frame-shift", shift, data])], capture_output=True, text=True)
        assert done.returncode == 2 and f"'{shift}': expected seconds above 0" in done.stderr
