"""Gender of WSJ's speakers, as far as it is on the discs."""

from __future__ import annotations

from pathlib import Path

from wsj_discs import Corpus

from cascade_asr.data.audio.corpus_files import read_lines
from cascade_asr.errors import ConfigError

# Not on the discs: the speakers of si84, which LDC published in wsj0-train-spkrinfo.txt.
LISTS = (
    ("11-13.1", "wsj0/doc/spkrinfo.txt"),
    ("13-32.1", "wsj1/doc/evl_spok/spkrinfo.txt"),
    ("13-34.1", "wsj1/doc/dev_spok/spkrinfo.txt"),
    ("13-34.1", "wsj1/doc/train/spkrinfo.txt"),
)


def read_genders(corpus: Corpus, more: Path | None) -> dict[str, str]:
    """``m`` or ``f`` by lower-case speaker, from all available lists.

    Raises:
        ConfigError: if the list that the user adds is missing.
    """
    if more is not None and not more.is_file():
        raise ConfigError(f"--wsj0-train-spkrinfo {more}: no such file")
    genders: dict[str, str] = {}
    found = (corpus.find_if_there(disc, path) for disc, path in LISTS)
    for path in [*found, more]:
        if path is None:
            continue
        for line in read_lines(path):
            words = line.lower().split()
            if line.startswith((";", "--")) or len(words) < 2:
                continue
            if len(words[0]) == 3 and words[1] in ("m", "f"):
                genders.setdefault(words[0], words[1])
    return genders
