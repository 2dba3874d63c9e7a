"""Language models in the trainer and the cascade: averaging, resuming, tied weights."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig, load_cascade_config
from cascade_asr.cascade.planning import make_plan
from cascade_asr.cascade.probe import layers_in, probe_layers
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.errors import ConfigError
from cascade_asr.lm.batches import TextLoader, WholeText, WholeTextLoader
from cascade_asr.lm.config import LMConfig, check_lm_config, load_lm_config
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.evaluation_config import load_evaluation_config
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.lm.task import TextTask
from cascade_asr.training import checkpoint
from cascade_asr.training.device import make_fabric
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.interruption import Interrupted, Interruption
from cascade_asr.training.trainer import Trainer
from cascade_asr.training.trial import try_training

V, EOS = 9, 0
SMALL = {
    "embedding_size": 12, "hidden_size": 16, "num_layers": 2, "embedding_dropout": 0.05,
    "input_dropout": 0.1, "hidden_dropout": 0.1, "output_dropout": 0.1, "weight_drop": 0.1,
}  # fmt: skip


def make_text(length: int, seed: int) -> np.ndarray:
    """A text in which each token mostly follows from the previous one."""
    random = np.random.default_rng(seed)
    tokens = [1]
    for _ in range(length - 1):
        follows = (2 * tokens[-1] + 1) % V
        tokens.append(int(follows if random.random() < 0.8 else random.integers(V)))
    return np.array(tokens, dtype=np.int32)


def make_config(**changes) -> LMConfig:
    options = {
        "lm_conf": SMALL, "batch_size": 4, "bptt": 10, "seed": 5, "max_epoch": 8,
        "optim_conf": {"lr": 6.0, "nonmonotone_interval": 1}, "log_interval": 5,
        "use_tensorboard": False, "grad_clip": 1.0,
    }  # fmt: skip
    return LMConfig(**options | changes)


def make_trainer(directory: Path, interruption: Interruption | None = None, **changes) -> Trainer:
    directory.mkdir(parents=True, exist_ok=True)
    fabric = make_fabric(0, "32-true")
    return Trainer(fabric, make_config(**changes), directory, interruption=interruption)


def loaders(config: LMConfig) -> tuple[TextLoader, WholeTextLoader]:
    train = TextLoader(make_text(1200, 1), config.batch_size, config.bptt, config.seed, EOS)
    return train, WholeTextLoader(WholeText(make_text(200, 2), EOS, columns=5))


def new_model(**options) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(V, **SMALL | options)


class StopAt(Interruption):
    """A signal that comes when the model is called for the n-th time."""

    def __init__(self, model: nn.Module, calls: int) -> None:
        super().__init__()
        self.left = calls
        model.register_forward_hook(self.count)

    def count(self, *_) -> None:
        self.left -= 1
        if self.left == 0:
            self.signal_number = 15


# the dev perplexity of this training falls, and rises from an overlong learning rate on
ASGD = {"optim_conf": {"lr": 12.0, "nonmonotone_interval": 1}, "max_epoch": 9}


def train(directory: Path, model: LanguageModel, interruption=None, **changes):
    trainer = make_trainer(directory, interruption, **changes)
    return trainer.fit(model, *loaders(trainer.config)), trainer


def test_learning_happens(tmp_path):
    result, _ = train(tmp_path, new_model())
    # a uniform guess has perplexity 9; the best model of this text about 2.6
    assert 2.3 < result.metrics["perplexity"] < 4.5
    assert result.metrics["perplexity"] == pytest.approx(np.exp(result.metrics["loss"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A training with averaging that nobody disturbed."""
    directory = tmp_path_factory.mktemp("whole")
    _, trainer = train(directory, new_model(), **ASGD)
    assert trainer.optimizer.optimizer.averaging, "this test needs a training that averages"
    assert trainer.optimizer.param_groups[0]["averaged_updates"] > 60
    return directory


