"""Run the stages of a plan's branches and select the best of each branch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade_asr.cascade.controls import Branch
from cascade_asr.cascade.names import CASCADE, FROM_NEW_WEIGHTS
from cascade_asr.cascade.options import CascadeConfig
from cascade_asr.cascade.plan import StagePlan
from cascade_asr.cascade.selection import Verdict, judge, selected, stages_without_gain
from cascade_asr.cascade.sources import outer_source
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.errors import ConfigError
from cascade_asr.files import locked, write_json
from cascade_asr.training.experiment import SELECTION_LOCK
from cascade_asr.training.finished import DoneStage, how_to_run, read_done, require_done

logger = logging.getLogger(__name__)


class Engine:
    """Runs a cascade and its controls in one experiment.

    Args:
        runner: trains single stages.
        branches: branches by name; the cascade is one of them.
        cascade: selection and stopping rule.
        select: dev metric and ``min`` or ``max``.
    """

    def __init__(
        self,
        runner: StageRunner,
        branches: Mapping[str, Branch],
        cascade: CascadeConfig,
        select: list[str],
    ) -> None:
        self.runner = runner
        self.branches = branches
        self.cascade = cascade
        self.select = select

    def train_full(self) -> DoneStage:
        """Stage 0: all layers from the experiment's seed."""
        self._read_finished()
        done = self.runner.run(self.branches[CASCADE].stages[0], None)
        self.write_selection()
        return done

    def run(self, numbers: Sequence[int], branch: str = CASCADE) -> None:
        """Run stages of a branch by number; patience may end the branch early.

        A stage that is asked for by name (``again`` of the runner) is trained all the same.

        Raises:
            ConfigError: if a stage that one of them starts from is not done, or the weights
                of any finished one are missing.
        """
        self._read_finished()
        for number in numbers:
            plan = self.branches[branch].stages[number]
            asked_for = plan.name == self.runner.again
            if not asked_for and self._stop_before(self.branches[branch], number):
                logger.info(
                    "%s: not run: %d stages without improvement (stop: patience)",
                    plan.title,
                    self.cascade.patience,
                )
                return
            self.runner.run(plan, self._source(self.branches[branch], plan))
            self.write_selection()

    def _read_finished(self) -> None:
        """Read all that is finished: what fails here would fail after hours of training."""
        for name in self.branches:
            self.done(name)

    def _source(self, branch: Branch, plan: StagePlan) -> DoneStage | None:
        """The finished stage whose weights a stage takes over; None for new weights only."""
        if not plan.source:
            return None
        if plan.source in ("previous", "full"):
            number = plan.number - 1 if plan.source == "previous" else 0
            return self._require(branch, number, plan)
        if plan.source == "best":
            for number in range(plan.number):
                self._require(branch, number, plan)
            before = {n: each for n, each in self.done(branch.name).items() if n < plan.number}
            return before[selected(judge(before, self.select))]
        return outer_source(self.runner.task, plan, branch.stages)

    def _require(self, branch: Branch, number: int, needed_by: StagePlan) -> DoneStage:
        """A finished stage that matches the options, as do those before it.

        Raises:
            ConfigError: if one of them is missing, or was trained with other options.
        """
        name = f"cascade stage {needed_by.number}" if branch.name == CASCADE else needed_by.name
        require_done(self.runner.directory(branch.stages[number]), name)
        found: dict[int, DoneStage] = {}
        for each in sorted(_ancestors(branch, number)):
            plan = branch.stages[each]
            directory = self.runner.directory(plan)
            done = require_done(directory, name, verify=False)
            changed = self.runner.changes(plan, self._source_among(plan, found))
            if changed != []:
                raise ConfigError(_stale(name, directory, changed))
            found[each] = done
        return found[number]

    def _stop_before(self, branch: Branch, number: int) -> bool:
        if self.cascade.stop != "patience" or branch.name in FROM_NEW_WEIGHTS:
            return False
        before = {n: done for n, done in self.done(branch.name).items() if n < number}
        if 0 not in before:
            return False
        return stages_without_gain(judge(before, self.select)) >= self.cascade.patience

    def done(self, branch: str = CASCADE) -> dict[int, DoneStage]:
        """The finished stages of a branch by number, including full training.

        A stage that was trained with other options, or from a model that has been
        trained again since, does not count.
        """
        found: dict[int, DoneStage] = {}
        for plan in self.branches[branch].stages:
            done = read_done(self.runner.directory(plan))
            if done is None:
                continue
            if self.runner.is_current(plan, self._source_among(plan, found)):
                found[plan.number] = done
        return found

    def _source_among(self, plan: StagePlan, before: dict[int, DoneStage]) -> DoneStage | None:
        """The finished stage that a stage would start from, if it exists."""
        if not plan.source:
            return None
        if plan.source == "previous":
            return before.get(plan.number - 1)
        if plan.source == "full":
            return before.get(0)
        if plan.source == "best":
            return before[selected(judge(before, self.select))] if 0 in before else None
        return read_done(Path(plan.source))

    def write_selection(self) -> None:
        """Write ``selection.json``: every finished stage, what was kept, and the best.

        Several jobs may end at once: each reads what is finished and writes under
        a lock, so that the last one sees everything.
        """
        if not self.runner.fabric.is_global_zero:
            return
        with locked(self.runner.task.directory / SELECTION_LOCK):
            done = self.done()
            if 0 not in done:
                self._warn_of_stale_full()
                return
            content = {"metric": self.select[0], "mode": self.select[1]}
            content |= self._verdicts_of(self.branches[CASCADE], done)
            controls = {}
            for name, branch in self.branches.items():
                if name == CASCADE:
                    continue
                finished = self.done(name)
                if not branch.with_full:
                    finished.pop(0, None)
                if set(finished) - {0}:
                    controls[name] = {
                        "title": branch.title,
                        "complete": self._nothing_left(branch, finished),
                        **self._verdicts_of(branch, finished),
                    }
            content["complete"] = self._nothing_left(self.branches[CASCADE], done)
            content["controls"] = controls
            write_json(self.runner.task.directory / "selection.json", content)
        logger.info(
            "selected by dev %s: %s (%s)",
            self.select[0],
            next(each["title"] for each in content["stages"] if each["name"] == content["selected"]),
            ", ".join(f"{each['name']} {each['value']:.4g}" for each in content["stages"]),
        )

    def _warn_of_stale_full(self) -> None:
        """Say why ``selection.json`` is not written, if full training has other options."""
        plan = self.branches[CASCADE].stages[0]
        directory = self.runner.directory(plan)
        changed = self.runner.changes(plan, None)
        if changed and read_done(directory) is not None:
            logger.warning(
                "selection.json is not written: %s", _stale("the selection", directory, changed)
            )

    def _nothing_left(self, branch: Branch, done: Mapping[int, DoneStage]) -> bool:
        """Whether every stage of a branch is finished, or not run because of patience."""
        return all(
            each.number in done or self._stop_before(branch, each.number) for each in branch.own
        )

    def _verdicts_of(self, branch: Branch, done: dict[int, DoneStage]) -> dict:
        verdicts = judge(done, self.select)
        return {
            "selected": branch.stages[selected(verdicts)].name,
            "stages": [_entry(branch.stages[each.number], each) for each in verdicts],
        }


