"""What stage 6 of a language-model recipe reads and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.errors import DataError
from cascade_asr.files import read_json, write_json
from cascade_asr.results.provenance import provenance_lines
from cascade_asr.results.text import collect_texts, comparison_lines, measured


def evaluated(folder: Path, name: str, **perplexities: float) -> dict:
    """A training that was evaluated on some texts of ten tokens; its entry in selection.json."""
    texts = {
        text: {"perplexity": value, "log_probability": -5.0, "tokens": 10}
        for text, value in perplexities.items()
    }
    write_json(folder / name / "lineage.json", {})
    write_json(folder / name / "perplexity.json", {"texts": texts})
    return {"name": name, "title": name, "value": 5.0, "kept": True}


def test_a_text_that_was_not_evaluated_is_named(tmp_path: Path):
    stages = [evaluated(tmp_path, "full", valid=9.0, test=10.0), evaluated(tmp_path, "stage1", test=9.0)]
    write_json(tmp_path / "selection.json", {"metric": "perplexity", "selected": "full", "stages": stages})
    (line,) = comparison_lines(collect_texts(tmp_path, ["test"]))
    assert line.startswith("stage1 against full training on test: -10.0 % perplexity")
    with pytest.raises(DataError, match="stage1/perplexity.json: not evaluated on valid; run stage 5"):
        collect_texts(tmp_path, ["valid", "test"])


def test_controls_are_among_what_results_were_computed_from(tmp_path: Path):
    stages = [evaluated(tmp_path, "full", test=10.0), evaluated(tmp_path, "stage1", test=9.0)]
    longer = [evaluated(tmp_path, f"longer{number}", test=8.0) for number in (1, 2)]
    controls = {
        "longer": {"title": "", "selected": "longer1", "stages": longer},
        "continue": {"title": "", "selected": "full", "stages": [stages[0]]},
    }
    write_json(tmp_path / "selection.json", {
        "metric": "perplexity", "selected": "full", "stages": stages, "controls": controls,
    })  # fmt: skip
    found = measured(collect_texts(tmp_path, ["test"]))
    lines = provenance_lines([*found.stages, *found.controls])
    assert [line.split(":")[0] for line in lines[2:]] == ["- full", "- stage1", "- longer1"]
    assert [each.training for each in found.values] == ["full", "stage1", "longer1"]


def test_trainings_evaluated_on_different_texts_are_not_compared(tmp_path: Path):
    """The text changed, and stage 5 was killed between two trainings."""
    stages = [evaluated(tmp_path, name, test=10.0) for name in ("full", "stage1")]
    write_json(tmp_path / "selection.json", {"metric": "perplexity", "selected": "full", "stages": stages})
    for name, digest in (("full", "new"), ("stage1", "old")):
        path = tmp_path / name / "perplexity.json"
        write_json(path, read_json(path) | {"texts_sha256": {"test": digest}})
    with pytest.raises(DataError, match="stage1/perplexity.json: test is not the text that full training was"):
        collect_texts(tmp_path, ["test"])
    write_json(path, read_json(path) | {"texts_sha256": {"test": "new"}})
    collect_texts(tmp_path, ["test"], tmp_path / "dump")
    tokens = tmp_path / "dump/test/tokens.npy"
    tokens.parent.mkdir(parents=True)
    tokens.write_text("of other words, with stages 0 to 2")
    with pytest.raises(DataError, match="full/perplexity.json: test is not the text that .* has now"):
        collect_texts(tmp_path, ["test"], tmp_path / "dump")
