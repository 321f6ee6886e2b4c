"""The session of a NeMo Gym agent: the id of its episode, in a cookie.

An agent posts to whatever path its model names as a tool, and forgets each cookie that an answer does not bring. So
every answer brings the cookie back, and a request with it reaches the protocol's own paths only: a model that calls a
tool `grade` must not find the one of the HTTP API.
"""

import json
import re

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["NeMoGymSession", "cookie_header", "session_id"]

_COOKIE = "ResilienceGauntlet___resilience_gauntlet"  # as NeMo Gym names its own: the class, and the server's name
_PATHS = frozenset({"/seed_session", "/python_expression", "/submit_code", "/verify", "/aggregate_metrics"})
_ID = re.compile(r"[0-9A-Za-z]{1,64}")
_NO_TOOL = {"detail": "There is no such tool: use python_expression or submit_code.", "code": "unknown_tool"}


def session_id(connection: HTTPConnection) -> str | None:
    """The episode that a request belongs to; None where it has no cookie."""
    return connection.cookies.get(_COOKIE)


def cookie_header(episode_id: str) -> str:
    """What makes a client keep an episode's id."""
    return f"{_COOKIE}={episode_id}; Path=/; HttpOnly; SameSite=lax"


class NeMoGymSession:
    """ASGI middleware: hands the session back with every answer, and keeps requests that have one to their paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; one of a session only to where the session has something to do."""
        session = session_id(HTTPConnection(scope)) if scope["type"] == "http" else None
        if session is None or not _ID.fullmatch(session):
            await self._app(scope, receive, send)
            return

        async def send_with_session(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Set-Cookie", cookie_header(session))
            await send(message)

        if scope["path"] in _PATHS:
            await self._app(scope, receive, send_with_session)
        else:
            answer = Response(json.dumps(_NO_TOOL), 404, media_type="application/json")
            await answer(scope, receive, send_with_session)
