"""Stage 1 on a machine with more processors than a set has speakers."""

from __future__ import annotations

from pathlib import Path

import swbd_tree
from swbd_recipe import make_recipe, run

from cascade_asr.data.kaldi.tables import read_table


def test_features_of_a_set_with_fewer_speakers_than_jobs(tmp_path: Path):
    """eval2000 has 80 sides; by default --nj is the number of processors."""
    tree = swbd_tree.make_tree(tmp_path / "corpora")
    (tmp_path / "project").mkdir()
    recipe = make_recipe(tmp_path / "project")
    for stage in "01":
        done = run(recipe, "--swbd", tree.swbd, "--test-sets", "train_dev", "--stop-stage", stage,
                   "--speed-perturb-factors", "", "--nj", "4")  # fmt: skip
        assert done.returncode == 0, done.stderr
        table = recipe / "data/train_dev/spk2utt"  # a last line without line end is one too
        table.write_text(table.read_text().rstrip("\n"))
    for name, jobs in (("train_nodup", 4), ("train_dev", 2)):
        logs = list((recipe / f"dump/{name}/log").glob("fbank.*.log"))
        assert len(logs) == jobs
        features = read_table(recipe / f"dump/{name}/feats.scp")
        assert features.keys() == read_table(recipe / f"data/{name}/text").keys()
