"""Make the data folders train_nodev, train_dev and test of CMU AN4.

train_dev is the first 100 utterances of the training part in sorted order of
their ids, as in ESPnet's recipe, train_nodev the others.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path

import an4
import download_an4
from an4 import Utterance

from cascade_asr import command
from cascade_asr.data.audio.corpus_files import read_headers, shown
from cascade_asr.data.features.archive import ArchiveWriter
from cascade_asr.data.kaldi.data_dir import DataDir
from cascade_asr.errors import ConfigError, DataError

log = logging.getLogger(__name__)

AUDIO = (".sph", ".raw")


def find_corpus(given: Path | None, outdir: Path, downloads: Path) -> Path:
    """The root of the corpus: a folder, an unpacked archive, or an unpacked download.

    Raises:
        DataError: if there is none, or it is unusable.
    """
    if given is None:
        given = download_an4.download(downloads)
    if given.is_dir():
        return an4.find_root(given)
    if not given.is_file():
        raise DataError(f"{given}: no such folder or archive; give the one of AN4 from {an4.URLS[0]}")
    if not an4.is_archive(given):
        raise DataError(f"{given}: neither a folder nor an archive (.tar.gz, .tgz, .tar)")
    return an4.unpack(given, outdir / "unpacked")


def split_sets(
    train: list[Utterance], test: list[Utterance], dev_utterances: int
) -> dict[str, list[Utterance]]:
    """ESPnet's three sets.

    Raises:
        DataError: if nothing is left to train on, or an utterance is in both parts.
    """
    both = {each.identifier for each in train} & {each.identifier for each in test}
    if both:
        raise DataError(f"{len(both)} utterances are in training and test: {shown(sorted(both))}")
    if len(train) <= dev_utterances:
        raise DataError(
            f"the corpus has {len(train)} training utterances, of which train_dev would take "
            f"{dev_utterances}: none would be left to train on (--dev-utterances)"
        )
    ordered = sorted(train, key=lambda each: each.identifier)
    return {
        "train_nodev": ordered[dev_utterances:],
        "train_dev": ordered[:dev_utterances],
        "test": sorted(test, key=lambda each: each.identifier),
    }


def find_all(
    root: Path, folder: str, suffixes: tuple[str, ...], utterances: list[Utterance]
) -> dict[str, Path]:
    """The file for each utterance.

    Raises:
        DataError: naming the first utterances without one.
    """
    files = an4.find_by_id(root, folder, suffixes)
    ids = {each.corpus_id for each in utterances}
    missing = sorted(ids - files.keys())
    if missing:
        raise DataError(
            f"{root}/{folder}: {len(missing)} of {len(ids)} files missing, first: {missing[0]}{suffixes[0]}"
        )
    extra = sorted(files.keys() - ids)
    if extra:
        log.warning("%d files have no transcript and are left out: %s", len(extra), shown(extra, 5))
    return {name: path.resolve() for name, path in files.items() if name in ids}


def audio_table(files: dict[str, Path], raw_byte_order: str) -> dict[str, str]:
    """A wav.scp entry for each utterance's file; SPHERE headers are checked."""
    sphere = [path for path in files.values() if path.suffix.lower() == ".sph"]
    if sphere:
        read_headers(sphere, an4.SAMPLE_RATE, 1)
    raw = sorted(path for path in files.values() if path.suffix.lower() == ".raw")
    if raw:
        raw_byte_order = an4.check_byte_order(raw, raw_byte_order)
        log.info("%d .raw files: 16 kHz, 16 bit, mono, %s endian", len(raw), raw_byte_order)
    entries = {}
    for name, path in files.items():
        quoted = shlex.quote(str(path))
        if path.suffix.lower() == ".sph":
            entries[name] = f"python -m cascade_asr.cli.sphere {quoted} |"
        else:
            options = f"-t raw -r {an4.SAMPLE_RATE} -e signed -b 16 -c 1 --endian {raw_byte_order}"
            entries[name] = f"sox -R -D {options} {quoted} -t wav - |"
    return entries


def write_cepstra(
    files: dict[str, Path], sets: dict[str, list[Utterance]], outdir: Path
) -> dict[str, str]:
    """Write the cepstra of each set to an archive; return feats.scp entries by CMU's id."""
    entries = {}
    folder = (outdir / "cepstra").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name, utterances in sets.items():
        ark, table = folder / f"{name}.ark", folder / f"{name}.scp"
        with ArchiveWriter(ark, table) as writer:
            for each in utterances:
                writer(each.corpus_id, an4.read_cepstra(files[each.corpus_id]))
        entries |= dict(line.split(None, 1) for line in table.read_text("utf-8").splitlines())
        table.unlink()
    return entries


def write_sets(
    sets: dict[str, list[Utterance]], table: str, entries: dict[str, str], outdir: Path
) -> None:
    """Write the data folders, with ``entries`` as their wav.scp or feats.scp."""
    for name, utterances in sets.items():
        tables = {
            table: {each.identifier: entries[each.corpus_id] for each in utterances},
            "text": {each.identifier: each.words for each in utterances},
            "utt2spk": {each.identifier: each.speaker for each in utterances},
        }
        DataDir(outdir / name, tables).write(outdir / name)
        speakers = len({each.speaker for each in utterances})
        log.info("%s: %d utterances by %d speakers", name, len(utterances), speakers)


def prepare(options: argparse.Namespace) -> None:
    """Write the three data folders."""
    given = options.an4_mfcc or options.an4
    root = find_corpus(given, options.outdir, options.downloads)
    parts = {
        part: an4.read_transcription(root / f"etc/an4_{part}.transcription") for part in an4.PARTS
    }
    for part, utterances in parts.items():
        if len(utterances) != an4.UTTERANCES[part]:
            log.warning("%s: %d utterances, AN4 has %d: results cannot be compared with others'",
                        part, len(utterances), an4.UTTERANCES[part])  # fmt: skip
    sets = split_sets(parts["train"], parts["test"], options.dev_utterances)
    everything = [each for utterances in parts.values() for each in utterances]
    if options.an4_mfcc:
        files = find_all(root, "feat", (".mfc",), everything)
        write_sets(sets, "feats.scp", write_cepstra(files, sets, options.outdir), options.outdir)
    else:
        files = find_all(root, "wav", AUDIO, everything)
        write_sets(sets, "wav.scp", audio_table(files, options.raw_byte_order), options.outdir)


def main() -> None:
    """Parse the command line and write the data folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outdir", type=Path, default=Path("data"), help="where to write the data folders")
    parser.add_argument("--an4", type=Path, help="AN4: a folder or an archive; default: download it")
    parser.add_argument("--an4-mfcc", type=Path, help="its cepstra instead: a folder or an archive")
    parser.add_argument("--downloads", type=Path, default=Path("downloads"), help="kept files")
    parser.add_argument("--dev-utterances", type=int, default=100, help="of train_dev")
    parser.add_argument("--raw-byte-order", choices=("auto", "big", "little"), default="auto",
                        help="byte order of .raw files; auto: guess it from the samples")  # fmt: skip
    options = parser.parse_args()
    if options.an4 and options.an4_mfcc:
        raise ConfigError("--an4 and --an4-mfcc: give one of them")
    if options.dev_utterances < 1:
        raise ConfigError(f"--dev-utterances {options.dev_utterances}: expected 1 or more")
    prepare(options)


if __name__ == "__main__":
    command.run(main)