def calls_until_averaging(directory: Path) -> int:
    """Calls of the model before averaging began, from the checks of the dev text."""
    entries = [json.loads(line) for line in (directory / "history.jsonl").open()]
    values = [each["perplexity"] for each in entries if each["split"] == "valid"]
    epoch = next(
        n for n in range(2, len(values)) if values[n] > min(values[: n - 1])
    )  # counted from 0
    updates = [each["update"] for each in entries if each["split"] == "valid"]
    return updates[epoch] + epoch + 1


@pytest.mark.parametrize("after", [-40, 1, 37])
def test_a_killed_training_ends_bit_identical(whole, tmp_path, after, caplog):
    """Before averaging, in its first batch, in the middle, and in an evaluation."""
    calls = calls_until_averaging(whole) + after
    model = new_model()
    with pytest.raises(Interrupted):
        train(tmp_path, model, StopAt(model, calls), **ASGD)
    with caplog.at_level(logging.INFO):
        train(tmp_path, new_model(), **ASGD)
    assert "resuming at epoch" in caplog.text
    expected = checkpoint.load(whole / "model.pth")
    found = checkpoint.load(tmp_path / "model.pth")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_kill_during_evaluation_saves_the_training_weights(tmp_path):
    """Not the averaged ones, with which the dev text is read."""
    model = new_model()
    changes = {"optim_conf": {"lr": 2.0, "average_from_start": True}, "max_epoch": 1}
    updates = loaders(make_config())[0].batches_of(1)
    with pytest.raises(Interrupted):
        train(tmp_path, model, StopAt(model, updates + 1), **changes)
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    average = state["optimizer"]["state"][0]["average"]
    assert not torch.equal(state["model"]["embedding.weight"], average)


def test_kept_epochs_and_the_final_model_are_averaged(tmp_path):
    changes = {"optim_conf": {"lr": 2.0, "average_from_start": True}, "max_epoch": 1}
    _, trainer = train(tmp_path, new_model(), **changes)
    final = checkpoint.load(tmp_path / "model.pth")
    averages = [each["average"] for each in trainer.optimizer.optimizer.state.values()]
    names = [name for name, _ in trainer.model.named_parameters()]
    for name, average in zip(names, averages, strict=True):
        assert torch.equal(final[name], average), name


def test_the_learning_rate_is_scaled_for_the_update_only(tmp_path):
    model, rates = new_model(), []
    trainer = make_trainer(tmp_path, max_epoch=1)
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    train_loader, valid_loader = loaders(trainer.config)
    try:
        trainer.fit(model, train_loader, valid_loader)
    finally:
        handle.remove()
    expected = [6.0 * batch.learning_rate_scale for batch in train_loader.epoch(1)]
    assert rates == pytest.approx(expected)
    assert len(set(expected)) > 3
    assert trainer.optimizer.param_groups[0]["lr"] == 6.0


# ---- the cascade ------------------------------------------------------------------


@pytest.fixture
def task(tmp_path: Path) -> TextTask:
    dump = tmp_path / "dump"
    tokens = ["<eos>", "<unk>", *"abcdefg"]
    Vocabulary(tokens).write(dump / "tokens" / "tokens.txt")
    for name, length in (("train", 600), ("valid", 150)):
        (dump / name).mkdir()
        np.save(dump / name / "tokens.npy", make_text(length, length))
    task = TextTask(Experiment(tmp_path / "exp" / "lm", dump, "train", "valid"))
    task.adopt()
    return task


def run_cascade(task: TextTask, tying: str | None, **options) -> Engine:
    config = make_config(max_epoch=1, lm_conf=SMALL | options.pop("lm_conf", {}))
    cascade = CascadeConfig(tying=tying, **options)
    plan = make_plan(task, config, cascade)
    runner = StageRunner(task, make_fabric(0, "32-true"), Interruption())
    engine = Engine(runner, plan.branches, cascade, plan.select)
    engine.train_full()
    engine.run(range(1, len(plan.stages)))
    return engine


def lineage(task: TextTask, stage: str) -> dict:
    return json.loads((task.directory / stage / "lineage.json").read_text())


def weights(task: TextTask, stage: str) -> dict[str, torch.Tensor]:
    return checkpoint.load(task.directory / stage / "model.pth")


