"""Markers of finished work: fresh only while inputs and outputs are what they were."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

MARKERS = Path(__file__).resolve().parents[2] / "utils" / "markers.sh"
CHECK = 'if marker_is_fresh work.done %s; then echo fresh; else echo "stale: $marker_reason"; fi'


@pytest.fixture
def bash(tmp_path: Path):
    def run(script: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n. {MARKERS}\n{script}"],
            capture_output=True, text=True, cwd=tmp_path, timeout=30, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def worked(bash, tmp_path: Path):
    """Do the work with some inputs: one output, and the marker after it."""

    def work(inputs: str = '"lr=0.1" "@in.txt"', outputs: str = "out.txt") -> None:
        (tmp_path / "in.txt").write_text("1\n")
        (tmp_path / "out.txt").write_text("result\n")
        done = bash(f"marker_prepare {inputs}\nmarker_write work.done {outputs}")
        assert done.returncode == 0, done.stderr

    return work


def checked(bash, inputs: str = '"lr=0.1" "@in.txt"') -> str:
    done = bash(CHECK % inputs)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.strip()


def test_work_that_was_never_done_has_no_reason(bash):
    assert checked(bash, "a=1") == "stale:"


def test_the_same_inputs_and_outputs_are_fresh_in_a_new_shell(bash, worked):
    worked()
    assert checked(bash) == "fresh"
    assert checked(bash, '"@in.txt" "lr=0.1"') == "fresh"  # whatever their order


def test_a_changed_option_says_what_it_was_and_is(bash, worked):
    worked()
    assert checked(bash, '"lr=0.2" "@in.txt"') == "stale: lr was '0.1', now '0.2'; running again"
    assert checked(bash, '"lr=" "@in.txt"') == "stale: lr was '0.1', now ''; running again"


def test_a_changed_file_is_named(bash, worked, tmp_path: Path):
    worked()
    (tmp_path / "in.txt").write_text("2\n")
    assert checked(bash) == "stale: in.txt has changed; running again"
    (tmp_path / "in.txt").write_text("1\n")  # its content counts, not its date
    assert checked(bash) == "fresh"
    (tmp_path / "in.txt").unlink()
    assert checked(bash) == "stale: in.txt has changed; running again"


def test_a_file_that_appears_later_is_a_change(bash, worked, tmp_path: Path):
    worked('"@segments"')
    assert checked(bash, '"@segments"') == "fresh"
    (tmp_path / "segments").touch()
    assert checked(bash, '"@segments"') == "stale: segments has changed; running again"


def test_a_changed_or_removed_output_is_made_again(bash, worked, tmp_path: Path):
    worked()
    (tmp_path / "out.txt").write_text("other\n")
    assert checked(bash) == "stale: out.txt was changed or removed; running again"
    (tmp_path / "out.txt").unlink()
    assert checked(bash) == "stale: out.txt was changed or removed; running again"


def test_more_and_fewer_inputs_than_before(bash, worked):
    worked()
    more = '"lr=0.1" "@in.txt" "epochs=5"'
    assert checked(bash, more) == "stale: epochs was 'absent', now '5'; running again"
    assert checked(bash, '"@in.txt"') == "stale: no longer made from lr; running again"


def test_an_input_that_is_given_twice_is_fresh(bash, worked):
    """A recipe whose dev set is a test set too, or one file for two purposes."""
    worked('"lr=0.1" "@in.txt" "@in.txt" "lr=0.1"')
    assert checked(bash, '"lr=0.1" "@in.txt" "@in.txt" "lr=0.1"') == "fresh"
    assert checked(bash) == "fresh"


def test_values_are_compared_as_they_are(bash, worked):
    for value in ("a=b=c", "two words", "", "*", "it's", "input x", "-n", "%s", "\\", "$HOME"):
        inputs = f"'v={value}'" if "'" not in value else f'"v={value}"'
        worked(inputs)
        assert checked(bash, inputs) == "fresh", value
        assert checked(bash, '"v=other"').startswith("stale: v was "), value


@pytest.mark.parametrize("name", ["a|b", "a&b", "a b", "a]b", "$(touch ran)", "`touch ran`", "ä"])
def test_a_file_of_any_name_counts_by_its_content(bash, worked, tmp_path: Path, name: str):
    (tmp_path / name).write_text("1\n")
    inputs = f"'@{name}' 'after=1'"
    worked(inputs)
    assert checked(bash, inputs) == "fresh"
    (tmp_path / name).write_text("2\n")
    assert checked(bash, inputs) == f"stale: {name} has changed; running again"
    assert not (tmp_path / "ran").exists()


def test_a_small_folder_counts_by_its_content(bash, worked, tmp_path: Path):
    (tmp_path / "corpus/a b").mkdir(parents=True)
    (tmp_path / "corpus/a b/text").write_text("one\n")
    worked('"%corpus"')
    assert checked(bash, '"%corpus"') == "fresh"
    os.utime(tmp_path / "corpus/a b/text", (1, 1))
    assert checked(bash, '"%corpus"') == "fresh"
    (tmp_path / "corpus/a b/text").write_text("two\n")
    assert checked(bash, '"%corpus"') == "stale: corpus has changed; running again"
    (tmp_path / "corpus/a b/text").write_text("one\n")
    (tmp_path / "corpus/more").touch()
    assert checked(bash, '"%corpus"') == "stale: corpus has changed; running again"


def test_a_large_file_or_folder_counts_by_names_sizes_and_times(bash, worked, tmp_path: Path):
    for name in ("corpus", "corpus.tar"):
        audio = tmp_path / "corpus/audio" if name == "corpus" else tmp_path / name
        audio.parent.mkdir(exist_ok=True)
        with audio.open("wb") as file:
            file.truncate(70 << 20)
        os.utime(audio, (5, 5))
        worked(f'"%{name}"')
        assert checked(bash, f'"%{name}"') == "fresh"
        os.utime(audio, (6, 6))
        assert checked(bash, f'"%{name}"') == f"stale: {name} has changed; running again"


def test_a_corpus_that_is_not_mounted_is_no_change(bash, worked, tmp_path: Path):
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc/text").touch()
    worked('"%disc"')
    (tmp_path / "disc").rename(tmp_path / "away")
    assert checked(bash, '"%disc"') == "fresh"
    worked('"a=1"')
    assert checked(bash, '"a=1" "%disc"').startswith("stale: disc was 'absent'")


def test_what_only_the_work_can_tell_is_noted_after_it(bash, worked):
    inputs = '"a=1" "source=downloaded"'
    script = """marker_prepare "a=1" "source="
