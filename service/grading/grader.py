"""Ties cases, processes, checks and score together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import GauntletError
from service.grading.cases import Case, classic_cases
from service.grading.checks import Answer, CaseJudge
from service.grading.executor import CodeProcess, Executor, ProcessOutcome
from service.grading.scan import GUARDRAIL_WORDS, WORDS_NEEDED, guardrail_words
from service.grading.score import Grade, rows_of, score_rows
from service.task.contract import ENTRY_POINT, RUBRIC

__all__ = ["Grader"]


@dataclass(frozen=True, slots=True)
class _CaseRun:
    """What one case came to."""

    case: Case
    row_broken: str | None = None
    spread_broken: str | None = None
    load_failure: str | None = None


class Grader:
    """Grades submissions, each case in a fresh process, the cases of one grade side by side."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def grade(self, code: str) -> Grade:
        """Grades one submission on the classic suite.

        Args:
            code: its whole source.

        Returns:
            A grade, whatever the submission did.

        Raises:
            GauntletError: the executor's own fault: there is no grade then.
        """
        first, *others = classic_cases()
        compiled: asyncio.Future[ProcessOutcome] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._compile_and_run(first, code, compiled))]
                tasks += [group.create_task(self._run(case, code, compiled)) for case in others]
        except* GauntletError as faults:
            raise faults.exceptions[0] from None
        return _judged(code, [task.result() for task in tasks])

    async def _compile_and_run(self, case: Case, code: str, compiled: "asyncio.Future[ProcessOutcome]") -> _CaseRun:
        """One process compiles the source for all, before any of it has run there."""
        async with self._executor.process() as process:
            compiled.set_result(await process.compile(code))
            return await _load_and_call(process, case, code, compiled.result())

    async def _run(self, case: Case, code: str, compiled: "asyncio.Future[ProcessOutcome]") -> _CaseRun:
        if not (outcome := await compiled).ok:
            return _CaseRun(case, load_failure=_load_failure(outcome))
        async with self._executor.process() as process:
            return await _load_and_call(process, case, code, outcome)


async def _load_and_call(process: CodeProcess, case: Case, code: str, compiled: ProcessOutcome) -> _CaseRun:
    if not compiled.ok:
        return _CaseRun(case, load_failure=_load_failure(compiled))
    loaded = await process.load(code, ENTRY_POINT, compiled.compiled)
    if not loaded.ok or not loaded.defined:
        return _CaseRun(case, load_failure=_load_failure(loaded))
    return await _call(process, case)


async def _call(process: CodeProcess, case: Case) -> _CaseRun:
    judge = CaseJudge(case)
    while (index := judge.next_batch) is not None:
        events = case.batches[index]
        if index == 0:
            outcome = await process.call(events, case.state, whole_state=False)
        else:
            outcome = await process.call_again(events, whole_state=False)
        if outcome.ok:
            judge.hear(Answer(outcome.returned, outcome.given_state))
        else:
            judge.fail(outcome.summary)
    return _CaseRun(case, judge.row_broken, judge.spread_broken)


def _load_failure(loaded: ProcessOutcome) -> str:
    if loaded.ok:
        return f"{ENTRY_POINT} missing"
    return loaded.summary if loaded.summary.startswith("Syntax error") else f"Import failed: {loaded.summary}"


def _judged(code: str, runs: Sequence[_CaseRun]) -> Grade:
    for run in runs:
        if run.load_failure is not None:
            everything = {row.id: run.load_failure for row in RUBRIC}
            return score_rows(rows_of(everything), feedback=f"✗ {run.load_failure}")
    broken = {run.case.row: run.row_broken for run in runs if run.row_broken is not None}
    if "validity" not in broken and (reason := _spread_broken(runs)) is not None:
        broken["validity"] = reason
    words = guardrail_words(code)
    if len(words) < WORDS_NEEDED:
        found = ", ".join(words) or "none"
        broken["guardrails"] = (
            f"{WORDS_NEEDED} of {', '.join(GUARDRAIL_WORDS)} are needed in the source; found: {found}"
        )
    return score_rows(rows_of(broken))


def _spread_broken(runs: Sequence[_CaseRun]) -> str | None:
    """A defect is charged once: mean and std count for the cases whose own row holds."""
    for run in runs:
        if run.row_broken is None and run.spread_broken is not None:
            return f"in the {run.case.id.replace('_', ' ')} case, {run.spread_broken}"
    return None
