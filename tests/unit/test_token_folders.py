"""Where the tokens of a recipe are kept: the first in dump, others beside them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import environment

from cascade_asr.errors import ConfigError
from cascade_asr.recipe.files_of_stages import files_of_stage
from cascade_asr.recipe.marker import Marker, described
from cascade_asr.recipe.token_folder import require_same_features, require_same_texts

OPTIONS = {
    "train_config": "conf/train.yaml", "train_args": "", "tag": "", "seed": "", "seeds": "",
    "dumpdir": "dump", "dump": "dump", "non_linguistic_symbols": "", "token_list": "",
    "vocabulary_size": "2000", "token_type": "char",
}  # fmt: skip


def folder(where: Path, **options: str) -> str:
    """The folder, and what is added to the name of the experiment."""
    values = [f"{name}={value}" for name, value in (OPTIONS | options).items()]
    done = subprocess.run(
        ["python", "-m", "cascade_asr.cli.recipe_stage", "names", "--kind", "speech",
         "--values", *values],
        cwd=where, capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    dump, name = done.stdout.splitlines()
    return f"{dump} {name.removeprefix('train').removeprefix('_')}".strip()


BPE = {"token_type": "bpe", "vocabulary_size": "30"}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "dump").mkdir()
    return tmp_path


def test_the_first_tokens_stand_in_dump_whatever_they_are(recipe: Path):
    assert folder(recipe) == folder(recipe, **BPE) == "dump"


def test_others_have_a_folder_and_a_name_of_their_own(recipe: Path):
    (recipe / "dump/.tokens").write_text("char")
    assert folder(recipe) == "dump"
    assert folder(recipe, **BPE) == "dump/tokens_bpe30 bpe30"
    assert folder(recipe, non_linguistic_symbols="conf/my symbols.txt") == (
        "dump/tokens_char_my_symbols char_my_symbols"
    )
    assert folder(recipe, token_list="../a/tokens").startswith("dump/tokens_list")
    (recipe / "dump/.tokens").write_text("bpe30")
    assert folder(recipe, **BPE) == "dump"
    assert folder(recipe, token_type="bpe", vocabulary_size="31") == "dump/tokens_bpe31 bpe31"


def test_pieces_of_both_kinds_have_names_of_their_own(recipe: Path):
    merges = BPE | {"bpemode": "bpe"}
    (recipe / "dump/.tokens").write_text("bpe30")
    assert folder(recipe, **BPE, bpemode="unigram") == "dump"
    assert folder(recipe, **merges) == "dump/tokens_bpe_bpe30 bpe_bpe30"
    (recipe / "dump/.tokens").write_text("bpe_bpe30")
    assert folder(recipe, **merges) == "dump"
    assert folder(recipe, **BPE) == "dump/tokens_bpe30 bpe30"
    (recipe / "dump/.tokens").unlink()
    marker = recipe / "dump/.stage2.done"
    marker.write_text("input token_type=bpe\ninput vocabulary_size=30\ninput bpemode=bpe\n")
    assert folder(recipe, **merges) == "dump"
    assert folder(recipe, **BPE) == "dump/tokens_bpe30 bpe30"
    assert folder(recipe, bpemode="bpe") == "dump/tokens_char char"
    marker.unlink()
    (recipe / "dump/tokens").mkdir()
    (recipe / "dump/tokens/tokens.json").write_text('{"token_type": "bpe", "bpemode": "bpe"}')
    assert folder(recipe, **merges) == "dump" and folder(recipe, **BPE) == "dump/tokens_bpe30 bpe30"


def test_stage_2_is_run_again_for_other_pieces_alone():
    values = OPTIONS | BPE | {
        "min_frames": "", "max_frames": "", "max_characters": "", "sets": "", "train_set": "train",
    }  # fmt: skip
    inputs = {
        mode: files_of_stage("speech", 2, values | {"bpemode": mode})[0]
        for mode in ("unigram", "bpe")
    }
    assert inputs["bpe"] == [*inputs["unigram"][:2], "bpemode=bpe", *inputs["unigram"][2:]]


def test_a_folder_of_an_older_version_stays_where_it_is(recipe: Path):
    """Its marker has the options; experiments that lost their place in dump keep their names."""
    marker = recipe / "dump/.stage2.done"
    marker.write_text("input token_type=bpe\ninput vocabulary_size=30\ninput a.txt=ab12\n")
    assert folder(recipe, **BPE) == "dump"
    assert folder(recipe, **BPE, non_linguistic_symbols="a.txt") == "dump"
    assert folder(recipe, **BPE, non_linguistic_symbols="b.txt") == "dump/tokens_bpe30_b bpe30_b"
    assert folder(recipe) == "dump/tokens_char char"
    tokens = recipe / "exp/train/tokens"
    tokens.mkdir(parents=True)
    (tokens / "tokens.json").write_text('{"token_type": "char", "bpe_model": null}')
    assert folder(recipe) == "dump/tokens_char"
    (tokens / "tokens.json").write_text('{"token_type": "bpe", "bpe_model": "bpe.model"}')
    (tokens / "tokens.txt").write_text("x\n" * 502)
    assert folder(recipe) == "dump/tokens_char char"
    assert folder(recipe, token_type="bpe", vocabulary_size="500") == "dump/tokens_bpe500"
    assert folder(recipe, token_type="bpe", vocabulary_size="501") == "dump/tokens_bpe501 bpe501"
    marker.unlink()  # killed in the middle
    (recipe / "dump/tokens").mkdir()
    (recipe / "dump/tokens/tokens.json").write_text('{\n  "token_type": "bpe"\n}\n')
    assert folder(recipe, **BPE) == "dump" and folder(recipe) == "dump/tokens_char char"


def read_by_stage_2(name: str, content: str) -> Path:
    """A file of a set, as it was when stage 2 ended."""
    path = Path(name)
    path.parent.mkdir()
    path.write_text(content)
    marker = Marker(Path("dump/.stage2.done"))
    marker.begin(described(["token_type=char", f"@{name}"]))
    marker.finish([])
    return path


def test_features_that_were_written_after_their_manifest_are_refused(recipe: Path, monkeypatch):
    monkeypatch.chdir(recipe)
    feats = read_by_stage_2("dump/dev/feats.scp", "u1 dump/dev/fbank.1.ark:3\n")
    require_same_features({"dump": "dump"})
    feats.write_text("u1 dump/dev/fbank.1.ark:17\n")
    with pytest.raises(ConfigError, match=r"dump/dev/feats.scp has changed since dump/dev/manifest"):
        require_same_features({"dump": "dump"})
    feats.unlink()  # as cascade-asr clean --what features does
    with pytest.raises(ConfigError, match=r"dump/dev/feats.scp is missing; .* \(--stage 1\)"):
        require_same_features({"dump": "dump"})


def test_texts_that_were_written_after_their_manifest_are_refused(recipe: Path, monkeypatch):
    monkeypatch.chdir(recipe)
    text = read_by_stage_2("dump/test/text", "u1 one\n")
    require_same_texts({"dump": "dump"})
    text.write_text("u1 two\n")
    with pytest.raises(ConfigError, match=r"dump/test/text has changed since dump/test/manifest"):
        require_same_texts({"dump": "dump"})


def test_the_frame_shift_of_a_set_with_its_own_features_counts(tmp_path: Path, monkeypatch):
    """A user may tell it after decoding, when its absence was reported; times depend on it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decode.yaml").write_text("beam_size: 4\n")
    (tmp_path / "data/test").mkdir(parents=True)
    values = OPTIONS | {
        "dump": "dump", "exp": "exp", "sets": "train test", "test_sets": "test", "splice": "0",
        "original_train_set": "train", "fbank_config": "fbank.conf", "speed_perturb_factors": "",
        "add_deltas": "false", "decode_config": "decode.yaml",
    }  # fmt: skip
    files = ["@data/test/frame_shift", "@dump/test/frame_shift"]

    def counted() -> list[bool]:
        inputs = [files_of_stage("speech", stage, values)[0] for stage in (1, 5)]
        return [file in each for file, each in zip(files, inputs, strict=True)]

    assert counted() == [False, False]
    (tmp_path / "data/test/feats.scp").write_text("a b.ark:1\n")
    assert counted() == [True, True]


