"""One episode: a conversation with the model that ends in a grade, a limit, or a stated reason for neither."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from runner.errors import (
    BudgetSpentError,
    ContextOverflowError,
    EngineError,
    FatalModelError,
    ModelError,
    RunnerError,
    ServiceGoneError,
    ServiceRefusedError,
    shortened,
)
from runner.records import (
    SCRIPTED_NOTICE,
    CallRecord,
    EpisodePlan,
    EpisodeRecord,
    ErrorRecord,
    Outcome,
    Turn,
    Usage,
    total_cost,
)
from runner.tools import ToolCall, ToolInputError, describe_execution, text_argument, tool_calls, tool_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.answers import Execution, Grade, Json, TaskSpec

__all__ = ["Episode", "Model", "Service", "unplayed"]

_NUDGE = "You have not handed in anything yet. Call submit_code with the complete process_batch source."
_CUT_OFF = "Your reply was cut off at its length limit, so no tool call in it was carried out. Answer more briefly."
_TOO_LATE = "Not carried out: the episode ended with submit_code."
_OUT_OF_TIME = "Not carried out: the time is over. Only submit_code is still taken."
_NUDGES = 1
_UNGRADABLE = frozenset({413, 422})


class Model(Protocol):
    """Whatever plays the agent."""

    async def reply(
        self, plan: EpisodePlan, messages: Sequence[Json], tools: Sequence[Json], spare_wait_s: float
    ) -> Turn:
        """Answer the conversation so far, losing at most `spare_wait_s` seconds to waits and failed attempts."""


class Service(Protocol):
    """Whatever runs and grades code."""

    async def execute(self, expression: str) -> Execution:
        """Run an expression in the sandbox."""

    async def grade(self, code: str, suite: str, seed: int | None) -> Grade:
        """Grade a submission."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    outcome: Outcome
    feedback: str
    limit: str | None = None
    grade: Grade | None = None
    code: str | None = None
    error: ErrorRecord | None = None


