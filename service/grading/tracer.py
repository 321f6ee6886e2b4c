"""Runs a submission on the public cases to show what becomes of their readings."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from service.grading.answers import Answer
from service.grading.cases import HANDED_ON, Call, Case, classic_cases
from service.grading.executor import CodeProcess, Executor, ProcessOutcome, load_failure
from service.grading.faults import first_fault
from service.grading.judge import CaseJudge
from service.grading.trace import CallTrace, CaseTrace, trace_call, trace_events
from service.task.contract import ENTRY_POINT

__all__ = ["Tracer"]


class Tracer:
    """Traces submissions on the classic suite, whose inputs are the same for everyone; there is none for the other."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def trace(self, code: str) -> tuple[CaseTrace, ...]:
        """Traces one submission: the cases side by side, each in a process of its own.

        Args:
            code: its whole source.

        Returns:
            The five cases, whatever the submission did.

        Raises:
            GauntletError: the executor's own fault.
        """
        with first_fault():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._traced(code, case)) for case in classic_cases()]
        return tuple(task.result() for task in tasks)

    async def _traced(self, code: str, case: Case) -> CaseTrace:
        judge = CaseJudge(case)
        events, strangers = trace_events(case.calls[0].events, None)
        calls: list[CallTrace] = []
        async with self._executor.process() as process:
            failure = load_failure(await process.load(code, ENTRY_POINT, None))
            async for outcome in _outcomes(process, case.calls if failure is None else ()):
                if judge.next_call is not None:
                    judge.take(outcome)
                if not calls:
                    events, strangers = trace_events(case.calls[0].events, outcome.returned if outcome.ok else None)
                calls.append(_call_trace(outcome))  # an answer may take megabytes: none is kept
        broken = failure or judge.row_broken
        return CaseTrace(case.id, case.row, broken, judge.spread_broken, events, strangers, tuple(calls))


async def _outcomes(process: CodeProcess, calls: Sequence[Call]) -> AsyncIterator[ProcessOutcome]:
    """Makes calls, the last of them the one that gives nothing."""
    for call in calls:
        outcome = await _called(process, call)
        yield outcome
        if not outcome.ok:
            return


async def _called(process: CodeProcess, call: Call) -> ProcessOutcome:
    if call.state is HANDED_ON:
        return await process.call_again(call.events, whole_state=call.whole_state)
    return await process.call(call.events, call.state, whole_state=call.whole_state)


def _call_trace(outcome: ProcessOutcome) -> CallTrace:
    if not outcome.ok:
        return CallTrace(error=outcome.summary)
    return trace_call(Answer(outcome.returned, outcome.given_state))