def test_untied_stages_start_from_both_copies_of_the_shared_matrix(task):
    run_cascade(task, "untie")
    assert [lineage(task, f"stage{n}")["frozen_layers"] for n in (1, 2, 3)] == [
        ["softmax"], ["rnn.1", "softmax"], ["rnn.0", "rnn.1", "softmax"],
    ]  # fmt: skip
    full, last = weights(task, "full"), weights(task, "stage3")
    assert torch.equal(full["softmax.weight"], full["embedding.weight"])
    assert torch.equal(last["softmax.weight"], full["softmax.weight"])
    assert not torch.equal(last["embedding.weight"], full["embedding.weight"])
    assert torch.equal(last["rnn.1.weight_hh_l0"], weights(task, "stage1")["rnn.1.weight_hh_l0"])


def test_parameters_are_counted_in_the_network_that_a_training_has(task, run_command, capsys):
    """Tied in full training and longer, untied in the stages: V x 12 parameters more."""
    run_cascade(task, "untie", cuts=["softmax"])
    tied = sum(each.numel() for each in new_model(tie_weights=True).parameters())
    untied, softmax = tied + V * 12, V * 12 + V
    record = lineage(task, "full")
    assert (record["parameters"], record["trained_parameters"]) == (tied, tied)
    record = lineage(task, "stage1")
    assert (record["parameters"], record["trained_parameters"]) == (untied, untied - softmax)

    folder = task.directory.parent
    options = dataclasses.asdict(make_config(max_epoch=1))
    (folder / "train.yaml").write_text(yaml.safe_dump(options))
    (folder / "cascade.yaml").write_text("tying: untie\ncuts: [softmax]\n")
    command = [
        "plan", "--task", "text", "--exp", str(task.directory), "--dump", str(folder.parent / "dump"),
        "--train-set", "train", "--dev-set", "valid", "--train-config", str(folder / "train.yaml"),
        "--cascade-config", str(folder / "cascade.yaml"),
    ]  # fmt: skip
    run_command(*command, "--controls", "longer")
    lines = capsys.readouterr().out.splitlines()
    assert f"full [done]: trains {tied:,} of {tied:,} parameters (100.0 %)" in lines[1]
    assert any(f"stage1 [done]: trains {untied - softmax:,} of {untied:,} p" in line for line in lines)
    assert any(f"longer1 [to do]: trains {tied:,} of {tied:,} parameters" in line for line in lines)
    run_command(*command, "--layers")
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[:2] == ["softmax", f"{softmax:,}"]


def test_a_frozen_shared_matrix_never_moves(task):
    run_cascade(task, "freeze")
    assert [lineage(task, f"stage{n}")["frozen_layers"] for n in (1, 2)] == [
        ["softmax"], ["rnn.1", "softmax"],
    ]  # fmt: skip
    assert not (task.directory / "stage3").exists()  # the bottom layer would be all that is left
    full, last = weights(task, "full"), weights(task, "stage2")
    for name in ("embedding.weight", "softmax.weight", "softmax.bias"):
        assert torch.equal(last[name], full[name])


def test_a_trained_shared_matrix_starts_anew_in_each_stage(task):
    run_cascade(task, "train")
    assert [lineage(task, f"stage{n}")["frozen_layers"] for n in (1, 2, 3)] == [
        ["softmax"], ["rnn.1", "softmax"], ["rnn.0", "rnn.1", "softmax"],
    ]  # fmt: skip
    full, last = weights(task, "full"), weights(task, "stage3")
    assert torch.equal(last["softmax.bias"], full["softmax.bias"])
    assert torch.equal(last["softmax.weight"], last["embedding.weight"])
    assert not torch.equal(last["softmax.weight"], full["softmax.weight"])


