"""The routes of the resources server."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, FailFast
from pydantic_core import PydanticSerializationError, to_json
from starlette.exceptions import HTTPException

from service.episodes import EpisodeRequest, Episodes, EpisodeStatus, EpisodeView
from service.errors import (
    EpisodeExistsError,
    EpisodeFinishedError,
    InputError,
    NoEpisodeError,
    OverloadedError,
    SandboxError,
)
from service.protocols.error_route import Refusal, error_route
from service.protocols.nemo_gym.metrics import aggregated
from service.protocols.nemo_gym.session import cookie_header, session_id
from service.task import RUBRIC
from service.tool_text import FAULT_TEXT

__all__ = ["nemo_gym_routes"]

_SHOWN = 5
_ECHOED = {"responses_create_params", "response"}
# The keys are texts, as JSON has no others: checked as such, each lone surrogate in one would be an error of its own.
_Object = dict[Any, Any]
_Objects = Annotated[list[_Object], FailFast()]  # four million errors would take minutes and gigabytes
_OPTIONS = ("suite", "split", "seed", "step_limit", "time_limit_s")


class _Row(BaseModel):
    """A row of a dataset, of which an episode is made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    suite: Any = None
    split: Any = None
    seed: Any = None
    step_limit: Any = None
    time_limit_s: Any = None

    def episode(self) -> EpisodeRequest:
        """What the episode is to be about."""
        return EpisodeRequest.read({name: getattr(self, name) for name in _OPTIONS})


class _Response(BaseModel):
    """A model's response, as far as it is read; all of it is echoed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    output: _Objects

    def submission(self) -> str | None:
        """The source that the first well-formed call of `submit_code` hands in."""
        for item in self.output:
            if item.get("type") == "function_call" and item.get("name") == "submit_code":
                with suppress(ValueError, RecursionError):
                    match json.loads(str(item.get("arguments"))):
                        case {"code": str(code), **others} if not others:
                            return code
        return None


class _Verify(_Row):
    responses_create_params: _Object
    response: _Response


class _Rollouts(BaseModel):
    verify_responses: _Objects


def _session(request: Request) -> str:
    found = session_id(request)
    if found is None:
        raise HTTPException(400, "There is no session: POST /seed_session begins one, and its cookie comes with calls")
    return found


Session = Annotated[str, Depends(_session)]
Authorization = Annotated[str | None, Header()]


def nemo_gym_routes(episodes: Episodes) -> APIRouter:
    """The router of the resources server."""
    router = APIRouter(include_in_schema=False, route_class=error_route(_refused))

    @router.post("/seed_session")
    async def seed_session(row: _Row, request: Request, authorization: Authorization = None) -> Response:
        if session_id(request) is not None:  # or a model could seed itself another episode after a bad submission
            raise EpisodeExistsError("This session has its episode: another one begins without the cookie")
        view = await episodes.open(row.episode(), authorization=authorization)
        return _json(_about(view), headers={"Set-Cookie": cookie_header(view.id)})

    @router.post("/python_expression")
    @router.post("/submit_code")
    async def call_tool(request: Request, session: Session, arguments: Annotated[Any, Body()]) -> Response:
        answer = await episodes.call(session, request.url.path[1:], arguments)
        return Response(answer.text, media_type="text/plain")

    @router.post("/verify")
    async def verify(row: _Verify, request: Request, authorization: Authorization = None) -> Response:
        # Before anything is graded: what cannot be written back is refused.
        echo = _echo(row)
        view = await _settled(episodes, row, session_id(request), authorization)
        if view.status is EpisodeStatus.FAULT:
            return _json({"detail": FAULT_TEXT, "code": "fault", "reward": None, "done": True, **_about(view)}, 500)
        return Response(echo[:-1] + b"," + to_json(_verdict(view))[1:], media_type="application/json")

    @router.post("/aggregate_metrics")
    def aggregate_metrics(rollouts: _Rollouts) -> Response:
        return _json(aggregated(rollouts.verify_responses))

    return router


def _echo(row: _Verify) -> bytes:
    try:
        return to_json(row.model_dump(include=_ECHOED), inf_nan_mode="null")
    except PydanticSerializationError:
        raise InputError("body", "nested too deep, or with texts that hold lone surrogates") from None


async def _settled(episodes: Episodes, row: _Verify, session: str | None, authorization: str | None) -> EpisodeView:
    """The episode of a rollout, ended."""
    if session is not None:
        return await _ended(episodes, session, row)
    opened = await episodes.open(row.episode(), authorization=authorization)
    try:
        return await _ended(episodes, opened.id, row)
    finally:
        with suppress(NoEpisodeError):
            await episodes.close(opened.id)


async def _ended(episodes: Episodes, session: str, row: _Verify) -> EpisodeView:
    code = row.response.submission()
    if code is not None:
        with suppress(EpisodeFinishedError, InputError):  # it has been submitted, or is no submission
            await episodes.call(session, "submit_code", {"code": code})
    return await episodes.end(session)


def _verdict(view: EpisodeView) -> dict[str, Any]:
    """The reward, and every row's points by its id."""
    grade = view.grade
    return {
        "reward": view.reward,
        **(view.rows or {row.id: 0 for row in RUBRIC}),
        "points": grade.points if grade else 0,
        "passed": grade.passed if grade else False,
        "feedback": grade.feedback if grade else None,
        "grader_version": grade.grader_version if grade else None,
        "code_sha256": grade.code_sha256 if grade else None,
        **_about(view),
    }


def _about(view: EpisodeView) -> dict[str, Any]:
    return view.model_dump(include={"suite", "split", "seed", "status", "steps", "step_limit"})


def _refused(error: Refusal) -> Response:
    """`{"detail": …, "code": …}`: a model may read it as its tool's answer."""
    match error:
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return _refusal(error.status_code, str(error.detail), "invalid")
        case OverloadedError():
            return _refusal(error.status, str(error), error.code, {"Retry-After": str(error.retry_after_s)})
        case SandboxError():
            return _refusal(error.status, "The tool could not be run, which is the service's own fault", error.code)
    return _refusal(error.status, str(error), error.code)


def _invalid(error: RequestValidationError) -> Response:
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return _refusal(400, "The body is not valid JSON", "invalid")
    fields = [f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in problems[:_SHOWN]]
    return _refusal(422, "; ".join(fields), "invalid")


def _refusal(status: int, detail: str, code: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json({"detail": detail.encode("utf-8", "backslashreplace").decode(), "code": code}, status, headers)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(value, inf_nan_mode="null"), status, dict(headers or {}), media_type="application/json")