class Episode:
    """Drives one conversation to its end.

    Args:
        plan: Which episode of which run this is, and its limits.
        task: The prompt and the tools.
        model: The agent.
        service: The sandbox and the grader.
    """

    def __init__(self, plan: EpisodePlan, task: TaskSpec, model: Model, service: Service) -> None:
        self._plan = plan
        self._task = task
        self._model = model
        self._service = service
        self._messages: list[Json] = [{"role": "user", "content": [{"type": "text", "text": task.prompt}]}]
        self._turns: list[Turn] = []
        self._nudges = 0
        self._tools_s = 0.0

    async def run(self) -> EpisodeRecord:
        """Run to the end and tell how it went.

        Cancellation ends the episode and is recorded, not raised: what was said and paid for until then is kept.
        """
        started_at = datetime.now(UTC)
        try:
            verdict = await self._converse()
        except asyncio.CancelledError:
            verdict = _Verdict(Outcome.CANCELLED, "Cancelled")
        except ContextOverflowError as error:
            verdict = _Verdict(Outcome.LIMIT, f"Context window exceeded: {error}", "context")
        except BudgetSpentError as error:
            verdict = _Verdict(Outcome.CANCELLED, str(error), error=_error_record(error))
        except RunnerError as error:
            verdict = _Verdict(Outcome.INFRA_ERROR, str(error), error=_error_record(error))
        except Exception as error:  # noqa: BLE001 - whatever one episode meets, the others are not to be lost
            words = f"defect of the runner: {type(error).__name__}: {shortened(str(error))}"
            verdict = _Verdict(Outcome.INFRA_ERROR, words, error=ErrorRecord(kind=type(error).__name__, message=words))
        return self._record(verdict, started_at)

    async def _converse(self) -> _Verdict:
        while (verdict := self._limit_reached()) is None:
            turn = await self._model.reply(self._plan, self._messages, self._task.tools, self._spare_wait_s)
            self._turns.append(turn)
            self._add_assistant(turn.content)
            verdict = await self._react(turn)
            if verdict is not None:
                break
        return verdict

    def _limit_reached(self) -> _Verdict | None:
        """What forbids another call; an answer that is on its way is never cut off, since it is paid for."""
        limits, usage, cost_usd = self._plan.limits, self._usage, self._cost_usd
        if len(self._turns) >= limits.steps:
            return _over("steps", f"{limits.steps} model calls")
        if self._is_out_of_time:
            return _over("work_s", f"{limits.work_s:g} s of work")
        if limits.tokens is not None and usage.tokens >= limits.tokens:
            return _over("tokens", f"{limits.tokens} tokens")
        if limits.cost_usd is not None and cost_usd is not None and cost_usd >= limits.cost_usd:
            return _over("cost_usd", f"${limits.cost_usd:g}")
        return None

    @property
    def _is_out_of_time(self) -> bool:
        limit_s = self._plan.limits.work_s
        return limit_s is not None and self._work_s >= limit_s

    @property
    def _usage(self) -> Usage:
        return Usage.total(turn.usage for turn in self._turns)

    @property
    def _cost_usd(self) -> float | None:
        return total_cost(turn.cost_usd for turn in self._turns)

    @property
    def _work_s(self) -> float:
        return self._tools_s + sum(turn.duration_s for turn in self._turns)

    @property
    def _wait_s(self) -> float:
        return sum(turn.wait_s for turn in self._turns)

    @property
    def _spare_wait_s(self) -> float:
        return self._plan.limits.wait_s - self._wait_s

    async def _react(self, turn: Turn) -> _Verdict | None:
        """Do what the stop reason calls for; None means that the conversation goes on."""
        calls = tool_calls(turn.content)
        match turn.stop_reason:
            case "tool_use" | "end_turn" | "stop_sequence":
                return await self._run_tools(calls) if calls else self._nudge()
            case "max_tokens":
                # The last call may be half an input that still parses: none is run, and the model may try again.
                self._add_user([tool_result(call, _CUT_OFF, is_error=True) for call in calls] or [_text(_CUT_OFF)])
                return None
            case "pause_turn":
                return None  # sending the turn back as it stands resumes it
            case "refusal":
                return _Verdict(Outcome.REFUSED, f"Refused: {turn.refusal or 'no reason given'}")
            case "model_context_window_exceeded":
                return _Verdict(Outcome.LIMIT, "Context window exceeded", "context")
            case unknown:
                raise ModelError(f"unknown stop reason {unknown!r}", request_id=turn.request_id)

    def _nudge(self) -> _Verdict | None:
        if self._nudges == _NUDGES:
            return _Verdict(Outcome.FAILED, "No submission")
        self._nudges += 1
        self._add_user([_text(_NUDGE)])
        return None

    async def _run_tools(self, calls: Sequence[ToolCall]) -> _Verdict | None:
        """Answer every call of a turn in one user turn; the first submission ends the episode."""
        verdict: _Verdict | None = None
        results: list[Json] = []
        for call in calls:
            if verdict is not None:
                results.append(tool_result(call, _TOO_LATE, is_error=True))
                continue
            try:
                if call.name == "submit_code":
                    verdict = await self._submit(text_argument(call, "code"))
                    results.append(tool_result(call, verdict.feedback))
                elif self._is_out_of_time:
                    results.append(tool_result(call, _OUT_OF_TIME, is_error=True))
                else:
                    results.append(await self._execute(call))
            except ToolInputError as error:
                results.append(tool_result(call, str(error), is_error=True))
        self._add_user(results)
        return verdict

    async def _execute(self, call: ToolCall) -> Json:
        if call.name != "python_expression":
            raise ToolInputError(f"There is no tool {call.name!r}. The tools are python_expression and submit_code.")
        try:
            execution = await self._service.execute(text_argument(call, "expression"))
        except ServiceRefusedError as error:
            if not _is_about(error, "expression"):
                raise
            raise ToolInputError(f"The sandbox refused the expression: {error}") from error
        self._tools_s += execution.duration_ms / 1000
        return tool_result(call, describe_execution(execution), is_error=execution.status != "ok")

    async def _submit(self, code: str) -> _Verdict:
        try:
            grade = await self._service.grade(code, self._plan.suite, self._plan.seed)
        except ServiceRefusedError as error:
            if not _is_about(error, "code"):
                raise
            return _Verdict(Outcome.FAILED, f"Submission refused: {error}", code=code)
        self._tools_s += grade.duration_ms / 1000
        outcome = Outcome.PASSED if grade.passed else Outcome.FAILED
        return _Verdict(outcome, grade.feedback, grade=grade, code=code)

    def _add_assistant(self, content: Sequence[Json]) -> None:
        # The API sends empty text blocks at times but takes none back; all else goes back as it came.
        blocks = [block for block in content if block.get("type") != "text" or block.get("text")]
        if blocks:
            self._add("assistant", blocks)

    def _add_user(self, blocks: Sequence[Json]) -> None:
        self._add("user", blocks)

    def _add(self, role: str, blocks: Sequence[Json]) -> None:
        """Keep the roles alternating: after an empty or a paused turn the same side speaks twice."""
        if self._messages[-1]["role"] == role:
            blocks = [*self._messages.pop()["content"], *blocks]
        self._messages.append({"role": role, "content": list(blocks)})

    def _record(self, verdict: _Verdict, started_at: datetime) -> EpisodeRecord:
        plan, grade, ended_at = self._plan, verdict.grade, datetime.now(UTC)
        zero = 0.0 if verdict.outcome.is_valid else None
        return EpisodeRecord(
            run_id=plan.run_id,
            episode=plan.episode,
            attempt=plan.attempt,
            scripted=plan.scripted,
            notice=SCRIPTED_NOTICE if plan.scripted else None,
            outcome=verdict.outcome,
            score=grade.score if grade else zero,
            passed=verdict.outcome is Outcome.PASSED if verdict.outcome.is_valid else None,
            points=grade.points if grade else zero,
            feedback=verdict.feedback,
            limit=verdict.limit,
            checks=grade.checks if grade else (),
            grade=grade,
            suite=plan.suite,
            seed=plan.seed,
            code=verdict.code,
            model=self._turns[-1].model if self._turns else None,
            steps=len(self._turns),
            stop_reasons=[turn.stop_reason for turn in self._turns],
            usage=self._usage,
            cost_usd=self._cost_usd,
            calls=[CallRecord(**turn.model_dump(include=set(CallRecord.model_fields))) for turn in self._turns],
            request_ids=[turn.request_id for turn in self._turns if turn.request_id],
            started_at=started_at,
            ended_at=ended_at,
            duration_s=(ended_at - started_at).total_seconds(),
            work_s=self._work_s,
            wait_s=self._wait_s,
            transcript=self._messages,
            error=verdict.error,
        )


