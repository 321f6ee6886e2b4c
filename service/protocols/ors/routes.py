"""The routes of ORS."""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from service.access import Access
from service.episodes import EpisodeRequest, Episodes, ToolResponse
from service.errors import (
    EpisodeFinishedError,
    ForbiddenError,
    InputError,
    NoEpisodeError,
    OverloadedError,
    UnknownToolError,
)
from service.protocols.ors.calls import CallFailure, Calls, compact, event, events
from service.protocols.ors.errors import DetailRoute
from service.protocols.ors.models import CreateSession, ListTasks, TaskAt, TaskSpan, ToolCall
from service.protocols.ors.tasks import TASKS, task_at, task_list, task_span
from service.task import SEEDS, TASK_ID, Split, ToolFormat, prompt, tool_schemas

__all__ = ["ors_routes"]

_AT_ONCE_S = 0.02
_SHOWN_CHARS = 100
_SSE = "text/event-stream"
_NO_CACHE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_log = logging.getLogger("gauntlet.service")


def _session_id(request: Request) -> str:
    session_id = request.headers.get("X-Session-ID", "").strip()
    if not session_id:
        raise HTTPException(400, "X-Session-ID header is required")
    return session_id


SessionId = Annotated[str, Depends(_session_id)]
Authorization = Annotated[str | None, Header()]


def ors_routes(episodes: Episodes, access: Access) -> APIRouter:
    """The router of the protocol; its one environment answers under its name and under bare paths."""
    router = APIRouter(include_in_schema=False, route_class=DetailRoute)
    router.include_router(_server_routes(episodes, access))
    environments = (_task_routes(access), _episode_routes(episodes))
    for environment in environments:
        router.include_router(environment, prefix=f"/{TASK_ID}")
        router.include_router(environment)
    return router


def _server_routes(episodes: Episodes, access: Access) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=DetailRoute)

    @router.get("/list_environments")
    async def list_environments() -> list[str]:
        return [TASK_ID]

    @router.get("/version")
    async def read_version() -> dict[str, str | None]:
        return {"version": version(TASK_ID), "build_sha": None}

    @router.post("/create_session")
    async def create_session() -> Response:
        ticket = _new_ticket(await episodes.secret())
        return Response(event("task_id", ticket) + event("end", ""), headers=_NO_CACHE, media_type=_SSE)

    @router.post("/create")
    async def create(body: CreateSession, session_id: SessionId, authorization: Authorization = None) -> dict[str, str]:
        if not _is_ticket(session_id, await episodes.secret()):
            raise HTTPException(404, "Unknown session: POST /create_session answers a new one")
        request = _episode_request(body, access, authorization)
        await episodes.open(request, authorization=authorization, episode_id=session_id)
        return {"sid": session_id}

    @router.post("/ping")
    async def ping(session_id: SessionId) -> dict[str, str]:
        await episodes.view(session_id)
        return {"status": "ok"}

    @router.post("/delete")
    @router.post("/delete_session")
    async def delete(session_id: SessionId) -> dict[str, str]:
        with contextlib.suppress(NoEpisodeError):
            await episodes.close(session_id)
        return {"sid": session_id}

    return router


def _task_routes(access: Access) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=DetailRoute)

    @router.get("/tools")
    async def list_tools() -> dict[str, Any]:
        return _tools()

    @router.get("/splits")
    async def list_splits(authorization: Authorization = None) -> list[dict[str, str]]:
        return [{"name": split, "type": split} for split in Split if _may_use(split, access, authorization)]

    @router.post("/tasks")
    async def list_tasks(body: ListTasks, authorization: Authorization = None) -> Response:
        tasks = task_list(_split(body.split, access, authorization))
        return Response(b'{"tasks":%b,"env_name":"%b"}' % (tasks, TASK_ID.encode()), media_type="application/json")

    @router.post("/num_tasks")
    async def num_tasks(body: ListTasks, authorization: Authorization = None) -> dict[str, int]:
        return {"num_tasks": TASKS[_split(body.split, access, authorization)]}

    @router.post("/task")
    async def get_task(body: TaskAt, authorization: Authorization = None) -> dict[str, Any]:
        return {"task": _task(body.split, body.index, access, authorization), "env_name": TASK_ID}

    @router.post("/task_range")
    async def get_task_range(body: TaskSpan, authorization: Authorization = None) -> dict[str, Any]:
        tasks = task_span(_split(body.split, access, authorization), body.start, body.stop)
        return {"tasks": tasks, "env_name": TASK_ID}

    return router


