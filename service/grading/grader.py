"""Ties cases, processes, checks and score together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import GauntletError
from service.grading.cases import Case, classic_cases
from service.grading.checks import Answer, BrokenError, check_row, check_spread
from service.grading.executor import CodeProcess, Executor, ProcessOutcome
from service.grading.scan import GUARDRAIL_WORDS, WORDS_NEEDED, guardrail_words
from service.grading.score import Grade, rows_of, score_rows
from service.task.contract import ENTRY_POINT, RUBRIC

__all__ = ["Grader"]


@dataclass(frozen=True, slots=True)
class _CaseRun:
    """What one case came to: its answers, or why there are none."""

    case: Case
    answers: Sequence[Answer] = ()
    load_failure: str | None = None
    call_failure: str | None = None


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
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run(case, code)) for case in classic_cases()]
        except* GauntletError as faults:
            raise faults.exceptions[0] from None
        return _judged(code, [task.result() for task in tasks])

    async def _run(self, case: Case, code: str) -> _CaseRun:
        async with self._executor.process() as process:
            loaded = await process.load(code, ENTRY_POINT)
            if not loaded.ok or not loaded.defined:
                return _CaseRun(case, load_failure=_load_failure(loaded))
            return await _call(process, case)


async def _call(process: CodeProcess, case: Case) -> _CaseRun:
    answers: list[Answer] = []
    for index, events in enumerate(case.batches):
        outcome = await (process.call_again(events) if index else process.call(events, case.state))
        if not outcome.ok:
            where = f"call {index + 1} of {len(case.batches)}: " if len(case.batches) > 1 else ""
            return _CaseRun(case, call_failure=f"{where}{outcome.summary}")
        answers.append(Answer(outcome.returned, outcome.given_state))
    return _CaseRun(case, answers)


def _load_failure(loaded: ProcessOutcome) -> str:
    if loaded.ok:
        return f"{ENTRY_POINT} missing"
    return loaded.summary if loaded.summary.startswith("Syntax error") else f"Import failed: {loaded.summary}"


def _judged(code: str, runs: Sequence[_CaseRun]) -> Grade:
    for run in runs:
        if run.load_failure is not None:
            everything = {row.id: run.load_failure for row in RUBRIC}
            return score_rows(rows_of(everything), feedback=f"✗ {run.load_failure}")
    broken = {run.case.row: reason for run in runs if (reason := _row_broken(run)) is not None}
    if "validity" not in broken and (reason := _spread_broken(runs, broken)) is not None:
        broken["validity"] = reason
    words = guardrail_words(code)
    if len(words) < WORDS_NEEDED:
        found = ", ".join(words) or "none"
        broken["guardrails"] = (
            f"{WORDS_NEEDED} of {', '.join(GUARDRAIL_WORDS)} are needed in the source; found: {found}"
        )
    return score_rows(rows_of(broken))


def _row_broken(run: _CaseRun) -> str | None:
    if run.call_failure is not None:
        return run.call_failure
    try:
        check_row(run.case, run.answers)
    except BrokenError as broken:
        return str(broken)
    return None


def _spread_broken(runs: Sequence[_CaseRun], broken: dict[str, str]) -> str | None:
    """A defect is charged once: mean and std count for the cases whose own row holds."""
    for run in runs:
        if run.case.row in broken:
            continue
        try:
            check_spread(run.case, run.answers)
        except BrokenError as reason:
            return f"in the {run.case.id.replace('_', ' ')} case, {reason}"
    return None
