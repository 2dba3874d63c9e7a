"""Keys of ESPnet2's training files without an option here: ignored with a note, or refused.

The table in docs/espnet2.md is made from these; a test compares them.
"""

from __future__ import annotations

from typing import Any

from cascade_asr.options.places import place

_RECIPE = "given by the recipe"
_COMMAND = "given by the command"
_READING = "features are read from archives, batch by batch"
_DISTRIBUTED = "processes are started by the command or by Slurm"

# Keys that change nothing here; a file with them works, with a note.
WITHOUT_EFFECT = {
    "num_att_plot": "the report draws attention",
    "log_level": "set by the command",
    "print_config": "use --help",
    "unused_parameters": "frozen, absent and skipped parts are known",
    "cudnn_enabled": "on",
    "cudnn_benchmark": "off: results are reproducible",
    "cudnn_deterministic": "on: results are reproducible",
    "use_tf32": "set by precision",
    "sort_in_batch": "batches are sorted as the network needs",
    "sort_batch": "see short_first_epochs",
    "shuffle_within_batch": "the order inside a batch changes nothing",
    "valid_batch_type": "as batch_type",
    "valid_batch_size": "as batch_size",
    "valid_iterator_type": "the dev set is read in order",
    "drop_last_iter": "every utterance is trained on",
    "num_iters_per_epoch": "an epoch is the whole training set; choose max_epoch accordingly",
    "resume": "a training always resumes where a checkpoint exists",
    "dry_run": "stage 2 tries a step of every network",
    "no_forward_run": "stage 2 tries a step of every network",
    "collect_stats": "stage 1 does it",
    "write_collected_feats": "stage 1 writes features",
    "use_matplotlib": "the report draws",
    "create_graph_in_tensorboard": "the graph is not drawn",
    "use_wandb": "TensorBoard files are written",
    "detect_anomaly": "a loss that is not a number is reported with its utterances",
    "report_cer": "CER and WER are always logged",
    "report_wer": "CER and WER are always logged",
    "frontend_conf": "features are computed in stage 1; choose them with --fbank-config",
    "use_preprocessor": "texts are always split into tokens in stage 2",
    "preprocessor_conf": "texts are always split into tokens in stage 2",
    "token_type": _RECIPE,
    "token_list": _RECIPE,
    "bpemodel": _RECIPE,
    "non_linguistic_symbols": _RECIPE,
    "cleaner": _RECIPE,
    "g2p": _RECIPE,
    "input_size": "that of the features",
    "output_dir": _RECIPE,
    "ngpu": _COMMAND,
    "train_shape_file": _RECIPE,
    "valid_shape_file": _RECIPE,
    "train_data_path_and_name_and_type": _RECIPE,
    "valid_data_path_and_name_and_type": _RECIPE,
    "allow_variable_data_keys": _READING,
    "max_cache_size": _READING,
    "max_cache_fd": _READING,
    "valid_max_cache_size": _READING,
    "chunk_length": "utterances are not cut",
    "chunk_shift_ratio": "utterances are not cut",
    "num_cache_chunks": "utterances are not cut",
    "multiprocessing_distributed": _DISTRIBUTED,
    "dist_backend": _DISTRIBUTED,
    "dist_init_method": _DISTRIBUTED,
    "dist_world_size": _DISTRIBUTED,
    "dist_rank": _DISTRIBUTED,
    "local_rank": _DISTRIBUTED,
    "dist_master_addr": _DISTRIBUTED,
    "dist_master_port": _DISTRIBUTED,
    "dist_launcher": _DISTRIBUTED,
    "nbest_averaging_interval": "averaging happens at the end",
    "model_conf.extract_feats_in_collect_stats": "stage 1 computes features",
}

