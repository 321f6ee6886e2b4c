"""`POST /v1/messages`: finds the place in the script, lets the faults have their way, and tells the log."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from runner.offline.answers import build_message, new_id
from runner.offline.checks import ThinkingSigner, check_headers, check_request
from runner.offline.episodes import next_step, turns_taken
from runner.offline.errors import ApiError, invalid
from runner.offline.faults import fault_of
from runner.offline.replies import error_answer, faulty_reply, message_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from runner.answers import Json
    from runner.offline.replies import Answer, Silence

__all__ = ["OFFLINE_KEY", "MessagesEndpoint", "Settings", "checked_json"]

OFFLINE_KEY = "offline"
"""The only key the server takes: a real one that strayed here is refused, and so noticed."""

_EPISODE = re.compile(r"-([1-9][0-9]*)$")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server was started with; see `serve_offline`."""

    seed: int
    faults: float = 0.0
    hang_s: float = 600.0
    log: Callable[[Json], None] | None = None


async def checked_json(request: Request) -> Any:
    """Read the body of a request that carries the right key.

    Raises:
        ApiError: 400 or 401.
    """
    check_headers(request.headers, OFFLINE_KEY)
    try:
        return json.loads(await request.body())
    except ValueError as error:
        raise invalid(f"the request body is not valid JSON: {error}") from error


class MessagesEndpoint:
    """An ASGI application. Nothing is kept between requests but how often each turn was asked for."""

    def __init__(self, settings: Settings, signer: ThinkingSigner) -> None:
        self._settings = settings
        self._signer = signer
        self._attempts = _Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        line = _log_line(new_id("req"))
        try:
            reply = self._reply(await self._checked(Request(scope, receive)), line)
        except ApiError as error:
            reply = error_answer(error, line["request_id"])
        line["status"] = reply.status
        is_proper = reply.status == 200 and line["fault"] is None
        is_heard = not scope["state"]["transport"].is_closing()
        try:
            await reply(scope, receive, send)
            line["answered"] = is_proper and is_heard
        finally:
            if self._settings.log is not None:
                self._settings.log(line)

    async def _checked(self, request: Request) -> Json:
        body: Json = await checked_json(request)
        check_request(body, self._signer)
        return body

    def _reply(self, body: Json, line: Json) -> Answer | Silence:
        settings, messages, stream = self._settings, body["messages"], body.get("stream", False)
        user_id, episode = _episode(body)
        turn = turns_taken(messages)
        attempt = self._attempts.count(user_id, turn)
        fault = fault_of(settings.seed, settings.faults, episode, turn, attempt)
        message = build_message(body, next_step(settings.seed, settings.faults, episode, messages), self._signer)
        line.update(episode=episode, turn=turn, attempt=attempt, fault=fault and fault.kind.value)
        if fault is None:
            reply: Answer | Silence = message_answer(message, line["request_id"], stream=stream)
        else:
            reply = faulty_reply(fault, message, line["request_id"], stream=stream, hang_s=settings.hang_s)
        if reply.tells_message:
            line.update(message_id=message["id"], usage=message["usage"])
        return reply


class _Attempts:
    """Counts how often each turn of each episode was asked for."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[int, int]] = {}

    def count(self, user_id: str, turn: int) -> int:
        """The number of this attempt, from 1; an episode that begins again begins to count again."""
        counts = self._counts.setdefault(user_id, {})
        if turn == 0 and max(counts, default=0) > 0:
            counts.clear()
        counts[turn] = counts.get(turn, 0) + 1
        return counts[turn]


def _log_line(request_id: str) -> Json:
    unknown = ("episode", "turn", "attempt", "fault", "status", "message_id", "usage")
    return {**dict.fromkeys(unknown), "request_id": request_id, "answered": False}


def _episode(body: Json) -> tuple[str, int]:
    metadata = body.get("metadata")
    user_id = str(metadata.get("user_id")) if isinstance(metadata, dict) else ""
    found = _EPISODE.search(user_id)
    if found is None:
        raise invalid("metadata.user_id: must end in the episode's number, as in run-1")
    return user_id, int(found[1])
