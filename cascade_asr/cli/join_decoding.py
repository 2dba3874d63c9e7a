"""Join what stage 5's jobs decoded: text, token, token_int, score, nbest.tsv, ctm.

Example:
    python -m cascade_asr.cli.join_decoding --set dump/test --outdir exp/rnn/full/decode_test --jobs 4

--set and --outdir may be given several times.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade_asr import command
from cascade_asr.data.manifest import read_manifest
from cascade_asr.speech.decoding_output import join_jobs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several = {"type": Path, "action": "append", "required": True}
    parser.add_argument("--set", **several, help="dump folder of the set")
    parser.add_argument("--outdir", **several, help="where the shares are")
    parser.add_argument("--jobs", type=int, required=True, help="number of jobs")
    arguments = parser.parse_args()
    if len(arguments.set) != len(arguments.outdir):
        parser.error("--set and --outdir: give both the same number of times")
    for directory, outdir in zip(arguments.set, arguments.outdir, strict=True):
        expected = set(read_manifest(directory / "manifest.tsv").utterances)
        join_jobs(outdir, arguments.jobs, expected)


if __name__ == "__main__":
    command.run(main)
