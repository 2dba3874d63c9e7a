"""egs/wikitext2 with every control as jobs, compared with the same run without Slurm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from wikitext2_recipe import make_corpus, make_recipe, run

pytest_plugins = ("private_slurm", "long_waits")
pytestmark = pytest.mark.usefixtures("long_waits")

TRAININGS = {
    "full", "stage1", "stage2", "longer1", "continue1", "continue2", "best-of-n1", "bottom-up1",
    "bottom-up2", "random-top1", "random-top2", "keep1", "keep2",
}  # fmt: skip


def test_all_controls_give_the_weights_of_a_local_run(cluster, tmp_path_factory):
    corpus = make_corpus(tmp_path_factory.mktemp("text") / "own",
                         ("train.txt", "valid.txt", "test.txt"), 200)  # fmt: skip
    places: dict[str, Path] = {}
    for where, options, changes in (
        ("local", (), {}),
        ("slurm", ("--cmd", "slurm", "--follow", "--job-options=--mem 1000M"), cluster.variables),
    ):
        recipe = make_recipe(tmp_path_factory.mktemp(where))
        done = run(recipe, "--text", corpus, "--controls", "all", *options, **changes)
        assert done.returncode == 0, done.stdout + done.stderr
        places[where] = recipe / "exp/tiny_seed5"
        if where == "slurm":
            records = list(places[where].glob("jobs/*/job.json"))
            assert {path.parent.name for path in records} == TRAININGS
            best = json.loads((places[where] / "jobs/best-of-n1/job.json").read_text())
            assert best["branch"] == "best-of-n" and best["after"] == []
    for training in sorted(TRAININGS):
        local, slurm = (
            torch.load(each / training / "model.pth", weights_only=True)
            for each in places.values()
        )
        assert local.keys() == slurm.keys()
        assert all(torch.equal(local[name], slurm[name]) for name in local), training
    selected = [json.loads((each / "selection.json").read_text()) for each in places.values()]
    assert selected[0]["selected"] == selected[1]["selected"]
    assert selected[0]["controls"].keys() == selected[1]["controls"].keys()
    tables = [(each / "RESULTS.md").read_text() for each in places.values()]
    assert all("all layers trainable, warm restarts" in table for table in tables)