def unplayed(
    plan: EpisodePlan,
    error: RunnerError | None,
    *,
    steps: int = 0,
    usage: Usage | None = None,
    cost_usd: float | None = 0.0,
) -> EpisodeRecord:
    """The record of an episode that nobody can tell the end of: invalid for an error, cancelled where there is none."""
    now = datetime.now(UTC)
    return EpisodeRecord(
        run_id=plan.run_id,
        episode=plan.episode,
        attempt=plan.attempt,
        scripted=plan.scripted,
        notice=SCRIPTED_NOTICE if plan.scripted else None,
        outcome=Outcome.INFRA_ERROR if error else Outcome.CANCELLED,
        score=None,
        passed=None,
        points=None,
        feedback=str(error or "Cancelled"),
        suite=plan.suite,
        seed=plan.seed,
        steps=steps,
        usage=usage or Usage(),
        cost_usd=cost_usd,
        started_at=now,
        ended_at=now,
        duration_s=0.0,
        error=_error_record(error) if error else None,
    )


def _is_about(error: ServiceRefusedError, field: str) -> bool:
    """Whether the service refused what the model wrote, and not what the runner added to it."""
    return error.status in _UNGRADABLE and (not error.fields or field in error.fields)


def _over(limit: str, amount: str) -> _Verdict:
    return _Verdict(Outcome.LIMIT, f"No submission within {amount}", limit)


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _error_record(error: RunnerError) -> ErrorRecord:
    return ErrorRecord(
        kind=type(error).__name__,
        message=str(error),
        status=error.status,
        request_id=error.request_id,
        fatal=isinstance(error, FatalModelError | ServiceGoneError | EngineError | BudgetSpentError),
    )
