"""Drives utils/setup_env.sh, run.sh and tests/run.sh in a copy without a network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ["utils/setup_env.sh", "utils/parse_options.sh", "utils/log.sh", "path.sh", "run.sh"]
# What a bare system has; no apt-get, no sudo, no sox, no Python.
COMMANDS = [
    "bash", "cat", "chmod", "cut", "date", "dirname", "env", "flock", "grep", "ln", "mkdir", "mv",
    "rm", "sed", "sha256sum", "sleep", "tail", "touch",
]  # fmt: skip
# In place of the packages of others: every module of theirs can be imported, and is empty.
EMPTY_PACKAGES = """
import importlib.machinery, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        packages = ("cascade_asr", "espnet", "espnet2", "torch", "lightning_fabric", "kaldi_native_fbank",
                    "kaldiio", "soundfile", "sentencepiece", "jiwer", "yaml")
        if name.partition(".")[0] in packages:
            return importlib.machinery.ModuleSpec(name, Finder, is_package=True)

    create_module = exec_module = staticmethod(lambda _: None)

sys.meta_path.append(Finder)
"""
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture
def clone(tmp_path) -> Path:
    """The set-up scripts in a separate folder, with empty lists of packages."""
    root = tmp_path / "clone"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in ("conf/requirements.txt", "tests/requirements.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("# nothing\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in COMMANDS:
        (tools / name).symlink_to(shutil.which(name))
    return root


def add_command(clone: Path, name: str, script: str = "exit 0") -> Path:
    path = clone.parent / "bin" / name
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)
    return path


def environment(clone: Path, **variables: str) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("CASCADE_ASR_")
    }
    return inherited | {"PATH": str(clone.parent / "bin")} | variables


def set_up(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(clone / "utils/setup_env.sh"), *arguments],
        capture_output=True, text=True, env=environment(clone, **variables), timeout=120,
    )  # fmt: skip


def test_missing_tools_without_a_way_to_install_them(clone):
    result = set_up(clone)
    assert result.returncode == 1
    assert "please run: sudo apt-get install sox ffmpeg espeak-ng flite\n" in result.stderr
    result = set_up(clone, "--tests", "true")
    assert "install sox shellcheck ffmpeg espeak-ng flite sctk munge slurmctld slurmd\n" in result.stderr
    assert not (clone / ".venv").exists()


def test_tools_are_installed_where_apt_get_may(clone):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    add_command(
        clone, "apt-get",
        f'echo "$*" >>{clone}/calls; case $* in *update*) touch {clone}/updated ;; '
        f"*flite*) [[ -e {clone}/updated ]] && touch {clone.parent}/bin/sox && "
        f"chmod +x {clone.parent}/bin/sox ;; esac",
    )  # fmt: skip
    (clone / ".venv").mkdir()
    result = set_up(clone, CASCADE_ASR_PYTHON=BASE_PYTHON)
    calls = (clone / "calls").read_text().splitlines()
    packages = "install --no-install-recommends sox ffmpeg espeak-ng flite"
    assert [call.partition("install ")[1] != "" for call in calls] == [True, False, True]
    assert calls[0].endswith(packages) and calls[2].endswith(packages)
    assert "going on without ffmpeg espeak-ng flite" in result.stderr
    # A folder .venv that somebody else made is left alone.
    assert result.returncode == 1
    assert f"{clone}/.venv was not made by this script; move it away" in result.stderr


@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_a_wrong_python_is_refused(clone, version):
    add_command(clone, "sox")
    python = add_command(clone, "python3", f"echo {version}")
    result = set_up(clone)
    assert result.returncode == 1
    assert f"no Python 3.11 or 3.12 found; python3 is {version}; install one" in result.stderr
    result = set_up(clone, CASCADE_ASR_PYTHON=str(python))
    assert f"{python} is {version};" in result.stderr


def test_a_python_without_venv_gets_the_package_named(clone):
    add_command(clone, "sox")
    add_command(clone, "python3", "[[ $2 == *version_info* ]] && echo 3.11")
    result = set_up(clone)
    assert result.returncode == 1
    assert "please run: sudo apt-get install python3.11-venv" in result.stderr


def test_without_a_source_of_the_cpu_build_cuda_is_not_taken_instead(clone):
    add_command(clone, "sox")
    pip_calls = clone / "pip_calls"
    add_command(
        clone, "python3",
        f'case $* in *version_info*) echo 3.12 ;; *"-m venv"*) mkdir -p "$3/bin"; '
        f'ln -s "$0" "$3/bin/python" ;; *"-m pip"*) echo "$*" >>{pip_calls}; '
        "echo no matching distribution; exit 1 ;; esac",
    )  # fmt: skip
    result = set_up(clone)
    assert result.returncode == 1
    calls = pip_calls.read_text().splitlines()
    assert len(calls) == 2 and all(call.endswith("torch==2.13.0+cpu") for call in calls)
    assert "--index-url https://download.pytorch.org/whl/cpu" in calls[1]
    assert "  no matching distribution" in result.stderr
    assert f"run: PIP_FIND_LINKS=FOLDER {clone}/utils/setup_env.sh" in result.stderr
    pip_calls.unlink()
    add_command(clone, "nvidia-smi", "echo 'GPU 0: NVIDIA H200'")
    set_up(clone)
    (call,) = pip_calls.read_text().splitlines()
    assert call.endswith(f"--constraint {clone}/conf/requirements.txt torch==2.13.0")
    pip_calls.unlink()
    set_up(clone, CASCADE_ASR_TORCH="torch==2.11.0")
    (call,) = pip_calls.read_text().splitlines()
    assert call.endswith("torch==2.11.0")


# A step that stays half done until it is interrupted: the environment without its pip, or
# a list of packages of which none is installed.
HELD_STEP = """
import os, sys, time, venv

