"""What the stages of a recipe read and write, besides what a recipe says about its corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cascade_asr.cascade.names import INSIDE
from cascade_asr.data.tokens import UNIGRAM
from cascade_asr.yaml_file import read_yaml

STAGES = range(7)
DATA = "data"  # folder of stage 0
Files = tuple[list[str], list[str]]  # inputs, as for a marker, and outputs


def marker_path(stage: int, values: Mapping[str, str]) -> Path:
    """The file that says that a stage is done.

    Args:
        stage: stage of the recipe, from 0; stages 0 to 2 serve several experiments.
        values: as for `files_of_stage`.
    """
    if stage == 0:
        folder = DATA
    elif stage == 1:
        folder = values.get("dumpdir", values["dump"])
    else:
        folder = values["dump"] if stage == 2 else values["exp"]
    return Path(folder, f".stage{stage}.done")


def files_of_stage(kind: str, stage: int, values: Mapping[str, str]) -> Files:
    """Inputs that decide the result of a stage, and outputs that must stay as they are.

    Args:
        kind: ``speech`` or ``text``.
        stage: from 0; the recipe itself names the inputs of stage 0.
        values: values of all options of the recipe, and of ``exp``, ``dump``,
            ``train_set``, ``dev_set``, ``original_train_set``; ``sets`` and ``test_sets``
            are names separated by blanks.
    """
    if stage in (3, 4):
        return _trainings(stage, values, _DATA[kind](values))
    return _FILES[kind][stage](values)


def _trainings(stage: int, values: Mapping[str, str], data: list[str]) -> Files:
    experiment = values["exp"]
    full = f"{experiment}/full"
    inputs = [*data, f"@{values['train_config']}", f"seed={values['seed']}"]
    if values["train_args"]:
        inputs.append(f"train_args={values['train_args']}")
    if stage == 3:
        return inputs, [f"{full}/done.json", f"{full}/model.pth"]
    inputs += [
        f"@{values['cascade_config']}",
        f"cascade_stages={values['cascade_stages']}",
        f"@{full}/done.json",
        *(f"%{folder}/done.json" for folder in _sources_elsewhere(Path(values["cascade_config"]))),
    ]
    if values["controls"] != "none":
        inputs.append(f"controls={values['controls']}")
    trained = _of_branches(experiment, "done.json") + _of_branches(experiment, "model.pth")
    return inputs, [f"{experiment}/selection.json", *trained]


def _sources_elsewhere(cascade_config: Path) -> list[str]:
    """Folders of other experiments whose models a cascade starts from."""
    content, _ = read_yaml(cascade_config)
    named = [content.get(name) for name in ("source", "first_source")]
    return sorted({each for each in named if isinstance(each, str) and each not in INSIDE})


def _of_branches(experiment: str, name: str) -> list[str]:
    """The file of that name in each cascade stage and control that has one."""
    folders = sorted(Path(experiment).glob("*[0-9]"))
    kept = [each for each in folders if ".replaced." not in each.name]
    return [f"{experiment}/{each.name}/{name}" for each in kept if (each / name).is_file()]


def _of_all(experiment: str, name: str) -> list[str]:
    return [f"{experiment}/full/{name}", *_of_branches(experiment, name)]


def _contents(paths: list[str]) -> list[str]:
    return [f"@{path}" for path in paths]


# Speech: 0 data, 1 features, 2 tokens and batches, 5 decoding, 6 scoring and report


def _speech_data(values: Mapping[str, str]) -> list[str]:
    dump, train, dev = values["dump"], values["train_set"], values["dev_set"]
    return _contents(
        [
            f"{dump}/{train}/manifest.tsv",
            f"{dump}/{dev}/manifest.tsv",
            f"{dump}/tokens/tokens.txt",
            f"{dump}/{train}/cmvn.npz",
            f"{dump}/{dev}/cmvn.npz",
        ]
    )


def _prepared_sets(values: Mapping[str, str]) -> list[str]:
    return [values["original_train_set"], *values["sets"].split()[1:]]


def _speech_corpus(values: Mapping[str, str]) -> Files:
    return [], [f"data/{name}/text" for name in _prepared_sets(values)]


def _speech_features(values: Mapping[str, str]) -> Files:
    inputs = [
        "@data/.stage0.done",
        f"@{values['fbank_config']}",
        f"speed_perturb_factors={values['speed_perturb_factors']}",
    ]
    # named only if asked for, so that older dumps are not computed again
    if values["add_deltas"] == "true":
        inputs.append("add_deltas=true")
    if int(values["splice"]) > 0:
        inputs.append(f"splice={values['splice']}")
    for name in _prepared_sets(values):
        files = ["wav.scp", "text", "utt2spk", "segments"]
        if _has_own_features(name):
            files += ["feats.scp", "frame_shift"]
        inputs += [f"@data/{name}/{file}" for file in files]
    return inputs, [f"{values['dumpdir']}/{name}/feats.scp" for name in values["sets"].split()]


def _has_own_features(name: str) -> bool:
    """Whether a set brings its features, whose frame shift only a user can tell, even later."""
    return Path(f"data/{name}/feats.scp").is_file()


def _speech_tokens(values: Mapping[str, str]) -> Files:
    symbols, token_list = values["non_linguistic_symbols"], values["token_list"]
    limits = "{min_frames}-{max_frames},{max_characters}".format_map(values)
    inputs = [f"token_type={values['token_type']}", f"vocabulary_size={values['vocabulary_size']}"]
    if values["token_type"] == "bpe" and values.get("bpemode", UNIGRAM) != UNIGRAM:
        inputs.append(f"bpemode={values['bpemode']}")
    inputs += _contents([symbols] if symbols else [])
    inputs += [f"train_set={values['train_set']}", f"limits={limits}"]
    if token_list:
        is_folder = Path(token_list).is_dir()
        inputs.append(f"@{token_list}/tokens.txt" if is_folder else f"@{token_list}")
    dump, sets = values["dump"], values["sets"].split()
    for name in sets:
        folder = f"{values['dumpdir']}/{name}"
        inputs += [f"@{folder}/{file}" for file in ("feats.scp", "text", "cmvn.npz")]
    return inputs, [*(f"{dump}/{name}/manifest.tsv" for name in sets), f"{dump}/tokens/tokens.txt"]


def decoding_files(decode_config: Path) -> list[str]:
    """What decoding depends on besides models and data: its options and the language model."""
    content, _ = read_yaml(decode_config)
    lm = content.get("lm") if isinstance(content, dict) else None
    return [str(decode_config), *([f"{lm}/done.json"] if lm else [])]


def _speech_decoding(values: Mapping[str, str]) -> Files:
    experiment, sets = values["exp"], values["test_sets"].split()
    inputs = _contents(decoding_files(Path(values["decode_config"])))
    inputs += _contents(_of_all(experiment, "done.json"))
    outputs = []
    for name in sets:
        inputs += [f"@{values['dump']}/{name}/manifest.tsv", f"@{values['dump']}/{name}/cmvn.npz"]
        if _has_own_features(name):
            inputs.append(f"@{values['dump']}/{name}/frame_shift")
        outputs += _of_all(experiment, f"decode_{name}/text")
    return inputs, outputs


def _speech_scoring(values: Mapping[str, str]) -> Files:
    experiment = values["exp"]
    inputs = [f"@{experiment}/selection.json"]
    for name in values["test_sets"].split():
        inputs.append(f"@{values['dump']}/{name}/text")
        if Path(f"data/{name}/hub5").is_dir():
            inputs += [f"@data/{name}/hub5/{file}" for file in ("segments", "stm", "glm")]
        inputs += _contents(_of_all(experiment, f"decode_{name}/text"))
    return inputs, [*_report(experiment), *_of_all(experiment, "scores.json")]


def _report(experiment: str) -> list[str]:
    return [f"{experiment}/RESULTS.md", f"{experiment}/report.html"]


# Text: 0 text, 1 vocabulary, 2 batches, 5 perplexities, 6 report

PARTS = ("train", "valid", "test")


def _text_data(values: Mapping[str, str]) -> list[str]:
    return _contents(
        ["dump/train/tokens.npy", "dump/valid/tokens.npy", "dump/tokens/tokens.txt"]
    )


def _text_corpus(values: Mapping[str, str]) -> Files:
    return [], [f"data/{part}.txt" for part in PARTS]


def _text_vocabulary(values: Mapping[str, str]) -> Files:
    return ["@data/train.txt", f"min_count={values['min_count']}"], ["dump/tokens/tokens.txt"]


def _text_batches(values: Mapping[str, str]) -> Files:
    inputs = ["@dump/tokens/tokens.txt", *(f"@data/{part}.txt" for part in PARTS)]
    return inputs, [f"dump/{part}/tokens.npy" for part in PARTS]


def _text_perplexities(values: Mapping[str, str]) -> Files:
    experiment = values["exp"]
    inputs = [f"@{values['evaluate_config']}", *_contents(_of_all(experiment, "done.json"))]
    inputs += ["@dump/valid/tokens.npy", "@dump/test/tokens.npy"]
    return inputs, _of_all(experiment, "perplexity.json")


def _text_report(values: Mapping[str, str]) -> Files:
    experiment = values["exp"]
    inputs = [f"{experiment}/selection.json", *_of_all(experiment, "perplexity.json")]
    inputs += [f"dump/{name}/tokens.npy" for name in values["test_sets"].split()]
    return _contents(inputs), _report(experiment)


_DATA: Mapping[str, Callable[[Mapping[str, str]], list[str]]] = {
    "speech": _speech_data,
    "text": _text_data,
}
_FILES: Mapping[str, Mapping[int, Callable[[Mapping[str, str]], Files]]] = {
    "speech": {
        0: _speech_corpus,
        1: _speech_features,
        2: _speech_tokens,
        5: _speech_decoding,
        6: _speech_scoring,
    },
    "text": {
        0: _text_corpus,
        1: _text_vocabulary,
        2: _text_batches,
        5: _text_perplexities,
        6: _text_report,
    },
}
