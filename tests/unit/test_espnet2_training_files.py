"""Training files like those of ESPnet2's recipes: accepted, accepted with a note, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_asr.errors import ConfigError
from cascade_asr.speech.build import check_config
from cascade_asr.speech.config import TrainConfig, load_train_config
from cascade_asr.speech.espnet2_keys import OLD_NAMES, REFUSED_BUT, WITHOUT_EFFECT

CONFORMER = """\
encoder: conformer
encoder_conf: {output_size: 256, attention_heads: 4, linear_units: 1024, num_blocks: 12,
  dropout_rate: 0.1, input_layer: conv2d, normalize_before: true, macaron_style: true,
  rel_pos_type: latest, pos_enc_layer_type: rel_pos, selfattention_layer_type: rel_selfattn,
  activation_type: swish, use_cnn_module: true, cnn_module_kernel: 31, interctc_layer_idx: [],
  stochastic_depth_rate: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]}
decoder: transformer
decoder_conf: {attention_heads: 4, linear_units: 2048, num_blocks: 6, dropout_rate: 0.1,
  positional_dropout_rate: 0.1, self_attention_dropout_rate: 0.1, src_attention_dropout_rate: 0.1}
model: espnet
model_conf: {ctc_weight: 0.3, lsm_weight: 0.1, length_normalized_loss: false, interctc_weight: 0.0,
  extract_feats_in_collect_stats: false}
ctc_conf: {ignore_nan_grad: true}
frontend: default
frontend_conf: {n_fft: 512, hop_length: 160}
unused_parameters: true
use_amp: true
num_workers: 4
num_iters_per_epoch: 500
use_preprocessor: true
batch_type: numel
batch_bins: 16000000
accum_grad: 2
grad_clip: 5
max_epoch: 50
patience: none
init: none
best_model_criterion:
-   - valid
    - acc
    - max
keep_nbest_models: [10, 5]
optim: adam
optim_conf: {lr: 0.0025, weight_decay: 0.000001}
scheduler: warmuplr
scheduler_conf: {warmup_steps: 40000}
specaug: specaug
specaug_conf: {apply_time_warp: true, time_warp_window: 5, time_warp_mode: bicubic,
  apply_freq_mask: true, freq_mask_width_range: [0, 27], num_freq_mask: 2,
  apply_time_mask: true, time_mask_width_ratio_range: [0., 0.05], num_time_mask: 10}
"""
RECURRENT = """\
optim: adadelta
init: chainer
max_epoch: 15
batch_size: 30
max_length: [800, 150]
optim_conf: {lr: 1.0, rho: 0.95, eps: 1.0e-08, weight_decay: 0}
patience: 4
val_scheduler_criterion: [valid, loss]
keep_nbest_models: 1
scheduler: reducelronplateau
scheduler_conf: {mode: min, factor: 0.5, patience: 1}
encoder: vgg_rnn
encoder_conf: {rnn_type: lstm, bidirectional: True, use_projection: True, num_layers: 3,
  hidden_size: 1024, output_size: 1024}
decoder: rnn
decoder_conf: {rnn_type: lstm, num_layers: 1, hidden_size: 1024, sampling_probability: 0.0,
  att_conf: {atype: location, adim: 1024, awin: 5, aheads: 4, aconv_chans: 10, aconv_filts: 100,
    han_type: null}}
e2e_conf: {ctc_weight: 0.2}
"""
BRANCHES = """\
encoder: e_branchformer
encoder_conf: {output_size: 256, attention_heads: 4, attention_layer_type: rel_selfattn,
  pos_enc_layer_type: rel_pos, rel_pos_type: latest, cgmlp_linear_units: 1024,
  cgmlp_conv_kernel: 31, use_linear_after_conv: false, gate_activation: identity, num_blocks: 12,
  input_layer: conv2d, layer_drop_rate: 0.0, linear_units: 1024, macaron_ffn: true, use_ffn: true,
  positionwise_layer_type: linear, merge_conv_kernel: 31, interctc_layer_idx: null}
decoder: transformer
decoder_conf: {attention_heads: 4, linear_units: 2048, num_blocks: 6, layer_drop_rate: 0.0}
model_conf: {ctc_weight: 0.3, lsm_weight: 0.1}
optim: adam
optim_conf: {lr: 0.002}
log_interval: 400
num_att_plot: 0
seed: 2022
"""


def loaded(tmp_path: Path, text: str) -> tuple[TrainConfig, list[str]]:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    config, notes = load_train_config(path)
    check_config(config, str(path))
    return config, [note.partition(f"{path}:")[2] for note in notes]


def test_a_conformer(tmp_path: Path) -> None:
    config, notes = loaded(tmp_path, CONFORMER)
    assert config.patience is None and config.init is None and config.keep_nbest_models == 10
    assert config.precision == "16-mixed" and config.model_conf.lsm_weight == 0.1
    told = " ".join(notes)
    for key in ("frontend_conf", "num_iters_per_epoch", "use_preprocessor", "unused_parameters"):
        assert f"'{key}' has no effect" in told, key
    assert "choose them with --fbank-config" in told
    assert len(notes) == 5


def test_an_older_recurrent_file(tmp_path: Path) -> None:
    config, notes = loaded(tmp_path, RECURRENT)
    assert config.model_conf.ctc_weight == 0.2 and config.fold_length == [800, 150]
    assert notes == [
        "19: 'e2e_conf' is read as 'model_conf', its current name",
        "5: 'max_length' is read as 'fold_length', its current name",
    ]


def test_an_e_branchformer(tmp_path: Path) -> None:
    config, notes = loaded(tmp_path, BRANCHES)
    assert config.encoder_conf["interctc_layer_idx"] is None and config.seed == 2022
    assert notes == ["13: 'num_att_plot' has no effect (the report draws attention)"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("model: maskctc", ":1: 'model: maskctc' is not supported: there is the hybrid"),
        ("frontend: s3prl", ":1: 'frontend: s3prl' is not supported: networks take the features"),
        ("freeze_param: [frontend.upstream]", "a cascade freezes layers"),
        ("init_param: [a.pth]", "start a cascade from the other model"),
        ("model_conf: {interctc_weight: 0.5}", "'model_conf.interctc_weight: 0.5' is not supp"),
        ("use_deepspeed: true", "every process has the whole model"),
        ("multiple_iterator: true", "combine_data.sh joins several"),
        ("encoder: contextual_block_conformer", "unknown encoder 'contextual_block_conformer'"),
        ("e2e_conf: {ctc_weigt: 1}", ":1: unknown key 'model_conf.ctc_weigt'"),
    ],
)
def test_what_makes_another_model_is_refused_by_name(
    line: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, line)
    assert message in str(caught.value)


def test_the_table_names_every_key() -> None:
    table = (Path(__file__).parents[2] / "docs" / "espnet2.md").read_text(encoding="utf-8")
    for key, reason in WITHOUT_EFFECT.items():
        assert f"| `{key}` | ignored, with a note | {reason} |" in table, key
    for key, (_, reason) in REFUSED_BUT.items():
        assert f"| `{key}` | refused" in table and reason in table, key
    assert all(f"`{old}`" in table for old in OLD_NAMES)
    assert all(f"`{name}`" in table for name in TrainConfig.__dataclass_fields__)