def _episode_routes(episodes: Episodes) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=DetailRoute)
    calls = Calls()

    @router.get("/prompt")
    async def read_prompt(session_id: SessionId) -> list[dict[str, Any]]:
        return [_text_block(prompt((await episodes.view(session_id)).suite))]

    @router.get("/task_tools")
    async def task_tools(session_id: SessionId) -> dict[str, Any]:
        await episodes.view(session_id)
        return _tools()

    @router.post("/call")
    async def call(body: ToolCall, session_id: SessionId) -> Response:
        if body.task_id is not None:
            known = calls.find(session_id, body.task_id)
            return _stream(events(body.task_id, known)) if known else _unknown_call()
        await episodes.view(session_id)
        call_id, task = calls.start(session_id, _called(episodes, session_id, body))
        await asyncio.wait({task}, timeout=_AT_ONCE_S)
        if task.done() and isinstance(refused := task.result(), CallFailure) and refused.retry_after_s:
            raise HTTPException(refused.status, refused.message, {"Retry-After": str(refused.retry_after_s)})
        return _stream(events(call_id, task))

    return router


def _new_ticket(secret: bytes) -> str:
    """An id for a session: 128 random bits, and what proves without a record that it was issued here."""
    bits = secrets.token_hex(16)
    return bits + _proof(bits, secret)


def _is_ticket(session_id: str, secret: bytes) -> bool:
    bits, proof = session_id[:32], session_id[32:]
    return hmac.compare_digest(proof.encode(), _proof(bits, secret).encode())


def _proof(bits: str, secret: bytes) -> str:
    return hmac.new(secret, bits.encode(), hashlib.sha256).hexdigest()[:32]


def _may_use(split: Split, access: Access, authorization: str | None) -> bool:
    try:
        access.check_seed(SEEDS[split].low, authorization)
    except ForbiddenError:
        return False
    return True


def _split(name: str, access: Access, authorization: str | None) -> Split:
    """The split of a name.

    Raises:
        ForbiddenError: it is the test split, and the evaluation token was not given.
        HTTPException: there is none of this name.
    """
    try:
        split = Split(name)
    except ValueError:
        raise HTTPException(400, "Invalid split: use train, validation or test") from None
    access.check_seed(SEEDS[split].low, authorization)
    return split


def _task(split: str, index: int, access: Access, authorization: str | None) -> dict[str, Any]:
    try:
        return task_at(_split(split, access, authorization), index)
    except IndexError:
        raise HTTPException(400, "Invalid index") from None


def _episode_request(body: CreateSession, access: Access, authorization: str | None) -> EpisodeRequest:
    """What an episode is to be about.

    Raises:
        ForbiddenError: a task of the test split, without the evaluation token.
        HTTPException: there is no such environment, toolset or task.
        InputError: a task's specification has more or other than an episode takes.
    """
    if body.env_name is not None and body.env_name.lower() != TASK_ID:
        raise HTTPException(404, f"unknown environment {body.env_name[:_SHOWN_CHARS]!r}")
    if body.toolset_name is not None:
        raise HTTPException(400, f"unknown toolset {body.toolset_name[:_SHOWN_CHARS]!r}; valid options are []")
    task = body.task_spec
    if task is None:
        task = _task(body.split or "", body.index or 0, access, authorization)
    return EpisodeRequest.read({name: value for name, value in task.items() if name != "index"})


async def _called(episodes: Episodes, session_id: str, body: ToolCall) -> str | CallFailure:
    """Calls a tool; whatever comes of it is the answer, but for what is the service's own."""
    try:
        output = _output(await episodes.call(session_id, body.name, body.input))
        return compact({"ok": True, "output": output})
    except UnknownToolError:
        return _tool_error("not_found", f"{body.name[:_SHOWN_CHARS]!r} is not a valid tool")
    except EpisodeFinishedError as error:
        return _tool_error("episode_finished", str(error))
    except InputError as error:
        return _tool_error("input_validation", f"Tool input validation error: {error}")
    except OverloadedError as error:
        return CallFailure(str(error), error.status, error.retry_after_s)
    except Exception:  # noqa: BLE001 - whatever it is: it must not look like the tool's answer
        _log.exception("no answer to a tool call")
        return CallFailure("The tool could not be run, which is the service's own fault. No score is given.")


def _tool_error(reason: str, message: str) -> str:
    return compact({"ok": False, "error": message, "reason": reason})


def _output(response: ToolResponse) -> dict[str, Any]:
    """A tool's answer; the episode, with the rows of its grade, is the metadata."""
    return {
        "blocks": [_text_block(response.text)],
        "metadata": response.model_dump(mode="json", exclude={"id", "text", "reward", "execution"}),
        "reward": response.reward,
        "finished": response.done,
    }


def _text_block(text: str) -> dict[str, Any]:
    return {"text": text, "detail": None, "type": "text"}


def _tools() -> dict[str, Any]:
    return {"tools": tool_schemas(ToolFormat.ANTHROPIC)}


def _unknown_call() -> Response:
    return Response(event("error", "unknown task_id"), headers=_NO_CACHE, media_type=_SSE)


def _stream(stream: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(stream, headers=_NO_CACHE, media_type=_SSE)
