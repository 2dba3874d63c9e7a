"""``cache_frozen``: the same training, without computing the frozen lower layers each time."""

from __future__ import annotations

import errno
import logging
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_fast_operations import MODELS
from test_trainer import DIMENSION, loaders, trainer_of  # noqa: F401
from torch import nn

from cascade_asr.data.tokens import Tokenizer
from cascade_asr.networks.ctc import CTC
from cascade_asr.networks.decoders import build_decoder
from cascade_asr.networks.encoders import build_encoder
from cascade_asr.speech.model import ASRModel
from cascade_asr.training import frozen_outputs
from cascade_asr.training.freezing import freeze, set_training_mode
from cascade_asr.training.frozen_outputs import cached, frozen_below

NETWORKS = ("vgg_rnn", "vgg_rnn gru", "rnn", "transformer", "conformer", "e_branchformer")


def speech_model(name: str, dump: Path, specaug: nn.Module | None = None) -> ASRModel:
    encoder, conf, (decoder, decoder_conf) = MODELS[name]
    tokenizer = Tokenizer.from_directory(dump / "tokens")
    torch.manual_seed(1)
    built = build_encoder(encoder, DIMENSION, conf)
    size, width = len(tokenizer.tokens), built.output_size()
    return ASRModel(
        tokenizer, built, build_decoder(decoder, size, width, decoder_conf),
        CTC(odim=size, encoder_output_size=width), ctc_weight=0.3, specaug=specaug,
    )  # fmt: skip


def trained(model, number: int, folder: Path, loaders, is_cached: bool):  # noqa: F811
    """Train all but the lowest layers; weights and dev metrics."""
    frozen = model.layers()[:number]
    freeze(model, frozen)

    def mode(each: nn.Module) -> None:
        set_training_mode(each, frozen, frozen_dropout=False)

    mode(model)
    trainer = trainer_of(folder, max_epoch=3)
    trainer.set_training_mode = mode
    if is_cached:
        with cached(model, folder / ".frozen_outputs.0.partial", 7):
            result = trainer.fit(model, *loaders)
            kept = len(list((folder / ".frozen_outputs.0.partial").glob("*.pt")))
        assert kept == len(loaders[0]) + len(loaders[1])
    else:
        result = trainer.fit(model, *loaders)
    return model.state_dict(), result.metrics


@pytest.mark.parametrize("name", NETWORKS)
def test_training_from_kept_outputs_ends_bit_identical(name, dump, loaders, tmp_path):  # noqa: F811
    number = len(speech_model(name, dump).layers()) - 2
    results = [
        trained(speech_model(name, dump), number, tmp_path / str(is_cached), loaders, is_cached)
        for is_cached in (False, True)
    ]
    (plain, plain_metrics), (kept, kept_metrics) = results
    assert plain_metrics == kept_metrics
    for key in plain:
        assert torch.equal(plain[key], kept[key]), key
    fresh = speech_model(name, dump).state_dict()
    assert not all(torch.equal(fresh[key], kept[key]) for key in kept)
    assert not (tmp_path / "True" / ".frozen_outputs.0.partial").exists()


def test_each_batch_is_computed_once(dump, loaders, tmp_path, monkeypatch):  # noqa: F811
    calls = []
    block = type(speech_model("transformer", dump).encoder).run_block
    encoder = type(speech_model("transformer", dump).encoder)
    monkeypatch.setattr(
        encoder, "run_block", staticmethod(lambda *given: calls.append(given[0]) or block(*given))
    )
    model = speech_model("transformer", dump)
    trained(model, 2, tmp_path, loaders, True)
    lower, upper = (sum(each is one for each in calls) for one in model.encoder.encoders)
    batches = len(loaders[0]) + len(loaders[1])
    assert lower == batches and upper == 3 * batches + len(loaders[1])


def test_why_outputs_cannot_be_kept(dump):
    model = speech_model("rnn", dump)
    model.train()
    assert frozen_below(model) == ([], "the lowest layer, encoder.rnn0, is trained")
    freeze(model, model.layers()[1:])
    assert frozen_below(model)[1] == "the lowest layer, encoder.rnn0, is trained"
    freeze(model, model.layers()[:1])
    model.encoder.recurrent_dropouts[0].p = 0.1
    assert frozen_below(model)[1] == (
        "dropout acts in encoder.rnn0; frozen_dropout: false turns it off"
    )
    model.encoder.recurrent_dropouts[0].eval()
    assert [layer.name for layer in frozen_below(model)[0]] == ["rnn0", "rnn1"]
    model.specaug = nn.Identity()
    assert frozen_below(model)[1] == "specaug changes the features in each update"
    assert frozen_below(nn.Linear(2, 2)) == ([], "this kind of model has no encoder")


def test_a_full_disk_is_told_and_all_is_computed(dump, loaders, tmp_path, monkeypatch, caplog):  # noqa: F811
    caplog.set_level(logging.INFO)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(frozen_outputs.shutil, "disk_usage", lambda path: usage(2_000))
    model = speech_model("rnn", dump)
    freeze(model, model.layers()[:1])
    set_training_mode(model, model.layers()[:1], frozen_dropout=False)
    with cached(model, tmp_path / "kept", 7):
        trainer_of(tmp_path, max_epoch=1).fit(model, *loaders)
        assert list((tmp_path / "kept").iterdir()) == []
    assert "where 0.0 MB are free; those that do not fit are computed each time" in caplog.text
    assert model.frozen_outputs is None


def test_an_exceeded_quota_ends_the_cache_and_not_the_training(
    dump, loaders, tmp_path, monkeypatch, caplog  # noqa: F811
):
    """There is room on the disk, but not for this user; what was kept makes room for checkpoints."""
    saved = []

    def save(content, path):
        if len(saved) == 3:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        saved.append(path)
        path.write_bytes(b"kept")

    monkeypatch.setattr(frozen_outputs, "torch", SimpleNamespace(save=save, load=torch.load))
    model = speech_model("rnn", dump)
    freeze(model, model.layers()[:1])
    set_training_mode(model, model.layers()[:1], frozen_dropout=False)
    with cached(model, tmp_path / "kept", 7):
        trainer_of(tmp_path, max_epoch=2).fit(model, *loaders)
        assert list((tmp_path / "kept").iterdir()) == []
    assert len(saved) == 3 and "Disk quota exceeded): nothing is kept any more" in caplog.text
