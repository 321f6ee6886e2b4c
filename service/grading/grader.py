"""Ties cases, processes, checks and score together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from service.grading.audit import Integrity, derived_seeds, integrity_of
from service.grading.cases import HANDED_ON, Case, classic_cases
from service.grading.executor import CodeProcess, Executor, load_failure
from service.grading.faults import first_fault
from service.grading.hardened import hardened_draws
from service.grading.judge import CaseJudge
from service.grading.scan import GUARDRAIL_WORDS, WORDS_NEEDED, guardrail_words
from service.grading.score import GRADER_VERSION, Grade, Row, row_of, rows_of, score_rows
from service.spans import span
from service.task.contract import ENTRY_POINT, RUBRIC

__all__ = ["Grader"]


@dataclass(frozen=True, slots=True)
class _Source:
    """A submission as every process of its grade gets it.

    Attributes:
        code: its text.
        compiled: what spares a process compiling it.
        words: those of `GUARDRAIL_WORDS` that count as found.
        failure: why it does not compile, None when it does.
    """

    code: str
    compiled: str | None = None
    words: Sequence[str] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class _CaseRun:
    """What one case came to."""

    judge: CaseJudge
    load_failure: str | None = None


class Grader:
    """Grades submissions, each case in fresh processes, the cases of one grade side by side."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def grade(self, code: str, *, seed: int | None = None, heard: Callable[[Row], None] | None = None) -> Grade:
        """Grades one submission.

        Args:
            code: its whole source.
            seed: draws the cases of the hardened suite; None for the classic suite.
            heard: is given each row that the end of a case decides, as it does. The grade has the last word: a source
                that another process cannot load loses them all.

        Returns:
            A grade, whatever the submission did.

        Raises:
            GauntletError: the executor's own fault: there is no grade then.
        """
        return _judged(*await self._runs(code, seed, heard=heard))

    async def audit(self, code: str, *, seed: int | None = None) -> tuple[Grade, Integrity]:
        """Grades one submission, and looks whether the grade says what it seems to.

        Args:
            code: its whole source.
            seed: as for `grade`.

        Returns:
            The same grade as `grade` gives, and what further runs say about it.

        Raises:
            GauntletError: the executor's own fault.
        """
        source, once = await self._runs(code, seed, witnessed=True)
        _, again = await self._runs(code, seed, witnessed=True)
        further = {other: await self.grade(code, seed=other) for other in derived_seeds(code, seed)}
        return (grade := _judged(source, once)), integrity_of(grade, further, _digests(once), _digests(again))

    async def _runs(
        self,
        code: str,
        seed: int | None,
        *,
        witnessed: bool = False,
        heard: Callable[[Row], None] | None = None,
    ) -> tuple[_Source, list[_CaseRun]]:
        first, *others = _draws(seed)
        source: asyncio.Future[_Source] = asyncio.get_running_loop().create_future()
        with first_fault():
            async with asyncio.TaskGroup() as group:
                judge = CaseJudge(first(), witnessed=witnessed)
                runs = [self._prepare_and_run(judge, code, source)]
                runs += [self._run(draw, source, witnessed=witnessed) for draw in others]
                runs = [_spanned(run) for run in runs]
                tasks = [group.create_task(_telling(run, source, heard) if heard else run) for run in runs]
        return source.result(), [task.result() for task in tasks]

    async def _prepare_and_run(self, judge: CaseJudge, code: str, prepared: "asyncio.Future[_Source]") -> _CaseRun:
        """One process compiles the source for all, before any of it has run there."""
        async with self._executor.process() as process:
            prepared.set_result(source := await _prepared(process, code, drawn=judge.case.drawn))
            failure = source.failure or await _load_and_call(process, source, judge)
        return await self._finished(_CaseRun(judge, failure), source)

    async def _run(self, draw: Callable[[], Case], prepared: "asyncio.Future[_Source]", *, witnessed: bool) -> _CaseRun:
        judge = CaseJudge(draw(), witnessed=witnessed)  # while the source is compiled
        source = await prepared
        return await self._finished(_CaseRun(judge, source.failure), source)

    async def _finished(self, run: _CaseRun, source: _Source) -> _CaseRun:
        """Goes on in one process after another, until nothing can change the verdict."""
        judge = run.judge
        while run.load_failure is None and judge.next_call is not None:
            was_called = judge.was_called
            async with self._executor.process() as process:
                failure = await _load_and_call(process, source, judge)
            if failure is not None and not was_called:
                return _CaseRun(judge, failure)
            if failure is not None:
                judge.fail(f"after a restart: {failure}")
        return run


