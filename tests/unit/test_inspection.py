"""What the report says about weights, outputs and alignments, against what it must say."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.networks.layer import Layer, layer_of
from cascade_asr.networks.observation import observe
from cascade_asr.results.inspection import inspect
from cascade_asr.results.similarity import centred_gram, evenly, linear_cka, relative_distance
from cascade_asr.results.speech_models import picture
from cascade_asr.speech.ctc_alignment import align


def cka(first: torch.Tensor, second: torch.Tensor) -> float | None:
    return linear_cka(centred_gram(first), centred_gram(second))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cka_is_one_up_to_rotation_scale_and_shift_and_zero_for_strangers():
    rows = draw(200, 12)
    rotation = torch.linalg.qr(draw(12, 12, seed=1))[0]
    assert cka(rows, 3 * rows @ rotation + 5) == pytest.approx(1, abs=1e-5)
    # plain linear CKA is 0.8 here: both are far wider than there are rows
    assert abs(cka(draw(200, 900), draw(200, 900, seed=2))) < 0.05
    half = torch.cat([rows, draw(200, 12, seed=3)], dim=1)
    assert 0.5 < cka(rows, half) < 0.85


def test_cka_equals_the_unbiased_hsic_written_out():
    first, second = draw(30, 5), draw(30, 4, seed=1) + draw(30, 5)[:, :4]

    def hsic(a: torch.Tensor, b: torch.Tensor) -> float:
        k, m = (each.double() @ each.double().T for each in (a, b))
        k.fill_diagonal_(0), m.fill_diagonal_(0)
        n, one = len(k), torch.ones(len(k), dtype=torch.float64)
        return (
            torch.trace(k @ m)
            + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
            - 2 * (one @ k @ m @ one) / (n - 2)
        ) / (n * (n - 3))

    expected = hsic(first, second) / (hsic(first, first) * hsic(second, second)) ** 0.5
    assert cka(first, second) == pytest.approx(float(expected), abs=1e-5)


def test_what_has_no_similarity_has_none():
    assert centred_gram(torch.ones(20, 3)) is None and centred_gram(draw(3, 2)) is None
    assert centred_gram(torch.full((20, 3), torch.nan)) is None
    assert cka(draw(20, 3), draw(21, 3)) is None and linear_cka(None, None) is None


def test_weights_are_compared_with_those_of_the_source():
    source = {"a": torch.ones(2, 2), "b": torch.zeros(3), "c": torch.ones(4)}
    same = {"a": torch.ones(2, 2), "b": torch.zeros(3), "c": torch.ones(5)}
    assert relative_distance(same, source, ["a", "b"]) == 0
    assert relative_distance({"a": torch.full((2, 2), 3.0)}, source, ["a"]) == pytest.approx(2)
    for names in (["b"], ["c"], ["d"]):  # no size, another shape, not there
        assert relative_distance(same, source, names) is None


def test_rows_are_left_out_evenly():
    rows = torch.arange(5000)[:, None]
    kept = evenly(rows)
    assert len(kept) == 500 and (kept[0], kept[-1]) == (0, 4999)
    assert len(evenly(rows[:7])) == 7


@pytest.mark.parametrize("seed", range(20))
def test_the_best_path_is_the_best_of_all(seed: int):
    random = np.random.default_rng(seed)
    frames, tokens = int(random.integers(2, 7)), random.integers(1, 4, random.integers(1, 4))
    logs = np.log(random.dirichlet(np.ones(4), frames))

    def spelt(path: tuple[int, ...]) -> list[int]:
        return [token for token, _ in itertools.groupby(path) if token]

    fitting = [p for p in itertools.product(range(4), repeat=frames) if spelt(p) == list(tokens)]
    aligned = align(logs, tokens.tolist())
    if not fitting:
        assert aligned is None
        return
    found = aligned.tokens_of_frames(frames)
    best = max(fitting, key=lambda path: sum(logs[t, token] for t, token in enumerate(path)))
    assert tuple(0 if index < 0 else tokens[index] for index in found) == best
    assert [index for index, _ in itertools.groupby(found) if index >= 0] == list(range(len(tokens)))


def test_a_picture_keeps_peaks():
    values = np.zeros((2, 1000))
    values[1, 777] = 1.0
    drawn = picture(values)
    assert (drawn["rows"], drawn["columns"]) == (2, 160)
    assert picture(np.eye(3))["columns"] == 3


@pytest.mark.parametrize(
    ("name", "conf"),
    [("vgg_rnn", {"num_layers": 2, "hidden_size": 8, "output_size": 8}),
     ("vgg_rnn", {"num_layers": 2, "hidden_size": 8, "output_size": 8, "use_projection": False}),
     ("rnn", {"num_layers": 2, "hidden_size": 8, "output_size": 8, "subsample": [1, 2]}),
     ("transformer", {"output_size": 8, "attention_heads": 2, "linear_units": 8, "num_blocks": 2}),
     ("conformer", {"output_size": 8, "attention_heads": 2, "linear_units": 8, "num_blocks": 2,
                    "cnn_module_kernel": 3})],
)  # fmt: skip
def test_every_encoder_shows_its_layers(name: str, conf: dict):
    encoder = build_encoder(name, 20, conf).eval()
    with torch.no_grad(), observe(encoder, encoder.layers()) as kept:
        output, _ = encoder(draw(1, 40, 20), torch.tensor([40]))
    missing = {layer.name for layer in encoder.layers()} - set(kept)
    assert not missing
    last = kept.get("after_norm", kept[encoder.layers()[-1].name])
    assert torch.equal(torch.tanh(last) if not conf.get("use_projection", True) else last, output)
    assert not any(module._forward_hooks for module in encoder.modules())


class Linears:
    """Models of two layers in memory; one is missing. An `Inspector`."""

    items = ["20 vectors"]

    def __init__(self) -> None:
        self.models = {name: self._model(seed) for seed, name in enumerate(("full", "stage1"))}
        self.models["stage1"][1].load_state_dict(self.models["full"][1].state_dict())

    def _model(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2)).eval()

    def load(self, training: str) -> nn.Module:
        if training not in self.models:
            raise ConfigError(f"{training}/model.pth: no such checkpoint")
        return self.models[training]

    def layers(self, model: nn.Module, names: list[str]) -> list[Layer]:
        return [layer_of(model, name, [name]) for name in names]

    def outputs(self, model: nn.Module, layers: list[Layer]) -> dict[str, torch.Tensor]:
        with observe(model, layers) as kept:
            model(draw(20, 4))
        return kept

    def samples(self, model: nn.Module) -> list:
        return []


def trainings(*names: str) -> list[dict]:
    layers = [{"name": "0", "state": "new"}, {"name": "1", "state": "frozen"}]
    return [
        {"name": name, "source": None if name == "full" else "full", "layers": layers}
        for name in names
    ]


def test_frozen_layers_have_no_distance_and_models_that_are_gone_are_named():
    found = inspect(Linears(), trainings("full", "gone", "stage1"))
    assert found["trainings"] == ["full", "stage1"]
    assert "gone is left out: gone/model.pth: no such checkpoint" in found["notes"]
    lower, upper = found["layers"]
    assert upper["drift"] == [{}, {"source": 0.0, "full": 0.0}]
    assert lower["drift"][1]["source"] > 0.5
    assert lower["cka"][0][0] == 1 and lower["cka"][0][1] == lower["cka"][1][0] < 0.9


def test_it_ends_in_time(tmp_path: Path):
    found = inspect(Linears(), trainings("full", "stage1"), seconds=-1)
    assert found is None
