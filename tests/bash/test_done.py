"""Markers of finished work: fresh only while inputs and outputs are what they were."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from cascade_asr.errors import ConfigError
from cascade_asr.recipe.marker import Marker, described
from cascade_asr.recipe.state_of_files import SMALL_BYTES, tree_digest

TOOLKIT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bash(tmp_path: Path):
    def run(script: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n. {TOOLKIT}/utils/done.sh\n{script}"],
            capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False,
        )  # fmt: skip

    return run


INPUTS = '"lr=0.1" "@in.txt"'  # as words of a shell


def work(inputs: str = INPUTS) -> None:
    """Do the work with some inputs: one output, and the marker after it."""
    Path("in.txt").write_text("1\n")
    Path("out.txt").write_text("result\n")
    marker = Marker(Path("work.done"))
    marker.begin(described(shlex.split(inputs)))
    marker.finish(["out.txt"])


def checked(inputs: str = INPUTS) -> str:
    stale = Marker(Path("work.done")).stale(described(shlex.split(inputs)))
    return "fresh" if stale is None else f"stale: {stale}".strip()


def test_work_that_was_never_done_has_no_reason():
    assert checked("a=1") == "stale:"


def test_the_same_inputs_and_outputs_are_fresh_in_a_new_shell():
    work()
    assert checked() == "fresh"
    assert checked('"@in.txt" "lr=0.1"') == "fresh"  # whatever their order


def test_a_changed_option_says_what_it_was_and_is():
    work()
    assert checked('"lr=0.2" "@in.txt"') == "stale: lr was '0.1', now '0.2'; running again"
    assert checked('"lr=" "@in.txt"') == "stale: lr was '0.1', now ''; running again"


def test_a_changed_file_is_named(tmp_path: Path):
    work()
    (tmp_path / "in.txt").write_text("2\n")
    assert checked() == "stale: in.txt has changed; running again"
    (tmp_path / "in.txt").write_text("1\n")  # its content counts, not its date
    assert checked() == "fresh"
    (tmp_path / "in.txt").unlink()
    assert checked() == "stale: in.txt has changed; running again"


def test_a_file_that_appears_later_is_a_change(tmp_path: Path):
    work('"@segments"')
    assert checked('"@segments"') == "fresh"
    (tmp_path / "segments").touch()
    assert checked('"@segments"') == "stale: segments has changed; running again"


def test_a_changed_or_removed_output_is_made_again(tmp_path: Path):
    work()
    (tmp_path / "out.txt").write_text("other\n")
    assert checked() == "stale: out.txt was changed or removed; running again"
    (tmp_path / "out.txt").unlink()
    assert checked() == "stale: out.txt was changed or removed; running again"


def test_more_and_fewer_inputs_than_before():
    work()
    more = '"lr=0.1" "@in.txt" "epochs=5"'
    assert checked(more) == "stale: epochs was 'absent', now '5'; running again"
    assert checked('"@in.txt"') == "stale: no longer made from lr; running again"


def test_an_input_that_is_given_twice_is_fresh():
    """A recipe whose dev set is a test set too, or one file for two purposes."""
    work('"lr=0.1" "@in.txt" "@in.txt" "lr=0.1"')
    assert checked('"lr=0.1" "@in.txt" "@in.txt" "lr=0.1"') == "fresh"
    assert checked() == "fresh"


def test_values_are_compared_as_they_are():
    for value in ("a=b=c", "two words", "", "*", "it's", "input x", "-n", "%s", "\\", "$HOME"):
        inputs = f"'v={value}'" if "'" not in value else f'"v={value}"'
        work(inputs)
        assert checked(inputs) == "fresh", value
        assert checked('"v=other"').startswith("stale: v was "), value


@pytest.mark.parametrize("name", ["a|b", "a&b", "a b", "a]b", "$(touch ran)", "`touch ran`", "ä"])
def test_a_file_of_any_name_counts_by_its_content(tmp_path: Path, name: str):
    (tmp_path / name).write_text("1\n")
    inputs = f"'@{name}' 'after=1'"
    work(inputs)
    assert checked(inputs) == "fresh"
    (tmp_path / name).write_text("2\n")
    assert checked(inputs) == f"stale: {name} has changed; running again"
    assert not (tmp_path / "ran").exists()


def test_a_small_folder_counts_by_its_content(tmp_path: Path):
    (tmp_path / "corpus/a b").mkdir(parents=True)
    (tmp_path / "corpus/a b/text").write_text("one\n")
    work('"%corpus"')
    assert checked('"%corpus"') == "fresh"
    os.utime(tmp_path / "corpus/a b/text", (1, 1))
    assert checked('"%corpus"') == "fresh"
    (tmp_path / "corpus/a b/text").write_text("two\n")
    assert checked('"%corpus"') == "stale: corpus has changed; running again"
    (tmp_path / "corpus/a b/text").write_text("one\n")
    (tmp_path / "corpus/more").touch()
    assert checked('"%corpus"') == "stale: corpus has changed; running again"


def test_a_large_file_or_folder_counts_by_names_sizes_and_times(tmp_path: Path):
    for name in ("corpus", "corpus.tar"):
        audio = tmp_path / "corpus/audio" if name == "corpus" else tmp_path / name
        audio.parent.mkdir(exist_ok=True)
        with audio.open("wb") as file:
            file.truncate(70 << 20)
        os.utime(audio, (5, 5))
        work(f'"%{name}"')
        assert checked(f'"%{name}"') == "fresh"
        os.utime(audio, (6, 6))
        assert checked(f'"%{name}"') == f"stale: {name} has changed; running again"


def test_a_corpus_that_is_not_mounted_is_no_change(tmp_path: Path):
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc/text").touch()
    work('"%disc"')
    (tmp_path / "disc").rename(tmp_path / "away")
    assert checked('"%disc"') == "fresh"
    work('"a=1"')
    assert checked('"a=1" "%disc"').startswith("stale: disc was 'absent'")


def test_what_only_the_work_can_tell_is_noted_after_it():
    marker = Marker(Path("work.done"))
    marker.begin(described(["a=1", "source="]))
    Path("out.txt").write_text("result\n")
    marker.finish(["out.txt"], told={"source": "downloaded"})
    assert checked('"a=1" "source=downloaded"') == "fresh"


def test_the_digests_are_those_of_the_tools_of_the_shell(tmp_path: Path):
    """Work done before the answer came from Python still counts as done."""
    folder = tmp_path / "corpus"
    (folder / "a b").mkdir(parents=True)
    for name in ("a b/text", "ä", "back\\slash", "line\nfeed", "a-b", "a"):
        if not (folder / name).exists():
            (folder / name).write_text(name)
    (folder / "around").symlink_to(folder)
    by_hand = "cd corpus; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    listing = r"find corpus -type f -printf '%P\t%s\t%T@\0' | LC_ALL=C sort -z | sha256sum"

    def shell(command: str) -> str:
        return subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout.split()[0]

    assert tree_digest(Path("corpus")) == shell(by_hand)
    assert tree_digest(Path("corpus/a")) == shell("sha256sum <corpus/a | sha256sum")
    (folder / "large").touch()
    os.truncate(folder / "large", SMALL_BYTES + 1)
    assert tree_digest(Path("corpus")) == shell(listing)


DESCRIBE = """
recipe=$1 && shift
source <(sed -n "/^corpus_identity() {/,/^}/p" "$recipe/run.sh")
ln -sfn "$recipe/local" local
for given; do printf -v "${given%%=*}" %s "${given#*=}"; done
sets=(train dev)
inputs=(); corpus_identity
"""


@pytest.fixture
def recipe(tmp_path: Path):
    """Whether a recipe's stage 0 has to run again, and why; options as NAME=VALUE."""
    names = (
        "fsdd corpus_seed train_strings dev_strings test_strings wikitext2 text wikitext2_heldout "
        "strict swbd eval2000 rt03 fisher conv_tab upsample dev_utterances max_repeats wsj0 wsj1 wsj "
        "allow_missing clean_words wsj0_train_spkrinfo"
    ).split()

    def run(name: str, action: str, *given: str, **variables: str) -> str:
        script = f"set -euo pipefail\n. {TOOLKIT}/utils/done.sh\n" + DESCRIBE
        script += f"python -m cascade_asr.cli.recipe_stage work {action} data/.stage0.done "
        script += '"${inputs[@]}"\n'
        if action == "begin":
            script += "record_work data/.stage0.done\n"
        environment = {k: v for k, v in os.environ.items() if k != "CORPORA"} | variables
        done = subprocess.run(
            ["bash", "-c", script, "bash", str(TOOLKIT / "egs" / name),
             *(f"{option}=" for option in names), *given],
            capture_output=True, text=True, cwd=tmp_path, timeout=60, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().removeprefix("to do: ").replace("done", "fresh")

    return run


def test_an_edited_text_is_read_again(recipe, tmp_path: Path):
    (tmp_path / "my").mkdir()
    for name in ("train", "valid", "test"):
        (tmp_path / f"my/{name}.txt").write_text("a\n")
    recipe("wikitext2", "begin", "text=my")
    assert recipe("wikitext2", "check", "text=my") == "fresh"
    (tmp_path / "my/train.txt").write_text("b\n")
    assert "my has changed" in recipe("wikitext2", "check", "text=my")


@pytest.mark.parametrize("option", ["wikitext2", "wikitext2_heldout"])
def test_an_edited_wikitext_is_read_again(recipe, tmp_path: Path, option: str):
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki/wiki.valid.tokens").write_text("a\n")
    recipe("wikitext2", "begin", f"{option}=wiki")
    assert recipe("wikitext2", "check", f"{option}=wiki") == "fresh"
    (tmp_path / "wiki/wiki.valid.tokens").write_text("b\n")
    assert "wiki has changed" in recipe("wikitext2", "check", f"{option}=wiki")


@pytest.mark.parametrize(
    ("name", "option", "edited"),
    [
        ("wsj", "wsj0=discs", "discs/1/x.dot"),
        ("wsj", "wsj1=discs", "discs/1/x.dot"),
        ("wsj", "wsj=discs", "discs/1/x.dot"),
        ("wsj", "wsj0_train_spkrinfo=discs/1/x.dot", "discs/1/x.dot"),
        ("swbd", "conv_tab=discs/1/x.dot", "discs/1/x.dot"),
        ("swbd", "swbd=other discs", "discs/1/x.dot"),
        ("swbd", "fisher=discs other", "other/y"),
        ("swbd", "rt03=discs", "discs/1/x.dot"),
        ("swbd", "eval2000=other discs", "other/y"),
    ],
)
def test_an_edited_corpus_is_read_again(recipe, tmp_path: Path, name, option, edited):
    (tmp_path / "discs/1").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for file in ("discs/1/x.dot", "other/y"):
        (tmp_path / file).write_text("one\n")
    recipe(name, "begin", option)
    assert recipe(name, "check", option) == "fresh"
    (tmp_path / edited).write_text("two\n")
    assert "has changed; running again" in recipe(name, "check", option)


def test_digits_follow_the_corpus_that_there_is(recipe, tmp_path: Path):
    """Voices made without a network are replaced by real ones, which are then kept."""
    voices = tmp_path / "downloads/synthetic_digits"
    voices.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corpus.txt").write_text(f"corpus: x\nsource: {voices}\nseed: 1\n")
    recipe("digits", "begin")
    assert recipe("digits", "check") == "fresh"
    real = tmp_path / "corpora/free-spoken-digit-dataset.tar.gz"
    real.parent.mkdir()
    real.write_text("recordings\n")
    found = recipe("digits", "check", CORPORA=str(real.parent))
    assert f"source was '{voices} (" in found and f"now '{real} (" in found
    (tmp_path / "data/corpus.txt").write_text(f"source: {real}\n")
    recipe("digits", "begin", CORPORA=str(real.parent))
    assert recipe("digits", "check", CORPORA=str(real.parent)) == "fresh"
    assert recipe("digits", "check") == "fresh"
    real.write_text("other recordings\n")
    assert f"source was '{real} (" in recipe("digits", "check", CORPORA=str(real.parent))
    real.unlink()
    assert recipe("digits", "check") == "fresh"


def test_interrupted_work_is_never_fresh():
    """The marker is removed before the work starts and written after it has ended."""
    work()
    Marker(Path("work.done")).begin(described(["lr=0.2"]))
    assert checked() == "stale:"
    assert checked('"lr=0.2"') == "stale:"


def test_no_marker_without_the_outputs():
    marker = Marker(Path("work.done"))
    marker.begin(described(["a=1"]))
    with pytest.raises(ConfigError, match=r"nothing\.txt: missing"):
        marker.finish(["nothing.txt"])
    assert not Path("work.done").exists()
    assert checked('"a=1"') == "stale:"


def test_a_cut_off_marker_is_not_fresh(tmp_path: Path):
    work()
    content = (tmp_path / "work.done").read_text()
    (tmp_path / "work.done").write_text(content.splitlines(keepends=True)[0])
    assert checked().startswith("stale: ")
    (tmp_path / "work.done").write_text("")
    assert checked().startswith("stale: ")


def test_a_marker_in_a_new_folder(bash, tmp_path: Path):
    assert bash("work_is_done exp/new/.done a=1 || record_work exp/new/.done").returncode == 0
    assert (tmp_path / "exp/new/.done").read_text() == "input a=1\n"
    assert [path.name for path in (tmp_path / "exp/new").iterdir()] == [".done"]


def test_work_that_is_refused_at_once_leaves_no_folder(bash, tmp_path: Path):
    assert bash("work_is_done data/.stage0.done a=1 || exit 0").returncode == 0
    assert not (tmp_path / "data").exists()
    script = "work_is_done data/.stage0.done a=1 || { mkdir data; record_work data/.stage0.done; }"
    assert bash(script).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert (tmp_path / "data/.stage0.done").read_text() == "input a=1\n"


def test_a_damaged_command_ends_the_stage(bash, tmp_path: Path):
    done = bash("if work_is_done; then :; fi; echo went on")
    assert done.returncode != 0 and "went on" not in done.stdout


def run_stage(bash, tmp_path: Path, body: str) -> subprocess.CompletedProcess:
    """Stage 0 of utils/stages.sh, whose input is conf.yaml and whose output data/test/text."""
    (tmp_path / "data/test").mkdir(parents=True, exist_ok=True)
    return bash(
        f"""
        source <(sed -n "/^run_stage() {{/,/^}}/p" {TOOLKIT}/utils/stages.sh)
        log() {{ echo "$*"; }}
        detached=false stage_names=(preparation) task='' exp=exp/x dump=dump _option_names=()
        train_set=test dev_set=test test_sets=test sets=(test)
        corpus_identity() {{ inputs=("@conf.yaml"); }}
        stage_0() {{ {body}; }}
        run_stage 0
        """
    )


def test_an_input_that_changes_while_a_stage_runs_makes_it_stale(bash, tmp_path: Path):
    """A configuration that is edited during hours of training is not the one trained with."""
    (tmp_path / "conf.yaml").write_text("max_epoch: 5\n")
    done = run_stage(bash, tmp_path, "cp conf.yaml data/test/text; echo max_epoch: 9 >conf.yaml")
    assert done.returncode == 0, done.stderr
    again = run_stage(bash, tmp_path, "cp conf.yaml data/test/text")
    assert "stage 0 (preparation): conf.yaml has changed; running again" in again.stdout
    assert (tmp_path / "data/test/text").read_text() == "max_epoch: 9\n"
    assert "already done" in run_stage(bash, tmp_path, "false").stdout


def test_a_stage_that_uses_markers_inside_keeps_its_own_inputs(bash, tmp_path: Path):
    (tmp_path / "conf.yaml").write_text("beam: 5\n")
    body = 'work_is_done inner.done "model=x" || true; touch data/test/text'
    assert run_stage(bash, tmp_path, body).returncode == 0
    assert "already done" in run_stage(bash, tmp_path, "false").stdout


def test_a_stage_that_fails_leaves_no_marker(bash, tmp_path: Path):
    (tmp_path / "conf.yaml").touch()
    assert run_stage(bash, tmp_path, "touch data/test/text").returncode == 0
    (tmp_path / "conf.yaml").write_text("changed")
    assert run_stage(bash, tmp_path, "false; touch never").returncode != 0
    assert not (tmp_path / "data/.stage0.done").exists() and not (tmp_path / "never").exists()


def test_what_another_run_has_begun_meanwhile_is_not_recorded_with_its_options(bash):
    # it was: features or controls of one run counted as made with the options of the other
    Path("in.txt").write_text("1\n")
    Path("out.txt").write_text("result\n")
    first = "work_is_done work.done lr=0.1 @in.txt || true; "
    other = "export CASCADE_ASR_RUN=other; work_is_done work.done lr=0.2 @in.txt || true"
    done = bash(f"{first}( {other} ); record_work work.done out.txt")
    assert done.returncode == 1 and not Path("work.done").exists()
    assert "ERROR" in done.stderr and "work.done: another run of the recipe (other)" in done.stderr
    assert "run this one again" in done.stderr and "Traceback" not in done.stderr
    # the other one, and a run after one that was killed, finish their work
    done = bash("CASCADE_ASR_RUN=other; record_work work.done out.txt")
    assert done.returncode == 0, done.stderr
    assert checked('"lr=0.2" "@in.txt"') == "fresh"
    Marker(Path("work.done"), "killed").begin(described(["lr=0.3"]))
    done = bash("work_is_done work.done lr=0.3 || record_work work.done out.txt")
    assert done.returncode == 0, done.stderr
    assert checked("lr=0.3") == "fresh"


def test_a_run_that_was_turned_away_takes_nothing_from_the_one_that_trains():
    """A second ./run.sh in another terminal, which ends because the folder is locked."""
    path = Path("work.done")
    inputs = described(["lr=0.1"])
    Marker(path, run="first").begin(inputs)
    Marker(path, run="second").begin(inputs)
    with pytest.raises(ConfigError, match=r"another run of the recipe \(second\)"):
        Marker(path, run="first").finish([])  # both may be writing the same files
    Marker(path, run="first").finish([], is_locked=True)
    assert checked('"lr=0.1"') == "fresh"
    Marker(path, run="first").begin(inputs)
    Marker(path, run="second").begin(described(["lr=0.2"]))
    with pytest.raises(ConfigError, match="perhaps with other options"):
        Marker(path, run="first").finish([], is_locked=True)
