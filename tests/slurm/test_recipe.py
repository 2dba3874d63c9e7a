"""egs/digits from corpus to report with --cmd slurm, compared with the same run without it."""

from __future__ import annotations

import json

import pytest
import torch
from digits_recipe import ON_SLURM, start

pytest_plugins = ("private_slurm", "tiny_recipe", "digits_recipe", "long_waits")
pytestmark = pytest.mark.usefixtures("long_waits")


def test_all_stages_give_the_weights_and_word_errors_of_a_local_run(
    cluster, digits_corpus, detached_digits, local_digits
):
    printed = detached_digits.finish()
    assert "stage 4 (cascade stages): submitted" in printed
    assert "afterok:" in printed
    rest = (*ON_SLURM, "--stage", "3", "--follow")
    printed = start(detached_digits.recipe, digits_corpus, *rest, **cluster.variables).finish()
    local_digits.finish()
    both = [each.recipe / "exp/tiny" for each in (local_digits, detached_digits)]
    for stage in ("full", "stage1", "stage2"):
        assert f"{stage}: done" in printed
        weights = [torch.load(exp / stage / "model.pth", weights_only=True) for exp in both]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        for name in ("test_seen", "test_unseen"):
            scores = [exp / stage / f"decode_{name}/score_wer/result.json" for exp in both]
            first, second = (json.loads(path.read_text())["error_rate"] for path in scores)
            assert first == second
            first, second = (exp / stage / f"decode_{name}/text" for exp in both)
            assert first.read_text() == second.read_text()
    assert (both[1] / "RESULTS.md").read_text().count("| stage ") == 3
