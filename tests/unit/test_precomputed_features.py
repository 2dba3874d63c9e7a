"""Deltas, splicing, and features that a data folder already has."""

from __future__ import annotations

from pathlib import Path

import kaldiio
import numpy as np
import pytest
from conftest import command

from cascade_asr.data.features.cmvn import load_features
from cascade_asr.data.features.context import Context, add_deltas, splice_frames
from cascade_asr.data.features.precomputed import check_all
from cascade_asr.data.kaldi.tables import read_table
from cascade_asr.errors import ConfigError, DataError

RAMP = np.arange(10, dtype=np.float32)[:, None]


def test_deltas_by_hand():
    """Slope (-2 a - b + d + 2 e) / 10; the second derivative by the same filter twice."""
    features = np.array([[0.0], [0.0], [0.0], [1.0], [4.0], [9.0], [9.0]], np.float32)
    result = add_deltas(features)
    assert result.dtype == np.float32 and result.shape == (7, 3)
    np.testing.assert_array_equal(result[:, 0], features[:, 0])
    # frame 3: (-2*0 - 0 + 4 + 2*9) / 10; frame 0: (-0 - 0 + 0 + 0) / 10
    assert result[3, 1] == pytest.approx(2.2) and result[0, 1] == 0.0
    # frame 6: the last frame is repeated: (-2*4 - 9 + 9 + 2*9) / 10
    assert result[6, 1] == pytest.approx(1.0)
    # weights of order 2 over 100: 4 4 1 -4 -10 -4 1 4 4, on frame 3 of x[-1]=0 … x[7]=9
    expected = (4 * 0 + 4 * 0 + 1 * 0 - 4 * 0 - 10 * 1 - 4 * 4 + 1 * 9 + 4 * 9 + 4 * 9) / 100
    assert result[3, 2] == pytest.approx(expected)


def test_deltas_of_a_line_and_of_a_parabola():
    line = add_deltas(RAMP)
    np.testing.assert_allclose(line[2:-2, 1], 1.0, rtol=1e-6)
    np.testing.assert_allclose(line[4:-4, 2], 0.0, atol=1e-6)
    parabola = add_deltas(np.arange(12, dtype=np.float32)[:, None] ** 2)
    np.testing.assert_allclose(parabola[4:-4, 2], 2.0, rtol=1e-5)


def test_second_deltas_are_one_filter_over_the_features():
    """Not the deltas of padded deltas, which would differ in the first frames."""
    result = add_deltas(RAMP)
    # frame 0 of 0 0 0 0 0 1 2 3 4: (-4*1 + 1*2 + 4*3 + 4*4) / 100
    assert result[0, 2] == pytest.approx(0.26)
    twice = add_deltas(add_deltas(RAMP, order=1)[:, 1:], order=1)[:, 1]
    assert abs(result[0, 2] - twice[0]) > 0.01


def test_deltas_of_one_frame_and_of_several_dimensions():
    single = add_deltas(np.array([[3.0, -1.0]], np.float32))
    np.testing.assert_allclose(single, [[3, -1, 0, 0, 0, 0]], atol=1e-7)
    both = add_deltas(np.concatenate([RAMP, -RAMP], axis=1))
    np.testing.assert_array_equal(both[:, 2], -both[:, 3])


def test_splicing():
    result = splice_frames(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), 1)
    np.testing.assert_array_equal(result, [[1, 2, 1, 2, 3, 4], [1, 2, 3, 4, 3, 4]])
    assert Context(deltas=True, splice=2)(RAMP).shape == (10, 15)
    with pytest.raises(ConfigError, match="splice -1: expected 0 or more"):
        Context(splice=-1)


def make_folder(folder: Path, features: dict[str, np.ndarray]) -> Path:
    """A data folder without audio."""
    folder.mkdir(parents=True)
    kaldiio.save_ark(str(folder / "feats.ark"), features, scp=str(folder / "feats.scp"))
    for table, value in (("text", "a b"), ("utt2spk", "s"), ("spk2utt", "")):
        lines = [f"{name} {value}" for name in sorted(features)]
        if table == "spk2utt":
            lines = ["s " + " ".join(sorted(features))]
        (folder / table).write_text("\n".join(lines) + "\n")
    return folder


