"""ESPnet2's format: export and import, ESPnet's own outputs, and whatever is not supported."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import write_yaml
from tiny_corpus import DIMENSION, TINY_CONFIG

from cascade_asr.cascade.engine import Engine
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.planning import make_plan
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.data.features.log_mel import LogMelOptions, mel_matrix
from cascade_asr.data.token_transfer import copy_tokens, find_beside
from cascade_asr.data.tokens import Tokenizer, train_bpe, write_token_directory
from cascade_asr.errors import ConfigError
from cascade_asr.espnet2.config import read_espnet2_config, to_espnet2
from cascade_asr.espnet2.export import build_espnet_model, compare_with_espnet, export_model
from cascade_asr.espnet2.import_model import Source, import_model, read_source, read_weights
from cascade_asr.files import file_digest
from cascade_asr.networks.decoders import DECODERS
from cascade_asr.networks.encoders import ENCODERS
from cascade_asr.networks.espnet import espnet_module
from cascade_asr.recipe.token_folder import options_of_tokens, token_name
from cascade_asr.speech.build import build_model
from cascade_asr.speech.config import load_train_config
from cascade_asr.speech.differences import differences
from cascade_asr.speech.task import SpeechTask
from cascade_asr.training import checkpoint
from cascade_asr.training.device import make_fabric
from cascade_asr.training.experiment import Experiment
from cascade_asr.training.interruption import Interruption

BLOCKS = {"output_size": 16, "attention_heads": 2, "num_blocks": 1, "linear_units": 16}
RECURRENT = {"num_layers": 2, "hidden_size": 10, "output_size": 12, "dropout": 0.1}
ENCODER_CONFS = {
    "rnn": RECURRENT | {"subsample": [1, 2]},
    "vgg_rnn": RECURRENT,
    "transformer": BLOCKS,
    "conformer": BLOCKS | {"macaron_style": True, "cnn_module_kernel": 7},
    "e_branchformer": BLOCKS | {"cgmlp_linear_units": 16},
}
DECODER_CONFS = {
    "rnn": {"hidden_size": 12, "sampling_probability": 0.3, "att_conf": {"adim": 10}},
    "transformer": {"attention_heads": 2, "num_blocks": 1, "linear_units": 16},
}


def task_of(folder: Path, dump: Path) -> SpeechTask:
    task = SpeechTask(Experiment(folder, dump, "train", "dev"))
    task.adopt()
    return task


def config_of(folder: Path, **changes):
    return load_train_config(write_yaml(folder / "train.yaml", TINY_CONFIG | changes))[0]


def engine_of(task: SpeechTask, config, cascade: CascadeConfig) -> Engine:
    plan = make_plan(task, config, cascade)
    runner = StageRunner(task, make_fabric(0, "32-true"), Interruption())
    return Engine(runner, plan.branches, cascade, plan.select)


@pytest.fixture(scope="module")
def trained(dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``exp/full`` of a model with global normalisation."""
    folder = tmp_path_factory.mktemp("trained")
    config = config_of(folder, normalize="global_mvn", max_epoch=1)
    engine_of(task_of(folder / "exp", dump), config, CascadeConfig()).train_full()
    return folder / "exp/full"


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in ESPnet2's format."""
    return export_model(trained, tmp_path_factory.mktemp("exported") / "out").folder


def edited(exported: Path, folder: Path, **changes) -> Path:
    """A copy of an exported configuration with other values; ``a__b`` is b inside a."""
    content = yaml.safe_load((exported / "config.yaml").read_text())
    for key, value in changes.items():
        owner, _, name = key.rpartition("__")
        (content[owner] if owner else content)[name] = value
    return write_yaml(folder / "config.yaml", content)


