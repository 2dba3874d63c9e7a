"""Tables of branches and seeds, against numbers computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cascade_asr.errors import ConfigError, DataError
from cascade_asr.results.branches import (
    branch_table,
    read_experiment,
    seeds_table,
    time_notes,
)
from cascade_asr.results.compute import device_type, processor_seconds
from cascade_asr.results.headline import headline
from cascade_asr.results.measures import divide_name, is_less_better, shown
from cascade_asr.results.paired_tests import paired_lines, paired_tests
from cascade_asr.scoring.significance import shown_probability


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


def experiment(
    folder: Path, full: float, stage: float, updates: int = 150, **controls: float
) -> Path:
    """An experiment whose cascade selected stage1; test WER is dev WER plus one.

    ``updates`` are those of each control's own training; the cascade has 150.
    """
    entries = [
        training(folder, "full", full, full + 1, 100),
        training(folder, "stage1", stage, stage + 1, 50),
    ]
    written = {}
    for name, value in controls.items():
        name = name.replace("_", "-")
        entry = training(folder, f"{name}1", value, value + 1, updates)
        written[name] = {
            "title": f"control {name}", "complete": True, "selected": f"{name}1",
            "stages": [entry] if name.startswith("longer") else [entries[0], entry],
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
    assert headline([bare]) == (
        "The cascade improved on full training: dev wer_ctc 12.00 -> 10.00. A gain is not attributed "
        "to the cascade: the controls longer, continue and best-of-n were not run. Dev was also "
        "used for selection; on sets that were not, test WER: full 13.00, cascade 11.00."
    )
    one = read_experiment(experiment(tmp_path / "one", 12.0, 10.0, longer=11.0, best_of_n=11.0))
    assert "A gain is not attributed to the cascade: the control continue was not run." in headline(
        [one]
    )


def test_the_headline_says_which_controls_were_not_beaten(seeds):
    results = [read_experiment(each) for each in seeds]
    assert headline(results) == (
        "The cascade improved on full training: dev wer_ctc 12.67 -> 10.67 (means of 3 seeds). At "
        "equal compute: longer 11.83. At different compute: continue 9.67 (1.67 times the updates, "
        "1.67 times the frames). A gain is not attributed to the cascade: the control best-of-n "
        "was not run; continue did as well or better; continue did as well or better on test WER. "
        "Dev was also used for selection; on sets that were not, test WER: full 13.67, cascade "
        "11.67, longer 12.83, continue 10.67."
    )


def won(folder: Path, **changes) -> Path:
    values = {"full": 12.0, "stage": 8.0, "longer": 11.0, "continue": 9.0, "best_of_n": 10.0}
    return experiment(folder, **values | changes)


def test_a_gain_over_every_control_is_the_cascades(tmp_path: Path):
    text = headline([read_experiment(won(tmp_path))])
    assert "The cascade beat longer, continue, best-of-n; one seed is no proof." in text
    assert "not attributed" not in text


def test_where_there_is_no_gain_nothing_is_said_of_attributing_it(tmp_path: Path):
    for name, controls in (("none", {}), ("one", {"longer": 11.0}), ("beaten", {"longer": 13.0})):
        text = headline([read_experiment(experiment(tmp_path / name, 12.0, 12.0, **controls))])
        assert text.startswith("The cascade did not improve on full training: dev wer_ctc 12.00 ->")
        assert "attributed" not in text and "beat" not in text and "not run" not in text


def test_a_control_that_stopped_early_is_no_equal_compute(tmp_path: Path):
    """13,000 updates against 70,000: beaten, but no proof of anything."""
    text = headline([read_experiment(won(tmp_path / "short", updates=28))])
    assert "equal compute" not in text and "beat" not in text
    assert "longer 11.00 (0.19 times the updates, 0.19 times the frames)" in text
    assert "longer, continue and best-of-n had less compute than the cascade." in text


def test_compute_is_equal_only_if_it_is_in_each_seed(tmp_path: Path):
    """0.6 and 1.4 times the updates are not equal compute, although they are on average."""
    results = [
        read_experiment(won(tmp_path / str(updates), updates=updates)) for updates in (90, 210)
    ]
    text = headline(results)
    assert "equal compute" not in text and "The cascade beat" not in text
    assert "longer 11.00 (0.60 to 1.40 times the updates, 0.60 to 1.40 times the frames)" in text
    assert "longer had less compute than the cascade" in text


@pytest.mark.parametrize(
    ("updates", "frames", "equal"),
    [(150, 1500, True), (157, 1570, True), (143, 1430, True), (158, 1580, False), (142, 1420, False),
     (150, 2000, False), (200, 1500, False)],
)  # fmt: skip
def test_equal_is_within_five_percent_of_updates_and_of_frames(
    tmp_path: Path, updates: int, frames: int, equal: bool
):
    folder = experiment(tmp_path, 12.0, 10.0, longer=11.0)
    change_lineage(folder, "longer1", updates=updates, frames=frames)
    text = headline([read_experiment(folder)])
    ratio = f"({updates / 150:.2f} times the updates, {frames / 1500:.2f} times the frames)"
    assert ("At equal compute: longer 11.00." in text) is equal
    assert (ratio in text) is not equal


def test_a_gain_on_dev_alone_is_not_attributed(tmp_path: Path):
    folder = won(tmp_path)
    (folder / "stage1" / "scores.json").write_text(json.dumps({"test WER": 10.0}))
    text = headline([read_experiment(folder)])  # continue: 10.0, full: 13.0
    assert "A gain is not attributed to the cascade: continue did as well or better on test" in text


def accuracies(folder: Path, metric: str = "accuracy", **test: float) -> str:
    """Headline of a gain of accuracy on dev over every control, and these values on test."""
    wins = {"full": 88.0, "stage": 92.0, "longer": 89.0, "continue": 91.0, "best_of_n": 90.0}
    path = experiment(folder, **wins) / "selection.json"
    selection = json.loads(path.read_text())
    path.write_text(json.dumps(selection | {"metric": "accuracy", "mode": "max"}))
    names = {"longer1": 80.0, "continue1": 80.0, "best-of-n1": 80.0} | test
    for name, value in names.items():
        (folder / name / "scores.json").write_text(json.dumps({f"test {metric}": value}))
    return headline([read_experiment(folder)])


def test_more_accuracy_is_better_on_test_sets_too(tmp_path: Path):
    text = accuracies(tmp_path / "won", full=85.0, stage1=90.0)
    assert "The cascade beat longer, continue, best-of-n; one seed is no proof." in text
    text = accuracies(tmp_path / "lost", full=95.0, stage1=90.0)
    assert "full did as well or better on test accuracy." in text
    # of a metric of one's own it is not known which is better: it is shown, and decides nothing
    for name, value in (("more", 95.0), ("less", 85.0)):
        text = accuracies(tmp_path / name, metric="f1", full=value, stage1=90.0)
        assert "one seed is no proof" in text and f"test f1: full {value:g}, cascade 90," in text


def test_a_dev_set_that_is_scored_is_no_test_set(tmp_path: Path):
    folder = won(tmp_path)
    (folder / "arguments.json").write_text(json.dumps({"dev_set": "train_dev"}))
    for path in folder.glob("*/scores.json"):  # worse than every rival there
        worse = 50.0 if path.parent.name == "stage1" else 10.0
        path.write_text(json.dumps(json.loads(path.read_text()) | {"train_dev WER": worse}))
    text = headline([read_experiment(folder)])
    assert "The cascade beat longer, continue, best-of-n; one seed is no proof." in text
    assert "train_dev" not in text and "test WER: full 13.00" in text
    for path in folder.glob("*/scores.json"):
        path.write_text(json.dumps({"train_dev WER": 10.0}))
    assert headline([read_experiment(folder)]).endswith("no test scores yet.")


def test_perplexities_with_cache_are_of_their_set(tmp_path: Path):
    folder = won(tmp_path)
    (folder / "arguments.json").write_text(json.dumps({"dev_set": "valid"}))
    for path in folder.glob("*/scores.json"):
        own = 60.0 if path.parent.name == "stage1" else 50.0
        path.write_text(json.dumps({"valid with cache": own, "test with cache": own}))
    text = headline([read_experiment(folder)])
    assert "valid" not in text and "test with cache: full 50.00, cascade 60.00" in text
    assert "did as well or better on test with cache" in text


@pytest.mark.parametrize(
    ("name", "less"),
    [
        ("test WER", True), ("test wer_ctc", True), ("test NLLLoss", True), ("test with cache", True),
        ("test acc", False), ("test answer_accuracy", False), ("test accent_error", True),
        ("test answer_f1", None), ("test certainty", None), ("test power", None),
    ],
)  # fmt: skip
def test_a_name_that_contains_a_metric_is_not_that_metric(name: str, less: bool | None):
    assert is_less_better(name, "f1", "max") == less
    assert divide_name(name)[0] == "test"


def test_only_rates_and_perplexities_have_two_decimals():
    names = ("dev wer_ctc", "test WER", "test with cache", "dev power", "answer_f1")
    assert [shown(0.98765, name) for name in names] == ["0.99"] * 3 + ["0.9877"] * 2


def test_an_accuracy_between_0_and_1_keeps_its_digits(tmp_path: Path):
    path = experiment(tmp_path, 0.9825, 0.985, longer=0.98) / "selection.json"
    selection = json.loads(path.read_text())
    path.write_text(json.dumps(selection | {"metric": "accuracy", "mode": "max"}))
    result = read_experiment(tmp_path)
    assert "dev accuracy 0.9825 -> 0.985. At equal compute: longer 0.98." in headline([result])
    assert "| 0.985 " in branch_table(result)
    assert "dev accuracy: +0.0025 (one seed: no test)" in "\n".join(paired_lines([result]))


def test_without_test_scores_the_headline_says_that_dev_selected(tmp_path: Path):
    folder = won(tmp_path)
    (folder / "stage1" / "scores.json").unlink()
    assert headline([read_experiment(folder)]).endswith("not every branch has test scores yet.")
    for path in folder.glob("*/scores.json"):
        path.unlink()
    assert headline([read_experiment(folder)]).endswith(
        "Dev was also used for selection, which favours the cascade's many trainings; no test "
        "scores yet."
    )


def test_a_control_on_another_network_is_named(tmp_path: Path):
    folder = experiment(tmp_path, 12.0, 10.0, longer=11.0)
    for name, size in (("full", 102_632), ("stage1", 166_632), ("longer1", 102_632)):
        change_lineage(folder, name, parameters=size)
    text = headline([read_experiment(folder)])
    assert (
        "longer has another network than the cascade's stages: 102,632 parameters, not 166,632." in text
    )


# ---- times ---------------------------------------------------------------------------


def change_lineage(folder: Path, name: str, **changes) -> None:
    path = folder / name / "lineage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("record", "kind", "seconds"),
    [
        ({"device": "1 x NVIDIA H100"}, "GPU", 100.0),
        ({"device": "4 x NVIDIA H100 80GB HBM3", "ranks": 4}, "GPU", 400.0),
        ({"device": "2 x Graphics Device", "device_type": "GPU", "ranks": 2}, "GPU", 200.0),
        ({"device": "CPU, 1 x 2 threads"}, "CPU", 150.0),
        ({"device": "CPU, 2 x 2 threads", "device_type": "CPU", "ranks": 2}, "CPU", 150.0),
        ({"device": "CPU, 2 x 2 threads", "ranks": 2}, "CPU", math.nan),  # of one rank only
    ],
)
def test_the_processor_of_old_and_new_records(record: dict, kind: str, seconds: float):
    record = {"seconds": 100.0, "cpu_seconds": 150.0} | record
    assert device_type(record) == kind
    assert processor_seconds(record) == pytest.approx(seconds, nan_ok=True)


def test_a_table_of_gpu_time_says_so(seeds):
    for name in ("full", "stage1"):
        change_lineage(seeds[0], name, device="1 x NVIDIA H100")
    table = branch_table(read_experiment(seeds[0]))
    assert "| 300 s GPU" in table and "| 450 s CPU" in table
    assert (
        "Times are not comparable because the trainings ran on different devices: "
        "1 x NVIDIA H100: full, "
    ) in table


def test_other_numbers_of_threads_are_told(seeds):
    assert time_notes([read_experiment(each) for each in seeds]) == []
    change_lineage(seeds[1], "longer1", device="CPU, 1 x 8 threads")
    results = [read_experiment(each) for each in seeds]
    assert time_notes(results) == [
        "Times are not comparable because the trainings ran on different devices: CPU, 1 x 2 "
        "threads: full, cascade, longer, continue; CPU, 1 x 8 threads: longer."
    ]
    assert seeds_table(results).endswith(time_notes(results)[0])
    assert branch_table(results[1]).endswith("CPU, 1 x 2 threads: full, cascade, continue; CPU, 1 x "
                                             "8 threads: longer.")  # fmt: skip


def test_seconds_of_interrupted_and_disturbed_trainings_are_marked(seeds):
    change_lineage(seeds[0], "stage1", resumed=2)
    change_lineage(seeds[0], "longer1", seconds=300.0, cpu_seconds=100.0)
    table = branch_table(read_experiment(seeds[0]))
    cells = [" ".join(line.split()) for line in table.splitlines()]
    times = [line.split(" | ")[-1].removesuffix(" |") for line in cells if line.startswith("| ")]
    assert [time for time in times if "s CPU" in time] == [
        "300 s CPU", "450 s CPU *", "100 s CPU *", "750 s CPU",
    ]  # fmt: skip
    assert table.endswith(
        "* not the time of one undisturbed run: stage1 (interrupted 2 times), longer1 (waited: 300 s "
        "for 100 s of processor time). Work repeated after a kill is counted once."
    )


def test_of_many_disturbed_trainings_the_first_are_named(seeds):
    for seed in seeds:
        for name in ("full", "stage1", "longer1"):
            change_lineage(seed, name, resumed=1)
    (note,) = time_notes([read_experiment(each) for each in seeds])
    assert note.count("(interrupted") == 6
    assert f", {3 * len(seeds) - 6} more, listed in report.json. " in note



def test_computed_work_has_columns_where_it_is_recorded(seeds):
    assert "FLOPs" not in branch_table(read_experiment(seeds[0]))
    for name, flops in (("full", 2_000_000_000), ("stage1", 500_000_000)):
        change_lineage(seeds[0], name, flops=flops, trained_parameter_updates=1000)
    table = branch_table(read_experiment(seeds[0]))
    cells = [" ".join(line.split()) for line in table.splitlines()]
    assert "trained parameters x updates | FLOPs (estimated) | time |" in cells[0]
    assert cells[2].endswith("| 1,000 | 2e+09 | 300 s CPU |")
    assert cells[3].endswith("| 2,000 | 2.5e+09 | 450 s CPU |")
    assert cells[4].endswith("| - | - | 450 s CPU |")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "p < 0.001"), (0.00099, "p < 0.001"), (0.004, "p 0.004"), (0.8, "p 0.800"),
     (1.0, "p > 0.999")],
)  # fmt: skip
def test_a_probability_is_never_nothing(value: float, shown: str):
    assert shown_probability("p", value) == shown


def test_an_incomplete_control_does_not_count(seeds):
    path = seeds[1] / "selection.json"
    content = json.loads(path.read_text())
    content["controls"]["longer"]["complete"] = False
    path.write_text(json.dumps(content))
    results = [read_experiment(each) for each in seeds]
    assert "the controls longer and best-of-n were not run" in headline(results)
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


def test_variance_by_rounding_gives_no_test(tmp_path: Path):
    folders = [
        experiment(tmp_path / str(seed), full, round(full - 0.2, 1))
        for seed, full in enumerate((15.1, 11.3, 5.7))
    ]
    (test,) = [each for each in paired_tests([read_experiment(each) for each in folders])
               if each.metric is None]  # fmt: skip
    assert test.difference == pytest.approx(-0.2) and math.isnan(test.p)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_seed_without_a_finite_value_gives_no_test(seeds, value: float):
    path = seeds[1] / "selection.json"
    selection = json.loads(path.read_text())
    selection["stages"][0]["value"] = value
    path.write_text(json.dumps(selection))
    results = [read_experiment(each) for each in seeds]
    assert f"| {value} ± nan" in seeds_table(results)
    assert "- cascade against full, dev wer_ctc: " in paired_lines(results)[0]
    assert paired_lines(results)[0].endswith("(not a number over seeds: no test)")


def test_a_cascade_that_is_not_complete_is_not_judged_as_if_it_were(tmp_path: Path):
    path = experiment(tmp_path, 12.0, 10.0) / "selection.json"
    assert headline([read_experiment(tmp_path)]).startswith("The cascade improved on full")
    selection = json.loads(path.read_text())
    path.write_text(json.dumps(selection | {"complete": False}))
    text = headline([read_experiment(tmp_path)])
    assert text.startswith("The cascade, which is not complete, improved on full training")


def test_before_the_first_stage_nothing_is_said_about_the_cascade(tmp_path: Path):
    path = experiment(tmp_path, 12.0, 10.0, longer=11.0) / "selection.json"
    selection = json.loads(path.read_text())
    selection |= {"complete": False, "stages": selection["stages"][:1], "selected": "full"}
    path.write_text(json.dumps(selection))  # after stage 3, or with --cascade-stages none
    assert headline([read_experiment(tmp_path)]) == (
        "No stage of the cascade is trained yet. Dev wer_ctc: full 12.00, longer 11.00."
    )


def test_a_stage_that_is_being_trained_again_is_named(tmp_path: Path):
    folder = experiment(tmp_path, 12.0, 10.0)
    (folder / "stage1").rename(folder / "stage1.replaced.1")
    (folder / "stage1").mkdir()
    with pytest.raises(ConfigError, match="stage1: cascade stage 1 is not finished, .* or run --st"):
        read_experiment(folder)


def test_an_experiment_without_trainings_says_what_to_run(tmp_path: Path):
    with pytest.raises(DataError, match="selection.json: not found; run stage 3 first"):
        read_experiment(tmp_path)
