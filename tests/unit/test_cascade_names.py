"""Tests of what --controls and --cascade-stages mean."""

from __future__ import annotations

import pytest

from cascade_asr.cascade.names import CONTROLS, parse_controls, parse_stage_numbers
from cascade_asr.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("all", [1, 2, 3, 4]), ("", [1, 2, 3, 4]), ("none", []), ("2", [2]), ("3,1", [1, 3]),
     ("2-4", [2, 3, 4]), ("1-2, 2-3", [1, 2, 3]), ("4-4", [4])],
)  # fmt: skip
def test_stage_numbers(text: str, numbers: list[int]):
    assert parse_stage_numbers(text, 4) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "no stage 5; this plan has stages 1 to 4"),
        ("0", "no stage 0; this plan has stages 1 to 4"),
        ("2-9", "no stage 9; this plan has stages 1 to 4"),
        ("1-99999999999", "no stage 99999999999; this plan has stages 1 to 4"),
        ("3-2", "--cascade-stages 3-2: 3 comes after 2; write 2-3"),
        *[(text, f"--cascade-stages {text}: expected all, none, or numbers such as 2,3 or 2-4")
          for text in ("two", "1,", "-2", "1-", "1-2-3", "2;3", "²")],
    ],
)  # fmt: skip
def test_wrong_stage_numbers_are_told(text: str, message: str):
    with pytest.raises(ConfigError) as caught:
        parse_stage_numbers(text, 4)
    assert message in str(caught.value)


def test_controls():
    known = [name for name in CONTROLS if name != "keep"]
    assert parse_controls("none", known) == [] == parse_controls("", known)
    assert parse_controls("all", known) == known
    assert parse_controls("continue, longer,continue", known) == ["continue", "longer"]


def test_wrong_controls_are_told():
    known = [name for name in CONTROLS if name != "keep"]
    with pytest.raises(ConfigError, match="no control 'longr'; did you mean 'longer'"):
        parse_controls("longr", known)
    with pytest.raises(ConfigError, match="--controls keep: this cascade has no control keep"):
        parse_controls("keep", known)
