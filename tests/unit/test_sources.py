"""Which training of an experiment another one started from."""

from __future__ import annotations

from pathlib import Path

from cascade_asr.files import write_json
from cascade_asr.training.finished import source_within


def lineage(folder: Path, source: str | None, weights: str, of_source: str | None = None) -> dict:
    """What a training of some weights would leave."""
    folder.mkdir(parents=True)
    content = {"source": source, "model_sha256": weights, "source_model_sha256": of_source}
    write_json(folder / "lineage.json", content)
    return content


def test_a_source_is_found_in_an_experiment_that_was_renamed(tmp_path):
    experiment = tmp_path / "exp/new_name"
    full = lineage(experiment / "full", None, "a")
    assert source_within(experiment, full) is None
    stage = lineage(experiment / "stage1", "exp/old_name/full", "b", "a")
    assert source_within(experiment, stage) == "full"


def test_a_source_of_the_same_names_elsewhere_is_none_of_the_experiment(tmp_path):
    experiment = tmp_path / "an4/exp/train"
    lineage(experiment / "full", None, "a")
    other = tmp_path / "digits/exp/train/full"
    stage = lineage(experiment / "stage1", str(other), "b", "c")
    assert source_within(experiment, stage) is None


def test_a_source_that_was_trained_again_since_is_still_the_source(tmp_path):
    experiment = tmp_path / "exp/train"
    lineage(experiment / "full", None, "trained again")
    stage = lineage(experiment / "stage1", "exp/train/full", "b", "a")
    assert source_within(experiment, stage) == "full"
