"""What an experiment with a user's module adds to its record: the scores that trainings kept."""

from __future__ import annotations

from pathlib import Path

from cascade_asr.files import read_json
from cascade_asr.options.training import TrainingOptions
from cascade_asr.results.collect import Stage, read_stage
from cascade_asr.results.inspection import Inspector
from cascade_asr.results.measures import Column, Measured, Value, divide_name, is_less_better


def measured(
    directory: Path, options: TrainingOptions, inspector: Inspector | None = None
) -> Measured:
    """Read the scores in ``STAGE/scores.json``, such as ``{"test accuracy": 0.9}``.

    Args:
        directory: ``exp/TAG``.
        options: training options; their class supplies the defaults.
        inspector: inspects the models.

    Raises:
        DataError: if no training is finished there.
    """
    selection = read_json(directory / "selection.json")
    entries = {entry["name"]: entry for entry in selection["stages"]}
    stages = [
        read_stage(directory, entry, name == selection["selected"])
        for name, entry in entries.items()
    ]
    controls = []
    for control in selection.get("controls", {}).values():
        for entry in control["stages"]:
            if entry["name"] not in entries:
                entries[entry["name"]] = entry
                controls.append(read_stage(directory, entry, False))
    scores = {stage.name: _scores(stage) for stage in (*stages, *controls)}
    columns = list(dict.fromkeys(name for found in scores.values() for name in found))
    return Measured(
        kind="module",
        stages=stages,
        controls=controls,
        columns=[Column(*divide_name(name), name, ".4g") for name in columns],
        dev_form=".4g",
        values=[
            Value(
                training,
                *divide_name(name),
                value,
                less_is_better=is_less_better(name, selection["metric"], selection["mode"]),
            )
            for training, found in scores.items()
            for name, value in found.items()
        ],
        files=[
            f"Report: {directory}/report.html",
            f"Models: {directory}/STAGE/model.pth, lineage in lineage.json",
        ],
        defaults=type(options)(),
        inspector=inspector,
    )


def _scores(stage: Stage) -> dict[str, float]:
    path = stage.directory / "scores.json"
    return read_json(path) if path.is_file() else {}

