"""What a terminal shows and a log does not; a requested stop is not an error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from cascade_asr.training.standing import NAME, PACE_OVER_ENTRIES, ProgressFile, read_standing

FAIL = """
import logging
from cascade_asr import command
from cascade_asr.errors import ConfigError

def main():
    logging.getLogger().warning("a warning")
    raise ConfigError("a mistake")

command.run(main)
"""


def on_terminal(words: list[str], **environment: str) -> str:
    """What a program writes to a terminal."""
    leader, follower = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", **environment}
    process = subprocess.Popen(words, stderr=follower, stdout=follower, env=variables)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:  # the other side is closed
        pass
    process.wait()
    os.close(leader)
    return shown.decode()


def test_levels_are_coloured_on_a_terminal_only():
    words = [sys.executable, "-c", FAIL]
    shown = on_terminal(words, NO_COLOR="")
    assert "\x1b[33m WARNING: \x1b[0ma warning" in shown
    assert "\x1b[1;31m ERROR: \x1b[0m-c: a mistake" in shown
    for plain in (
        on_terminal(words, NO_COLOR="1"),
        on_terminal(words, TERM="dumb", NO_COLOR=""),
        subprocess.run(words, capture_output=True, text=True, check=False).stderr,
    ):
        assert "ERROR: -c: a mistake" in plain and "\x1b" not in plain


def test_shell_scripts_do_the_same():
    words = ["bash", "-c", ". utils/log.sh; die wrong"]
    assert "\x1b[1;31merror:\x1b[0m wrong" in on_terminal(words, NO_COLOR="")
    assert "\x1b" not in on_terminal(words, NO_COLOR="1")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("error: wrong\n") and done.returncode == 1


@pytest.mark.parametrize(
    ("raised", "status", "text"),
    [
        ("KeyboardInterrupt", 130, "WARNING: -c: interrupted\n"),
        ("Interrupted(130, 'stopped at epoch 1; saved')", 130, "WARNING: -c: stopped at epoch 1; saved\n"),
        ("Interrupted(85, 'stopped')", 85, "WARNING: -c: stopped\n"),
    ],
)  # fmt: skip
def test_ctrl_c_is_a_warning_with_its_status(raised, status, text):
    code = f"""
from cascade_asr import command
from cascade_asr.training.interruption import Interrupted
def main():
    raise {raised}
command.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.endswith(text) and "ERROR" not in done.stderr


def test_output_that_nobody_reads_ends_a_command_silently(tmp_path: Path):
    """As of ``cascade-asr list | head``; a pipe to another program that breaks is still an error."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom cascade_asr import command\n"
        "def main():\n    print('x' * 200000)\n"
        "def broken():\n    raise BrokenPipeError(32, 'Broken pipe')\n"
        "command.run(main if len(sys.argv) == 1 else broken)\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, script], stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
    for words in ([sys.executable, script, "other"], ["bash", "-c", f"{sys.executable} {script} other >&-"]):
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == 1 and "Broken pipe" in done.stderr and "Traceback" not in done.stderr


def test_the_time_left_follows_the_latest_minutes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = ProgressFile(tmp_path, 10_000, 0)
    update = 0
    for pace in (100.0, 10.0):  # seconds for an update; the first ones were slow
        for _ in range(PACE_OVER_ENTRIES + 5):
            now[0] += pace
            update += 1
            progress.write(1, update)
    assert read_standing(tmp_path).seconds_per_update == pytest.approx(10.0)


def test_progress_of_a_later_attempt_is_left_alone(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = ProgressFile(tmp_path, 100, 0)
    progress.write(1, 1)
    own = (tmp_path / NAME).read_text()
    (tmp_path / NAME).write_text('{"host": "elsewhere", "pid": 1}')
    now[0] += 60.0
    progress.write(1, 2)
    progress.remove()
    assert (tmp_path / NAME).read_text() == '{"host": "elsewhere", "pid": 1}'
    (tmp_path / NAME).write_text(own)
    progress.remove()
    assert not (tmp_path / NAME).exists()


def test_a_valid_folder_may_be_told_once(tmp_path):
    (tmp_path / "utt2spk").write_text("a-1 a\n")
    (tmp_path / "spk2utt").write_text("a a-1\n")
    words = [sys.executable, "-m", "cascade_asr.cli.data_dir", "validate", "--no-wav",
             "--no-text", "--no-feats", tmp_path]  # fmt: skip
    assert subprocess.run(words, capture_output=True, text=True).stdout.endswith(": valid\n")
    quiet = subprocess.run([*words, "--quiet"], capture_output=True, text=True, check=False)
    assert (quiet.stdout, quiet.returncode) == ("", 0), quiet.stderr