def _ancestors(branch: Branch, number: int) -> set[int]:
    """A stage of a branch and all that its weights come from."""
    needed, waiting = set(), [number]
    while waiting:
        current = waiting.pop()
        if current in needed:
            continue
        needed.add(current)
        sources = {"previous": [current - 1], "full": [0], "best": range(current)}
        waiting += sources.get(branch.stages[current].source, [])
    return needed


def _stale(needed_by: str, directory: Path, changed: list[str] | None) -> str:
    """Message that a finished training does not match the options, and what to do."""
    what, command = how_to_run(directory.name)
    if changed is None:
        return (
            f"{needed_by} needs {what}, but {directory}/identity.json, which says how it was "
            f"trained, is missing or damaged; run {command} first: the old one is kept as "
            f"{directory.name}.replaced.N"
        )
    return (
        f"{needed_by} needs {what}, but {directory} was trained differently: {'; '.join(changed)}; "
        f"run {command} to train it again (the old one is kept as {directory.name}.replaced.N), "
        "or undo the change; changes for the cascade's stages only belong under 'train' of the "
        "cascade configuration"
    )


def _entry(plan: StagePlan, verdict: Verdict) -> dict:
    return {
        "name": plan.name,
        "title": plan.title,
        "value": verdict.value,
        "kept": verdict.kept,
    }
