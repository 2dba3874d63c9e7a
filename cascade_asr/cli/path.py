"""Print the folder that holds utils/, conf/ and path.sh, in a clone or installed by pip.

Examples:
    cascade-asr path
    . "$(cascade-asr path)/path.sh"      # in path.sh of a recipe outside the clone
"""

from __future__ import annotations

import argparse

from cascade_asr import command
from cascade_asr.files import toolkit_folder


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(toolkit_folder())


if __name__ == "__main__":
    command.run(main)
