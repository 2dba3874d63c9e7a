"""Run the stages of a plan one after the other and select the best."""

from __future__ import annotations

import logging
from pathlib import Path

from cascade_asr.cascade.config import CascadeConfig
from cascade_asr.cascade.lineage import DoneStage, read_done, require_done
from cascade_asr.cascade.plan import StagePlan
from cascade_asr.cascade.selection import judge, selected, stages_without_gain
from cascade_asr.cascade.stage import StageRunner
from cascade_asr.data.atomic import write_json
from cascade_asr.errors import ConfigError

logger = logging.getLogger(__name__)


class Engine:
    """A cascade over one experiment.

    Args:
        runner: trains single stages.
        stages: the plan; stage 0 is full training.
        cascade: source, selection and stopping rule.
        select: dev metric and ``min`` or ``max``.
    """

    def __init__(
        self,
        runner: StageRunner,
        stages: list[StagePlan],
        cascade: CascadeConfig,
        select: list[str],
    ) -> None:
        self.runner = runner
        self.stages = stages
        self.cascade = cascade
        self.select = select

    def train_full(self) -> DoneStage:
        """Stage 0: all layers from the experiment's seed."""
        done = self.runner.run(self.stages[0], None)
        self.write_selection()
        return done

    def run(self, numbers: list[int]) -> None:
        """Run cascade stages by number; patience may end them early.

        Raises:
            ConfigError: if a stage that one of them starts from is not done.
        """
        for number in numbers:
            plan = self.stages[number]
            if self._stop_before(number):
                logger.info(
                    "%s: not run: %d stages without improvement (stop: patience)",
                    plan.title,
                    self.cascade.patience,
                )
                return
            self.runner.run(plan, self._source(plan))
            self.write_selection()

    def _source(self, plan: StagePlan) -> DoneStage:
        """The finished stage whose weights a stage takes over."""
        needed_by = f"cascade stage {plan.number}"
        if plan.source in ("previous", "full"):
            number = plan.number - 1 if plan.source == "previous" else 0
            return require_done(self._directory(number), number, needed_by)
        if plan.source == "best":
            for number in range(plan.number):
                require_done(self._directory(number), number, needed_by)
            before = {n: each for n, each in self.done().items() if n < plan.number}
            return before[selected(judge(before, self.select))]
        directory = Path(plan.source)
        done = read_done(directory, verify=True)
        if done is None:
            raise ConfigError(
                f"source '{plan.source}': no finished training there (done.json not found); "
                "expected previous, best, full, or a folder such as exp/TAG/full"
            )
        tokens = self.runner.experiment.tokens / "tokens.txt"
        theirs = directory.parent / "tokens" / "tokens.txt"
        if not theirs.is_file() or theirs.read_bytes() != tokens.read_bytes():
            raise ConfigError(
                f"source '{plan.source}': its tokens ({theirs}) are not those of {tokens}; a "
                "classifier can only be transferred to the same tokens"
            )
        return done

    def _stop_before(self, number: int) -> bool:
        if self.cascade.stop != "patience":
            return False
        before = {n: done for n, done in self.done().items() if n < number}
        if 0 not in before:
            return False
        return stages_without_gain(judge(before, self.select)) >= self.cascade.patience

    def _directory(self, number: int) -> Path:
        return self.runner.directory(self.stages[number])

    def done(self) -> dict[int, DoneStage]:
        """The finished stages of this plan.

        A stage that was trained with other options, or from a model that has been
        trained again since, is none of them; full training always is.
        """
        found: dict[int, DoneStage] = {}
        for plan in self.stages:
            done = read_done(self.runner.directory(plan))
            if done is None:
                continue
            if plan.number == 0 or self.runner.is_current(plan, self._source_among(plan, found)):
                found[plan.number] = done
        return found

    def _source_among(self, plan: StagePlan, before: dict[int, DoneStage]) -> DoneStage | None:
        """What a stage would start from, where it is there."""
        if plan.source == "previous":
            return before.get(plan.number - 1)
        if plan.source == "full":
            return before.get(0)
        if plan.source == "best":
            return before[selected(judge(before, self.select))] if 0 in before else None
        return read_done(Path(plan.source))

    def write_selection(self) -> None:
        """Write ``selection.json``: every finished stage, what was kept, and the best."""
        if not self.runner.fabric.is_global_zero:
            return
        done = self.done()
        if 0 not in done:
            return
        verdicts = judge(done, self.select)
        best = selected(verdicts)
        write_json(
            self.runner.experiment.directory / "selection.json",
            {
                "metric": self.select[0],
                "mode": self.select[1],
                "selected": self.stages[best].name,
                "stages": [
                    {
                        "name": self.stages[verdict.number].name,
                        "title": self.stages[verdict.number].title,
                        "value": verdict.value,
                        "kept": verdict.kept,
                    }
                    for verdict in verdicts
                ],
            },
        )
        logger.info(
            "selected by dev %s: %s (%s)",
            self.select[0],
            self.stages[best].title,
            ", ".join(f"{self.stages[v.number].name} {v.value:.4g}" for v in verdicts),
        )
