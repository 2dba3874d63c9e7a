"""report.html in headless Chromium, and the record that all views of an experiment come from."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from browser import browser, needs_chromium, open_page
from report_experiment import make_experiment

from cascade_asr.data.kaldi.tables import read_table, write_table
from cascade_asr.results.collect import collect
from cascade_asr.results.data_sizes import speech_sizes
from cascade_asr.results.speech import record_of
from cascade_asr.results.trainings import layer_states, thinned
from cascade_asr.results.views import write_views


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five decoded trainings, one of them a control's, with two sets of 60."""
    root = tmp_path_factory.mktemp("report")
    sets = make_experiment(root, utterances=60)
    results = collect(root / "exp", root / "dump", sets)
    write_views(record_of(results, speech_sizes(root / "dump")))
    return root / "exp"


@pytest.fixture(scope="module")
def driver():
    with browser() as each:
        yield each


def record_in(experiment: Path) -> dict:
    return json.loads((experiment / "report.json").read_text())


def test_json_and_csv_have_every_number(experiment: Path):
    record = record_in(experiment)
    rate = json.loads((experiment / "stage1/scores.json").read_text())["test1 WER"]
    (value,) = [
        each for each in record["values"]
        if (each["training"], each["set"], each["metric"]) == ("stage1", "test1", "WER")
    ]  # fmt: skip
    assert value["value"] == rate and value["low"] < rate < value["high"]
    with (experiment / "report.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    (row,) = [
        row for row in rows
        if (row["what"], row["training"], row["set"], row["metric"])
        == ("value", "stage1", "test1", "WER")
    ]  # fmt: skip
    assert float(row["value"]) == rate
    assert {row["against"] for row in rows if row["what"] == "difference"} == {"full", "longer1"}
    assert record["data"]["test1"]["utterances"] == 60
    changes = record["configuration"]
    assert {each["key"]: each["value"] for each in changes["full"]} == {
        "optim": "adam", "optim_conf.lr": 0.01,
    }  # fmt: skip
    assert changes["stage1"] == [{"key": "optim_conf.lr", "value": 0.02, "default": 0.01}]


def test_a_set_without_reference_words_has_no_error_rate(tmp_path: Path):
    """A set that is only to be decoded: 0.0 % would look perfect, and count in the headline."""
    sets = make_experiment(tmp_path, utterances=20)
    text = tmp_path / "dump/test1/text"
    write_table(text, dict.fromkeys(read_table(text), ""))
    record = record_of(collect(tmp_path / "exp", tmp_path / "dump", sets))
    write_views(record)
    assert {each["set"] for each in (*record["values"], *record["differences"])} == {"test2"}
    assert [row[2] for row in record["table"]["rows"]] == ["-"] * 4
    assert record["notes"] == ["test1: its text has no words, so it was decoded but has no error rate"]
    assert not any("test1" in each for each in (*record["sentences"], *record["extra"], record["headline"]))
    assert list(json.loads((tmp_path / "exp/full/scores.json").read_text())) == ["test2 WER", "test2 CER"]
    assert not any("hubscr" in each for each in record["files"])


def test_a_stage_that_is_better_on_a_test_set_is_named_where_full_training_won(experiment: Path):
    record = record_in(experiment)
    assert record["selected"] == "full"
    assert any(
        each.startswith("On test1, stage1 was better than full, which dev selected")
        for each in record["remarks"]
    )
    page = (experiment / "report.html").read_text()
    assert "Better on test sets than what dev selected" in page


def test_the_page_is_one_small_file_that_no_text_can_break(experiment: Path):
    page = (experiment / "report.html").read_text()
    assert len(page) < 3_000_000
    assert "</script> " not in page.split('id="alignments"')[1].split("</script>\n")[0]
    assert 'src="http' not in page and "default-src 'none'" in page


def test_each_layer_says_where_its_weights_come_from():
    record = {"source": "exp/full", "trained_layers": ["a", "b"], "frozen_layers": ["c"]}

    def states(**more) -> list[str]:
        return [each["state"] for each in layer_states({**record, **more})]

    assert states(reinitialised=True) == ["new", "new", "frozen"]
    assert states(reinitialised=False) == ["kept", "kept", "frozen"]
    assert states(reinitialised=False, reset_layers=["b"]) == ["kept", "new", "frozen"]
    assert states(reinitialised=True, random_top=True) == ["new", "new", "random"]
    assert states(source=None, frozen_layers=[]) == ["new", "new"]


def test_long_curves_keep_both_ends():
    points = [[float(number), 0.0] for number in range(5000)]
    kept = thinned(points)
    assert len(kept) == 400 and kept[0] == points[0] and kept[-1] == points[-1]


