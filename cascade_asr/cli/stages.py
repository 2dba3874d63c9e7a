"""Print the trainings to be decoded, full training first.

These are full training, all finished stages of the cascade, and for each control
the training that the dev metric selects.

Example:
    python -m cascade_asr.cli.stages exp/rnn
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.errors import ConfigError
from cascade_asr.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exp", type=Path, help="experiment folder, exp/TAG")
    path = parser.parse_args().exp / "selection.json"
    if not path.is_file():
        raise ConfigError(f"{path}: not found; run stage 3 first")
    selection = read_json(path)
    names = [stage["name"] for stage in selection["stages"]]
    names += [control["selected"] for control in selection.get("controls", {}).values()]
    print(*dict.fromkeys(names), sep="\n")


if __name__ == "__main__":
    command.run(main)
