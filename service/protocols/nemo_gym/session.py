"""The session of a NeMo Gym agent: the id of its episode, in a cookie.

An agent posts to whatever path its model names as a tool, and forgets each cookie that an answer does not bring. So
every answer brings the cookie back, and a request with it reaches the protocol's own paths only: a model that calls a
tool `grade` must not find the one of the HTTP API.
"""

import json
import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["NeMoGymSession", "cookie_header", "session_id"]

_COOKIE = "ResilienceGauntlet___resilience_gauntlet"  # as NeMo Gym names its own: the class, and the server's name
_KEPT = "resilience_gauntlet.session"
_PATHS = frozenset({"/seed_session", "/python_expression", "/submit_code", "/verify", "/aggregate_metrics"})
_ID = re.compile(r"[0-9A-Za-z]{1,64}")
_NO_TOOL = {"detail": "There is no such tool: use python_expression or submit_code.", "code": "unknown_tool"}


def session_id(connection: HTTPConnection) -> str | None:
    """The episode that a request belongs to; None where it has no cookie."""
    found: str | None = connection.scope.get(_KEPT)
    return found


def cookie_header(episode_id: str) -> str:
    """What makes a client keep an episode's id."""
    return f"{_COOKIE}={episode_id}; Path=/; HttpOnly; SameSite=lax"


class NeMoGymSession:
    """ASGI middleware: hands the session back with every answer, and keeps requests that have one to their paths.

    It takes the cookies off a request. FastAPI would parse all of them for every route, with `http.cookies`: before
    Python 3.12.6 and 3.11.10 that took seconds for 20 KB of backslashes, and longer by the square (CVE-2024-7592).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; one of a session only to where the session has something to do."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        session = _named(value for name, value in scope["headers"] if name == b"cookie")
        others = [header for header in scope["headers"] if header[0] != b"cookie"]
        scope = {**scope, "headers": others, _KEPT: session}
        if scope["type"] == "websocket" or session is None or not _ID.fullmatch(session):
            await self._app(scope, receive, send)
        else:
            await self._serve(session, scope, receive, send)

    async def _serve(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
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


def _named(headers: Iterable[bytes]) -> str | None:
    """The cookie's value, of several the last one's."""
    found = None
    for cookie in b";".join(headers).decode("latin-1").split(";"):
        name, _, value = cookie.partition("=")
        if name.strip() == _COOKIE:
            found = value.strip()
    return found
