"""Plan, controls, probe and comparison as commands, on a cascade of seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, command, training_arguments, write_yaml
from tiny_corpus import TINY_CONFIG

CONFIG = TINY_CONFIG | {"max_epoch": 2, "keep_nbest_models": 1}
CASCADE = {"grain": "module", "train": {"max_epoch": 1}}


def call(folder: Path, dump: Path, what: str, *more: str, cascade: dict = CASCADE):
    """A command that takes the options of training."""
    _, _, *options = training_arguments("check", folder, dump, CONFIG, cascade)
    if what.startswith("cascade_asr.cli.training"):
        module, verb = what.split()
        return command(module, verb, *options, *more)
    if what.endswith(".plan"):
        index = options.index("--ngpu")
        del options[index : index + 2]
    return command(what, *options, *more)


@pytest.fixture(scope="module")
def trained(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full training, a stage, and the controls longer and continue."""
    folder = tmp_path_factory.mktemp("controls")
    for what, *more in (["full"], ["cascade", "--controls", "longer,continue"]):
        done = call(folder, dump, f"cascade_asr.cli.training {what}", *more)
        assert done.returncode == 0, done.stderr
    return folder


def test_controls_cost_what_the_cascade_costs(trained: Path):
    updates = {
        path.parent.name: json.loads(path.read_text())["updates"]
        for path in (trained / "exp").glob("*/done.json")
    }
    assert set(updates) == {"full", "stage1", "longer1", "continue1"}
    assert updates["longer1"] == updates["full"] + updates["stage1"]
    assert updates["continue1"] == updates["stage1"]
    selection = json.loads((trained / "exp/selection.json").read_text())
    assert selection["complete"] and set(selection["controls"]) == {"longer", "continue"}
    assert [each["name"] for each in selection["controls"]["longer"]["stages"]] == ["longer1"]


def test_the_plan_shows_the_tree_what_is_done_and_what_is_to_do(trained: Path, dump: Path):
    done = call(trained, dump, "cascade_asr.cli.plan", "--controls", "longer,best-of-n")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("exp: selection by dev wer_ctc (min)")
    assert lines[1].startswith("full [done]: trains ") and "(100.0 %), 30 updates" in lines[1]
    stage = next(index for index, line in enumerate(lines) if "stage1 [done]" in line)
    assert lines[stage + 1].strip("│ ") == "kept and frozen: classifier"
    assert lines[stage + 2].strip("│ ") == "re-initialised: encoder"
    assert any("longer1 [done]" in line and "45 updates" in line for line in lines)
    assert any("best-of-n1 [to do]" in line for line in lines)
    assert "120 updates" in lines[-1] and "one after another" in lines[-1]


@pytest.mark.parametrize(
    ("grain", "names"),
    [
        ("module", ["encoder", "classifier"]),
        ("layer", ["encoder.rnn0", "encoder.rnn1", "classifier"]),
        ("fine", ["encoder.rnn0", "encoder.rnn1", "decoder.embed", "decoder.attention",
                  "decoder.rnn0", "classifier"]),
    ],
)  # fmt: skip
def test_layers_are_listed_input_first(grain, names, dump: Path, tmp_path: Path):
    done = call(tmp_path, dump, "cascade_asr.cli.plan", "--layers", cascade={"grain": grain})
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == names
    assert sum(float(row[2]) for row in rows) == pytest.approx(100, abs=0.3)


def test_a_layer_swapped_for_the_same_weights_changes_nothing(trained: Path, dump: Path):
    plan = CASCADE | {"probe": ["full", "random"]}
    done = call(trained, dump, "cascade_asr.cli.probe", "--model", "stage1", cascade=plan)
    assert done.returncode == 0, done.stderr
    header, *rows = [
        line.split("\t") for line in (trained / "exp/stage1/probe.tsv").read_text().splitlines()
    ]
    found = {(layer, weights): values for layer, weights, *values in rows}
    as_it_is = found["(none)", "trained"]
    recorded = json.loads((trained / "exp/stage1/done.json").read_text())["metrics"]
    assert [float(value) for value in as_it_is] == pytest.approx(
        [recorded[name] for name in header[2:]], abs=1e-4
    )
    assert found["classifier", "full"] == as_it_is  # it was frozen
    assert found["encoder", "full"] != as_it_is and found["classifier", "random"] != as_it_is


def test_a_new_cascade_is_not_mistaken_for_the_old_one(trained: Path, dump: Path, tmp_path: Path):
    shutil.copytree(trained / "exp", tmp_path / "exp")
    before = torch.load(tmp_path / "exp/stage1/model.pth")
    changed = CASCADE | {"below": "keep"}
    shown = call(tmp_path, dump, "cascade_asr.cli.plan", cascade=changed)
    assert "stage1 [done with other options: would be trained again]" in shown.stdout
    done = call(tmp_path, dump, "cascade_asr.cli.training cascade", cascade=changed)
    assert done.returncode == 0, done.stderr
    assert "reinitialise: true -> false" in done.stderr
    after = torch.load(tmp_path / "exp/stage1/model.pth")
    kept = torch.load(tmp_path / "exp/stage1.replaced.1/model.pth")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(before[name], kept[name]) for name in before)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--controls", "longr"], "no control 'longr'; did you mean 'longer'"),
        (["--branch", "sideways"], "--branch sideways: no such branch; there are: cascade, longer"),
        (["--cascade-stages", "2"], "--cascade-stages 2: no stage 2; this plan has stages 1 to 1"),
    ],
)
def test_mistakes_are_told_before_full_training(
    dump: Path, tmp_path: Path, more: list[str], message: str
):
    done = call(tmp_path, dump, "cascade_asr.cli.training full", *more)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "exp/full").exists()


def test_tying_is_refused_where_nothing_is_tied(trained: Path, dump: Path):
    done = call(trained, dump, "cascade_asr.cli.plan", cascade={"tying": "untie"})
    assert done.returncode == 1 and "this model has no tied weights" in done.stderr


def test_seeds_are_tabulated_together(trained: Path, tmp_path: Path):
    same = command(
        "cascade_asr.cli.compare", "seeds", "--outdir", tmp_path, trained / "exp", trained / "exp"
    )
    assert same.returncode == 1 and "give each seed once" in same.stderr
    other = tmp_path / "other"
    shutil.copytree(trained / "exp", other)
    for path in other.glob("*/config.yaml"):
        options = yaml.safe_load(path.read_text())
        write_yaml(path, options | {"seed": options["seed"] + 1})
    done = command(
        "cascade_asr.cli.compare", "seeds", "--outdir", tmp_path, trained / "exp", other
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "RESULTS.md").read_text()
    assert "means of 2 seeds" in table and "± 0.00" in table and "no variance over seeds" in table


def test_shipped_plans_are_documented():
    words = (ROOT / "docs/cascade.md").read_text()
    for path in (ROOT / "conf/plans").glob("*.yaml"):
        assert path.name in words, f"docs/cascade.md does not mention {path.name}"
