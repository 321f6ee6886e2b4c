"""Episodes: what every protocol of the service is a face of.

An episode has a suite, a seed, a number of steps and a deadline. It answers `python_expression` until they are used up;
the first `submit_code` is graded and ends it, and its reward is the grade's score. An episode that ends without a
submission has the reward 0. One whose grade was lost through the service's fault has none: null, never 0.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from service.access import Access
from service.errors import (
    CapacityError,
    EpisodeExistsError,
    EpisodeFinishedError,
    GauntletError,
    InputError,
    NoEpisodeError,
    OverloadedError,
    UnknownToolError,
)
from service.gauntlet import Gauntlet
from service.schemas import EXECUTION, Count, ExecuteResponse, GradeResponse, Request, Seed, documented_model
from service.settings import Settings
from service.task import SEEDS, Split, Suite, split_of
from service.tool_text import FAULT_TEXT, execution_text, grade_text

__all__ = ["RUNNING", "EpisodeRequest", "EpisodeStatus", "EpisodeView", "Episodes", "ToolResponse"]

_RETRY_AFTER_S = 5
_log = logging.getLogger("gauntlet.service")


class EpisodeStatus(StrEnum):
    """Where an episode is, or how it ended."""

    RUNNING = "running"
    GRADING = "grading"
    SUBMITTED = "submitted"
    STEP_LIMIT = "step_limit"
    TIME_LIMIT = "time_limit"
    ABANDONED = "abandoned"
    FAULT = "fault"


_SEED_SCHEMAS: dict[Split, dict[str, Any]] = {
    split: {"split": {"const": split.value}, "seed": {"minimum": span.low, "maximum": span.high}}
    for split, span in SEEDS.items()
}


class EpisodeRequest(Request):
    """What a new episode is about. Everything has a default."""

    model_config = documented_model(
        {"seed": 7},
        {"split": "validation", "step_limit": 16},
        {"suite": "classic", "time_limit_s": 600},
        anyOf=[
            {"properties": {"seed": {"type": "null"}}},
            {"properties": {"suite": {"const": "hardened"}, "split": {"type": "null"}}},
            *({"properties": {"suite": {"const": "hardened"}, **_SEED_SCHEMAS[split]}} for split in Split),
        ],
    )

    suite: Suite = Field(Suite.HARDENED, description="which inputs to grade on")
    split: Split | None = Field(None, description="what the seed is for; `train` where neither it nor a seed is given")
    seed: Seed | None = Field(
        None,
        description="draws the inputs of the hardened suite; one of the split's where it is left out. The classic suite"
        " takes none",
    )
    step_limit: Count | None = Field(None, description="tool calls, up to the service's own limit")
    time_limit_s: float | None = Field(
        None, gt=0, strict=True, allow_inf_nan=False, description="seconds, up to the service's own limit"
    )

    @field_validator("seed")
    @classmethod
    def _fitting_seed(cls, seed: int | None, info: ValidationInfo) -> int | None:
        suite, split = info.data.get("suite"), info.data.get("split")
        if seed is not None and suite is Suite.CLASSIC:
            raise PydanticCustomError("no_seed", "The classic suite takes no seed: leave it out")
        if seed is not None and split is not None and seed not in SEEDS[split]:
            raise PydanticCustomError(
                "other_split",
                "{seed} is of the split {actual}; seeds of {split} are {low} to {high}",
                {"seed": seed, "actual": split_of(seed).value, "split": split.value}
                | {"low": SEEDS[split].low, "high": SEEDS[split].high},
            )
        return seed

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> "EpisodeRequest":
        """Reads what a protocol was given; members that are None count as left out.

        Raises:
            InputError: the first thing that is wrong.
        """
        try:
            return cls.model_validate({name: value for name, value in options.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(".".join(map(str, first["loc"])) or "episode", str(first["msg"])) from None

    def drawn(self) -> "EpisodeRequest":
        """The same with its split and its seed, which is drawn where none was given."""
        if self.suite is Suite.CLASSIC:
            return self
        if self.seed is not None:
            return self.model_copy(update={"split": split_of(self.seed)})
        split = self.split or Split.TRAIN
        return self.model_copy(update={"split": split, "seed": SEEDS[split].at(secrets.randbits(64))})


RUNNING = {
    "id": "0a4b8e1c2d3f4a5b6c7d8e9fa0b1c2d3",
    "suite": "hardened",
    "split": "train",
    "seed": 7,
    "status": "running",
    "done": False,
    "reward": None,
    "grade": None,
    "steps": 1,
    "step_limit": 64,
    "time_left_s": 3581.204,
}


class EpisodeView(BaseModel):
    """An episode as anybody who knows its id may see it."""

    model_config = documented_model(RUNNING)

    id: str = Field(description="secret: who has it can use the episode")
    suite: Suite
    split: Split | None
    seed: int | None = Field(description="what the graded inputs are drawn from, null for the classic suite")
    status: EpisodeStatus
    done: bool = Field(description="whether it has ended")
    reward: float | None = Field(
        description="once it has ended: the score, 0.0 to 1.0; 0 without a submission; null through the service's fault"
    )
    grade: GradeResponse | None = Field(description="of the submission, with its six rows")
    steps: int = Field(description="tool calls so far")
    step_limit: int
    time_left_s: float = Field(description="0 once it has ended")


class ToolResponse(EpisodeView):
    """What came of a tool call, and where the episode is now."""

    model_config = documented_model({**RUNNING, "text": "result:\n6.5", "execution": EXECUTION})

    text: str = Field(description="what to show the model")
    execution: ExecuteResponse | None = Field(description="of `python_expression`")


@dataclass(slots=True)
class _Episode:
    id: str
    request: EpisodeRequest
    step_limit: int
    deadline: float
    used_at: float
    steps: int = 0
    ended: EpisodeStatus | None = None
    grading: "asyncio.Task[GauntletError | None] | None" = None
    grade: GradeResponse | None = field(default=None, repr=False)

    def status(self, now: float) -> EpisodeStatus:
        if self.grading is not None and not self.grading.done():
            return EpisodeStatus.GRADING
        if self.ended is None and now >= self.deadline:
            self.ended = EpisodeStatus.TIME_LIMIT
        return self.ended or EpisodeStatus.RUNNING

    @property
    def reward(self) -> float | None:
        if self.ended is EpisodeStatus.FAULT or self.ended is None:
            return None
        return self.grade.score if self.grade else 0.0


class Episodes:
    """Every episode that the service keeps, by id. An id is 128 random bits, and the only key there is.

    Ended episodes are kept, too, so that a reward can be asked for again: until they are idle for too long, or their
    place is needed.
    """

    def __init__(
        self, settings: Settings, gauntlet: Gauntlet, access: Access, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._gauntlet = gauntlet
        self._access = access
        self._clock = clock
        self._kept: OrderedDict[str, _Episode] = OrderedDict()  # the longest unused first

    @property
    def limit(self) -> int:
        """Most episodes at a time."""
        return self._settings.episodes

    @property
    def running(self) -> int:
        """Episodes that have not ended."""
        now = self._clock()
        self._forget_idle(now)
        return sum(episode.status(now) in _OPEN for episode in self._kept.values())

    def open(
        self, request: EpisodeRequest, *, authorization: str | None = None, episode_id: str | None = None
    ) -> EpisodeView:
        """Begins an episode.

        Args:
            request: what it is about.
            authorization: the header that came with it.
            episode_id: one that the protocol has already handed out, as hard to guess as those drawn here.

        Raises:
            CapacityError: all places are taken by episodes that have not ended.
            ForbiddenError: seeds of the test split, without the evaluation token.
            EpisodeExistsError: the id is in use.
            InputError: limits beyond the service's own.
        """
        now = self._clock()
        if episode_id in self._kept:
            raise EpisodeExistsError("There is an episode of this id already.")
        request = request.drawn()
        self._access.check_seed(request.seed, authorization)
        steps = _bounded("step_limit", request.step_limit, self._settings.episode_steps)
        seconds = _bounded("time_limit_s", request.time_limit_s, self._settings.episode_time_s)
        self._make_room(now)
        episode = _Episode(episode_id or secrets.token_hex(16), request, int(steps), now + seconds, now)
        self._kept[episode.id] = episode
        return self._view(episode)

    def view(self, episode_id: str) -> EpisodeView:
        """An episode as it is.

        Raises:
            NoEpisodeError: there is none of this id.
        """
        return self._view(self._used(episode_id))

    async def end(self, episode_id: str) -> EpisodeView:
        """Ends an episode that is still running, without a submission; a grade under way is waited for.

        Raises:
            NoEpisodeError: there is none of this id.
            OverloadedError: there was no capacity for the grade that was waited for; the episode goes on.
        """
        episode = self._used(episode_id)
        if episode.grading is not None and not episode.grading.done():
            await asyncio.shield(episode.grading)
        if episode.status(self._clock()) is EpisodeStatus.RUNNING:
            episode.ended = EpisodeStatus.ABANDONED
        return self._view(episode)

    def close(self, episode_id: str) -> None:
        """Forgets an episode.

        Raises:
            NoEpisodeError: there is none of this id.
        """
        del self._kept[self._used(episode_id).id]

    async def call(self, episode_id: str, tool: str, arguments: Any) -> ToolResponse:
        """Calls a tool.

        Args:
            episode_id: of the episode.
            tool: ``python_expression`` or ``submit_code``.
            arguments: an object with its one member, ``expression`` or ``code``.

        Raises:
            NoEpisodeError: there is no episode of this id.
            EpisodeFinishedError: it has ended, or is being graded.
            UnknownToolError: no such tool.
            InputError: the arguments do not fit; costs no step.
            OverloadedError: no capacity now; costs no step, and a submission may be handed in again.
            SandboxError: the expression could not be run; costs no step.
        """
        episode = self._used(episode_id)
        status = episode.status(self._clock())
        if status is not EpisodeStatus.RUNNING:
            raise EpisodeFinishedError(_ENDED[status])
        match tool:
            case "python_expression":
                return await self._execute(episode, _only("expression", arguments))
            case "submit_code":
                return await self._submit(episode, _only("code", arguments))
        raise UnknownToolError("There is no such tool: use python_expression or submit_code.")

    async def _execute(self, episode: _Episode, expression: str) -> ToolResponse:
        if episode.steps >= episode.step_limit:
            raise EpisodeFinishedError(_ENDED[EpisodeStatus.STEP_LIMIT])  # calls of before are still under way
        episode.steps += 1
        try:
            execution = await self._gauntlet.execute(expression)
        except BaseException:
            episode.steps -= 1
            raise
        left = episode.step_limit - episode.steps
        if left == 0 and episode.status(self._clock()) is EpisodeStatus.RUNNING:
            episode.ended = EpisodeStatus.STEP_LIMIT
        return self._response(episode, execution_text(execution, left), execution)

    async def _submit(self, episode: _Episode, code: str) -> ToolResponse:
        """Has a submission graded, to the end, whether or not somebody still waits for it."""
        if episode.steps >= episode.step_limit:
            raise EpisodeFinishedError(_ENDED[EpisodeStatus.STEP_LIMIT])
        episode.grading = asyncio.create_task(self._grade(episode, code))
        if refusal := await asyncio.shield(episode.grading):
            raise refusal
        return self._response(episode, grade_text(episode.grade) if episode.grade else FAULT_TEXT)

    async def _grade(self, episode: _Episode, code: str) -> GauntletError | None:
        """Answers why nothing was graded, where it is not a fault and the episode goes on."""
        request = episode.request
        try:
            episode.grade = await self._gauntlet.grade(code, suite=request.suite, seed=request.seed)
            episode.ended = EpisodeStatus.SUBMITTED
        except (InputError, OverloadedError) as refusal:
            return refusal
        except Exception:  # noqa: BLE001 - whatever it is: it must not look like a grade
            _log.exception("no grade for a submission")
            episode.ended = EpisodeStatus.FAULT
        episode.steps += 1
        return None

    def _used(self, episode_id: str) -> _Episode:
        now = self._clock()
        self._forget_idle(now)
        if episode_id not in self._kept:
            raise NoEpisodeError(
                "There is no such episode: it was never opened, it was closed, or it was idle for"
                f" {self._settings.episode_idle_s} seconds."
            )
        self._kept.move_to_end(episode_id)
        episode = self._kept[episode_id]
        episode.used_at = now
        return episode

    def _forget_idle(self, now: float) -> None:
        while self._kept and next(iter(self._kept.values())).used_at + self._settings.episode_idle_s <= now:
            self._kept.popitem(last=False)

    def _make_room(self, now: float) -> None:
        self._forget_idle(now)
        if len(self._kept) < self.limit:
            return
        ended = next((episode for episode in self._kept.values() if episode.status(now) not in _OPEN), None)
        if ended is None:
            raise CapacityError(
                f"{self.limit} episodes are open, which is all that the service keeps.", retry_after_s=_RETRY_AFTER_S
            )
        del self._kept[ended.id]

    def _view(self, episode: _Episode) -> EpisodeView:
        return EpisodeView(**self._state(episode))

    def _response(self, episode: _Episode, text: str, execution: ExecuteResponse | None = None) -> ToolResponse:
        return ToolResponse(**self._state(episode), text=text, execution=execution)

    def _state(self, episode: _Episode) -> dict[str, Any]:
        now = self._clock()
        status = episode.status(now)
        return {
            "id": episode.id,
            "suite": episode.request.suite,
            "split": episode.request.split,
            "seed": episode.request.seed,
            "status": status,
            "done": status not in _OPEN,
            "reward": episode.reward,
            "grade": episode.grade,
            "steps": episode.steps,
            "step_limit": episode.step_limit,
            "time_left_s": round(episode.deadline - now, 3) if status in _OPEN else 0.0,
        }


_OPEN = frozenset({EpisodeStatus.RUNNING, EpisodeStatus.GRADING})
_ENDED = {
    EpisodeStatus.GRADING: "The episode's submission is being graded.",
    EpisodeStatus.SUBMITTED: "The episode has ended: its submission was graded.",
    EpisodeStatus.STEP_LIMIT: "The episode has ended: it has used up its steps.",
    EpisodeStatus.TIME_LIMIT: "The episode has ended: its time is over.",
    EpisodeStatus.ABANDONED: "The episode has ended: it was ended without a submission.",
    EpisodeStatus.FAULT: "The episode has ended: its submission could not be graded, which is the service's fault.",
}


def _bounded(name: str, wanted: float | None, most: int) -> float:
    if wanted is not None and wanted > most:
        raise InputError(name, f"Input should be less than or equal to {most}")
    return most if wanted is None else wanted


def _only(name: str, arguments: Any) -> str:
    """The one argument that a tool takes."""
    if not isinstance(arguments, dict) or arguments.keys() != {name} or type(arguments[name]) is not str:
        raise InputError(name, f"The tool takes an object with the one member {name!r}, a string.")
    return str(arguments[name])
