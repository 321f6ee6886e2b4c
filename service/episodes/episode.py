"""One episode: its steps, its deadline, its one submission."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from service.episodes.models import OUTCOMES, EpisodeRequest, EpisodeStatus, EpisodeView, ToolResponse
from service.errors import EpisodeFinishedError, GauntletError, InputError, OverloadedError, UnknownToolError
from service.gauntlet import Gauntlet
from service.schemas import ExecuteResponse, GradeResponse
from service.tool_text import FAULT_TEXT, execution_text, grade_text

__all__ = ["Episode"]

_ENDED = {
    EpisodeStatus.GRADING: "The episode's submission is being graded.",
    EpisodeStatus.SUBMITTED: "The episode has ended: its submission was graded.",
    EpisodeStatus.STEP_LIMIT: "The episode has ended: it has used up its steps.",
    EpisodeStatus.TIME_LIMIT: "The episode has ended: its time is over.",
    EpisodeStatus.ABANDONED: "The episode has ended: it was ended without a submission.",
    EpisodeStatus.FAULT: "The episode has ended: its submission could not be graded, which is the service's fault.",
}
_log = logging.getLogger("gauntlet.service")


class Episode:
    """One episode, from its first call to its end.

    Args:
        episode_id: its key.
        request: what it is about, with its seed drawn.
        gauntlet: what runs and grades.
        clock: seconds that never go back.
        step_limit: tool calls.
        time_limit_s: seconds from now.
        on_end: hears how it ended, once.
    """

    def __init__(
        self,
        episode_id: str,
        request: EpisodeRequest,
        gauntlet: Gauntlet,
        clock: Callable[[], float],
        *,
        step_limit: int,
        time_limit_s: float,
        on_end: Callable[[EpisodeStatus], None],
    ) -> None:
        self.id = episode_id
        self.used_at = clock()
        self._request = request
        self._gauntlet = gauntlet
        self._clock = clock
        self._step_limit = step_limit
        self._deadline = self.used_at + time_limit_s
        self._on_end = on_end
        self._steps = 0
        self._ended: EpisodeStatus | None = None
        self._grading: asyncio.Task[GauntletError | None] | None = None
        self._grade: GradeResponse | None = None

    @property
    def status(self) -> EpisodeStatus:
        """Where it is now; the first look after the deadline ends it."""
        if self._grading is not None and not self._grading.done():
            return EpisodeStatus.GRADING
        if self._ended is None and self._clock() >= self._deadline:
            self._end(EpisodeStatus.TIME_LIMIT)
        return self._ended or EpisodeStatus.RUNNING

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.status in OUTCOMES

    def view(self) -> EpisodeView:
        """How it is told of."""
        return EpisodeView(**self._state())

    async def call(self, tool: str, arguments: Any) -> ToolResponse:
        """Calls a tool; see `Episodes.call`."""
        if self.status is not EpisodeStatus.RUNNING:
            raise EpisodeFinishedError(_ENDED[self.status])
        match tool:
            case "python_expression":
                return await self._execute(_only("expression", arguments))
            case "submit_code":
                return await self._submit(_only("code", arguments))
        raise UnknownToolError("There is no such tool: use python_expression or submit_code.")

    async def end(self) -> None:
        """Ends it without a submission, unless it has ended; a grade under way is waited for.

        Raises:
            OverloadedError: there was no capacity for the grade that was waited for; the episode goes on.
        """
        if self._grading is not None:
            await self._graded(self._grading)
        self.abandon()

    def abandon(self) -> None:
        """Ends it without a submission, unless it has ended or one is being graded."""
        if self.status is EpisodeStatus.RUNNING:
            self._end(EpisodeStatus.ABANDONED)

    def _end(self, outcome: EpisodeStatus) -> None:
        self._ended = outcome
        self._on_end(outcome)

    async def _execute(self, expression: str) -> ToolResponse:
        self._check_steps_left()
        self._steps += 1
        try:
            execution = await self._gauntlet.execute(expression)
        except BaseException:
            self._steps -= 1
            raise
        left = self._step_limit - self._steps
        if left == 0 and self.status is EpisodeStatus.RUNNING:
            self._end(EpisodeStatus.STEP_LIMIT)
        return self._response(execution_text(execution, left), execution)

    async def _submit(self, code: str) -> ToolResponse:
        """Has a submission graded, to the end, whether or not somebody still waits for it."""
        self._check_steps_left()
        self._grading = asyncio.create_task(self._grade_once(code))
        await self._graded(self._grading)
        return self._response(grade_text(self._grade) if self._grade else FAULT_TEXT)

    async def _graded(self, grading: "asyncio.Task[GauntletError | None]") -> None:
        if refusal := await asyncio.shield(grading):
            raise refusal

    async def _grade_once(self, code: str) -> GauntletError | None:
        """Answers why nothing was graded, where it is not a fault and the episode goes on."""
        request = self._request
        try:
            self._grade = await self._gauntlet.grade(code, suite=request.suite, seed=request.seed)
            self._end(EpisodeStatus.SUBMITTED)
        except (InputError, OverloadedError) as refusal:
            return refusal
        except Exception:  # noqa: BLE001 - whatever it is: it must not look like a grade
            _log.exception("no grade for a submission")
            self._end(EpisodeStatus.FAULT)
        self._steps += 1
        return None

    def _check_steps_left(self) -> None:
        if self._steps >= self._step_limit:  # calls of before are still under way
            raise EpisodeFinishedError(_ENDED[EpisodeStatus.STEP_LIMIT])

    def _response(self, text: str, execution: ExecuteResponse | None = None) -> ToolResponse:
        return ToolResponse(**self._state(), text=text, execution=execution)

    def _state(self) -> dict[str, Any]:
        grade, done = self._grade, self.done
        return {
            "id": self.id,
            "suite": self._request.suite,
            "split": self._request.split,
            "seed": self._request.seed,
            "status": self.status,
            "done": done,
            "reward": self._reward(),
            "grade": grade,
            "rows": {row.id: row.points for row in grade.checks} if grade else None,
            "steps": self._steps,
            "step_limit": self._step_limit,
            "time_left_s": 0.0 if done else round(max(0.0, self._deadline - self._clock()), 3),
        }

    def _reward(self) -> float | None:
        if self._ended is None or self._ended is EpisodeStatus.FAULT:
            return None
        return self._grade.score if self._grade else 0.0


def _only(name: str, arguments: Any) -> str:
    """The one argument that a tool takes."""
    if not isinstance(arguments, dict) or arguments.keys() != {name} or type(arguments[name]) is not str:
        raise InputError(name, f"The tool takes an object with the one member {name!r}, a string.")
    return str(arguments[name])
