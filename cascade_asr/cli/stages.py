"""Print the names of an experiment's finished stages, full training first.

Example:
    python -m cascade_asr.cli.stages exp/rnn
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cascade_asr.cli import command
from cascade_asr.errors import ConfigError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exp", type=Path, help="experiment folder, exp/TAG")
    path = parser.parse_args().exp / "selection.json"
    if not path.is_file():
        raise ConfigError(f"{path}: not found; run stage 3 first")
    for stage in json.loads(path.read_text())["stages"]:
        print(stage["name"])


if __name__ == "__main__":
    command.run(main)
