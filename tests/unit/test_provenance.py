"""Stage 6 leaves what sclite needs, says what its tables were computed from, and keeps old ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_evaluation import LINEAGE

from cascade_asr.data.kaldi.tables import write_table
from cascade_asr.results.collect import Stage
from cascade_asr.results.provenance import provenance_lines, trainings_in, write_results
from cascade_asr.results.test_sets import open_set

SCLITE = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
TEXTS = {"b-1": "one TWO three", "b-2": "naïve Straße 中文", "c-1": "** a b", "c-2": "x y z"}
HEARD = {"b-1": "one two", "b-2": "naive Straße 中 文", "c-1": "** a b c", "c-2": ""}


@pytest.mark.skipif(SCLITE is None, reason="sclite NOT FOUND; apt-get install sctk")
def test_sclite_makes_the_same_report_from_the_files_of_stage_6(tmp_path: Path):
    (tmp_path / "dump/tokens").mkdir(parents=True)
    (tmp_path / "dump/tokens/non_linguistic_symbols.txt").write_text("<NOISE>\n")
    for folder in ("dump/test", "full/decode_test"):
        (tmp_path / folder).mkdir(parents=True)
    texts = TEXTS | {"b-1": "one <NOISE> TWO three"}
    write_table(tmp_path / "dump/test/text", texts)
    write_table(tmp_path / "dump/test/utt2spk", {name: name[0] for name in texts})
    write_table(tmp_path / "full/decode_test/text", HEARD)
    open_set("test", tmp_path / "dump").score(tmp_path / "full/decode_test")
    firsts = {
        "score_wer": "one TWO three\t(b-b-1)",
        "score_cer": "o n e <space> T W O <space> t h r e e\t(b-b-1)",
    }
    for name, first in firsts.items():
        folder = tmp_path / "full/decode_test" / name
        assert (folder / "ref.trn").read_text().splitlines()[0] == first
        title = f"{folder}/hyp.trn"
        printed = subprocess.run(
            [SCLITE, "-r", str(folder / "ref.trn"), "trn", "-h", title, "trn", title,
             "-i", "rm", "-e", "utf-8", "-o", "all", "stdout"],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        assert printed == (folder / "result.txt").read_bytes()


def stage(name: str, options: str = "0123456789abcdef", model: str = "f" * 64) -> Stage:
    lineage = LINEAGE | {"config": options, "model_sha256": model, "finished": "2026-01-01"}
    return Stage(name, name, Path(name), 1.0, True, False, lineage)


def page(*stages: Stage) -> dict[str, str]:
    return {"RESULTS.md": "\n".join(["table", *provenance_lines(stages)]), "report.html": "page"}


def test_a_table_says_what_it_was_computed_from():
    lines = provenance_lines([stage("full")])
    assert lines[-1] == (
        "- full: options 0123456789abcdef, model ffffffffffff, seed 1, finished 2026-01-01"
    )
    assert trainings_in("\n".join(lines)) == {"full": ("0123456789abcdef", "f" * 12)}


def test_tables_of_other_options_are_kept(tmp_path: Path):
    first = page(stage("full"))
    write_results(tmp_path, first)
    write_results(tmp_path, first)
    more = page(stage("full"), stage("stage1"))
    write_results(tmp_path, more)  # the same trainings and one more
    assert {path.name for path in tmp_path.iterdir()} == {"RESULTS.md", "report.html"}
    other = page(stage("full", "fedc"))
    write_results(tmp_path, other)
    assert (tmp_path / "RESULTS.md.replaced.1").read_text() == more["RESULTS.md"]
    assert (tmp_path / "report.html.replaced.1").is_file()
    write_results(tmp_path, page(stage("full", "fedc", "e" * 64)))
    assert (tmp_path / "RESULTS.md.replaced.2").read_text() == other["RESULTS.md"]
    (tmp_path / "RESULTS.md").write_text("a table of before")
    write_results(tmp_path, other)
    assert (tmp_path / "RESULTS.md.replaced.3").read_text() == "a table of before"
    assert (tmp_path / "RESULTS.md").read_text() == other["RESULTS.md"]