marker_update source "a=2" "source=downloaded"
echo result >out.txt; marker_write work.done out.txt"""
    assert bash(script).returncode == 0
    assert checked(bash, inputs) == "fresh"


DESCRIBE = """
recipe=$1 && shift
for name in find_source find_in_corpora corpus_identity; do
  source <(sed -n "/^$name() {/,/^}/p" "$recipe/run.sh")
done
for given; do printf -v "${given%%=*}" %s "${given#*=}"; done
sets=(train dev)
describe() { inputs=(); corpus_identity; }
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
        script = "set -euo pipefail\n" + f". {MARKERS}\n" + DESCRIBE
        if action == "do":
            script += 'describe\nmarker_prepare "${inputs[@]}"\nmarker_write data/.stage0.done\n'
        else:
            script += 'describe\nmarker_is_fresh data/.stage0.done "${inputs[@]}" && echo fresh || '
            script += 'echo "$marker_reason"'
        environment = {k: v for k, v in os.environ.items() if k != "CORPORA"} | variables
        done = subprocess.run(
            ["bash", "-c", script, "bash", str(MARKERS.parents[1] / "egs" / name),
             *(f"{option}=" for option in names), *given],
            capture_output=True, text=True, cwd=tmp_path, timeout=60, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_an_edited_text_is_read_again(recipe, tmp_path: Path):
    (tmp_path / "my").mkdir()
    for name in ("train", "valid", "test"):
        (tmp_path / f"my/{name}.txt").write_text("a\n")
    recipe("wikitext2", "do", "text=my")
    assert recipe("wikitext2", "check", "text=my") == "fresh"
    (tmp_path / "my/train.txt").write_text("b\n")
    assert "my/train.txt has changed" in recipe("wikitext2", "check", "text=my")


@pytest.mark.parametrize("option", ["wikitext2", "wikitext2_heldout"])
def test_an_edited_wikitext_is_read_again(recipe, tmp_path: Path, option: str):
    (tmp_path / "wiki").mkdir()
    (tmp_path / "wiki/wiki.valid.tokens").write_text("a\n")
    recipe("wikitext2", "do", f"{option}=wiki")
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
    recipe(name, "do", option)
    assert recipe(name, "check", option) == "fresh"
    (tmp_path / edited).write_text("two\n")
    assert "has changed; running again" in recipe(name, "check", option)


def test_digits_follow_the_corpus_that_there_is(recipe, tmp_path: Path):
    """Voices made without a network give way to real ones, which then stay."""
    voices = tmp_path / "downloads/synthetic_digits"
    voices.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corpus.txt").write_text(f"corpus: x\nsource: {voices}\nseed: 1\n")
    recipe("digits", "do")
    assert recipe("digits", "check") == "fresh"
    real = tmp_path / "corpora/free-spoken-digit-dataset.tar.gz"
    real.parent.mkdir()
    real.write_text("recordings\n")
    found = recipe("digits", "check", CORPORA=str(real.parent))
    assert f"source was '{voices} (" in found and f"now '{real} (" in found
    (tmp_path / "data/corpus.txt").write_text(f"source: {real}\n")
    recipe("digits", "do", CORPORA=str(real.parent))
    assert recipe("digits", "check", CORPORA=str(real.parent)) == "fresh"
    assert recipe("digits", "check") == "fresh"
    real.write_text("other recordings\n")
    assert f"source was '{real} (" in recipe("digits", "check", CORPORA=str(real.parent))
    real.unlink()
    assert recipe("digits", "check") == "fresh"


def test_interrupted_work_is_never_fresh(bash, worked, tmp_path: Path):
    """The marker goes before the work starts and comes after it has ended."""
    worked()
    script = 'marker_is_fresh work.done "lr=0.2" || true\nmarker_remove work.done\nkill -9 $$'
    assert bash(script).returncode == -9
    assert checked(bash) == "stale:"
    assert checked(bash, '"lr=0.2"') == "stale:"


def test_no_marker_without_the_outputs(bash, tmp_path: Path):
    done = bash('marker_prepare "a=1"\nmarker_write work.done nothing.txt\necho went on')
    assert done.returncode != 0 and "went on" not in done.stdout
    assert "nothing.txt" in done.stderr
    assert not (tmp_path / "work.done").exists()
    assert checked(bash, '"a=1"') == "stale:"


def test_a_cut_off_marker_is_not_fresh(bash, worked, tmp_path: Path):
    worked()
    content = (tmp_path / "work.done").read_text()
    (tmp_path / "work.done").write_text(content.splitlines(keepends=True)[0])
    assert checked(bash).startswith("stale: ")
    (tmp_path / "work.done").write_text("")
    assert checked(bash).startswith("stale: ")


def test_a_marker_in_a_new_folder(bash, tmp_path: Path):
    assert bash('marker_prepare "a=1"\nmarker_write exp/new/.done').returncode == 0
    assert (tmp_path / "exp/new/.done").read_text() == "input a=1\n"
    assert [path.name for path in (tmp_path / "exp/new").iterdir()] == [".done"]


def run_stage(bash, tmp_path: Path, body: str) -> subprocess.CompletedProcess:
    """One stage of utils/stages.sh whose input is conf.yaml and whose output is out.txt."""
    stages = MARKERS.with_name("stages.sh")
    functions = ("run_one_stage", "require_file", "describe_all")
    return bash(
        f"""
        for name in {" ".join(functions)}; do
          source <(sed -n "/^$name() {{/,/^}}/p" {stages})
        done
        log() {{ echo "$*"; }}
        detached=false stage_names=(preparation)
        marker_of() {{ echo work.done; }}
        describe_stage() {{ inputs=("@conf.yaml"); outputs=(out.txt); }}
        stage_0() {{ {body}; }}
        run_one_stage 0
        """
    )


def test_an_input_that_changes_while_a_stage_runs_makes_it_stale(bash, tmp_path: Path):
    """Who edits a configuration during hours of training has not trained with it."""
    (tmp_path / "conf.yaml").write_text("max_epoch: 5\n")
    done = run_stage(bash, tmp_path, "cp conf.yaml out.txt; echo max_epoch: 9 >conf.yaml")
    assert done.returncode == 0, done.stderr
    again = run_stage(bash, tmp_path, "cp conf.yaml out.txt")
    assert "stage 0 (preparation): conf.yaml has changed; running again" in again.stdout
    assert (tmp_path / "out.txt").read_text() == "max_epoch: 9\n"
    assert "already done" in run_stage(bash, tmp_path, "false").stdout


def test_a_stage_that_uses_markers_inside_keeps_its_own_inputs(bash, tmp_path: Path):
    (tmp_path / "conf.yaml").write_text("beam: 5\n")
    body = 'marker_is_fresh inner.done "model=x" || true; touch out.txt'
    assert run_stage(bash, tmp_path, body).returncode == 0
    assert "already done" in run_stage(bash, tmp_path, "false").stdout


def test_a_stage_that_fails_leaves_no_marker(bash, tmp_path: Path):
    (tmp_path / "conf.yaml").touch()
    assert run_stage(bash, tmp_path, "touch out.txt").returncode == 0
    (tmp_path / "conf.yaml").write_text("changed")
    assert run_stage(bash, tmp_path, "false; touch never").returncode != 0
    assert not (tmp_path / "work.done").exists() and not (tmp_path / "never").exists()
