"""Make a recipe for your own data: run.sh, cmd.sh, path.sh, conf/ and a README.

It works in a clone (egs/NAME) and anywhere else.

Examples:
    cascade-asr new-recipe egs/mycorpus
    cascade-asr new-recipe ~/experiments/mycorpus
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cascade_asr import command
from cascade_asr.recipe.new_recipe import create_recipe


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", type=Path, metavar="NAME", help="folder to make; must not exist")
    folder = create_recipe(parser.parse_args().name)
    print(f"{folder} is ready; begin with its README.md, or")
    print(f"  cd {shlex.quote(str(folder))} && ./run.sh --train-data ... --dev-data ... --test-data ...")


if __name__ == "__main__":
    command.run(main)
