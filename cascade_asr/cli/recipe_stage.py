"""Ask whether a stage of a recipe is done, and record that it is.

`cascade_asr.recipe.files_of_stages` defines what decides the result of a stage and what
it writes; a stage counts as done as long as neither has changed.

Examples (in a recipe's folder):
    python -m cascade_asr.cli.recipe_stage begin 3 --kind speech --values exp=exp/rnn train_set=train ...
    python -m cascade_asr.cli.recipe_stage work begin exp/rnn/full/decode_test/.done @conf/decode.yaml
    python -m cascade_asr.cli.recipe_stage digest ~/corpora/fsdd
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from cascade_asr import command
from cascade_asr.cli.option_files import check_option_files
from cascade_asr.errors import ConfigError
from cascade_asr.recipe.files_of_stages import (
    STAGES,
    decoding_files,
    files_of_stage,
    marker_path,
)
from cascade_asr.recipe.marker import Marker, described
from cascade_asr.recipe.state_of_files import tree_digest
from cascade_asr.recipe.token_folder import (
    has_such_tokens,
    prepare_token_folder,
    require_same_features,
    require_same_texts,
    token_folder,
)

DONE = "done"
TO_DO = "to do: "
TRAININGS = (3, 4)  # each keeps other processes away from its folder
SOURCE = "source"  # known only to stage 0 itself, such as what was downloaded
LONGEST_NAME = 100  # characters that training options may add to an experiment's name


def main() -> None:
    arguments = _parser().parse_args()
    answer = arguments.run(arguments)
    if answer is not None:
        print(answer)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("check", _check_stage, "print 'done', or 'to do: ' and the reason"),
        ("begin", _check_stage, "the same; if it is to do, it counts as not done from now on"),
        ("finish", _finish_stage, "record that it is done"),
    ):
        stage = commands.add_parser(name, help=text)
        stage.add_argument("stage", type=int, choices=STAGES, help="stage of the recipe")
        stage.add_argument("--kind", choices=("speech", "text"), required=True)
        stage.add_argument(
            "--input", action="append", default=[], help="input of the recipe: NAME=VALUE, @FILE or %%TREE"
        )
        stage.add_argument("--values", nargs="*", default=[], help="NAME=VALUE of all options and sets")
        stage.set_defaults(run=run, starts=name == "begin")
    work = commands.add_parser("work", help="the same for a piece of work inside a stage")
    work.add_argument("action", choices=("check", "begin", "finish"))
    work.add_argument("marker", type=Path, help="file that stands for the work")
    work.add_argument("files", nargs="*", help="inputs; for finish, outputs")
    work.set_defaults(run=_work)
    digest = commands.add_parser("digest", help="print a digest of a file's or folder's state")
    digest.add_argument("path", type=Path)
    digest.set_defaults(run=lambda arguments: tree_digest(arguments.path))
    decoding = commands.add_parser("decoding", help="print what a decoding configuration reads, one a line")
    decoding.add_argument("config", type=Path)
    decoding.set_defaults(run=lambda arguments: _inputs_of_decoding(arguments.config))
    for name, run, text in (
        ("names", _names, "print the folder that training reads, and the TAG of exp/TAG"),
        ("token-folder", _prepare_tokens, "make the token folder, before stage 2 writes to it"),
        ("same-features", _require_features, "fail if stage 1 has written features or texts after stage 2"),
        ("same-texts", _require_texts, "fail if it has written other texts"),
    ):
        about = commands.add_parser(name, help=text)
        about.add_argument("--kind", choices=("speech", "text"), required=True)
        about.add_argument("--values", nargs="*", default=[], help="NAME=VALUE of all options")
        about.set_defaults(run=run)
        if run is _names:
            about.add_argument(
                "--check-options", action="store_true", help="check them first, with the files that they name"
            )
    return parser


def _check_stage(arguments: argparse.Namespace) -> str:
    values = _values(arguments.values)
    inputs, _ = files_of_stage(arguments.kind, arguments.stage, values)
    marker = Marker(marker_path(arguments.stage, values))
    return _answer(marker, described([*arguments.input, *inputs]), arguments.starts)


def _answer(marker: Marker, now: dict[str, str], starts: bool) -> str:
    reason = marker.stale(now)
    if reason is None:
        return DONE
    if starts:
        marker.begin(now)
    return TO_DO + reason


def _finish_stage(arguments: argparse.Namespace) -> None:
    values = _values(arguments.values)
    _, outputs = files_of_stage(arguments.kind, arguments.stage, values)
    told = {
        name: value for name, value in described(arguments.input).items() if name == SOURCE
    }
    is_locked = arguments.stage in TRAININGS
    Marker(marker_path(arguments.stage, values)).finish(outputs, told, is_locked)


def _work(arguments: argparse.Namespace) -> str | None:
    marker = Marker(arguments.marker)
    if arguments.action == "finish":
        marker.finish(arguments.files)
        return None
    return _answer(marker, described(arguments.files), arguments.action == "begin")


def _inputs_of_decoding(config: Path) -> str:
    return "\n".join(f"@{path}" for path in decoding_files(config))


def _values(words: list[str]) -> Mapping[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [name for name, separator, _ in pairs if not separator]:
        raise ConfigError(f"'{wrong[0]}': expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _names(arguments: argparse.Namespace) -> str:
    values = _values(arguments.values)
    if arguments.check_options:
        check_option_files(arguments.kind, values)
    dump, kind_tag = Path(values["dump"]), ""
    if arguments.kind == "speech":
        dump, kind_tag = token_folder(values)
    return f"{dump}\n{values['tag'] or _experiment_name(values, kind_tag)}"


def _prepare_tokens(arguments: argparse.Namespace) -> None:
    prepare_token_folder(_values(arguments.values))


def _require_features(arguments: argparse.Namespace) -> None:
    require_same_features(_values(arguments.values))
    _require_texts(arguments)


def _require_texts(arguments: argparse.Namespace) -> None:
    require_same_texts(_values(arguments.values))


def _experiment_name(values: Mapping[str, str], kind_tag: str) -> str:
    """Name of the experiment; as in ESPnet, it contains the command line's training options.

    Thus no two settings share a folder. Experiments from before token folders had names
    keep their old name.
    """
    given = values["train_args"]
    added = "".join("_" + re.sub(r"[^A-Za-z0-9._+-]", "", word) for word in given.split())
    lossy = re.search(r"[^A-Za-z0-9._+=\s-]", given)
    if len(added) > LONGEST_NAME or lossy:
        digest = sha256(given.encode()).hexdigest()[:10]
        added = f"{added[: LONGEST_NAME - 10]}_{digest}"
    name = Path(values["train_config"]).name.removesuffix(".yaml") + added
    seed = f"_seed{values['seed']}" if values["seed"] else ""
    first = f"_seed{values['seeds'].split(',')[0]}" if values["seeds"] else ""
    if kind_tag and not has_such_tokens(Path("exp", name + seed + first), values):
        name += f"_{kind_tag}"
    return name + seed


if __name__ == "__main__":
    command.run(main)
