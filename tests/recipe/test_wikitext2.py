"""egs/wikitext2 from text to report on a reduced corpus, as a user runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from wikitext2_recipe import make_corpus, make_recipe, run


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's own copy, so that the user's is not touched."""
    return make_recipe(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "wikitext-2"
    return make_corpus(folder, ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"))


@pytest.fixture(scope="module")
def finished(recipe: Path, corpus: Path) -> Path:
    done = run(recipe, "--wikitext2", corpus, "--controls", "longer")
    assert done.returncode == 0, done.stderr
    assert "not the whole WikiText-2: train:" in done.stderr
    (recipe / "stdout").write_text(done.stdout)
    return recipe / "exp/tiny_seed5"


def test_it_ends_with_a_table_of_all_stages(recipe: Path, finished: Path):
    table = (finished / "RESULTS.md").read_text()
    assert table in (recipe / "stdout").read_text()
    for title in ("full training", "stage 1: softmax frozen", "stage 2: softmax, rnn.1 frozen"):
        assert f"| {title}" in table
    assert "test perplexity" in table and "test with cache" in table
    assert "one training of the cascade's length" in table
    assert (finished / "report.html").stat().st_size > 3000


def test_perplexities_are_those_of_a_loop_over_the_text(recipe: Path, finished: Path):
    from cascade_asr.lm.evaluate import load_language_model

    model, vocabulary = load_language_model(finished / "stage2")
    words = (recipe / "data/test.txt").read_text().split("\n")[:-1]
    tokens = [id for line in words for id in vocabulary.encode([line.split()])]
    state, previous, total = model.initial_state(1), vocabulary.eos, 0.0
    with torch.no_grad():
        for token in tokens:
            raw, _, state = model.outputs(torch.tensor([[previous]]), state)
            total += float(model.softmax(raw)[0, 0].double().log_softmax(0)[token])
            previous = int(token)
    found = json.loads((finished / "stage2/perplexity.json").read_text())["texts"]["test"]
    assert found["tokens"] == len(tokens) == sum(len(line.split()) + 1 for line in words)
    assert found["perplexity"] == pytest.approx(math.exp(-total / len(tokens)), rel=1e-4)


def test_learning_happens_and_frozen_layers_are_bit_identical(finished: Path):
    found = json.loads((finished / "full/perplexity.json").read_text())
    assert found["texts"]["test"]["perplexity"] < 6.5  # 9 tokens at random
    full, first, second = (
        torch.load(finished / stage / "model.pth", weights_only=True)
        for stage in ("full", "stage1", "stage2")
    )
    for name in full:
        assert torch.equal(full[name], first[name]) == name.startswith("softmax"), name
        kept = name.startswith(("softmax", "rnn.1"))
        assert torch.equal(first[name], second[name]) == kept, name


def test_a_second_run_skips_every_stage_and_one_stage_runs_alone(
    recipe: Path, finished: Path, corpus: Path
):
    done = run(recipe, "--wikitext2", corpus, "--controls", "longer")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("already done, skipping") == 7
    (finished / "RESULTS.md").unlink()
    done = run(recipe, "--wikitext2", corpus, "--stage", "6", "--stop-stage", "6")
    assert done.returncode == 0, done.stderr
    assert (finished / "RESULTS.md").is_file()


def test_without_a_corpus_it_says_what_works(tmp_path: Path):
    fresh = make_recipe(tmp_path)
    done = run(fresh)
    assert done.returncode == 1
    for part in ("no corpus given", "--wikitext2 DIR", "wikitext-2-v1", "--text DIR",
                 "--wikitext2-heldout DIR"):  # fmt: skip
        assert part in done.stderr
    raw = make_corpus(tmp_path / "raw", ("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"), 8)
    done = run(fresh, "--wikitext2", raw)
    assert done.returncode == 1 and "raw variant of WikiText-2" in done.stderr
    done = run(fresh, "--stage", "3")
    assert done.returncode == 1 and "run stage 2 first (--stage 2)" in done.stderr
    own = make_corpus(tmp_path / "own", ("train.txt", "validation.txt", "test.txt"), 40)
    done = run(fresh, "--text", own, "--stop-stage", "1", "--min-count", "2")
    assert done.returncode == 0, done.stderr
    before = (own / "validation.txt").read_text()
    (own / "validation.txt").write_text("the cat sat\n")
    done = run(fresh, "--text", own, "--stop-stage", "0", "--min-count", "2")
    assert done.returncode == 0 and "already done" not in done.stderr
    assert (fresh / "data/valid.txt").read_text() == "the cat sat\n"
    (own / "validation.txt").write_text(before)
    done = run(fresh, "--wikitext2-heldout", own, "--stop-stage", "0")
    assert done.returncode == 0, done.stderr
    assert (fresh / "data/train.txt").read_text().split() == (own / "test.txt").read_text().split()
    lines = [len((fresh / f"data/{part}.txt").read_text().splitlines()) for part in ("valid", "test")]
    assert lines == [5, 5]
