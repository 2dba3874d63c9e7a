"""Join the shares that the jobs of stage 5 decoded.

Example:
    python -m cascade_asr.cli.join_decoding --set dump/test --outdir exp/rnn/full/decode_test --jobs 4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.kaldi.tables import read_table, write_table
from cascade_asr.data.manifest import read_manifest
from cascade_asr.errors import DataError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", type=Path, required=True, help="dump folder of the set")
    parser.add_argument("--outdir", type=Path, required=True, help="where the shares are")
    parser.add_argument("--jobs", type=int, required=True, help="how many jobs there were")
    arguments = parser.parse_args()
    expected = set(read_manifest(arguments.set / "manifest.tsv").utterances)
    for name in ("score", "text"):
        joined: dict[str, str] = {}
        for job in range(1, arguments.jobs + 1):
            joined |= read_table(arguments.outdir / f"{name}.{job}")
        missing = sorted(expected - set(joined))
        if missing:
            raise DataError(
                f"{arguments.outdir}: {len(missing)} of {len(expected)} utterances were not "
                f"decoded, first: {missing[0]}; run stage 5 again"
            )
        write_table(arguments.outdir / name, dict(sorted(joined.items())))
        for job in range(1, arguments.jobs + 1):
            (arguments.outdir / f"{name}.{job}").unlink()


if __name__ == "__main__":
    command.run(main)