# ---- export ------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_espnets_classes_compute_the_same(dump: Path, tmp_path: Path, encoder: str, decoder: str):
    config = config_of(
        tmp_path,
        encoder=encoder,
        encoder_conf=ENCODER_CONFS[encoder],
        decoder=decoder,
        decoder_conf=DECODER_CONFS[decoder],
    )
    tokenizer = Tokenizer.from_directory(dump / "tokens")
    ours = build_model(config, tokenizer, DIMENSION, dump / "train/cmvn.npz", 1).eval()
    content, _ = to_espnet2(config, tokenizer, "char", DIMENSION)
    path = write_yaml(tmp_path / "config.yaml", content)
    checkpoint.save(tmp_path / "model.pth", ours.state_dict())
    compared = compare_with_espnet(path, tmp_path / "model.pth", ours)
    assert list(compared) == ["encoder output", "CTC log-probabilities", "decoder logits"]
    assert max(compared.values()) < 1e-5
    with torch.no_grad():  # the comparison sees a difference
        next(ours.decoder.embed.parameters())[:, 0].add_(0.1)
    with pytest.raises(ConfigError, match="failed its check: decoder logits of ESPnet differs by"):
        compare_with_espnet(path, tmp_path / "model.pth", ours)


@pytest.mark.parametrize(("weight", "missing"), [(1.0, "decoder"), (0.0, "ctc")])
def test_pure_ctc_and_pure_attention_export_too(
    dump: Path, tmp_path: Path, weight: float, missing: str
):
    config = config_of(
        tmp_path,
        model_conf={"ctc_weight": weight},
        best_model_criterion=[["valid", "loss", "min"]],
        encoder_conf=ENCODER_CONFS["rnn"],
    )
    tokenizer = Tokenizer.from_directory(dump / "tokens")
    ours = build_model(config, tokenizer, DIMENSION, dump / "train/cmvn.npz", 1).eval()
    path = write_yaml(
        tmp_path / "config.yaml", to_espnet2(config, tokenizer, "char", DIMENSION)[0]
    )
    checkpoint.save(tmp_path / "model.pth", ours.state_dict())
    assert len(compare_with_espnet(path, tmp_path / "model.pth", ours)) == 2
    assert getattr(build_espnet_model(path), missing) is None
    content = yaml.safe_load(path.read_text())
    content["best_model_criterion"] = [["valid", "loss", "min"], ["valid", "acc", "max"]]
    again = read_espnet2_config(write_yaml(path, content)).config
    assert again.model_conf.ctc_weight == weight
    first = "loss" if weight == 1.0 else "acc"  # without decoder there is no accuracy
    assert again.best_model_criterion[0][1] == first