@pytest.mark.parametrize("tying", ["untie", "freeze", "train"])
def test_controls_train_from_tied_to_tied_or_untied_models(task, tying):
    engine = run_cascade(task, tying, cuts=["rnn.1"])
    for control in ("continue", "bottom-up", "random-top", "keep", "longer"):
        engine.run([1], control)
    full, bottom_up = weights(task, "full"), weights(task, "bottom-up1")
    assert torch.equal(bottom_up["rnn.0.weight_hh_l0"], full["rnn.0.weight_hh_l0"])
    kept = torch.equal(bottom_up["embedding.weight"], full["embedding.weight"])
    assert kept == (tying != "freeze")  # with freeze it belongs to the softmax, which starts from new weights
    tied = torch.equal(bottom_up["softmax.weight"], bottom_up["embedding.weight"])
    assert tied == (tying != "untie")
    warm = weights(task, "keep1")
    assert torch.equal(warm["rnn.1.weight_hh_l0"], full["rnn.1.weight_hh_l0"])
    assert not torch.equal(warm["rnn.0.weight_hh_l0"], full["rnn.0.weight_hh_l0"])


@pytest.mark.parametrize(
    ("tying", "names"),
    [
        ("untie", ["embedding", "rnn", "softmax"]),
        ("train", ["embedding", "rnn", "softmax"]),
        ("freeze", ["rnn", "softmax"]),
    ],
)
def test_the_grain_module_has_all_lstm_layers_in_one(task, tying, names):
    plan = make_plan(task, make_config(), CascadeConfig(tying=tying, grain="module"))
    assert [layer.name for layer in plan.layers] == names
    finer = make_plan(task, make_config(), CascadeConfig(tying=tying)).layers
    owned = [{name for layer in layers for name in layer.parameters} for layers in (plan.layers, finer)]
    assert owned[0] == owned[1]
    (recurrent,) = [layer for layer in plan.layers if layer.name == "rnn"]
    assert len(recurrent.dropouts) == sum(
        len(layer.dropouts) for layer in finer if layer.name.startswith("rnn.")
    )
    with pytest.raises(ConfigError, match="has the grains layer and module"):
        make_plan(task, make_config(), CascadeConfig(tying=tying, grain="fine"))


def test_tying_left_open_is_an_error_and_so_is_tying_without_tied_weights(task):
    with pytest.raises(ConfigError, match=r"share one matrix .* untie .* freeze .* train"):
        run_cascade(task, None)
    with pytest.raises(ConfigError, match="tie_weights is false; leave tying out"):
        run_cascade(task, "untie", lm_conf={"tie_weights": False})
    run_cascade(task, None, lm_conf={"tie_weights": False}, cuts=["softmax"])
    assert lineage(task, "stage1")["frozen_layers"] == ["softmax"]


def test_fine_tuning_alone_averages_from_its_first_update(task):
    run_cascade(
        task, "train", cuts=[], finetune=True, train={"optim_conf": {"average_from_start": True}}
    )
    assert lineage(task, "stage1")["frozen_layers"] == []
    assert lineage(task, "stage1")["reinitialised"] is False
    selection = json.loads((task.directory / "selection.json").read_text())
    full, tuned = (stage["value"] for stage in selection["stages"])
    assert tuned < full  # more training of the same model


# ---- configurations ---------------------------------------------------------------


def test_all_problems_of_a_configuration_come_at_once():
    config = make_config(
        lm_conf={"hidden_sise": 8, "weight_drop": 1.5}, accum_grad=2, bptt=1, optim="ntasgd"
    )
    with pytest.raises(ConfigError) as error:
        check_lm_config(config, "conf/x.yaml")
    text = str(error.value)
    for part in (
        "conf/x.yaml: lm_conf.hidden_sise: no such option; did you mean 'hidden_size'?",
        "lm_conf.weight_drop is 1.5, expected 0 to 1",
        "unknown optim 'ntasgd'; did you mean 'nt_asgd'?",
        "bptt is 1, expected 5 or more",
        "accum_grad: a language model's updates are one sequence each",
    ):
        assert part in text, text


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("egs/wikitext2/conf/train_*.yaml")),
    ids=lambda path: path.stem,
)  # fmt: skip
def test_shipped_configurations_are_right(path):
    config = load_lm_config(path)
    check_lm_config(config, str(path))
    model = LanguageModel(50, **config.lm_conf)
    assert next(layer.name for layer in model.layers()) == "embedding"


