"""Plans: which layers each stage freezes and trains, seeds, and mistakes in cuts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_asr.cascade.options import CascadeConfig, load_cascade_config, stage_seed
from cascade_asr.cascade.plan import StagePlan, plan_cascade
from cascade_asr.errors import ConfigError
from cascade_asr.networks.layer import Layer
from cascade_asr.speech.config import TrainConfig

LAYERS = [
    Layer("encoder.conv1", ("c1.w",)),
    Layer("encoder.conv2", ("c2.w",)),
    Layer("encoder.rnn0", ("r0.w",), aliases=("encoder.birnn0",)),
    Layer("encoder.rnn1", ("r1.w",), buffers=("r1.n",)),
    Layer("classifier", ("ctc.w", "dec.w"), aliases=("ctc", "decoder")),
]
CONFIG = TrainConfig(seed=7, max_epoch=10, optim_conf={"lr": 1.0, "rho": 0.9})


def plan(config: TrainConfig = CONFIG, **options) -> list[StagePlan]:
    return plan_cascade(LAYERS, CascadeConfig(**options), config)


def names(layers: tuple[Layer, ...]) -> list[str]:
    return [layer.name.removeprefix("encoder.") for layer in layers]


def split(stages: list[StagePlan]) -> list[tuple[list[str], list[str]]]:
    return [(names(stage.frozen), names(stage.trained)) for stage in stages]


# ---- cuts -----------------------------------------------------------------------


def test_full_training_trains_everything_with_the_users_seed():
    full = plan()[0]
    assert (full.number, full.name, full.title) == (0, "full", "full training")
    assert full.frozen == () and full.trained == tuple(LAYERS)
    assert full.seed == full.config.seed == 7 and full.source == ""


def test_auto_freezes_one_layer_more_in_each_stage_from_the_top():
    assert split(plan()) == [
        ([], ["conv1", "conv2", "rnn0", "rnn1", "classifier"]),
        (["classifier"], ["conv1", "conv2", "rnn0", "rnn1"]),
        (["rnn1", "classifier"], ["conv1", "conv2", "rnn0"]),
        (["rnn0", "rnn1", "classifier"], ["conv1", "conv2"]),
        (["conv2", "rnn0", "rnn1", "classifier"], ["conv1"]),
    ]


def test_auto_bottom_up_freezes_one_layer_more_from_the_bottom():
    assert split(plan(direction="bottom-up"))[1:] == [
        (["conv1"], ["conv2", "rnn0", "rnn1", "classifier"]),
        (["conv1", "conv2"], ["rnn0", "rnn1", "classifier"]),
        (["conv1", "conv2", "rnn0"], ["rnn1", "classifier"]),
        (["conv1", "conv2", "rnn0", "rnn1"], ["classifier"]),
    ]


def test_cuts_name_the_lowest_frozen_layer_also_by_an_alias():
    stages = plan(cuts=["decoder", "encoder.birnn0"])
    assert split(stages)[1:] == [
        (["classifier"], ["conv1", "conv2", "rnn0", "rnn1"]),
        (["rnn0", "rnn1", "classifier"], ["conv1", "conv2"]),
    ]
    assert [stage.title for stage in stages[1:]] == [
        "stage 1: classifier frozen",
        "stage 2: classifier, encoder.rnn1, encoder.rnn0 frozen",
    ]
    assert [stage.name for stage in stages] == ["full", "stage1", "stage2"]


def test_unfreezing_goes_downward_with_fewer_frozen_layers_each_time():
    stages = plan(direction="unfreeze", below="keep")
    assert split(stages)[1:] == [
        (["conv1", "conv2", "rnn0", "rnn1"], ["classifier"]),
        (["conv1", "conv2", "rnn0"], ["rnn1", "classifier"]),
        (["conv1", "conv2"], ["rnn0", "rnn1", "classifier"]),
        (["conv1"], ["conv2", "rnn0", "rnn1", "classifier"]),
    ]
    assert not any(stage.is_reinitialised for stage in stages[1:])
    (_, only) = plan(direction="unfreeze", cuts=["encoder.conv2"])
    assert names(only.frozen) == ["conv1", "conv2"]


def test_a_reset_starts_the_upper_layers_anew_and_freezes_nothing():
    stages = plan(direction="reset", cuts=["ctc", "encoder.rnn1"], repeats=2)
    assert [names(stage.reset) for stage in stages[1:]] == [
        ["classifier"], ["rnn1", "classifier"], ["classifier"], ["rnn1", "classifier"],
    ]  # fmt: skip
    for stage in stages[1:]:
        assert stage.frozen == () and stage.trained == tuple(LAYERS) and not stage.is_reinitialised
    assert stages[2].title == "stage 2: classifier, encoder.rnn1 re-initialised, all trained"
    assert len({stage.seed for stage in stages}) == 5


def test_finetuning_is_a_last_stage_that_trains_all_from_where_they_are():
    last = plan(cuts=["decoder"], finetune=True, top="random")[-1]
    assert last.number == 2 and last.frozen == () and last.trained == tuple(LAYERS)
    assert not last.is_reinitialised and not last.is_random_frozen
    assert last.title == "stage 2: fine-tuning of all layers"


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 12), st.sampled_from(("top-down", "bottom-up")), st.data())
def test_frozen_and_trained_are_all_layers_in_order(count: int, direction: str, data):
    layers = [Layer(f"l{index}", (f"l{index}.w",)) for index in range(count)]
    top_down = direction == "top-down"
    choices = range(1, count) if top_down else range(count - 1)
    chosen = data.draw(st.lists(st.sampled_from(choices), min_size=1, unique=True))
    cuts = [f"l{index}" for index in sorted(chosen, reverse=top_down)]
    stages = plan_cascade(layers, CascadeConfig(direction=direction, cuts=cuts), CONFIG)
    assert len(stages) == len(cuts) + 1
    before: set[str] = set()
    for stage, cut in zip(stages[1:], cuts, strict=True):
        parts = (stage.trained, stage.frozen) if top_down else (stage.frozen, stage.trained)
        assert [*parts[0], *parts[1]] == layers
        assert stage.frozen and stage.trained
        assert (stage.frozen[0] if top_down else stage.frozen[-1]).name == cut
        assert before < set(names(stage.frozen))
        before = set(names(stage.frozen))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cuts": ["encoder.rn1"]}, "no layer 'encoder.rn1'; did you mean 'encoder.rnn1'"),
        ({"cuts": ["decoder", "ctc"]}, "'classifier' after 'classifier': cuts go downward"),
        (
            {"cuts": ["encoder.rnn0", "decoder"]},
            "'classifier' after 'encoder.rnn0': cuts go downwa",
        ),
        (
            {"cuts": ["decoder", "encoder.conv1"]},
            "'encoder.conv1' freezes every layer and trains no",
        ),
        ({"cuts": []}, "cuts: empty; write auto or at least one layer"),
        (
            {"cuts": ["encoder.rnn0", "encoder.conv2"], "direction": "bottom-up"},
            "'encoder.conv2' after 'encoder.rnn0': cuts go upward, bottom layer first",
        ),
        (
            {"cuts": ["encoder.rnn0", "ctc"], "direction": "bottom-up"},
            "'classifier' freezes every layer and trains nothing",
        ),
        (
            {"cuts": ["ctc"], "stages": {"2": {}, "0": {}}},
            "no stage 0, 2; this plan has stages 1 to 1",
        ),
        (
            {"stages": {"1": {"max_epochs": 3}}},
            "stages.1': unknown key 'max_epochs'; did you mean",
        ),
        ({"train": {"max_epoch": "ten"}}, "'train': 'max_epoch' expects an integer"),
    ],
)
def test_mistakes_are_told(options: dict, message: str):
    with pytest.raises(ConfigError) as caught:
        plan(**options)
    assert message in str(caught.value)


# ---- options of stages ----------------------------------------------------------------


def test_a_first_source_is_of_stage_1_alone():
    stages = plan(first_source="../other/exp/a/full", source="best")
    assert [stage.source for stage in stages] == ["", "../other/exp/a/full"] + 3 * ["best"]


SHIPPED = sorted((Path(__file__).parents[2] / "conf/plans").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_plans_can_be_planned(path: Path):
    cascade = load_cascade_config(path)
    modules = [Layer("encoder", ("e.w",)), LAYERS[-1]]
    layers = modules if cascade.grain == "module" else LAYERS
    stages = plan_cascade(layers, cascade, CONFIG)
    assert len(stages) > 1
    assert all(stage.trained for stage in stages)


def test_options_reach_every_stage():
    stages = plan(source="best", below="keep", top="random", frozen_dropout=False)
    for stage in stages[1:]:
        assert stage.source == "best" and not stage.is_reinitialised
        assert stage.is_random_frozen and not stage.frozen_dropout
    assert stages[0].is_reinitialised and stages[0].frozen_dropout and not stages[0].is_random_frozen


def test_training_options_of_all_stages_and_of_one_are_merged():
    stages = plan(train={"max_epoch": 4, "optim_conf": {"lr": 0.5}}, stages={"2": {"max_epoch": 2}})
    assert [stage.config.max_epoch for stage in stages] == [10, 4, 2, 4, 4]
    assert stages[2].config.optim_conf == {"lr": 0.5, "rho": 0.9}
    assert stages[0].config.optim_conf == {"lr": 1.0, "rho": 0.9}


def test_every_stage_has_a_seed_of_its_own_in_its_configuration_too():
    stages = plan()
    seeds = [stage.seed for stage in stages]
    assert len(set(seeds)) == 5
    assert seeds == [stage.config.seed for stage in stages]
    assert seeds == [stage.seed for stage in plan()]
    other = [stage.seed for stage in plan(TrainConfig(seed=8))]
    assert not set(seeds) & set(other)
    assert all(0 <= stage_seed(seed, stage) < 2**31 for seed in (0, 2**40) for stage in (1, 99))


def test_a_seed_of_the_cascade_or_of_one_stage_counts():
    of_cascade = plan(train={"seed": 100}, stages={"2": {"seed": 5}})
    assert of_cascade[0].seed == 7
    assert of_cascade[1].seed == stage_seed(100, 1) == of_cascade[1].config.seed
    assert of_cascade[2].seed == of_cascade[2].config.seed == 5


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("stages: {1: 5}\n", ["cascade.yaml:1: stages.1 expects training options", "found 5"]),
        ("stages: [1]\n", ["cascade.yaml:1: 'stages' expects a mapping"]),
        ("stop: patience\npatience: 0\n", ["cascade.yaml:2: patience is 0, expected 1 or more"]),
        ("patience: 2\n", ["cascade.yaml:1: patience is 2, but all stages are run; add stop: patience"]),
        ("direction: reset\nbelow: keep\ntop: random\n", [
            "cascade.yaml:2: below is 'keep', but direction reset freezes nothing; leave below out",
            "cascade.yaml:3: top is 'random'",
        ]),
    ],
)
def test_mistakes_in_the_file_are_told_with_their_line(tmp_path: Path, text: str, messages: list):
    path = tmp_path / "cascade.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_cascade_config(path)
    assert all(message in str(caught.value) for message in messages)


def test_an_empty_stage_block_changes_nothing(tmp_path: Path):
    path = tmp_path / "cascade.yaml"
    path.write_text("stages:\n  1:\n  2: {max_epoch: 3}\n")
    stages = plan_cascade(LAYERS, load_cascade_config(path), CONFIG)
    assert [stage.config.max_epoch for stage in stages] == [10, 10, 3, 10, 10]
