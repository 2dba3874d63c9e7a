"""Every accepted option has an effect; every shipped configuration uses only such options."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT, write_yaml
from test_experiment import config_of, normalised
from tiny_corpus import TINY_CONFIG

from cascade_asr.cascade.options import load_cascade_config
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.errors import ConfigError
from cascade_asr.espnet2.export import Exported, usage
from cascade_asr.lm.config import LMConfig, check_lm_config, load_lm_config
from cascade_asr.lm.evaluation_config import load_evaluation_config
from cascade_asr.speech.build import build_model, check_config
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.decode_config import load_decode_config
from cascade_asr.speech.espnet2_keys import WITHOUT_EFFECT
from cascade_asr.training.experiment import Experiment

SHIPPED = sorted(ROOT.glob("egs/*/conf/*.yaml"))


def load(path: Path) -> Any:
    """A configuration as the command that it is for reads and checks it."""
    kind, content = path.stem.split("_")[0], yaml.safe_load(path.read_text())
    if "cuts" in content:
        return load_cascade_config(path)
    if kind == "decode":
        return load_decode_config(path)
    if kind == "evaluate":
        return load_evaluation_config(path)
    if "lm" in content or "lm_conf" in content:
        config = load_lm_config(path)
        check_lm_config(config, str(path))
        return config
    config, notes = load_train_config(path)
    assert not notes
    check_config(config, str(path))
    return config


def paths_of(content: dict, prefix: tuple = ()) -> list[tuple]:
    """Every key, those inside blocks too."""
    found = []
    for key, value in content.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += paths_of(value, (*prefix, key))
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda each: f"{each.parts[-3]}-{each.stem}")
def test_shipped_options_arrive_and_misspelt_ones_are_refused(path: Path, tmp_path: Path):
    content = yaml.safe_load(path.read_text())
    loaded = dataclasses.asdict(load(path))
    if not isinstance(load(path), LMConfig):
        assert not set(content) & set(WITHOUT_EFFECT)
    for keys in paths_of(content):
        value, given = loaded, content
        for key in keys:
            value, given = value[key], given[key]
        if not isinstance(given, dict):
            assert value == given or value == [given], keys
        if keys[0] in ("train", "stages"):
            continue  # checked against the training options with the plan
        misspelt = copy.deepcopy(content)
        block = misspelt
        for key in keys[:-1]:
            block = block[key]
        block[f"{keys[-1]}x"] = block.pop(keys[-1])
        other = tmp_path / path.name
        write_yaml(other, misspelt)
        with pytest.raises(ConfigError, match=f"{keys[-1]}x"):
            load(other)


SIZE = re.compile(r"([\d.]+) million (?:# )?parameters")
NAMED_SIZES = {
    path: found[1]
    for path in SHIPPED
    if "encoder:" in path.read_text() and (found := SIZE.search(" ".join(path.read_text().split())))
}


@pytest.mark.parametrize("path", NAMED_SIZES, ids=lambda each: f"{each.parts[-3]}-{each.stem}")
def test_the_stated_number_of_parameters_is_that_of_the_network(path: Path, tmp_path: Path):
    recipe = path.parts[-3]
    count = 2000 if recipe == "swbd" else 30  # pieces, or about as many characters
    tokens = ["<blank>", "<unk>", *map(chr, range(0x4E00, 0x4E00 + count - 3)), "<sos/eos>"]
    (tmp_path / "tokens.txt").write_text("\n".join(tokens) + "\n")
    config = dataclasses.replace(load(path), normalize=None)
    bins = {"digits": 16}.get(recipe, 39 if path.stem == "train_ctc" and recipe == "an4" else 80)
    model = build_model(config, Tokenizer(tmp_path / "tokens.txt"), bins, tmp_path, seed=1)
    size = sum(each.numel() for each in model.parameters()) / 1e6
    assert size == pytest.approx(float(NAMED_SIZES[path]), rel=0.08)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"specaug": None, "specaug_conf": {"apply_time_warp": True}},
         "specaug_conf is given, but specaug is null"),
        ({"scheduler": None, "scheduler_conf": {"step_size": 3}},
         "scheduler_conf is given, but scheduler is null"),
        ({"normalize": None, "normalize_conf": {"norm_vars": True}},
         "normalize_conf is given, but normalize is null"),
        ({"normalize": "speaker_mvn", "normalize_conf": {"norm_var": False}},
         "normalize_conf.norm_var: no such option"),
        ({"normalize": "speaker_mvn", "normalize_conf": {"norm_vars": "no way"}},
         "normalize_conf.norm_vars: expected true or false"),
        ({"precision": "bf16"},
         "precision is 'bf16', expected 32-true, bf16-mixed or 16-mixed"),
    ],
)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(changes: dict, message: str):
    with pytest.raises(ConfigError) as caught:
        check_config(dataclasses.replace(config_of(), **changes), "train.yaml")
    assert f"train.yaml: {message}" in str(caught.value)


@pytest.mark.parametrize(("means", "variances"), [(True, False), (False, True), (False, False)])
def test_speaker_normalisation_follows_its_options(
    dump: Path, tmp_path: Path, means: bool, variances: bool
):
    experiment = Experiment(tmp_path / "exp", dump, "train", "dev")
    experiment.adopt()
    tokenizer = Tokenizer.from_directory(experiment.tokens)
    plain = normalised(experiment, tokenizer, normalize=None)
    conf = {"norm_means": means, "norm_vars": variances}
    result = normalised(experiment, tokenizer, normalize="speaker_mvn", normalize_conf=conf)
    for speaker in ("s0", "s1"):
        before, after = (
            np.concatenate([value for name, value in each.items() if name.startswith(speaker)])
            for each in (plain, result)
        )
        expected = before - before.mean(axis=0) if means else before
        if variances:
            expected = expected / before.std(axis=0)
        np.testing.assert_allclose(after, expected, atol=2e-3)


def test_an_export_says_how_its_features_are_normalised():
    exported = Exported(Path("my out"), None, {}, [], 0.5, False)
    lines = usage(exported, {"norm_vars": False})
    assert any("apply-cmvn --norm-means=true --norm-vars=false " in line for line in lines)
    assert not any("apply-cmvn" in line for line in usage(exported, None))
    assert any(line.endswith("--asr_train_config 'my out/config.yaml' \\") for line in lines)


def test_the_tests_own_configuration_is_complete():
    assert set(TINY_CONFIG) <= {each.name for each in dataclasses.fields(config_of())}