async def _spanned(run: Awaitable[_CaseRun]) -> _CaseRun:
    with span("gauntlet.case") as spent:
        ended = await run
        spent.set("gauntlet.row", ended.judge.case.row)
        spent.set("gauntlet.passed", ended.load_failure is None and ended.judge.row_broken is None)
    return ended


async def _telling(
    run: Awaitable[_CaseRun], source: "asyncio.Future[_Source]", heard: Callable[[Row], None]
) -> _CaseRun:
    ended = await run
    for row, broken in _decided(ended, source.result()):
        heard(row_of(row, broken))
    return ended


def _decided(run: _CaseRun, source: _Source) -> Iterator[tuple[str, str | None]]:
    """The rows that the end of one case decides, each with why it is lost."""
    row, broken = run.judge.case.row, run.judge.row_broken
    if run.load_failure is not None:
        return
    if row != "validity" or broken is not None:  # it holds only when mean and std of every case do
        yield row, broken
    if row == "tier3":  # whose calls have shown the telemetry
        yield "guardrails", _guardrails_broken(source, [run])


def _draws(seed: int | None) -> Sequence[Callable[[], Case]]:
    if seed is not None:
        return hardened_draws(GRADER_VERSION, seed)
    return [lambda case=case: case for case in classic_cases()]  # type: ignore[misc]


async def _prepared(process: CodeProcess, code: str, *, drawn: bool) -> _Source:
    compiled = await process.compile(code, GUARDRAIL_WORDS if drawn else ())
    if not compiled.ok:
        return _Source(code, failure=load_failure(compiled))
    return _Source(code, compiled.compiled, compiled.found if drawn else guardrail_words(code))


async def _load_and_call(process: CodeProcess, source: _Source, judge: CaseJudge) -> str | None:
    """Makes calls until the process is to be replaced; answers why the source could not be loaded, if it could not."""
    loaded = await process.load(source.code, ENTRY_POINT, source.compiled)
    if (failure := load_failure(loaded)) is not None:
        return failure
    is_new = True
    while (call := judge.next_call) is not None and (is_new or not call.in_new_process):
        if call.state is not HANDED_ON:
            outcome = await process.call(call.events, call.state, whole_state=call.whole_state)
        elif is_new:
            outcome = await process.call(call.events, judge.reported_state, whole_state=call.whole_state)
        else:
            outcome = await process.call_again(call.events, whole_state=call.whole_state)
        is_new = False
        judge.take(outcome)
    return None


def _digests(runs: Sequence[_CaseRun]) -> dict[str, str]:
    return {run.judge.case.row: f"{run.load_failure} {run.judge.row_broken} {run.judge.digest}" for run in runs}


def _judged(source: _Source, runs: Sequence[_CaseRun]) -> Grade:
    for run in runs:
        if run.load_failure is not None:
            everything = {row.id: run.load_failure for row in RUBRIC}
            return score_rows(rows_of(everything), feedback=f"✗ {run.load_failure}")
    broken = {run.judge.case.row: run.judge.row_broken for run in runs if run.judge.row_broken is not None}
    if "validity" not in broken and (reason := _spread_broken(runs)) is not None:
        broken["validity"] = reason
    if (reason := _guardrails_broken(source, runs)) is not None:
        broken["guardrails"] = reason
    return score_rows(rows_of(broken))


def _spread_broken(runs: Sequence[_CaseRun]) -> str | None:
    """A defect is charged once: mean and std count for the cases whose own row holds."""
    for run in runs:
        if run.judge.row_broken is None and run.judge.spread_broken is not None:
            return f"in the {run.judge.case.id.replace('_', ' ')} case, {run.judge.spread_broken}"
    return None


def _guardrails_broken(source: _Source, runs: Sequence[_CaseRun]) -> str | None:
    """Words of the source; where cases are drawn, its telemetry must be about them, too."""
    if len(source.words) < WORDS_NEEDED:
        where = "names of the source" if any(run.judge.case.drawn for run in runs) else "source"
        found = ", ".join(source.words) or "none"
        return f"{WORDS_NEEDED} of {', '.join(GUARDRAIL_WORDS)} are needed in the {where}; found: {found}"
    return next((run.judge.telemetry.broken for run in runs if run.judge.telemetry is not None), None)
