"""Any small network, any plan: exactly the planned parameters move, and nothing else."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_corpus import make_dump

from cascade_asr.cascade.controls import Branch
from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.plan import StagePlan, plan_cascade
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.data.tokens import Tokenizer
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import ModelConf, TrainConfig
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training.device import make_fabric
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.interruption import Interruption

ATTENTION = {"atype": "location", "adim": 4, "aconv_chans": 2, "aconv_filts": 3}
Weights = dict[str, torch.Tensor]
DROPOUT = {"dropout_rate": 0.1, "attention_dropout_rate": 0.1, "positional_dropout_rate": 0.1}
BLOCKS = {"output_size": 8, "attention_heads": 2, "linear_units": 8} | DROPOUT


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two batches of training data and one of dev data."""
    return make_dump(tmp_path_factory.mktemp("few") / "dump", train=6, dev=3)


@st.composite
def encoders(draw) -> tuple[str, dict]:
    name = draw(st.sampled_from(["rnn", "vgg_rnn", "transformer", "conformer"]))
    layers = draw(st.integers(1, 2))
    if name in ("rnn", "vgg_rnn"):
        subsample = {"subsample": [1] * layers} if name == "rnn" else {}
        projected = draw(st.booleans())
        conf = {"num_layers": layers, "hidden_size": 6, "output_size": 6, "dropout": 0.1}
        return name, conf | subsample | {"use_projection": projected}
    return name, BLOCKS | {"num_blocks": layers, "input_layer": "linear"}


@st.composite
def trainings(draw) -> TrainConfig:
    encoder, encoder_conf = draw(encoders())
    decoder, decoder_conf = draw(
        st.sampled_from(
            [
                ("rnn", {"hidden_size": 6, "dropout": 0.1, "att_conf": ATTENTION}),
                ("transformer", {"attention_heads": 2, "num_blocks": 1, "linear_units": 8}),
            ]
        )
    )
    if encoder.endswith("rnn") and decoder == "transformer":  # one width for both
        encoder_conf = encoder_conf | {"output_size": 6, "use_projection": True}
    return TrainConfig(
        encoder=encoder,
        encoder_conf=encoder_conf,
        decoder=decoder,
        decoder_conf=decoder_conf,
        model_conf=ModelConf(ctc_weight=draw(st.sampled_from([0.0, 0.5, 1.0]))),
        optim="adamw",
        optim_conf={"lr": 0.01, "weight_decay": 0.1},
        batch_type="sorted",
        batch_size=3,
        max_epoch=1,
        num_workers=0,
        use_tensorboard=False,
        seed=draw(st.integers(0, 1000)),
    )


@st.composite
def cascades(draw, layers: int) -> CascadeConfig:
    direction = draw(st.sampled_from(["top-down", "bottom-up"]))
    indices = range(1, layers) if direction == "top-down" else range(layers - 1)
    count = min(2, len(indices))
    cuts = draw(st.lists(st.sampled_from(indices), min_size=count, max_size=count, unique=True))
    return CascadeConfig(
        direction=direction,
        cuts=[str(index) for index in sorted(cuts, reverse=direction == "top-down")],
        source=draw(st.sampled_from(["previous", "full", "best"])),
        below=draw(st.sampled_from(["reinitialise", "reinitialise", "keep"])),
        top=draw(st.sampled_from(["trained", "trained", "random"])),
        frozen_dropout=draw(st.booleans()),
        finetune=draw(st.sampled_from([False, False, True])),
    )


def tensors_of(stage: StagePlan, part: str) -> set[str]:
    return {name for layer in getattr(stage, part) for name in (*layer.parameters, *layer.buffers)}


def is_counter_or_matrix(name: str, tensor: torch.Tensor) -> bool:
    """Vectors may have no gradient at all: a bias before a normalisation or softmax."""
    return tensor.dim() > 1 or "running_" in name or "num_batches" in name


def check_stage(stage: StagePlan, new: Weights, source: Weights | None, result: Weights) -> None:
    """Compare what a stage started from with what it ended with."""
    frozen, trained = tensors_of(stage, "frozen"), tensors_of(stage, "trained")
    assert not frozen & trained
    for name in frozen:
        kept = new[name] if stage.is_random_frozen else source[name]
        assert torch.equal(result[name], kept), f"frozen {name} moved"
    started_anew = source is None or stage.is_reinitialised
    for name in trained:
        start = new[name] if started_anew else source[name]
        if is_counter_or_matrix(name, start):
            assert not torch.equal(result[name], start), f"{name} was not trained"
        if source is not None and started_anew and start.dim() > 1:
            assert not torch.equal(new[name], source[name]), f"{name} was not re-initialised"
            assert not torch.equal(result[name], source[name])


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(trainings(), st.data())
def test_exactly_the_planned_parameters_move(few: Path, monkeypatch, config: TrainConfig, data):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a busy disk takes a second each time
    # oneDNN compiles an LSTM anew for each length of a batch
    with tempfile.TemporaryDirectory() as folder, torch.backends.mkldnn.flags(enabled=False):
        experiment = Experiment(Path(folder) / "exp", few, "train", "dev")
        experiment.adopt()
        tokenizer = Tokenizer.from_directory(experiment.tokens)

        def built(stage_config: TrainConfig, seed: int):
            return build_model(stage_config, tokenizer, 8, experiment.global_cmvn, seed)

        layers = built(config, 0).layers()
        cascade = data.draw(cascades(len(layers)))
        cascade.cuts = [layers[int(index)].name for index in cascade.cuts]
        stages = plan_cascade(layers, cascade, config)
        runner = StageRunner(SpeechTask(experiment), make_fabric(0, "32-true"), Interruption())
        branches = {"cascade": Branch("cascade", "cascade", tuple(stages))}
        engine = Engine(runner, branches, cascade, ["loss", "min"])
        engine.train_full()
        engine.run(list(range(1, len(stages))))
        new = [built(stage.config, stage.seed).state_dict() for stage in stages]
        results: dict[str, Weights] = {}
        for stage, start in zip(stages, new, strict=True):
            stage_folder = experiment.directory / stage.name
            results[stage.name] = torch.load(stage_folder / "model.pth")
            lineage = json.loads((stage_folder / "lineage.json").read_text())
            source = results[Path(lineage["source"]).name] if lineage["source"] else None
            check_stage(stage, start, source, results[stage.name])
            assert set(lineage["frozen_fingerprints"]) == tensors_of(stage, "frozen")
        for index, one in enumerate(new):
            for other in new[index + 1 :]:
                matrices = [name for name, tensor in one.items() if tensor.dim() > 1]
                assert not any(torch.equal(one[name], other[name]) for name in matrices)