def extract(folder: Path, dump: Path, *options: str):
    """Both commands of stage 1."""
    config = dump.parent / f"{dump.name}.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("--num-mel-bins=8\n")
    done = command("cascade_asr.cli.fbank", "--config", config, folder, dump / "fbank.1", *options)
    if done.returncode:
        return done
    return command("cascade_asr.cli.dump", folder, dump, "--jobs", "1")


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {f"s-{k}": random.normal(size=(5 + k, 3)).astype(np.float32) for k in range(4)}


def test_features_are_taken_as_they_are(tmp_path: Path, features):
    folder = make_folder(tmp_path / "data", features)
    done = extract(folder, tmp_path / "dump")
    assert done.returncode == 0, done.stderr
    entries = read_table(tmp_path / "dump/feats.scp")
    for name, expected in features.items():
        np.testing.assert_array_equal(kaldiio.load_mat(entries[name]), expected)
    assert read_table(tmp_path / "dump/utt2num_frames") == {
        name: str(len(each)) for name, each in features.items()
    }
    statistics = np.load(tmp_path / "dump/cmvn.npz")
    together = np.concatenate(list(features.values())).astype(np.float64)
    np.testing.assert_allclose(statistics["sum"], together.sum(axis=0), rtol=1e-9)
    assert not (tmp_path / "dump/fbank.conf").exists() and not list(tmp_path.glob("dump/*.1.ark"))


@pytest.mark.parametrize("options", [(), ("--add-deltas", "true")])
def test_archives_that_stage_1_wrote_are_not_lost(tmp_path: Path, features, options: tuple[str, ...]):
    """A user copies dump/train/feats.scp to data/train, where Kaldi keeps it."""
    dump = tmp_path / "dump"
    folder = make_folder(tmp_path / "data", features)
    dump.mkdir()
    kaldiio.save_ark(str(dump / "fbank.1.ark"), features, scp=str(folder / "feats.scp"))
    before = (dump / "fbank.1.ark").read_bytes()
    done = extract(folder, dump, *options)
    assert done.returncode == 1 and "fbank.1.ark, which stage 1 writes itself; copy them" in done.stderr
    assert (dump / "fbank.1.ark").read_bytes() == before


def test_a_comma_in_the_path_of_an_archive(tmp_path: Path, features):
    """kaldiio's writer took it for the end of the path, and emptied the file of that name."""
    (tmp_path / "exp").write_text("kept")
    folder = make_folder(tmp_path / "exp,2 of 3" / "data", features)
    done = extract(folder, tmp_path / "exp,2 of 3" / "dump", "--add-deltas", "true")
    assert done.returncode == 0, done.stderr
    entries = read_table(tmp_path / "exp,2 of 3/dump/feats.scp")
    assert {name: load_features(entry, name).shape for name, entry in entries.items()} == {
        name: (len(each), 9) for name, each in features.items()
    }
    assert (tmp_path / "exp").read_text() == "kept"


def test_archives_of_doubles_are_read_as_floats(tmp_path: Path, features):
    """Networks are of floats: some refused the others, after hours of training."""
    doubles = {name: each.astype(np.float64) for name, each in features.items()}
    folder = make_folder(tmp_path / "data", doubles)
    assert kaldiio.load_mat(read_table(folder / "feats.scp")["s-0"]).dtype == np.float64
    assert extract(folder, tmp_path / "dump").returncode == 0
    for name, entry in read_table(tmp_path / "dump/feats.scp").items():
        loaded = load_features(entry, name)
        assert loaded.dtype == np.float32
        np.testing.assert_array_equal(loaded, features[name])


def test_features_with_context(tmp_path: Path, features):
    folder = make_folder(tmp_path / "data", features)
    done = extract(folder, tmp_path / "dump", "--add-deltas", "true", "--splice", "1")
    assert done.returncode == 0, done.stderr
    entries = read_table(tmp_path / "dump/feats.scp")
    for name, each in features.items():
        expected = splice_frames(add_deltas(each), 1)
        np.testing.assert_array_equal(kaldiio.load_mat(entries[name]), expected)


