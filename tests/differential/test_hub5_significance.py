"""MAPSSWE between two systems that hubscr.pl scored, against NIST's sc_stats."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from test_sclite_significance import MISSING, RESULT, SCLITE, VOCABULARY, recognise

from cascade_asr.scoring.hub5.hub5 import Hub5Reference, score_hub5
from cascade_asr.scoring.significance import compare

pytestmark = pytest.mark.skipif(SCLITE is None, reason=MISSING)
GLM = """;; a first line of comment tells the filter how comments begin
* name "random.glm"
* desc "alternatives and optional words"
* format = 'NIST1'
* max_nrules = '10'
* copy_no_hit = 'T'
* case_sensitive = 'F'
[W1] => [{W1 / W2 W3}] / [ ] __ [ ]
"""


def make_set(folder: Path, draw: random.Random) -> tuple[Hub5Reference, dict[str, list[str]]]:
    """A reference with optional words, fragments, alternatives and empty segments."""
    texts, segments, stm = {}, [], []
    for side in ("en_1 A", "en_1 B", "sw_2 A", "sw_2 B"):
        file, channel = side.split()
        for number in range(30):
            words = draw.choices(VOCABULARY, k=draw.randint(0, 12))
            start, name = 5 * number, f"{file}-{channel}_{number:03d}"
            texts[name] = words
            segments.append(f"{name} {file}-{channel} {start} {start + 4}\n")
            written = [f"{word}-" if draw.random() < 0.05 else word for word in words]
            # csrfilt breaks an optional word apart that has alternatives
            written = [
                f"({word})" if draw.random() < 0.1 and word != "w1" else word for word in written
            ]
            stm.append(f"{side} x {start} {start + 4} <O> {' '.join(written)}\n")
    for name, content in (("segments", "".join(segments)), ("stm", "".join(stm)), ("glm", GLM)):
        (folder / name).write_text(content)
    return Hub5Reference.read(
        "random", folder / "segments", folder / "stm", folder / "glm"
    ), texts


@pytest.mark.parametrize("seed", range(4))
def test_mapsswe_of_conversations_equals_sc_stats(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    reference, texts = make_set(tmp_path, draw)
    results, sgml = [], b""
    for system, rate in (("a", 0.2), ("b", 0.12)):
        lines = (f"{name} {' '.join(recognise(draw, words, rate))}\n" for name, words in texts.items())
        (tmp_path / system).write_text("".join(lines))
        folder = tmp_path / f"out_{system}"
        scored = score_hub5(
            Path(SCLITE).parent, reference, tmp_path / system, folder, pytest.fail, strict=True
        )
        results.append(scored["all"])
        report = (folder / "all/hyp.ctm.filt.sgml").read_bytes()
        sgml += report.replace(b'title="hyp.ctm"', f'title="{system}"'.encode())
    command = [str(Path(SCLITE).parent / "sc_stats"), "-p", "-t", "mapsswe", "-v", "-n", "x"]
    subprocess.run(command, cwd=tmp_path, input=sgml, check=True, capture_output=True)
    found = RESULT.search((tmp_path / "x.stats.mapsswe").read_bytes())
    segments, mean, deviation, z, different = found.groups()
    test = compare(*results, samples=10, unit="speaker").mapsswe
    assert test.segments == int(segments) > 50
    assert test.mean == pytest.approx(float(mean), abs=5.01e-4)
    assert test.deviation == pytest.approx(float(deviation), abs=5.01e-4)
    assert test.z == pytest.approx(float(z), abs=5.01e-4)
    assert test.significant == (different == b"Yes")