def test_an_export_holds_for_the_folder_that_it_was_made_in(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    made = export_model(trained, Path("models/out"), archive=True)
    content = yaml.safe_load(Path("models/out/config.yaml").read_text())
    assert content["normalize_conf"]["stats_file"] == "models/out/feats_stats.npz"
    assert Path("models/out/feats_stats.npz").read_bytes() == (
        trained.parent / "cmvn.npz"
    ).read_bytes()
    assert content["token_list"] == Tokenizer.from_directory(trained.parent / "tokens").tokens
    assert (content["input_size"], content["frontend"]) == (DIMENSION, None)
    assert made.archive == Path("models/out.zip")
    unpack = espnet_module("espnet2.main_funcs.pack_funcs").unpack
    found = unpack("models/out.zip", "elsewhere/here")  # by ESPnet itself
    assert found == {
        "asr_train_config": "elsewhere/here/out/config.yaml",
        "asr_model_file": "elsewhere/here/out/model.pth",
    }
    unpacked = yaml.safe_load(Path(found["asr_train_config"]).read_text())
    assert unpacked["normalize_conf"]["stats_file"] == "elsewhere/here/out/feats_stats.npz"
    theirs = build_espnet_model(Path(found["asr_train_config"]))
    theirs.load_state_dict(torch.load(found["asr_model_file"], weights_only=True))
    assert list(Path("models").glob(".*")) == []


def test_an_export_that_fails_its_check_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "exp/full"
    shutil.copytree(trained.parent, broken.parent)
    monkeypatch.setattr("cascade_asr.espnet2.export.TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="encoder output of ESPnet differs by"):
        export_model(broken, tmp_path / "out", archive=True)
    assert [path.name for path in tmp_path.iterdir()] == ["exp"]
    (tmp_path / "out.zip").touch()
    with pytest.raises(ConfigError, match="out.zip already exists"):
        export_model(broken, tmp_path / "out", archive=True)
    with pytest.raises(ConfigError, match="^. already exists"):
        export_model(broken, Path(), archive=True)
    (broken.parent / "cmvn.npz").unlink()
    with pytest.raises(ConfigError, match="cmvn.npz: not found.*copy it from dump"):
        export_model(broken, tmp_path / "out")
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        export_model(tmp_path / "nowhere", tmp_path / "out")
    (broken / "done.json").unlink()
    with pytest.raises(ConfigError, match="export needs full training"):
        export_model(broken, tmp_path / "out")


def test_what_espnet_does_otherwise_is_said(dump: Path, tmp_path: Path):
    config = config_of(tmp_path, normalize="speaker_mvn", encoder_conf=ENCODER_CONFS["vgg_rnn"])
    tokenizer = Tokenizer.from_directory(dump / "tokens")
    content, notes = to_espnet2(config, tokenizer, "char", DIMENSION)
    assert content["normalize"] is None
    assert content["encoder_conf"]["dropout"] == 0.0
    assert "already normalised by speaker" in notes[0]
    assert "dropout 0.1 is written as 0.0" in notes[1]
    again = read_espnet2_config(write_yaml(tmp_path / "config.yaml", content)).config
    assert again == config  # an import takes what ESPnet has no key for from our own block


# ---- import ------------------------------------------------------------------------------


def import_arguments(config: Path, weights: Path, exp: Path, dump: Path) -> list:
    return ["import", "--model-config", config, "--weights", weights, "--exp", exp, "--dump", dump,
            "--train-set", "train", "--dev-set", "dev", "--ngpu", "0"]  # fmt: skip


def test_the_command_to_continue_names_the_tokens_of_stage_2(tmp_path: Path):
    config = tmp_path / "my model" / "config.yaml"
    option = f"--token-list '{config}'"
    values = {"token_type": "char", "token_list": str(config), "non_linguistic_symbols": ""}
    (tmp_path / ".tokens").write_text(token_name(values))
    assert options_of_tokens(tmp_path, config) == option
    assert options_of_tokens(tmp_path / f"tokens_{token_name(values)}", config) == option
    (tmp_path / ".tokens").write_text("char\n")
    assert options_of_tokens(tmp_path, config) == ""
    (tmp_path / ".tokens").write_text("bpe500\n")
    assert options_of_tokens(tmp_path, config) is None


def test_out_and_in_again_nothing_has_changed(
    trained: Path, exported: Path, dump: Path, tmp_path: Path,
    run_command, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    exp = tmp_path / "exp"
    weights = exported / "model.pth"
    run_command("espnet2", *import_arguments(exported / "config.yaml", weights, exp, dump))
    printed = capsys.readouterr().out
    assert f"--stage 3 --tag exp --train-config {exp}/imported.yaml\n" in printed
    assert "and the token options that stage 2 was given" in printed
    before = checkpoint.load(trained / "model.pth")
    after = checkpoint.load(exp / "full/model.pth")
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    contents = [json.loads((each / "done.json").read_text()) for each in (trained, exp / "full")]
    assert contents[0]["metrics"] == contents[1]["metrics"]
    assert contents[0]["digest"] == contents[1]["digest"], "the same options, the same data"
    assert (trained / "config.yaml").read_bytes() == (exp / "full/config.yaml").read_bytes()
    lineage = json.loads((exp / "full/lineage.json").read_text())
    assert lineage["imported_weights_sha256"] == file_digest(weights)
    assert lineage["imported_config_sha256"] == file_digest(exported / "config.yaml")
    assert json.loads((exp / "selection.json").read_text())["selected"] == "full"
    assert "valid" in (exp / "full/history.jsonl").read_text()

    done = (exp / "full/done.json").stat()  # stage 3 finds it done
    config = load_train_config(exp / "imported.yaml")[0]
    engine_of(task_of(exp, dump), config, CascadeConfig()).train_full()
    assert (exp / "full/done.json").stat() == done
    other = dataclasses.replace(config, max_epoch=config.max_epoch + 1)
    with pytest.raises(ConfigError, match=r"full was imported from .*model.pth, .*max_epoch: \d -> \d"):
        engine_of(task_of(exp, dump), other, CascadeConfig()).train_full()
    assert (exp / "full/done.json").stat() == done
    with pytest.raises(ConfigError, match="exp/full was imported from .*, not trained"):
        run_command("redo", exp / "full")
    with pytest.raises(ConfigError, match="full: already exists; use another --exp"):
        run_command("espnet2",
            *import_arguments(exported / "config.yaml", weights, exp, dump))  # fmt: skip


def test_a_cascade_begins_with_a_model_that_espnet_made(
    dump: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Random weights of ESPnet's classes, and the keys that ESPnet2 writes into config.yaml."""
    tokens = Tokenizer.from_directory(dump / "tokens").tokens
    written = {
        "config": "conf/train.yaml", "print_config": False, "log_level": "INFO", "ngpu": 1,
        "dist_backend": "nccl", "max_epoch": 1, "patience": None, "grad_clip": 5.0,
        "val_scheduler_criterion": ["valid", "loss"], "log_interval": None,
        "best_model_criterion": [["train", "loss", "min"], ["valid", "loss", "min"],
                                 ["train", "acc", "max"], ["valid", "acc", "max"]], "keep_nbest_models": [1],
        "nbest_averaging_interval": 0, "use_matplotlib": True, "use_wandb": False,
        "batch_type": "folded", "batch_size": 20, "fold_length": [80000, 150],
        "train_data_path_and_name_and_type": [["dump/raw/feats.scp", "speech", "kaldi_ark"]],
        "optim": "adam", "optim_conf": {"lr": 0.01}, "scheduler": None, "scheduler_conf": {},
        "init": None, "input_size": DIMENSION, "token_list": tokens, "token_type": "char",
        "bpemodel": None, "ctc_conf": {"dropout_rate": 0.0, "ctc_type": "builtin", "reduce": True},
        "joint_net_conf": None, "use_preprocessor": True, "rir_scp": None, "noise_db_range": "13_15",
        "frontend": "default", "frontend_conf": {}, "specaug": None, "specaug_conf": {},
        "normalize": "utterance_mvn", "normalize_conf": {}, "model": "espnet",
        "model_conf": {"ctc_weight": 0.3, "lsm_weight": 0.1, "report_cer": False},
        "preencoder": None, "preencoder_conf": {}, "encoder": "transformer",
        "encoder_conf": BLOCKS | {"num_blocks": 2, "input_layer": "conv2d2"},
        "postencoder": None, "postencoder_conf": {},
        "decoder": "transformer", "decoder_conf": DECODER_CONFS["transformer"],
        "required": ["output_dir", "token_list"], "version": "202511", "distributed": False,
    }  # fmt: skip
    path = write_yaml(tmp_path / "config.yaml", written)
    torch.manual_seed(3)
    theirs = build_espnet_model(path)
    torch.save(theirs.state_dict(), tmp_path / "valid.acc.ave.pth")
    task = task_of(tmp_path / "exp", dump)
    source = Source(path, tmp_path / "valid.acc.ave.pth")
    imported = read_source(source, task, None)
    left_out = (
        "config, dist_backend, ngpu, noise_db_range, required, train_data_path_and_name_and_type, "
        "use_preprocessor, version"
    )
    assert imported.notes == [f"{path}: not used here: {left_out}"]
    assert imported.config.model_conf.lsm_weight == 0.1
    assert imported.config.best_model_criterion[0] == ["valid", "acc", "max"]
    cascade = CascadeConfig()
    done = import_model(source, imported, task, imported.config, cascade, make_fabric(0, "32-true"))
    assert done.metrics["loss"] > 0
    engine = engine_of(task, imported.config, cascade)
    engine.run([1])
    state = checkpoint.load(tmp_path / "exp/stage1/model.pth")
    before = theirs.state_dict()
    moved = {name for name in before if not torch.equal(before[name], state[name])}
    assert moved
    assert not any(name.startswith(("decoder.", "ctc.")) for name in moved)
    lineage = json.loads((tmp_path / "exp/stage1/lineage.json").read_text())
    assert lineage["source_model_sha256"] == done.model_sha256


def test_with_a_configuration_of_ours_its_options_must_compute_the_same(
    trained: Path, exported: Path, dump: Path, tmp_path: Path
):
    task = task_of(tmp_path / "exp", dump)
    source = Source(exported / "config.yaml", exported / "model.pth")
    free = config_of(
        tmp_path,
        normalize="global_mvn",
        optim="adadelta",
        optim_conf={},
        encoder_conf=TINY_CONFIG["encoder_conf"] | {"dropout": 0.4},
        decoder_conf=TINY_CONFIG["decoder_conf"] | {"sampling_probability": 0.1},
    )
    imported = read_source(source, task, free)
    assert imported.input_size == DIMENSION
    done = import_model(source, imported, task, free, CascadeConfig(), make_fabric(0, "32-true"))
    assert done.metrics == json.loads((trained / "done.json").read_text())["metrics"]
    other = config_of(
        tmp_path,
        encoder_conf=TINY_CONFIG["encoder_conf"] | {"subsample": [2, 2]},
        decoder_conf=TINY_CONFIG["decoder_conf"] | {"att_conf": {"atype": "dot"}},
    )
    with pytest.raises(ConfigError) as refusal:
        read_source(source, task, other)
    for expected in (
        "encoder_conf.subsample: the model has [1, 2], not [2, 2]",
        "decoder_conf.att_conf.atype: the model has 'location', not 'dot'",
        "normalize: the model has global_mvn, not utterance_mvn",
        "change --train-config, or leave it out",
    ):
        assert expected in str(refusal.value)
    third = config_of(tmp_path, encoder="vgg_rnn", encoder_conf=ENCODER_CONFS["vgg_rnn"])
    assert "encoder: the model has rnn, not vgg_rnn" in differences(free, third)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": None, "frontend": "default"}, "takes waveforms .*/train/fbank.conf: not fo"),
        ({"input_size": None, "frontend": "default", "frontend_conf": {"center": False}},
         "frontend_conf: center: not supported"),
        ({"speech_volume_normalize": 1.0}, "speech_volume_normalize: 1.0 is not supported"),
        ({"input_size": None, "frontend": "s3prl"}, "frontend: 's3prl' is not supported"),
        ({"input_size": None}, "no input_size"),
        ({"token_list": None}, "no token_list"),
        ({"preencoder": "linear"}, r"config.yaml:\d+: preencoder: 'linear' is not supported"),
        ({"postencoder": "hugging_face_transformers"}, "postencoder: .* is not supported"),
        ({"decoder": "transducer", "decoder_conf": {}}, "unknown decoder 'transducer'"),
        ({"encoder": "wav2vec2", "encoder_conf": {}}, "unknown encoder 'wav2vec2'"),
        ({"encoder_conf__nothing": 1}, "encoder_conf.nothing: no such option"),
        ({"model": "maskctc"}, "model: 'maskctc' is not supported"),
        ({"model_conf__interctc_weight": 0.3}, "model_conf.interctc_weight: 0.3 is not supported"),
        ({"use_adapter": True}, "use_adapter: True is not supported"),
        ({"optim": "sgdx"}, "give your own with --train-config"),
        ({"input_size": 12}, "takes features of 12 dimensions, those of .*train have 8"),
        ({"token_list": ["<blank>", "<unk>", "<sos/eos>"]}, "3 tokens, the data have 8; .*--token-"),
    ],
)
def test_models_that_cannot_be_had(
    exported: Path, dump: Path, tmp_path: Path, changes: dict, message: str
):
    path = edited(exported, tmp_path, **changes)
    task = task_of(tmp_path / "exp", dump)
    with pytest.raises(ConfigError, match=message):
        read_source(Source(path, exported / "model.pth"), task, None)


def test_tokens_in_another_order_are_others(exported: Path, dump: Path, tmp_path: Path):
    tokens = yaml.safe_load((exported / "config.yaml").read_text())["token_list"]
    tokens[3], tokens[4] = tokens[4], tokens[3]
    path = edited(exported, tmp_path, token_list=tokens)
    with pytest.raises(ConfigError, match=f"token 4 is '{tokens[3]}', but '.*' in the data"):
        read_source(Source(path, exported / "model.pth"), task_of(tmp_path / "exp", dump), None)


def test_weights_that_do_not_fit_leave_no_training(exported: Path, dump: Path, tmp_path: Path):
    weights = checkpoint.load(exported / "model.pth")
    name = "encoder.enc.0.bt0.weight"
    cases = [
        (weights | {"encoder.more": torch.zeros(1)}, "'encoder.more' is not in this model"),
        ({key: weights[key] for key in weights if key != name}, f"'{name}' is missing"),
        (weights | {name: torch.zeros(2, 3)}, rf"'{name}' is \(2, 3\), this model has \(24, 48\)"),
        (weights | {name: torch.full((24, 48), torch.nan)}, f"'{name}' has values that are not fin"),
        ({"model": weights, "epoch": 3}, "not checkpoint.pth"),
    ]
    task = task_of(tmp_path / "exp", dump)
    imported = read_espnet2_config(exported / "config.yaml")
    path = tmp_path / "model.pth"
    for content, message in cases:
        torch.save(content, path)
        with pytest.raises(ConfigError, match=message):
            import_model(
                Source(exported / "config.yaml", path), imported, task, imported.config,
                CascadeConfig(), make_fabric(0, "32-true"),
            )  # fmt: skip
        assert not list((tmp_path / "exp").glob("*full*"))
    path.write_bytes(b"PK damaged")
    with pytest.raises(ConfigError, match="model.pth: not a PyTorch weights file"):
        read_weights(path)
    with pytest.raises(ConfigError, match="no such file of weights"):
        read_weights(tmp_path / "nothing.pth")
    torch.save({"module": weights}, path)
    assert read_weights(path).keys() == weights.keys()


def test_a_failed_import_can_be_repeated(
    exported: Path, dump: Path, tmp_path: Path, run_command
):
    own = tmp_path / "dump"
    shutil.copytree(dump, own)
    manifest = own / "dev/manifest.tsv"
    whole = manifest.read_text()
    manifest.write_text(whole.replace(str(dump / "dev/feats.ark"), "/nowhere.ark"))
    arguments = import_arguments(
        exported / "config.yaml", exported / "model.pth", tmp_path / "exp", own
    )
    with pytest.raises(Exception, match=r"nowhere\.ark"):
        run_command("espnet2", *arguments)
    assert not list((tmp_path / "exp").glob("*full*"))
    manifest.write_text(whole)
    run_command("espnet2", *arguments)
    assert (tmp_path / "exp/full/done.json").is_file()


def test_after_other_tokens_the_import_can_be_repeated_with_those_of_the_model(
    exported: Path, dump: Path, tmp_path: Path, run_command, capfd
):
    """Stage 2 puts further tokens beside the first ones; a refusal leaves none in the experiment."""
    own, beside = tmp_path / "dump", tmp_path / "dump/tokens_list1"
    shutil.copytree(dump, beside)
    for name in ("train", "dev"):
        shutil.copytree(dump / name, own / name)
    write_token_directory(own / "tokens", ["xyz"], "char")
    model = (exported / "config.yaml", exported / "model.pth", tmp_path / "exp")
    with pytest.raises(ConfigError, match=f"stage 2 has put them into {beside}: give --dump {beside}"):
        run_command("espnet2", *import_arguments(*model, own))
    assert not (tmp_path / "exp").exists()
    capfd.readouterr()
    run_command("espnet2", *import_arguments(*model, beside))
    assert (tmp_path / "exp/full/done.json").is_file()
    assert f"once {tmp_path}/exp is in the folder exp of the recipe" in capfd.readouterr().out


def test_other_features_show_in_global_statistics(
    exported: Path, dump: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    weights = checkpoint.load(exported / "model.pth")
    imported = read_espnet2_config(exported / "config.yaml")
    config = imported.config
    for shift, message in ((100.0, "computed alike"), (0.01, "keeps its own global statistics")):
        caplog.clear()
        moved = weights | {"normalize.mean": weights["normalize.mean"] + shift}
        torch.save(moved, tmp_path / "model.pth")
        source = Source(exported / "config.yaml", tmp_path / "model.pth")
        task = task_of(tmp_path / f"exp{shift}", dump)
        with caplog.at_level(logging.WARNING):
            import_model(source, imported, task, config, CascadeConfig(), make_fabric(0, "32-true"))
        assert message in caplog.text


def test_a_model_of_waveforms_needs_the_features_that_it_computes(
    exported: Path, dump: Path, tmp_path: Path,
    run_command, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    conf = {"fs": "8k", "n_fft": 256, "hop_length": 80, "n_mels": DIMENSION}
    path = edited(exported, tmp_path, input_size=None, frontend="default", frontend_conf=conf,
                  batch_type="numel", batch_bins=12_800)  # fmt: skip
    # so many samples are, every 80, vectors of 8 numbers
    assert read_espnet2_config(path).config.batch_bins == 1280
    weights = checkpoint.load(exported / "model.pth")
    frontend = LogMelOptions(fs=8000, n_fft=256, hop_length=80, n_mels=DIMENSION)
    torch.save(weights | {"frontend.logmel.melmat": mel_matrix(frontend)}, tmp_path / "w.pth")
    own = tmp_path / "dump"
    shutil.copytree(dump, own)
    arguments = import_arguments(path, tmp_path / "w.pth", tmp_path / "exp", own)
    for lines, message in (
        ("--num-mel-bins=8\n", "the data have Kaldi's"),
        ("--feature-type=espnet2\n--n-mels=8\n", "have other options: .*hop_length=128"),
    ):
        for name in ("train", "dev"):
            (own / name / "fbank.conf").write_text(lines)
        with pytest.raises(ConfigError, match=message):
            run_command("espnet2", *arguments)
    capsys.readouterr()
    run_command("espnet2", "features", path)
    for name in ("train", "dev"):
        (own / name / "fbank.conf").write_text(capsys.readouterr().out or lines)
        lines = (own / name / "fbank.conf").read_text()
    run_command("espnet2", *arguments)
    after = checkpoint.load(tmp_path / "exp/full/model.pth")
    assert all(torch.equal(weights[name], after[name]) for name in weights)
    assert weights.keys() == after.keys()
    run_command("espnet2", "export", tmp_path / "exp/full", tmp_path / "out")
    assert "AUDIO.scp,speech,sound" in capsys.readouterr().out
    again = checkpoint.load(tmp_path / "out/model.pth")
    assert torch.equal(again["frontend.logmel.melmat"], mel_matrix(frontend))
    assert read_espnet2_config(tmp_path / "out/config.yaml").frontend == frontend
    arguments = import_arguments(path, tmp_path / "w.pth", tmp_path / "exp2", own)
    for matrix, message in (
        ({}, "'frontend.logmel.melmat' is missing"),
        ({"frontend.logmel.melmat": mel_matrix(frontend) + 0.1}, "is not what frontend_conf of"),
    ):
        torch.save(weights | matrix, tmp_path / "w.pth")
        with pytest.raises(ConfigError, match=message):
            run_command("espnet2", *arguments)
    with pytest.raises(ConfigError, match="the model takes extracted features"):
        run_command("espnet2", "features", exported / "config.yaml")


# ---- tokens of another model --------------------------------------------------------------


def test_tokens_come_from_a_folder_a_list_or_a_configuration(exported: Path, dump: Path, tmp_path):
    expected = Tokenizer.from_directory(dump / "tokens")
    listed = tmp_path / "listed.txt"
    shutil.copyfile(dump / "tokens/tokens.txt", listed)
    for source in (dump / "tokens", dump / "tokens/tokens.txt", listed, exported / "config.yaml"):
        made = copy_tokens(source, tmp_path / "made")
        assert made.tokens == expected.tokens
        assert made.encode("ab Q") == expected.encode("ab Q")
    with pytest.raises(ConfigError, match="absent.txt: no such token list"):
        copy_tokens(tmp_path / "absent.txt", tmp_path / "made")
    assert (tmp_path / "made/tokens.txt").is_file(), "a mistake leaves the tokens of before"


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<blank>", "<unk>", "a", "a", "<sos/eos>"], "token_list:4: token 'a' is also on line 3"),
        (["<blank>", "<unk>", "a", "<sos>", "<eos>"], "token_list: the last token must be <sos/eos>"),
        (["<blank>", "<unk>", True, "<sos/eos>"], "token_list: True is no text; put it in quotes"),
        (None, "no token_list: is it the config.yaml of a trained model"),
    ],
)
def test_a_wrong_token_list_is_told_of_its_configuration(exported: Path, tmp_path: Path, tokens, message):
    """Not of a temporary file, which no one will find."""
    path = tmp_path / "config.yaml"
    content = yaml.safe_load((exported / "config.yaml").read_text()) | {"token_list": tokens}
    path.write_text(yaml.safe_dump(content))
    for read in (read_espnet2_config, lambda path: copy_tokens(path, tmp_path / "made")):
        with pytest.raises(ConfigError, match=re.escape(f"{path}: {message}")):
            read(path)
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\n<sos/eos>\n")
    path.write_text(yaml.safe_dump(content | {"token_list": "data/tokens.txt"}))
    assert read_espnet2_config(path).token_list == ["<blank>", "<unk>", "a", "<sos/eos>"]


def test_symbols_among_the_tokens_stay_whole(tmp_path: Path):
    listed = tmp_path / "listed.txt"
    listed.write_text("<blank>\n<unk>\nA\n<NOISE>\n<space>\n<sos/eos>\n")
    made = copy_tokens(listed, tmp_path / "made")
    assert made.encode("A <NOISE>A") == [2, 4, 3, 2]
    (tmp_path / "more.txt").write_text("<LAUGH>\n")
    assert copy_tokens(listed, tmp_path / "made", tmp_path / "more.txt").encode("<LAUGH>") == [1]


def test_pieces_need_their_model(exported: Path, dump: Path, tmp_path: Path):
    folder = tmp_path / "data/token_list"
    texts = [f"word{index % 7} and {index % 5}more" for index in range(60)]
    write_token_directory(folder, texts, "bpe", 19)
    expected = Tokenizer.from_directory(folder)
    zoo = tmp_path / "exp/asr"
    zoo.mkdir(parents=True)
    path = edited(exported, zoo, token_list=expected.tokens, token_type="bpe",
                  bpemodel="data/token_list/bpe.model")  # fmt: skip
    assert find_beside(path, "data/token_list/bpe.model") == folder / "bpe.model"
    (folder / "tokens.json").unlink()  # as ESPnet2's recipes leave it
    for source in (folder, path):
        made = copy_tokens(source, tmp_path / "made")
        assert made.encode("word3 and 2more") == expected.encode("word3 and 2more")
    task = task_of(tmp_path / "mine", _dump_with(tmp_path / "made", dump, tmp_path / "dump"))
    assert read_source(Source(path, tmp_path / "x.pth"), task, None).token_type == "bpe"
    train_bpe([*texts, "other text"], tmp_path / "other", 22)
    shutil.copyfile(tmp_path / "other/bpe.model", folder / "bpe.model")
    with pytest.raises(ConfigError, match="bpemodel: .* is not .*--token-list"):
        read_source(Source(path, tmp_path / "x.pth"), task, None)
    (folder / "bpe.model").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="its tokens cannot be used"):
        copy_tokens(folder, tmp_path / "made")
    (folder / "bpe.model").unlink()
    with pytest.raises(ConfigError, match=r"sentencepiece pieces, but their bpe\.model is not"):
        copy_tokens(folder, tmp_path / "made")
    with pytest.raises(ConfigError, match=r"names data/token_list/bpe\.model, which is neither"):
        copy_tokens(path, tmp_path / "made")
    for changes, message in (
        ({"token_type": "phn"}, "token_type: 'phn' is not supported"),
        ({"token_type": "bpe", "bpemodel": None}, "no bpemodel is named"),
        ({"token_list": None}, "no token_list"),
    ):
        with pytest.raises(ConfigError, match=message):
            copy_tokens(edited(exported, tmp_path, **changes), tmp_path / "made")


def _dump_with(tokens: Path, dump: Path, folder: Path) -> Path:
    shutil.copytree(dump, folder)
    shutil.rmtree(folder / "tokens")
    shutil.copytree(tokens, folder / "tokens")
    return folder


def test_a_set_takes_the_tokens_of_another_model(
    dump: Path, tmp_path: Path, run_command, caplog: pytest.LogCaptureFixture
):
    own = tmp_path / "dump"
    shutil.copytree(dump, own)
    listed = tmp_path / "listed.txt"
    listed.write_text("<blank>\n<unk>\nc\n<space>\nb\na\n<sos/eos>\n")  # no d
    count = sum(line.split(None, 1)[1].count("d") for line in (own / "dev/text").open())
    with caplog.at_level(logging.WARNING):
        run_command("tokens", own, "--train-set", "train", "train", "dev",
            "--token-list", listed)  # fmt: skip
    assert f"{count} tokens become <unk>: 'd' {count}" in caplog.text
    tokens = (own / "tokens/tokens.txt").read_text()
    assert tokens == listed.read_text()
    assert (own / "dev/manifest.tsv").read_text() != (dump / "dev/manifest.tsv").read_text()
