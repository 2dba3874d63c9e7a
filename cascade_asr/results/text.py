"""What a language-model experiment adds to its record: table, perplexities, comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_asr.errors import DataError
from cascade_asr.files import file_digest, read_json
from cascade_asr.lm.config import LMConfig
from cascade_asr.lm.evaluate import read_perplexities
from cascade_asr.results.collect import Stage, read_stage, selected_controls
from cascade_asr.results.experiments import read_if_whole
from cascade_asr.results.inspection import Inspector
from cascade_asr.results.measures import WITH_CACHE, Column, Difference, Measured, Value
from cascade_asr.results.record import experiment_record


@dataclass
class TextResults:
    """The results of an experiment with language models.

    Attributes:
        directory: ``exp/TAG``.
        metric: the dev metric used for model selection.
        stages: full training and the cascade's stages.
        texts: names of the evaluated texts.
        perplexities: by name of the stage, then by text (see `evaluate_text`).
        controls: the selected training of each control that was run.
    """

    directory: Path
    metric: str
    stages: list[Stage]
    texts: list[str]
    perplexities: dict[str, dict[str, dict[str, Any]]]
    controls: list[Stage] = field(default_factory=list)


def collect_texts(directory: Path, texts: list[str], dump: Path | None = None) -> TextResults:
    """Read the results of stages 3 to 5.

    Args:
        directory: ``exp/TAG``.
        texts: names of the evaluated texts.
        dump: folder with their token ids; None does not compare them with those of stage 5.

    Raises:
        DataError: if a stage has not been evaluated on all texts, or on other ones.
    """
    selection = read_json(directory / "selection.json")
    stages = [
        read_stage(directory, entry, entry["name"] == selection["selected"])
        for entry in selection["stages"]
    ]
    perplexities = {stage.name: read_perplexities(stage.directory) for stage in stages}
    for stage in stages:
        missing = [name for name in texts if name not in perplexities[stage.name]]
        if missing:
            raise DataError(
                f"{stage.directory}/perplexity.json: not evaluated on {', '.join(missing)}; run stage 5"
            )
    controls = selected_controls(directory, selection)
    _require_same_texts([*stages, *controls], texts, dump)
    return TextResults(directory, selection["metric"], stages, texts, perplexities, controls)


def _require_same_texts(stages: Sequence[Stage], texts: list[str], dump: Path | None) -> None:
    """Require that all trainings were evaluated on the same texts, those of the dump folder.

    They may have changed since, or stage 5 was killed between two trainings.

    Raises:
        DataError: naming a training and a text that is another one.
    """
    known = [read_if_whole(each.directory / "perplexity.json").get("texts_sha256", {}) for each in stages]
    for name in texts:
        now = dump and dump / name / "tokens.npy"
        current = file_digest(now) if now and now.is_file() else known[0].get(name)
        for stage, digests in zip(stages, known, strict=True):
            if name in digests and current not in (None, digests[name]):
                raise DataError(
                    f"{stage.directory}/perplexity.json: {name} is not the text that "
                    f"{f'{now} has now' if now else 'full training was evaluated on'}; run stage 5"
                )


def comparison_lines(results: TextResults) -> list[str]:
    """One sentence per stage and text: how much better or worse than full training it is."""
    first = results.stages[0].name
    lines = []
    for stage in results.stages[1:]:
        for name in results.texts:
            before, after = (results.perplexities[each][name] for each in (first, stage.name))
            change = 100 * (after["perplexity"] / before["perplexity"] - 1)
            nats = (before["log_probability"] - after["log_probability"]) / after["tokens"]
            lines.append(
                f"{stage.name} against full training on {name}: {change:+.1f} % perplexity, "
                f"{nats / math.log(2):+.4f} bits per token"
            )
    return lines


def measured(
    results: TextResults,
    data: dict[str, dict[str, int]] | None = None,
    inspector: Inspector | None = None,
) -> Measured:
    """What a language-model experiment adds to its record."""
    directory = results.directory
    values = _values(results)
    metrics = list(dict.fromkeys(each.metric for each in values))
    return Measured(
        kind="text",
        stages=results.stages,
        controls=results.controls,
        columns=[
            Column(name, metric, f"{name} {metric}") for metric in metrics for name in results.texts
        ],
        values=values,
        differences=_differences(results),
        sentences=comparison_lines(results),
        files=[
            f"Report: {directory}/report.html",
            f"Models: {directory}/STAGE/model.pth, lineage in lineage.json, perplexity.json",
        ],
        defaults=LMConfig(),
        data=data or {},
        inspector=inspector,
    )


def _evaluated(results: TextResults) -> dict[str, dict[str, dict[str, Any]]]:
    """Perplexities of all evaluated trainings, including the controls."""
    found = dict(results.perplexities)
    for control in results.controls:
        if (control.directory / "perplexity.json").is_file():
            found[control.name] = read_perplexities(control.directory)
    return found


def _values(results: TextResults) -> list[Value]:
    values = []
    for training, texts in _evaluated(results).items():
        for name in results.texts:
            if name not in texts:
                continue
            found = texts[name]
            tokens = {"tokens": found["tokens"]}
            for metric, key in (("perplexity", "perplexity"), (WITH_CACHE, "cache_perplexity")):
                if key in found:
                    values.append(Value(training, name, metric, found[key], counts=tokens))
    return values


def _differences(results: TextResults) -> list[Difference]:
    """Bits per token relative to full training; totals alone yield no interval."""
    evaluated = _evaluated(results)
    first = results.stages[0].name
    return [
        Difference(
            training, first, name, "bits per token",
            (full[name]["log_probability"] / full[name]["tokens"]
             - texts[name]["log_probability"] / texts[name]["tokens"]) / math.log(2),
        )
        for full in [evaluated[first]]
        for training, texts in evaluated.items()
        if training != first
        for name in results.texts
        if name in texts
    ]  # fmt: skip


def record_of(
    results: TextResults, data: dict[str, dict[str, int]] | None = None
) -> dict[str, Any]:
    """Make the record of a language-model experiment, the source of all its views."""
    return experiment_record(results.directory, measured(results, data))
