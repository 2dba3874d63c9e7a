"""What stage 6 of a language-model recipe reads and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.errors import DataError
from cascade_asr.files import write_json
from cascade_asr.results.text import collect_texts, comparison_lines


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
