"""Counts, times, traces and names what comes over HTTP, and counts and traces the WebSockets that are open."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import Context, ContextVar
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.admission import CALLER
from service.api.problems import refusal
from service.episodes import OWNER
from service.errors import OverloadedError
from service.logs import ACCESS, REQUEST_ID, TRACE_ID
from service.metrics import OTHER, Metrics
from service.spans import NO_SPAN, TRACER, NoSpan, Span
from service.traces import Traces

__all__ = ["Traffic"]

_UNTRACED = frozenset({"/health", "/ready", "/metrics"})  # asked all the time by probes and scrapes
_CLIENT_GONE = 499  # as nginx has it
_CUT = OverloadedError("The service is shutting down, and the call was not done in time.", retry_after_s=1)
_CALLER_DIGITS = 12  # of the token's digest
_PLAIN_ID = re.compile(rb"[\w.-]{1,64}", re.ASCII)
_OF_A_REQUEST: tuple[ContextVar[Any], ...] = (REQUEST_ID, TRACE_ID, TRACER, OWNER, CALLER)
_UNSET = [(variable, Context().run(variable.get)) for variable in _OF_A_REQUEST]


class Traffic:
    """ASGI middleware, to stand before all others: what those refuse is counted, too.

    The router's choice cannot be seen from there, and what is refused before has none. So a request counts for the
    route that its path belongs to, whatever became of it.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, traces: Traces, routes: Sequence[BaseRoute]) -> None:
        """Reads the routes' paths.

        Args:
            app: what it stands before.
            metrics: what it tells.
            traces: what has a span for each request, but for those of `_UNTRACED`.
            routes: all that there are, in their order.
        """
        self._app = app
        self._metrics = metrics
        self._traces = traces
        templates = list(_templates(routes))
        self._sockets = frozenset(_sockets(routes))
        self._literal = {template for template, _ in templates if "{" not in template}
        self._patterns = [(pattern, template) for template, pattern in templates if "{" in template]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on."""
        match scope["type"]:
            case "http":
                with _apart():
                    await self._answer(scope, receive, send)
            case "websocket":
                with _apart():
                    await self._connect(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = _CLIENT_GONE  # then alone does the app answer nothing, and yet return
        route = self._route_of(scope["path"])
        request_id = _request_id(scope)
        REQUEST_ID.set(request_id)

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
            await send(message)

        with self._traced(scope["method"], route, scope) as span:
            span.set("gauntlet.request_id", request_id)
            try:
                await self._app(scope, receive, send_and_note)
            except asyncio.CancelledError:  # the server ends, and its requests have had their time
                if status == _CLIENT_GONE:
                    await refusal(_CUT)(scope, receive, send_and_note)
            except BaseException:
                status = 500  # which the server answers
                raise
            finally:
                span.answer(status)
                self._note(scope["method"], route, status, time.perf_counter() - started)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = scope["path"] if scope["path"] in self._sockets else OTHER
        with ExitStack() as opened, self._traced("GET", route, scope) as span:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "websocket.accept":
                    opened.enter_context(self._metrics.websocket())
                    span.answer(101)
                elif message["type"] == "websocket.http.response.start":
                    span.answer(message["status"])
                await send(message)

            await self._app(scope, receive, send_and_note)

    def _traced(self, method: str, route: str, scope: Scope) -> AbstractContextManager[Span | NoSpan]:
        if route in _UNTRACED:
            return NO_SPAN
        return self._traces.request(method, route if route != OTHER else None, scope["headers"])

    def _note(self, method: str, route: str, status: int, seconds: float) -> None:
        self._metrics.answered(method, route, status, seconds)
        if ACCESS.isEnabledFor(logging.INFO):
            told = {"method": method, "route": route, "status": status, "caller": OWNER.get()[:_CALLER_DIGITS] or None}
            ACCESS.info("request", extra=told | {"duration_ms": round(seconds * 1000, 3)})

    def _route_of(self, path: str) -> str:
        if path in self._literal:
            return path
        return next((template for pattern, template in self._patterns if pattern.match(path)), OTHER)


def _request_id(scope: Scope) -> str:
    """The id that a caller or a proxy has given a request, where it is a plain one, or a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _PLAIN_ID.fullmatch(given) else secrets.token_hex(8)


@contextmanager
def _apart() -> Iterator[None]:
    """Has a request know nothing of another one: who calls the app may do so many times in one task.

    What fails leaves them as they are, to whoever reports it outside of here.
    """
    tokens = [(variable, variable.set(unset)) for variable, unset in _UNSET]
    yield
    for variable, token in tokens:
        variable.reset(token)


def _templates(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, re.Pattern[str]]]:
    for route in iter_route_contexts(routes):
        if route.path_format is not None and not isinstance(route.original_route, WebSocketRoute):
            yield route.path_format, route.path_regex


def _sockets(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """Their paths, none of which is a template."""
    for route in iter_route_contexts(routes):
        if route.path_format is not None and isinstance(route.original_route, WebSocketRoute):
            yield route.path_format
