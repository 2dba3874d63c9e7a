"""Manifests: written and read back, selections, damaged lines, size."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_asr.data.manifest import Manifest, content_digest, read_manifest, write_manifest
from cascade_asr.errors import DataError

ROWS = [
    ("a-1", "a", 120, "/x/fbank.1.ark:5", [3, 1, 2]),
    ("a-2", "a", 90, "/x y/fbank.1.ark:900", []),
    ("b-é", "b", 33, "/x/fbank.2.ark:5", [7]),
]


def rows_of(manifest: Manifest) -> list[tuple]:
    return [
        (
            manifest.utterances[index], manifest.speakers[index], int(manifest.frames[index]),
            manifest.feats[index], manifest.token_ids(index).tolist(),
        )
        for index in range(len(manifest))
    ]  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path):
    write_manifest(tmp_path / "manifest.tsv", ROWS)
    manifest = read_manifest(tmp_path / "manifest.tsv")
    assert rows_of(manifest) == ROWS
    assert manifest.token_lengths.tolist() == [3, 0, 1]
    assert manifest.path == tmp_path / "manifest.tsv"
    assert (tmp_path / "manifest.tsv").read_text(encoding="utf-8").splitlines()[0] == (
        "a-1\ta\t120\t/x/fbank.1.ark:5\t3 1 2"
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5000), max_size=6), min_size=1, max_size=12), st.data())
def test_a_selection_has_the_rows_of_its_indices(tmp_path_factory, tokens, data):
    path = tmp_path_factory.getbasetemp() / "selection.tsv"
    rows = [(f"u{i}", f"s{i % 3}", i + 1, f"x.ark:{i}", ids) for i, ids in enumerate(tokens)]
    write_manifest(path, rows)
    manifest = read_manifest(path)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12))
    selected = manifest.select(np.array(chosen, dtype=np.int64))
    assert rows_of(selected) == [rows[index] for index in chosen]
    assert selected.token_lengths.tolist() == [len(tokens[index]) for index in chosen]


@pytest.mark.parametrize(
    "line",
    ["a-1\ta\t120\tx.ark:5", "a-1\ta\tmany\tx.ark:5\t1 2", "a-1\ta\t12\tx.ark:5\t1 x", "", "a b"],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str):
    path = tmp_path / "manifest.tsv"
    write_manifest(path, ROWS)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"manifest.tsv:4: damaged line; run stage 2 again"):
        read_manifest(path)


def test_missing_and_empty_manifests_say_what_to_run(tmp_path: Path):
    path = tmp_path / "manifest.tsv"
    with pytest.raises(DataError, match=r"manifest.tsv: no such manifest; run stage 2"):
        read_manifest(path)
    path.touch()
    with pytest.raises(DataError, match=r"manifest.tsv: no utterances; run stage 2 again"):
        read_manifest(path)


def test_a_failure_while_writing_keeps_the_manifest_of_before(tmp_path: Path):
    path = tmp_path / "manifest.tsv"
    write_manifest(path, ROWS)

    def rows():
        yield ROWS[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(path, rows())
    assert rows_of(read_manifest(path)) == ROWS
    assert list(tmp_path.iterdir()) == [path]


def test_the_digest_sees_every_change(tmp_path: Path):
    write_manifest(tmp_path / "a", ROWS)
    write_manifest(tmp_path / "b", ROWS)
    write_manifest(tmp_path / "c", [*ROWS[:2], ("b-é", "b", 33, "/x/fbank.2.ark:5", [8])])
    assert (
        content_digest(tmp_path / "a")
        == content_digest(tmp_path / "b")
        != content_digest(tmp_path / "c")
    )


def test_a_large_manifest_is_read_in_seconds(tmp_path: Path):
    """A tenth of 600,000 utterances of 30 tokens."""
    ids = " ".join(map(str, range(1000, 1030)))
    with (tmp_path / "manifest.tsv").open("w") as stream:
        for index in range(60_000):
            stream.write(f"utt{index:06d}\ts{index % 400}\t800\t/dump/fbank.1.ark:{index}\t{ids}\n")
    started = time.process_time()
    manifest = read_manifest(tmp_path / "manifest.tsv")
    assert time.process_time() - started < 4
    assert len(manifest) == 60_000 and len(manifest.tokens) == 1_800_000
    assert manifest.token_ids(59_999).tolist() == list(range(1000, 1030))