def test_the_published_configuration_is_the_default():
    published = load_lm_config(Path(__file__).parents[2] / "egs/wikitext2/conf/train_awdlstm.yaml")
    default = LMConfig()
    for name in ("optim", "grad_clip", "batch_size", "bptt", "max_epoch", "keep_nbest_models"):
        assert getattr(published, name) == getattr(default, name)
    parameters = sum(weight.numel() for weight in LanguageModel(33_278, **published.lm_conf).parameters())
    assert parameters == sum(weight.numel() for weight in LanguageModel(33_278).parameters())
    assert parameters == 33_556_078


CONFIGURATIONS = Path(__file__).parents[2] / "egs/wikitext2/conf"


@pytest.mark.parametrize(
    "path",
    sorted([*CONFIGURATIONS.glob("cascade*.yaml"), *CONFIGURATIONS.glob("finetune*.yaml")]),
    ids=lambda path: path.stem,
)
def test_shipped_cascades_fit_the_model(task, path):
    plan = make_plan(task, make_config(lm_conf={}, batch_size=4), load_cascade_config(path))
    last = plan.stages[-1]
    if path.stem.startswith("finetune"):
        assert [last.number, last.frozen, last.is_reinitialised] == [1, (), False]
        assert last.config.optim_conf["average_from_start"]
        assert last.config.optim_conf["lr"] == 6.0
    elif plan.cascade.cuts != "auto":
        assert len(plan.stages) == 1 + len(plan.cascade.cuts)
        assert last.frozen[0].name == plan.cascade.cuts[-1]
    else:
        assert len(plan.stages) == (4 if plan.cascade.tying == "freeze" else 5)
        lowest = "rnn.1" if plan.cascade.tying == "freeze" else "rnn.0"
        assert last.frozen[0].name == lowest and last.frozen[-1].name == "softmax"


def test_evaluation_options_are_checked(tmp_path):
    path = tmp_path / "evaluate.yaml"
    path.write_text("batch_size: 0\ncache_weight: 1.5\ncache_window: -1\n")
    with pytest.raises(ConfigError) as error:
        load_evaluation_config(path)
    assert "batch_size is 0" in str(error.value) and "cache_weight is 1.5" in str(error.value)
    assert "cache_window is -1" in str(error.value)
    published = load_evaluation_config(CONFIGURATIONS / "evaluate.yaml")
    assert (published.cache_window, published.cache_theta) == (3785, 0.662)


def test_a_language_model_makes_a_trial_step_on_both_extremes(task: TextTask):
    config = make_config()
    model = task.build_model(config, 1)
    batches = task.data(model, config).trial_batches()
    assert [batch.inputs.size(1) for batch in batches] == [2, 2]
    assert len(batches[0].inputs) >= len(batches[1].inputs) >= 1
    assert all(batch.starts_text for batch in batches)
    try_training(model, config, batches, "lm.yaml")


def test_layers_of_untied_stages_are_probed_in_a_tied_model_too(task: TextTask):
    """Full training and some controls have one matrix where the stages have two."""
    engine = run_cascade(task, "untie", cuts=["softmax"])
    stage = engine.branches["cascade"].stages[0]
    config = make_config(max_epoch=1, lm_conf=SMALL)
    model = task.build_model(config, config.seed)
    checkpoint.load_weights(model, weights(task, "full"), task.directory / "full/model.pth")
    layers = [each.layer for each in stage.layers]
    other = {"random": task.build_model(config, 7).state_dict()}
    dev = task.data(model, config).dev
    found = list(probe_layers(model, layers, other, make_fabric(0, "32-true"), dev))
    assert [each.layer for each in found] == ["", *(layer.name for layer in layers)]
    assert "softmax.weight" in layers[-1].parameters
    assert layers_in(model, layers)[-1].parameters == ("softmax.bias",)
    unchanged = list(probe_layers(model, layers, {"full": weights(task, "full")},
                                  make_fabric(0, "32-true"), dev))  # fmt: skip
    assert {each.metrics["loss"] for each in unchanged} == {found[0].metrics["loss"]}
