"""What decides the result of a training, and what has changed since.

It is stored beside the weights in ``identity.json``, and with the state in
``checkpoint.pt``. The options are listed by name; older experiments have only
their hash, and their options are those of ``config.yaml``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cascade_asr.errors import ConfigError
from cascade_asr.files import read_json
from cascade_asr.options.training import TrainingOptions
from cascade_asr.training import checkpoint
from cascade_asr.yaml_file import read_yaml

logger = logging.getLogger(__name__)

GIVEN = "train_args"  # how options were given is recorded, but decides nothing
TENSORS = "tensors"  # what the frozen and the reset layers consist of
_UNSET = object()
IN_WORDS = {
    "source": "source: the model that it starts from was trained again",
    "data": "data: the training set or the dev set is different",
    TENSORS: "layers: the frozen or re-initialised ones have other weights (grain, tying)",
}


def deciding_options(config: TrainingOptions) -> dict[str, Any]:
    """The options that decide the result, as stored in JSON."""
    return json.loads(json.dumps(config.deciding()))


def identity_digest(identity: Mapping[str, Any]) -> str:
    """A hash of an identity; the options enter through their own hash."""
    outside = ("options", GIVEN, TENSORS)  # the last one is newer than the hashes in done.json
    content = {key: value for key, value in identity.items() if key not in outside}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def tensors_digest(frozen: Iterable[str], reset: Iterable[str] = ()) -> str:
    """A hash of the names of frozen tensors and of those that start anew while others do not.

    Layers of the same name may consist of other tensors, as a classifier by another ``grain``
    and a softmax by another ``tying``.
    """
    content = json.dumps([sorted(frozen), sorted(reset)])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def with_tensors(
    found: dict[str, Any], directory: Path, now: Mapping[str, Any]
) -> dict[str, Any]:
    """An identity from before tensors were recorded, completed by those of ``lineage.json``.

    Args:
        found: identity of the training in a folder.
        directory: the folder.
        now: identity of what is asked for; its tensors are taken if there is no record.
    """
    if TENSORS in found or TENSORS not in now:
        return found
    try:
        frozen = read_json(directory / "lineage.json").get("frozen_fingerprints")
    except ConfigError:  # it is not finished
        frozen = None
    known = tensors_digest(frozen) if frozen and not found.get("reset") else now[TENSORS]
    return {**found, TENSORS: known}


def read_identity(directory: Path) -> dict[str, Any] | None:
    """Identity of the training in a folder; None if it is not recorded or is damaged."""
    path = directory / "identity.json"
    if not path.is_file():
        return None
    try:
        content = read_json(path)
    except ConfigError:
        content = None
    if content is None or not isinstance(content.get("config"), str):
        logger.warning("%s: damaged", path)
        return None
    if "options" not in content:
        content["options"] = _options_of_config_file(directory)
    return content


def _options_of_config_file(directory: Path) -> dict[str, Any] | None:
    try:
        return read_yaml(directory / "config.yaml")[0]
    except ConfigError:
        return None


def checkpoint_identity(directory: Path) -> dict[str, Any] | None:
    """Identity of the training that ``checkpoint.pt`` belongs to; None if it does not say."""
    path = directory / "checkpoint.pt"
    if not path.is_file():
        return None
    try:
        content = checkpoint.load(path)
    except ConfigError:
        return None  # reported where the checkpoint is needed
    found = content.get("identity") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else None


def recorded_digest(directory: Path) -> str | None:
    """The recorded digest of a finished stage, for when ``identity.json`` is lost."""
    for name, key in (("done.json", "digest"), ("lineage.json", "config")):
        try:
            content = read_json(directory / name)
        except ConfigError:
            continue
        if isinstance(content.get(key), str):
            return content[key]
    return None


def holds_weights(directory: Path) -> bool:
    """Whether a folder has a trained model, or one in training."""
    names = ("model.pth", "checkpoint.pt", "epoch*.pth")
    return any(True for name in names for _ in directory.glob(name))


def changes(
    found: Mapping[str, Any], now: Mapping[str, Any], config: TrainingOptions
) -> list[str]:
    """``option: old -> new`` for all that differs; empty if the result is the same.

    Args:
        found: identity of what is on disk.
        now: identity of what the options ask for.
        config: these options; those that ``found`` does not know yet had their default.
    """
    lines = []
    if found.get("config") != now["config"]:
        if isinstance(found.get("options"), dict):
            lines += changed_options(found, config)
        else:
            lines.append("training options (the old ones are not recorded by name)")
    aside = {"config", "options", GIVEN}
    if any(found.get(key) != now.get(key) for key in ("frozen", "reset")):
        aside.add(TENSORS)  # other layers have other weights
    for key in sorted((found.keys() | now.keys()) - aside):
        old, new = found.get(key, _UNSET), now.get(key, _UNSET)
        if old == new or (key == "seed" and any(each.startswith("seed: ") for each in lines)):
            continue
        lines.append(IN_WORDS.get(key) or f"{key}: {_shown(old)} -> {_shown(new)}")
    return lines


def changed_options(found: Mapping[str, Any] | None, config: TrainingOptions) -> list[str]:
    """``option: old -> new`` for the training options alone; empty if none are recorded.

    Args:
        found: identity of what is on disk, or None.
        config: what it is to be compared with.
    """
    before = (found or {}).get("options")
    if not isinstance(before, dict):
        return []
    return changed_keys(_completed(before, config), deciding_options(config))


def _completed(before: Mapping[str, Any], config: TrainingOptions) -> dict[str, Any]:
    """Recorded options, with defaults for those that did not exist yet."""
    content = dataclasses.asdict(type(config)())
    for key, value in before.items():
        nested = dataclasses.is_dataclass(getattr(config, key, None))
        content[key] = {**content[key], **value} if nested and value else value
    return json.loads(json.dumps(config.deciding_among(content)))


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``key: old -> new`` for every leaf that differs."""
    lines = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, _UNSET), after.get(key, _UNSET)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += changed_keys(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {_shown(old)} -> {_shown(new)}")
    return lines


def _shown(value: Any) -> str:
    if value is _UNSET:
        return "unset"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return "none" if value == [] else str(value)
