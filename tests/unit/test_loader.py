"""Batches from the archives: padding, resuming, ranks, worker processes and their faults."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch

from cascade_asr.data import loader
from cascade_asr.data.batches import BatchOptions, plan_batches
from cascade_asr.data.loader import Batch, BatchLoader, UtteranceDataset, explain_lost_workers
from cascade_asr.data.manifest import Manifest, read_manifest, write_manifest
from cascade_asr.errors import DataError

DIMENSION = 8


def loader_of(manifest: Manifest, **options) -> BatchLoader:
    dataset = UtteranceDataset(manifest, DIMENSION)
    plan = plan_batches(
        manifest.frames, manifest.token_lengths, DIMENSION, BatchOptions("sorted", batch_size=4)
    )
    return BatchLoader(dataset, plan, **options)


def names(batches: list[Batch]) -> list[list[str]]:
    return [batch.utterances for batch in batches]


@pytest.fixture
def manifest(dump: Path) -> Manifest:
    return read_manifest(dump / "train/manifest.tsv")


@pytest.fixture
def own(dump: Path, tmp_path: Path) -> Path:
    """A copy of the dev set that a test may damage, in one archive of its own."""
    manifest = read_manifest(dump / "dev/manifest.tsv")
    features = {
        u: kaldiio.load_mat(f) for u, f in zip(manifest.utterances, manifest.feats, strict=True)
    }
    kaldiio.save_ark(str(tmp_path / "feats.ark"), features, scp=str(tmp_path / "feats.scp"))
    entries = dict(
        line.split(None, 1) for line in (tmp_path / "feats.scp").read_text().splitlines()
    )
    rows = [
        (name, manifest.speakers[i], int(manifest.frames[i]), entries[name], manifest.token_ids(i))
        for i, name in enumerate(manifest.utterances)
    ]
    write_manifest(tmp_path / "manifest.tsv", rows)
    return tmp_path


def test_padding_is_zero_and_minus_one_and_the_content_is_that_of_the_archive(manifest: Manifest):
    index_of = {name: index for index, name in enumerate(manifest.utterances)}
    seen = 0
    for batch in loader_of(manifest, seed=1).epoch(1):
        assert batch.features.dtype == torch.float32 and batch.tokens.dtype == torch.int64
        assert batch.features.size(1) == batch.feature_lengths.max()
        assert batch.tokens.size(1) == batch.token_lengths.max()
        assert batch.feature_lengths.tolist() == sorted(
            batch.feature_lengths.tolist(), reverse=True
        )
        for row, name in enumerate(batch.utterances):
            index, frames, tokens = (
                index_of[name],
                batch.feature_lengths[row],
                batch.token_lengths[row],
            )
            expected = torch.from_numpy(np.array(kaldiio.load_mat(manifest.feats[index])))
            assert torch.equal(batch.features[row, :frames], expected)
            assert not batch.features[row, frames:].any()
            assert batch.tokens[row, :tokens].tolist() == manifest.token_ids(index).tolist()
            assert (batch.tokens[row, tokens:] == -1).all()
            seen += 1
    assert seen == len(manifest)


@pytest.mark.parametrize("start", [0, 1, 7, 14, 15])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_epoch_gives_the_batches_that_are_left(manifest, start: int, num_workers: int):
    loader = loader_of(manifest, seed=5, num_workers=num_workers)
    assert len(loader) == 15
    whole = list(loader.epoch(2))
    left = list(loader.epoch(2, start))
    assert names(left) == names(whole)[start:]
    assert all(
        torch.equal(a.features, b.features) for a, b in zip(left, whole[start:], strict=True)
    )


def test_epochs_differ_unless_the_order_is_fixed(manifest: Manifest):
    shuffled = loader_of(manifest, seed=5)
    assert names(list(shuffled.epoch(1))) != names(list(shuffled.epoch(2)))
    fixed = loader_of(manifest)
    assert names(list(fixed.epoch(1))) == names(list(fixed.epoch(2)))
    first_short = loader_of(manifest, seed=5, short_first_epochs=1)
    lengths = [int(batch.feature_lengths[0]) for batch in first_short.epoch(1)]
    assert lengths == sorted(lengths)
    assert names(list(first_short.epoch(2))) == names(list(shuffled.epoch(2)))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_partition_each_batch(manifest: Manifest, world_size: int):
    whole = [sorted(batch) for batch in names(list(loader_of(manifest, seed=5).epoch(3)))]
    ranks = [
        names(list(loader_of(manifest, seed=5, rank=rank, world_size=world_size).epoch(3)))
        for rank in range(world_size)
    ]
    shares = list(zip(*ranks, strict=True))
    assert [sorted(sum(each, [])) for each in shares] == whole
    assert all(share for each in shares for share in each)


def test_more_ranks_than_utterances_of_a_batch(manifest: Manifest):
    loader = loader_of(manifest, rank=5, world_size=6)
    assert len(loader) == 7
    assert all(len(batch) >= 1 for batch in loader.epoch(1))


def test_speaker_statistics_normalise_each_speaker(dump: Path, manifest: Manifest):
    dataset = UtteranceDataset(manifest, DIMENSION, dump / "train/cmvn_speaker.ark")
    by_speaker: dict[str, list[np.ndarray]] = {}
    for index in range(len(dataset)):
        _, features, _ = dataset[index]
        by_speaker.setdefault(manifest.speakers[index], []).append(features)
    assert len(by_speaker) == 2
    for each in by_speaker.values():
        features = np.concatenate(each)
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)


def test_a_speaker_without_statistics_is_named(dump: Path, own: Path):
    text = (own / "manifest.tsv").read_text().replace("\ts1\t", "\tnobody\t")
    (own / "manifest.tsv").write_text(text)
    dataset = UtteranceDataset(
        read_manifest(own / "manifest.tsv"), DIMENSION, dump / "dev/cmvn_speaker.ark"
    )
    faults = [
        item
        for item in map(dataset.__getitem__, range(len(dataset)))
        if isinstance(item, DataError)
    ]
    assert len(faults) == 6
    assert "speaker 'nobody' has no CMVN statistics; run stage 1 again" in str(faults[0])


def damage(own: Path, kind: str) -> str:
    """Spoil the set; what the message must say."""
    if kind == "truncated":
        with (own / "feats.ark").open("r+b") as stream:
            stream.truncate(stream.seek(0, os.SEEK_END) // 2)
        return "run stage 1 again"
    if kind == "removed":
        (own / "feats.ark").unlink()
        return "run stage 1 again"
    lines = (own / "manifest.tsv").read_text().splitlines()
    fields = lines[3].split("\t")
    fields[2] = str(int(fields[2]) + 1)
    lines[3] = "\t".join(fields)
    (own / "manifest.tsv").write_text("\n".join(lines) + "\n")
    found = int(fields[2]) - 1
    return f"utterance '{fields[0]}': features of shape ({found}, 8), expected ({found + 1}, 8)"


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("kind", ["truncated", "removed", "frames"])
def test_a_fault_arrives_as_one_clean_error(own: Path, kind: str, num_workers: int):
    expected = damage(own, kind)
    manifest = read_manifest(own / "manifest.tsv")
    with pytest.raises(DataError) as caught:
        list(loader_of(manifest, num_workers=num_workers).epoch(1))
    message = str(caught.value)
    assert expected in message
    assert "Traceback" not in message and "worker" not in message and "\n" not in message
    assert any(f"utterance '{name}'" in message for name in manifest.utterances)


def workers() -> list[int]:
    import multiprocessing

    return [child.pid for child in multiprocessing.active_children()]


def test_a_signal_to_the_whole_job_leaves_the_workers_reading(manifest: Manifest):
    """Slurm and Ctrl-C signal every process; only the training process decides to stop."""
    batches = loader_of(manifest, num_workers=1).epoch(1)
    first = next(batches)
    for pid in workers():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            os.kill(pid, number)
    rest = list(batches)
    assert names([first, *rest]) == names(list(loader_of(manifest).epoch(1)))
    deadline = time.monotonic() + 10
    while workers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not workers()


def test_a_killed_worker_is_an_error_with_a_remedy(manifest: Manifest):
    """PyTorch raises wherever the process is when the worker dies: here in sleep()."""
    batches = loader_of(manifest, num_workers=1).epoch(1)
    next(batches)
    message = ""
    try:
        with explain_lost_workers():
            os.kill(workers()[0], signal.SIGKILL)
            time.sleep(10)
    except DataError as error:
        message = str(error)
    batches.close()
    assert "DataLoader worker" in message and "lower num_workers or batch_bins" in message
    assert "start again: training resumes" in message


def test_an_abandoned_epoch_ends_its_workers_at_once(manifest: Manifest):
    batches = loader_of(manifest, num_workers=1).epoch(1)
    next(batches)
    assert workers()
    started = time.monotonic()
    batches.close()
    del batches
    while workers() and time.monotonic() < started + 10:
        time.sleep(0.02)
    assert not workers() and time.monotonic() - started < 3


def test_batches_go_to_a_device_but_lengths_stay(manifest: Manifest):
    batch = next(iter(loader_of(manifest).epoch(1)))
    moved = batch.to(torch.device("meta"))
    assert moved.features.is_meta and moved.tokens.is_meta
    assert not moved.feature_lengths.is_meta and not moved.token_lengths.is_meta
    assert len(moved) == len(batch) == 4


def test_features_of_another_dimension_are_refused(dump: Path, manifest: Manifest):
    item = UtteranceDataset(manifest, 80)[0]
    assert isinstance(item, DataError)
    assert (
        f"features of shape ({manifest.frames[0]}, 8), expected ({manifest.frames[0]}, 80)"
        in str(item)
    )


def test_missing_speaker_statistics_name_the_file(manifest: Manifest, tmp_path: Path):
    with pytest.raises(DataError, match=r"cmvn_speaker.ark: no speaker statistics; run stage 1"):
        UtteranceDataset(manifest, DIMENSION, tmp_path / "cmvn_speaker.ark")
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("stuck", [1, 2])
def test_a_worker_that_locks_up_as_it_starts_is_replaced(
    manifest: Manifest, tmp_path: Path, monkeypatch, stuck: int
):
    """As in Python 3.11, where a fork can meet a thread that begins or ends."""
    whole, begin = [batch.utterances for batch in loader_of(manifest).epoch(1)], loader._begin

    def lock_up(begun, worker: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        number = len(list(tmp_path.glob("worker.*")))
        (tmp_path / f"worker.{number}").touch()
        if number < stuck:
            time.sleep(1000)
        begin(begun, worker)

    monkeypatch.setattr(loader, "_begin", lock_up)
    monkeypatch.setattr(loader, "BEGINS_WITHIN_S", 0.5)
    monkeypatch.setattr(loader, "STARTS", 2)
    before = workers()
    batches = loader_of(manifest, num_workers=1).epoch(1)
    if stuck == loader.STARTS:
        with pytest.raises(DataError, match="did not begin within 0.5 s, 2 times in a row; set num_wor"):
            next(batches)
    else:
        assert [batch.utterances for batch in batches] == whole
    assert set(workers()) <= set(before)