step = os.environ.get("STEP_TO_HOLD")
if step and step in sys.orig_argv:
    if step == "venv":
        venv.create(sys.orig_argv[-1], with_pip=False)
    open(os.environ["STEP_IS_HELD"], "x").close()
    time.sleep(120)
"""


def interrupted(clone: Path, step: str, **variables: str) -> str:
    """Start set-up, stop it with TERM in the middle of a step; returns what it logged."""
    held = clone / "held"
    process = subprocess.Popen(
        [str(clone / "utils/setup_env.sh")], stderr=subprocess.PIPE, text=True,
        env=environment(clone, STEP_TO_HOLD=step, STEP_IS_HELD=str(held), **variables),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not held.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    held.unlink()
    process.send_signal(signal.SIGTERM)
    _, logged = process.communicate(timeout=20)
    assert process.returncode == 130
    assert logged.endswith("interrupted; start it again to continue\n")
    return logged


def test_set_up_survives_an_interruption_and_then_only_looks(clone):
    """A real virtual environment, with empty third-party packages."""
    add_command(clone, "sox")
    (clone / "sitecustomize.py").write_text(EMPTY_PACKAGES + HELD_STEP)
    variables = {
        "CASCADE_ASR_PYTHON": BASE_PYTHON,
        "CASCADE_ASR_TORCH": "pip",  # is there already: no network is needed
        "PYTHONPATH": str(clone),
    }
    state = clone / ".venv/.cascade_asr"
    assert "making" in interrupted(clone, "venv", **variables)
    assert state.read_text() == "building\n"

    result = set_up(clone, **variables)
    assert result.returncode == 0, result.stderr
    assert "making" in result.stderr and result.stderr.endswith("set-up is complete\n")

    start = time.monotonic()
    result = set_up(clone)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert time.monotonic() - start < 1.5
    add_command(clone, "shellcheck")
    result = set_up(clone, "--tests", "true", **variables)
    assert result.returncode == 0 and "making" not in result.stderr
    assert "installing the packages of the tests" in result.stderr

    (clone / "conf/requirements.txt").write_text("# another list\n")
    logged = interrupted(clone, str(clone / "conf/requirements.txt"), **variables)
    assert "installing the packages of conf/requirements.txt" in logged
    assert state.read_text() == "building\n"


def test_run_passes_options_on_and_keeps_paths(clone, tmp_path):
    recipe = clone / "egs/demo/run.sh"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(
        '#!/usr/bin/env bash\nprintf "[%s]" "$(pwd)" "${CORPORA-}" "$@"\n'
    )
    recipe.chmod(0o755)
    (recipe.parent / "conf").mkdir()
    (recipe.parent / "conf/x.yaml").touch()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/x.yaml").touch()
    (tmp_path / "corpus").mkdir()
    (clone / "utils/setup_env.sh").write_text("#!/usr/bin/env bash\nexit 0\n")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(clone / "run.sh"), *arguments], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"CORPORA": "corpus"}, timeout=20,
        )  # fmt: skip

    given = ["--recipe", "demo", "--stage", "4", "--fsdd", "./corpus", "--tag=a b",
             "--train-config", "conf/x.yaml", "--other=./corpus"]  # fmt: skip
    assert run(*given).stdout == (
        f"[{recipe.parent}][{tmp_path}/corpus][--stage][4][--fsdd][{tmp_path}/./corpus][--tag=a b]"
        f"[--train-config][conf/x.yaml][--other={tmp_path}/./corpus]"
    )
    helped = run("--recipe=demo", "--help")
    assert "Usage: ./run.sh" in helped.stdout and helped.stdout.endswith("[--help]")
    unknown = run("--recipe", "wsk")
    assert unknown.returncode == 1 and "no recipe 'wsk'; there are: demo" in unknown.stderr
    assert "--recipe needs a value" in run("--recipe").stderr


def linked(clone: Path, tmp_path: Path) -> Path:
    """Another user's environment, with empty packages, as the clone's .venv."""
    add_command(clone, "sox")
    (clone / "sitecustomize.py").write_text(EMPTY_PACKAGES)
    environment_of_others = tmp_path / "theirs"
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", environment_of_others], check=True)
    (clone / ".venv").symlink_to(environment_of_others)
    return environment_of_others


@pytest.mark.parametrize("way", ["link", "variable"])
def test_an_environment_of_others_is_checked_and_never_changed(clone, tmp_path, way):
    theirs = linked(clone, tmp_path)
    variables = {}
    if way == "variable":
        (clone / ".venv").unlink()
        variables["CASCADE_ASR_ENV"] = str(theirs)
    before = sorted(path.name for path in theirs.rglob("*") if path.suffix != ".pyc")
    result = set_up(clone, **variables)
    assert result.returncode == 0, result.stderr
    assert "checking that all packages load" in result.stderr
    result = set_up(clone, **variables)
    assert (result.returncode, result.stderr) == (0, "")
    (clone / "conf/requirements.txt").write_text("absent-package==1.0\n")
    result = set_up(clone, **variables)
    assert result.returncode == 1
    assert "it lacks absent-package; to add them: " in result.stderr
    assert "--rebuild is for a .venv made here" in set_up(clone, "--rebuild", "true", **variables).stderr
    assert (clone / ".venv").is_symlink() == (way == "link")
    assert sorted(path.name for path in theirs.rglob("*") if path.suffix != ".pyc") == before


def test_settings_of_the_user_for_other_projects_do_no_harm(clone, tmp_path):
    linked(clone, tmp_path)
    (tmp_path / "elsewhere/utils").mkdir(parents=True)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "yaml.py").write_text("raise SystemExit('shadowed')\n")
    user = {
        "CDPATH": str(tmp_path / "elsewhere"), "PIP_USER": "1", "PYTHONOPTIMIZE": "2",
        "PYTHONHOME": str(hostile), "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(hostile),
    }  # fmt: skip
    result = subprocess.run(
        ["utils/setup_env.sh"], cwd=clone, env=environment(clone, **user), capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    packages = next((clone / ".venv/lib").glob("python3*")) / "site-packages"
    shown = subprocess.check_output(
        ["bash", "-euc", f'cd "{clone}"; . ./path.sh; echo "$PYTHONPATH|${{PYTHONOPTIMIZE-}}"'],
        text=True, env=environment(clone, **user),
    ).strip()  # fmt: skip
    assert shown == f"{clone}:{packages}:{hostile}|"
    (hostile / "random.py").touch()
    result = set_up(clone, PYTHONPATH=str(hostile))
    assert result.returncode == 1
    assert f"PYTHONPATH has {hostile}, whose random hides Python's own" in result.stderr


def test_an_unknown_option_is_told_before_anything_is_installed(tmp_path):
    root = tmp_path / "clone"
    (root / "cascade_asr").mkdir(parents=True)
    for path in (ROOT / "cascade_asr").glob("*.py"):
        shutil.copy(path, root / "cascade_asr")
    for name in ("utils", "egs/digits"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("data", "dump", "exp"))
    for name in ("run.sh", "path.sh"):
        shutil.copy(ROOT / name, root / name)
    (root / "utils/setup_env.sh").write_text("#!/usr/bin/env bash\necho set-up\nexit 1\n")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(root / "run.sh"), *arguments], capture_output=True, text=True)

    result = run("--stoge", "4")
    assert result.returncode == 1 and result.stdout == ""
    assert "unknown option --stoge; did you mean --stage?" in result.stderr
    assert run("--stage", "4").stdout == "set-up\n"
    assert not (root / "egs/digits/data").exists()


@pytest.mark.parametrize("name", ["a:b", "{1,2}", "new\nline", "line\u2028separator"])
def test_a_folder_name_that_cannot_work_is_told_in_one_line(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(ROOT / "path.sh", folder)
    result = subprocess.run(
        ["bash", "-euc", '. "$1/path.sh"; echo went on', "bash", str(folder)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert " in its name; please move or rename it" in result.stderr


def test_path_sh_can_be_sourced_from_anywhere_and_twice(clone, tmp_path):
    command = f'. "{clone}/path.sh"; . "{clone}/path.sh"; echo "$PATH|$PYTHONPATH|$LC_ALL"'
    found = subprocess.check_output(
        ["bash", "-euc", command], text=True, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
    ).strip()  # fmt: skip
    assert found == f"{clone}/.venv/bin:{clone}/utils:/usr/bin:/bin|{clone}|C"


@pytest.mark.parametrize("name", ["path.sh", *(str(each.relative_to(ROOT)) for each in ROOT.glob("egs/*/path.sh"))])
def test_path_sh_finds_itself_in_zsh_too(name, tmp_path):
    """There BASH_SOURCE is not set, and $0 is the file that is sourced."""
    path, show = str(ROOT / name), 'echo "$CASCADE_ASR_ROOT"'
    commands = [["bash", "-ec", f'eval "$(sed s/BASH_SOURCE/_not_set/ "$0")"; {show}', path]]
    if zsh := shutil.which("zsh"):
        commands.append([zsh, "-fec", f'. "$1"; {show}', "zsh", path])
    for command in commands:
        found = subprocess.check_output(
            command, text=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "/elsewhere"}
        )
        assert found.strip() == str(ROOT)
