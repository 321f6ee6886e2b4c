"""Counts and times what comes over HTTP, and the WebSockets that are open."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import OTHER, Metrics

__all__ = ["Traffic"]


class Traffic:
    """ASGI middleware, to stand before all others: what those refuse is counted, too.

    The router's choice cannot be seen from there, and what is refused before has none. So a request counts for the
    route that its path belongs to, whatever became of it.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Sequence[BaseRoute]) -> None:
        """Reads the routes' paths.

        Args:
            app: what it stands before.
            metrics: what it tells.
            routes: all that there are, in their order.
        """
        self._app = app
        self._metrics = metrics
        templates = list(_templates(routes))
        self._literal = {template for template, _ in templates if "{" not in template}
        self._patterns = [(pattern, template) for template, pattern in templates if "{" in template]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on."""
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "websocket":
                await self._connect(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500  # which the server answers where the app does not

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.answered(scope["method"], self._route_of(scope["path"]), status, seconds)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        with ExitStack() as opened:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "websocket.accept":
                    opened.enter_context(self._metrics.websocket())
                await send(message)

            await self._app(scope, receive, send_and_note)

    def _route_of(self, path: str) -> str:
        if path in self._literal:
            return path
        return next((template for pattern, template in self._patterns if pattern.match(path)), OTHER)


def _templates(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, re.Pattern[str]]]:
    for route in iter_route_contexts(routes):
        if route.path_format is not None and not isinstance(route.original_route, WebSocketRoute):
            yield route.path_format, route.path_regex
