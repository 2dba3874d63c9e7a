"""Tables of branches and seeds, against numbers computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cascade_asr.errors import DataError
from cascade_asr.results.branches import branch_table, headline, read_experiment, seeds_table
from cascade_asr.results.paired_tests import paired_lines, paired_tests


def training(folder: Path, name: str, dev: float, wer: float, updates: int) -> dict:
    """A finished training's files, and its entry in selection.json."""
    (folder / name).mkdir(parents=True)
    lineage = {
        "updates": updates, "frames": 10 * updates, "seconds": 2.0 * updates,
        "cpu_seconds": 3.0 * updates, "device": "CPU, 1 x 2 threads",
    }  # fmt: skip
    (folder / name / "lineage.json").write_text(json.dumps(lineage))
    (folder / name / "scores.json").write_text(json.dumps({"test WER": wer}))
    return {"name": name, "title": name, "value": dev, "kept": True}


def experiment(folder: Path, full: float, stage: float, **controls: float) -> Path:
    """An experiment whose cascade selected stage1; test WER is dev WER plus one."""
    entries = [
        training(folder, "full", full, full + 1, 100),
        training(folder, "stage1", stage, stage + 1, 50),
    ]
    written = {}
    for name, value in controls.items():
        entry = training(folder, f"{name}1", value, value + 1, 150)
        written[name] = {
            "title": f"control {name}", "complete": True, "selected": f"{name}1",
            "stages": [entry] if name == "longer" else [entries[0], entry],
        }  # fmt: skip
    selection = {
        "metric": "wer_ctc", "mode": "min", "selected": "stage1", "stages": entries,
        "complete": True, "controls": written,
    }  # fmt: skip
    (folder / "selection.json").write_text(json.dumps(selection))
    return folder


@pytest.fixture
def seeds(tmp_path: Path) -> list[Path]:
    """Three seeds: the cascade gains 2, 1 and 3 on full training and loses to continue."""
    return [
        experiment(tmp_path / "1", 12.0, 10.0, longer=11.0, **{"continue": 9.0}),
        experiment(tmp_path / "2", 12.0, 11.0, longer=11.5, **{"continue": 9.5}),
        experiment(tmp_path / "3", 14.0, 11.0, longer=13.0, **{"continue": 10.5}),
    ]


def test_compute_is_all_that_was_trained_for_a_branch(seeds):
    result = read_experiment(seeds[0])
    rows = {row.name: row for row in result.rows}
    assert [row.updates for row in result.rows] == [100, 150, 150, 250]
    assert [row.trainings for row in result.rows] == [1, 2, 1, 2]
    assert rows["cascade"].frames == 1500 and rows["cascade"].processor_seconds == 450
    assert rows["cascade"].scores == {"test WER": 11.0} and rows["cascade"].selected == "stage1"
    table = branch_table(result)
    cells = [" ".join(line.split()) for line in table.splitlines()]
    assert "| control longer | longer1 | 11.00 | 12.00 | 1 | 150 | 1,500 | 450 s CPU |" in cells


def test_a_gain_without_controls_is_not_attributed(tmp_path: Path):
    bare = read_experiment(experiment(tmp_path / "bare", 12.0, 10.0))
    assert headline([bare]).endswith("the controls longer and continue were not run.")
    one = read_experiment(experiment(tmp_path / "one", 12.0, 10.0, longer=11.0))
    assert "improved on full training: dev wer_ctc 12.00 -> 10.00. A gain is not" in headline([one])
    assert headline([one]).endswith("the control continue was not run.")


def test_the_headline_says_which_controls_were_not_beaten(seeds, tmp_path: Path):
    results = [read_experiment(each) for each in seeds]
    assert headline(results) == (
        "The cascade improved on full training: dev wer_ctc 12.67 -> 10.67 (means of 3 seeds). At "
        "equal compute: longer 11.83, continue 9.67. A gain is not attributed to the cascade: "
        "continue did as well or better."
    )
    won = experiment(tmp_path / "won", 12.0, 8.0, longer=11.0, **{"continue": 9.0})
    assert headline([read_experiment(won)]).endswith(
        "longer 11.00, continue 9.00. The cascade beat both; one seed is no proof."
    )
    lost = experiment(tmp_path / "lost", 12.0, 12.0, longer=11.0, **{"continue": 9.0})
    assert headline([read_experiment(lost)]) == (
        "The cascade did not improve on full training: dev wer_ctc 12.00 -> 12.00. At equal "
        "compute: longer 11.00, continue 9.00."
    )


def test_an_incomplete_control_does_not_count(seeds):
    path = seeds[1] / "selection.json"
    content = json.loads(path.read_text())
    content["controls"]["longer"]["complete"] = False
    path.write_text(json.dumps(content))
    results = [read_experiment(each) for each in seeds]
    assert "the control longer was not run" in headline(results)
    assert "control longer" not in seeds_table(results)
    assert "(not complete)" in branch_table(results[1])


def test_mean_deviation_and_paired_test_by_hand(seeds):
    results = [read_experiment(each) for each in seeds]
    table = seeds_table(results)
    assert "| 12.67 ± 1.15" in table  # full training: 12, 12, 14
    assert "| 10.67 ± 0.58" in table  # cascade: 10, 11, 11
    header, _, full, cascade, *_ = (line.split("|")[1:-1] for line in table.splitlines())
    assert [cell.strip() for cell in header[-4:]] == ["updates", "frames", "seconds", "CPU seconds"]
    assert [cell.strip() for cell in full[-4:]] == ["100", "1,000", "200", "300"]
    assert [cell.strip() for cell in cascade[-4:]] == ["150", "1,500", "300", "450"]
    tests = {(each.branch, each.metric): each for each in paired_tests(results)}
    test = tests["full", None]  # differences -2, -1, -3: mean -2, deviation 1, t = -2 sqrt 3
    assert test.difference == pytest.approx(-2.0)
    # two degrees of freedom: p = 1 - t / sqrt(2 + t^2)
    t = 2 * math.sqrt(3)
    assert test.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    half = 4.302653 / math.sqrt(3)  # the table's t for 97.5 % and two degrees of freedom
    assert (test.low, test.high) == pytest.approx((-2 - half, -2 + half), abs=1e-4)
    assert tests["continue", "test WER"].difference == pytest.approx(1.0)
    lines = paired_lines(results)
    assert "- cascade against full, dev wer_ctc: -2.00 (95 % interval -4.48 to +0.48, p 0.074)" in lines


def test_a_small_p_value_is_not_shown_as_nothing(tmp_path: Path):
    results = [
        read_experiment(experiment(tmp_path / name, 12.0, value))
        for name, value in (("a", 10.0), ("b", 10.001), ("c", 9.999))
    ]
    (line,) = [each for each in paired_lines(results) if "full, dev" in each]
    assert line.endswith("p < 0.001)")


def test_no_variance_gives_no_test(tmp_path: Path):
    results = [read_experiment(experiment(tmp_path / name, 12.0, 10.0)) for name in "ab"]
    (test,) = [each for each in paired_tests(results) if each.metric is None]
    assert test.difference == -2.0 and math.isnan(test.p)


def test_an_experiment_without_trainings_says_what_to_run(tmp_path: Path):
    with pytest.raises(DataError, match="selection.json: not found; run stage 3 first"):
        read_experiment(tmp_path)