def test_stage_4_follows_a_source_in_another_experiment(tmp_path: Path, monkeypatch):
    """A transferred classifier that was trained again since; stage 4 was skipped as done."""
    monkeypatch.chdir(tmp_path)
    Path("cascade.yaml").write_text("source: previous\nfirst_source: other/full\n")
    values = OPTIONS | {
        "exp": "exp/train", "train_set": "train", "dev_set": "dev", "controls": "none",
        "cascade_config": "cascade.yaml", "cascade_stages": "all",
    }  # fmt: skip

    def inputs() -> dict[str, str]:
        return described(files_of_stage("speech", 4, values)[0])

    Path("other/full").mkdir(parents=True)
    Path("other/full/done.json").write_text("{}")
    marker = Marker(tmp_path / "stage4.done", run="this")
    marker.begin(inputs())
    marker.finish([])
    assert marker.stale(inputs()) is None
    Path("other/full/done.json").write_text('{"again": 1}')
    assert marker.stale(inputs()) == "other/full/done.json has changed; running again"
    Path("other/full/done.json").unlink()  # as where the other experiment is not kept
    assert marker.stale(inputs()) is None


def test_what_decoding_reads_is_told_line_by_line(tmp_path: Path):
    """A blank in a name made two names of it, of which neither is a file that may change."""
    (tmp_path / "my decode.yaml").write_text("beam_size: 3\nlm: ../my lm/full\n")
    done = subprocess.run(
        ["python", "-m", "cascade_asr.cli.recipe_stage", "decoding", "my decode.yaml"],
        cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.stdout == "@my decode.yaml\n@../my lm/full/done.json\n"
