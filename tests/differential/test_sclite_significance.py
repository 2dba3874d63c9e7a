"""Our matched-pairs test against NIST's sc_stats, on random pairs of systems."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from cascade_asr.scoring.options import ScoringOptions
from cascade_asr.scoring.score import ScoreResult
from cascade_asr.scoring.scorer import score_texts
from cascade_asr.scoring.significance import compare

SCLITE = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")
VOCABULARY = [f"w{number}" for number in range(30)]
RESULT = re.compile(
    rb"# segs: (\d+)\).*mean: +(\S+)\).*std dev: +(\S+)\).*Z Stat: +(\S+)\).*Diff: (\w+)\)"
)

MISSING = "real sc_stats not found: MAPSSWE IS NOT CHECKED AGAINST IT; apt-get install sctk"
pytestmark = pytest.mark.skipif(SCLITE is None, reason=MISSING)
if SCLITE is None:
    # A skip alone is easily overlooked; a warning appears in every summary.
    warnings.warn(MISSING, stacklevel=1)


def recognise(draw: random.Random, words: list[str], error_rate: float) -> list[str]:
    result = []
    for word in words:
        kind = draw.random() / error_rate
        if kind < 0.3:
            continue
        result.append(draw.choice(VOCABULARY) if kind < 0.7 else word)
        if 0.7 <= kind < 1:
            result.append(draw.choice(VOCABULARY))
    return result


def systems(seed: int) -> tuple[dict, dict, dict]:
    """A reference and two systems that share some of their errors."""
    draw = random.Random(seed)
    reference, first, second = {}, {}, {}
    for number in range(draw.choice([5, 60, 300])):
        name = f"s{number % 4}-{number:03d}"
        words = draw.choices(VOCABULARY, k=draw.randint(0, 25))
        common = recognise(draw, words, 0.1) if draw.random() < 0.5 else words
        reference[name] = words
        first[name] = recognise(draw, common, draw.choice([0.001, 0.15]))
        second[name] = recognise(draw, common, draw.choice([0.001, 0.1, 0.2]))
    return reference, first, second


def run_sc_stats(reference: dict, first: dict, second: dict, folder: Path) -> list[bytes]:
    """Segments, mean, deviation, Z and decision as sc_stats prints them."""
    sgml = b""
    for side, texts in (("ref", reference), ("a", first), ("b", second)):
        lines = "".join(f"{' '.join(words)} ({name})\n" for name, words in texts.items())
        (folder / side).write_text(lines)
        if side != "ref":
            command = [SCLITE, "-r", "ref", "trn", "-h", side, "trn", side, "-i", "rm"]
            subprocess.run([*command, "-o", "sgml"], cwd=folder, check=True, capture_output=True)
            sgml += (folder / f"{side}.sgml").read_bytes()
    command = [str(Path(SCLITE).parent / "sc_stats"), "-p", "-t", "mapsswe", "-v", "-n", "x"]
    subprocess.run(command, cwd=folder, input=sgml, check=True, capture_output=True)
    return list(RESULT.search((folder / "x.stats.mapsswe").read_bytes()).groups())


@pytest.mark.parametrize("seed", range(12))
def test_mapsswe_equals_sc_stats(seed: int, tmp_path: Path) -> None:
    reference, first, second = systems(seed)
    segments, mean, deviation, z, different = run_sc_stats(reference, first, second, tmp_path)
    results: list[ScoreResult] = [
        score_texts(reference, texts, options=ScoringOptions()) for texts in (first, second)
    ]
    test = compare(*results, samples=10).mapsswe
    assert test.segments == int(segments)
    assert test.mean == pytest.approx(float(mean), abs=5.01e-4)
    assert test.deviation == pytest.approx(float(deviation), abs=5.01e-4)
    assert test.z == pytest.approx(float(z), abs=5.01e-4)
    assert test.significant == (different == b"Yes")