# Keys that are refused, and the values with which they change nothing and are accepted.
REFUSED_BUT: dict[str, tuple[tuple[Any, ...], str]] = {
    "model": ((None, "espnet"), "there is the hybrid CTC/attention model only"),
    "frontend": (
        (None, "default"),
        "networks take the features of stage 1; speech representation models do not exist here",
    ),
    "preencoder": ((None,), "the encoder takes the features directly"),
    "preencoder_conf": ((None, {}), "the encoder takes the features directly"),
    "postencoder": ((None,), "the decoder takes the encoder's output directly"),
    "postencoder_conf": ((None, {}), "the decoder takes the encoder's output directly"),
    "joint_net_conf": ((None, {}), "there are no transducers"),
    "preprocessor": ((None, "default"), "texts are split into tokens in stage 2"),
    "iterator_type": ((None, "sequence"), "whole utterances are trained on"),
    "multiple_iterator": ((None, False), "give one training set; combine_data.sh joins several"),
    "train_dtype": ((None, "float32"), "write precision: bf16-mixed or 16-mixed"),
    "grad_noise": ((None, False), "gradients get no noise"),
    "exclude_weight_decay": ((None, False), "weight decay acts on all weights"),
    "exclude_weight_decay_conf": ((None, {}), "weight decay acts on all weights"),
    "sharded_ddp": ((None, False), "every process has the whole model"),
    "use_deepspeed": ((None, False), "every process has the whole model"),
    "deepspeed_config": ((None,), "every process has the whole model"),
    "use_adapter": ((None, False), "there are no adapters"),
    "adapter": ((None, "lora"), "there are no adapters"),
    "adapter_conf": ((None, {}), "there are no adapters"),
    "init_param": ((None, []), "start a cascade from the other model: source in its YAML"),
    "pretrain_path": ((None,), "start a cascade from the other model: source in its YAML"),
    "ignore_init_mismatch": ((None, False), "weights must fit"),
    "freeze_param": ((None, []), "a cascade freezes layers: cuts in its YAML"),
    "speech_volume_normalize": ((None,), "audio is taken as it is"),
    "rir_scp": ((None,), "add reverberated copies to the data"),
    "noise_scp": ((None,), "add noisy copies to the data"),
    "model_conf.interctc_weight": ((0, None), "intermediate CTC does not exist here"),
    "model_conf.aux_ctc": ((None, {}), "auxiliary CTC does not exist here"),
    "model_conf.ignore_id": ((-1,), "targets are padded with -1"),
    "model_conf.lang_token_id": ((-1,), "there are no language tokens"),
    "model_conf.sym_blank": (("<blank>",), "the token list decides it"),
    "model_conf.sym_space": (("<space>",), "the token list decides it"),
    "model_conf.sym_sos": (("<sos/eos>",), "the token list decides it"),
    "model_conf.sym_eos": (("<sos/eos>",), "the token list decides it"),
    "model_conf.transducer_multi_blank_durations": ((None, []), "there are no transducers"),
}

# old names that some of ESPnet2's files still use, and the current ones
OLD_NAMES = {"e2e_conf": "model_conf", "max_length": "fold_length"}


def take_espnet2_keys(
    content: dict[str, Any], lines: dict[str, int], where: str
) -> tuple[list[str], list[str]]:
    """Take out keys that only ESPnet2 has.

    Args:
        content: keys and values; changed in place.
        lines: line of each dotted key; old names are replaced by new ones.
        where: the file, for the messages.

    Returns:
        Notes on keys without effect, and problems with keys that would have one.
    """
    notes, problems = [], []
    for old, new in OLD_NAMES.items():
        if old in content and new not in content:
            content[new] = content.pop(old)
            notes.append(f"{place(where, lines, old)}: '{old}' is read as '{new}', its current name")
            for key in [key for key in lines if key == old or key.startswith(f"{old}.")]:
                lines[new + key.removeprefix(old)] = lines[key]
    for prefix, block in (("", content), ("model_conf.", content.get("model_conf"))):
        for key in list(block) if isinstance(block, dict) else []:
            dotted = f"{prefix}{key}"
            at = place(where, lines, dotted)
            reason = WITHOUT_EFFECT.get(dotted, WITHOUT_EFFECT.get(key) if prefix else None)
            if reason:
                notes.append(f"{at}: '{key}' has no effect ({reason})")
                del block[key]
            elif dotted in REFUSED_BUT:
                accepted, reason = REFUSED_BUT[dotted]
                if block[key] not in accepted:
                    problems.append(f"{at}: '{dotted}: {block[key]}' is not supported: {reason}")
                del block[key]
    return notes, problems