@needs_chromium
@pytest.mark.parametrize("width", [390, 768, 1280, 1600])
def test_nothing_overflows_and_the_console_is_empty(experiment: Path, driver, width: int):
    open_page(driver, experiment / "report.html", width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.get_log("browser") == []
    assert driver.execute_script("return document.querySelectorAll('canvas').length") == 7


@needs_chromium
def test_it_follows_the_system_into_the_dark_and_a_button_changes_it(experiment: Path):
    with browser(dark=True) as driver:
        open_page(driver, experiment / "report.html")
        colour = "return getComputedStyle(document.body).backgroundColor"
        dark = driver.execute_script(colour)
        driver.find_element("id", "theme").click()
        assert (dark, driver.execute_script(colour)) == ("rgb(20, 24, 31)", "rgb(255, 255, 255)")
        assert driver.get_log("browser") == []


@needs_chromium
def test_utterances_sort_filter_and_pair(experiment: Path, driver):
    from selenium.webdriver.support.ui import Select

    open_page(driver, experiment / "report.html")

    def cells(column: int) -> list[str]:
        return driver.execute_script(
            "return [...document.querySelectorAll('#table tbody tr')]"
            f".map((row) => row.cells[{column}].textContent)"
        )

    def count() -> str:
        return driver.find_element("id", "count").text

    scores = {
        name: json.loads((experiment / name / "decode_test2/score_wer/result.json").read_text())
        for name in ("stage1", "stage2")
    }
    for element, value in (("set", "test2"), ("a", "stage1"), ("b", "stage2")):
        Select(driver.find_element("id", element)).select_by_value(value)
    errors = [scores[name]["errors"] for name in ("stage1", "stage2")]
    assert count() == (
        f"60 of 60 utterances; errors of stage1: {errors[0]}, of stage2: {errors[1]}"
    )
    assert "stage1" in driver.find_element("id", "confusions").text

    headers = driver.find_elements("css selector", "#table th")
    headers[5].click()
    ascending = [int(text) for text in cells(5)]
    headers[5].click()
    descending = [int(text) for text in cells(5)]
    assert ascending == sorted(ascending) and descending == sorted(descending, reverse=True)
    assert ascending[0] < 0 < descending[0] and len(descending) == 25

    Select(driver.find_element("id", "filter")).select_by_value("worse")
    assert all(int(text) > 0 for text in cells(5))
    Select(driver.find_element("id", "filter")).select_by_value("all")
    driver.find_element("id", "search").send_keys("spk3 test2-0000")
    assert cells(0) == ["spk3-test2-00003"]
    assert "1 of 60 utterances" in count()
    driver.find_element("id", "search").clear()
    driver.find_element("id", "search").send_keys("no such word")
    assert cells(0) == [] and "0 of 60" in count()
    assert driver.get_log("browser") == []


@needs_chromium
def test_an_alignment_shows_what_was_said_and_recognised(tmp_path: Path):
    make_experiment(tmp_path, trainings=4, sets=1, utterances=2)
    for name in ("full", "stage1", "longer1"):
        text = "a x c d" if name == "full" else "a b d e"
        (tmp_path / f"exp/{name}/decode_test1/text").write_text(
            f"spk0-test1-00000 {text}\nspk1-test1-00001\n"
        )
    (tmp_path / "dump/test1/text").write_text("spk0-test1-00000 a b c d\nspk1-test1-00001 z\n")
    results = collect(tmp_path / "exp", tmp_path / "dump", ["test1"])
    write_views(record_of(results))
    with browser() as driver:
        open_page(driver, tmp_path / "exp/report.html")
        lines = [each.text for each in driver.find_elements("css selector", "#table .line")]
        assert lines == ["A\na b→x c d", "B\na b c d +e", "A\nz", "B\nz"]
        assert driver.get_log("browser") == []


@needs_chromium
def test_many_alignments_are_compressed_and_read_again(tmp_path: Path, driver, monkeypatch):
    from cascade_asr.results import page

    monkeypatch.setattr(page, "PLAIN", 1000)
    sets = make_experiment(tmp_path, trainings=4, sets=1, utterances=30)
    write_views(record_of(collect(tmp_path / "exp", tmp_path / "dump", sets)))
    open_page(driver, tmp_path / "exp/report.html")
    assert driver.find_element("id", "count").text.startswith("30 of 30 utterances")
    assert driver.get_log("browser") == []


def test_a_digits_experiment_takes_less_than_ten_seconds(tmp_path: Path):
    sets = make_experiment(tmp_path, trainings=6, sets=2, utterances=200)
    results = collect(tmp_path / "exp", tmp_path / "dump", sets)
    began = time.process_time()
    write_views(record_of(results))
    assert time.process_time() - began < 10
