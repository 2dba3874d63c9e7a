"""docs/results.md holds what experiments/document.py makes of results/*.jsonl."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT, environment

sys.path.insert(0, str(ROOT / "experiments"))

from claims import findings  # noqa: E402
from comparison import compare, paired  # noqa: E402
from document import page  # noqa: E402
from lines import Lines, read_lines  # noqa: E402
from recipe_lines import _errors_of_utterances, experiment_lines  # noqa: E402
from test_library import cascade_in  # noqa: E402

from cascade_asr.errors import DataError  # noqa: E402


def line(branch: str, training: str, seed: int, dev: float, test: float) -> dict:
    return {"task": "t", "condition": "plain", "seed": seed, "branch": branch, "training": training,
            "metric": "error", "dev": dev, "test": {"error": test}, "updates": 1}  # fmt: skip


def test_the_tables_are_those_of_the_lines():
    done = subprocess.run(
        [sys.executable, "experiments/document.py", "--check"], cwd=ROOT, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_other_tables_are_found():
    assert page("a <!-- tables -->old<!-- end of tables --> b", "new") == (
        "a <!-- tables -->\n\nnew\n<!-- end of tables --> b"
    )
    with pytest.raises(ValueError, match="expected the marks"):
        page("no marks", "new")


def test_an_experiment_becomes_one_line_for_each_training(tmp_path):
    cascade = cascade_in(tmp_path / "exp", training={"max_epoch": 1}, cascade={"finetune": True})
    cascade.run(controls="keep")
    (cascade.directory / "arguments.json").write_text('{"dev_set": "dev"}')  # as a recipe does
    found = [(each["branch"], each["training"]) for each in experiment_lines(cascade.directory)]
    assert found[:4] == [
        ("full", "full"), ("cascade", "stage1"), ("cascade", "stage2"), ("finetune", "stage3"),
    ]  # fmt: skip
    assert {branch for branch, _ in found[4:]} == {"keep"}


def test_a_cascade_below_another_experiments_classifier_is_a_transfer(tmp_path):
    large = cascade_in(tmp_path / "a", training={"max_epoch": 1})
    large.run()
    source = {"first_source": str(large.directory / "full")}
    small = cascade_in(tmp_path / "b", training={"max_epoch": 1, "seed": 5}, cascade=source)
    small.run(controls="random-top")
    (small.directory / "arguments.json").write_text('{"dev_set": "dev"}')
    found = [(each["branch"], each["training"]) for each in experiment_lines(small.directory)]
    assert found == [
        ("full", "full"), ("transfer", "stage1"), ("transfer", "stage2"),
        ("random-top", "random-top1"), ("random-top", "random-top2"),
    ]  # fmt: skip


def test_transfer_is_judged_on_every_test_set_that_both_have():
    lines = [
        line(branch, training, seed, dev, 0) | {"test": {"a CER": 1.0, "a WER": wer + seed / 10, "b WER": wer}}
        for seed in (1, 2, 3)
        for branch, training, dev, wer in (("full", "full", 10, 30), ("transfer", "stage1", 9, 20 + seed / 20))
    ]
    lines += [line("random-top", "random-top1", seed, 90 + seed, 0) | {"test": {}} for seed in (1, 2, 3)]
    assert [(each.compared.partition(" - ")[2], each.measure, each.verdict) for each in findings(lines)] == [
        ("full", "a WER", "supported"), ("full", "b WER", "supported"),
        ("random frozen layers", "dev", "supported"),
    ]  # fmt: skip


def test_an_interval_and_its_p_have_the_textbook_values():
    found = paired([1.0, 2.0, 3.0])  # t = 2 / (1 / sqrt 3) = 3.464 with 2 degrees of freedom
    assert found.mean == 2.0 and found.p == pytest.approx(0.07418, abs=1e-5)
    assert (found.low, found.high) == (pytest.approx(-0.4841, abs=1e-4), pytest.approx(4.4841, abs=1e-4))


def three_seeds(**controls: tuple[float, float]) -> list[dict]:
    """Full training at 10 and the cascade at 8; controls at an error, which grows a little by seed."""
    branches = {"full": (10, 1 / 10), "cascade": (8, 1 / 20), **controls}
    return [
        line(name.replace("_", "-"), "full" if name == "full" else f"{name}1", seed, error, error + seed * growth)
        for seed in (1, 2, 3)
        for name, (error, growth) in branches.items()
    ]


def test_a_claim_is_supported_contradicted_or_undecided_over_seeds():
    lines = three_seeds(longer=(7, 1 / 30), bottom_up=(10, 1 / 10))
    assert {each.claim: each.verdict for each in findings(lines)} == {
        "a": "undecided", "b": "supported", "c": "supported", "d": "contradicted",
    }  # fmt: skip


def test_equal_compute_is_the_hardest_of_the_rivals():
    lines = three_seeds(longer=(12, 1 / 30), best_of_n=(9, 1 / 10))
    (found,) = [each for each in findings(lines) if each.claim == "d"]
    assert found.compared == "selected of top-down - best-of-n" and found.verdict == "supported"
    assert found.difference.mean == pytest.approx(-1.1)


def test_trainings_of_a_later_branch_are_added_and_others_left(tmp_path):
    path = tmp_path / "t.jsonl"
    old = [line("full", "full", 1, 10, 10), line("cascade", "stage1", 1, 8, 8)]
    new = line("longer", "longer1", 1, 7, 7)
    Lines(path).add(old)
    lines = Lines(path)
    lines.add(lines.missing([*old, new]))
    assert read_lines(path) == [*old, new] and lines.missing([*old, new]) == []
    with pytest.raises(DataError, match="full of plain, seed 1, has 10 on dev, but 11"):
        lines.missing([old[0] | {"dev": 11}])
    (measure,) = old[0]["test"]
    with pytest.raises(DataError, match=f"has 10 on {measure}, but 9 .* two ways of decoding"):
        lines.missing([old[0] | {"test": {measure: 9, "other WER": 3}}])


def test_lines_get_what_was_not_recorded_before(tmp_path):
    path = tmp_path / "t.jsonl"
    old = [line("full", "full", seed, 10, 10) for seed in (1, 2)]
    Lines(path).add(old)
    errors = {"errors": {"test WER": [0, 2]}}
    assert Lines(path).complete([old[1] | errors | {"updates": 5}]) == 1  # what is there stays
    assert read_lines(path) == [old[0], old[1] | errors]
    assert Lines(path).complete([old[1] | errors]) == 0


def test_items_are_paired_and_averaged_over_the_seeds():
    first, second = (
        {seed: line("b", "b1", seed, 0, 0) | {"test": {"test WER": 1.0}, "errors": {"test WER": counts[seed]}}
         for seed in (1, 2)}
        for counts in ({1: [1, 2, 3], 2: [1, 2, 3]}, {1: [0, 0, 0], 2: [0, 0, 0]})
    )  # fmt: skip
    found = compare(first, second, "test WER")
    assert found.p_items == pytest.approx(0.07418, abs=1e-5)  # of 1, 2, 3, as above
    del second[2]["errors"]
    assert compare(first, second, "test WER").p_items is None


def test_errors_of_utterances_add_up_to_the_rate(tmp_path):
    score = tmp_path / "decode_test/score_wer"
    score.mkdir(parents=True)
    (score / "ref.trn").write_text("a b (s-2)\na b (s-1)\n")
    (score / "hyp.trn").write_text("a b (s-2)\na c d (s-1)\n")
    assert _errors_of_utterances(tmp_path, {"test WER": 50.0, "test CER": 9.0}) == {
        "errors": {"test WER": [2, 0]}
    }
    with pytest.raises(DataError, match="score_wer: 50.0000 % WER, but 40 in scores.json"):
        _errors_of_utterances(tmp_path, {"test WER": 40})


def test_the_gain_of_ctc_alone_is_compared_with_that_of_attention_by_seed():
    lines = []
    for seed in (1, 2, 3):
        for condition, gain in (("ctc-x", 3.0 + seed / 10), ("attention-x", 1.0)):
            own = [line("full", "full", seed, 10, 20), line("cascade", "stage1", seed, 9, 20 - gain)]
            lines += [each | {"condition": condition} for each in own]
    (found,) = [each for each in findings(lines) if each.claim == "f"]
    assert found.condition == "x" and found.measure == "error"
    assert found.difference.mean == pytest.approx(-2.2)
    assert found.verdict == "supported"