def test_paths_relative_to_the_folder_of_the_caller(tmp_path: Path, features, monkeypatch):
    folder = make_folder(tmp_path / "data", features)
    text = (folder / "feats.scp").read_text()
    (folder / "feats.scp").write_text(text.replace(f"{tmp_path}/", ""))
    monkeypatch.chdir(tmp_path)
    assert extract(folder, tmp_path / "dump").returncode == 0
    assert read_table(tmp_path / "dump/feats.scp")["s-0"].startswith(f"{tmp_path}/data/feats.ark:")


def rewrite(folder: Path, old: str, new: str) -> None:
    lines = [
        new if line.split()[0] == old else line
        for line in (folder / "feats.scp").read_text().splitlines()
    ]
    (folder / "feats.scp").write_text("".join(f"{line}\n" for line in lines if line))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "utterance 's-2' has no features"),
        ("s-2 copy-feats ark:x ark:- |", "utterance 's-2' is a command ('copy-feats ark:x ark:- |')"),
        ("s-2", "utterance 's-2' has no file"),
        ("s-2 /no/such.ark:5", "utterance 's-2': /no/such.ark:5: no such file"),
        ("s-2 {ark}:7", "cannot be read"),
    ],
)
def test_bad_entries_are_refused_by_name(tmp_path: Path, features, line: str, message: str):
    folder = make_folder(tmp_path / "data", features)
    rewrite(folder, "s-2", line.replace("{ark}", str(folder / "feats.ark")))
    for options in ((), ("--add-deltas", "true")):
        done = extract(folder, tmp_path / "dump", *options)
        assert done.returncode == 1 and message in done.stderr and "s-2" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "dump/fbank.1.scp").exists()


@pytest.mark.parametrize(
    ("span", "fault"),
    [
        ("[1:6]", ""),  # three frames too many, as Kaldi allows
        ("[1:7]", "ends beyond its matrix, which has 4 frames"),
        ("[0:2,0:3]", "ends beyond its matrix, which has 3 dimensions"),
        ("[4:5]", "has no frames"),
    ],
)
def test_ranges_beyond_the_matrix_are_refused(tmp_path: Path, span: str, fault: str):
    """NumPy cuts them off silently."""
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": np.ones((4, 3), np.float32)}, scp=str(tmp_path / "a.scp"))
    entry = read_table(tmp_path / "a.scp")["u"] + span
    if not fault:
        assert check_all(tmp_path, {"u": entry}, lambda *_: None) == {"u": 3}
        return
    with pytest.raises(DataError) as caught:
        check_all(tmp_path, {"u": entry}, lambda *_: None)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones((4, 2)), "utterance 's-1' has 2 dimensions, others have 3"),
        (np.full((4, 3), np.nan), "is not finite (NaN or infinity) in frame 0"),
        (np.zeros((0, 3)), "has no frames"),
        (np.ones(4), "is not a matrix of frames and dimensions"),
    ],
)
def test_bad_features_are_refused_by_name(tmp_path: Path, features, bad, message: str):
    folder = make_folder(tmp_path / "data", features | {"s-1": bad.astype(np.float32)})
    for options in ((), ("--splice", "1")):
        done = extract(folder, tmp_path / "dump", *options)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        assert "1 of 4 utterances cannot be used" in done.stderr and "'s-1'" in done.stderr


def test_sets_of_other_dimensions_are_told_apart(tmp_path: Path, features):
    train = make_folder(tmp_path / "train", features)
    test = make_folder(tmp_path / "test", {"s-9": np.ones((4, 2), np.float32)})
    assert extract(train, tmp_path / "dump/train").returncode == 0
    assert extract(test, tmp_path / "dump/test").returncode == 0
    done = command("cascade_asr.cli.dump", test, tmp_path / "dump/test", "--jobs", "1",
                   "--like", tmp_path / "dump/train")  # fmt: skip
    assert done.returncode == 1
    assert f"{test}: utterance 's-9' has features of 2 dimensions" in done.stderr
    assert f"{tmp_path}/dump/train has 3" in done.stderr
