"""A Messages API on the loopback: the real one's shapes and refusals, scripted answers, and faults on request.

An answer follows from the request alone, its history and the episode named in `metadata.user_id`, so any number of
conversations can run at once. What befalls it follows from the seed and from how often the same turn was asked for.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runner.offline.answers import count_input, new_id
from runner.offline.checks import ThinkingSigner, check_count_request, check_headers
from runner.offline.endpoint import OFFLINE_KEY, MessagesEndpoint, Settings, checked_json
from runner.offline.errors import ApiError
from runner.offline.models import find_model, list_models
from runner.offline.replies import error_answer, json_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from starlette.requests import Request

    from runner.answers import Json
    from runner.offline.replies import Answer

__all__ = ["OFFLINE_KEY", "serve_offline"]


@asynccontextmanager
async def serve_offline(
    seed: int,
    *,
    faults: float = 0.0,
    log: Callable[[Json], None] | None = None,
    hang_s: float = 600.0,
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve on a loopback port while the context lasts.

    Args:
        seed: Decides which policy plays which episode, and which faults it meets.
        faults: The share of calls that fail, and of episodes that leave their script, 0 to 1.
        log: Told of every request to `/v1/messages` once it is over: `episode`, `turn` (from 0), `attempt` (from 1),
            `fault`, `status`, `request_id`, `message_id`, `usage`, and `answered`, which is True when a whole and
            proper message was sent. `message_id` and `usage` are None unless at least a part of one was, `status` when
            not even a status line was, and all that a refused request does not tell.
        hang_s: How long a call that hangs does so, in seconds.
        port: 0 picks a free one.

    Yields:
        The base URL for an SDK client.

    Raises:
        ValueError: `faults` is no share.
        OSError: The port is taken.
    """
    if not 0 <= faults <= 1:
        raise ValueError(f"faults must be from 0 to 1, not {faults}")
    with socket.create_server(("127.0.0.1", port)) as listener:
        # Connections inherit it; asyncio itself sets it only where a socket names its protocol. Without it, a body
        # waits 40 ms for the client to acknowledge the head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = _app(Settings(seed, faults, hang_s, log))
        server = _Server(
            uvicorn.Config(app, http=_Protocol, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=2)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class _Protocol(HttpToolsProtocol):
    """Lets an answer close its connection, for which ASGI has no word."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport


class _Server(uvicorn.Server):
    """Leaves the signals to the program it runs in, and does not wait for calls that hang."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.close()  # after what it still has to send
        await super().shutdown(sockets)


def _app(settings: Settings) -> Starlette:
    signer = ThinkingSigner()

    async def count_tokens(request: Request) -> Response:
        body: Json = await checked_json(request)
        check_count_request(body, signer)
        return _response(json_answer({"input_tokens": count_input(body)}, new_id("req")))

    return Starlette(
        routes=[
            Route("/v1/messages", MessagesEndpoint(settings, signer), methods=["POST"]),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            Route("/v1/models", _models),
            Route("/v1/models/{name}", _model),
        ],
        exception_handlers={ApiError: _refused, HTTPException: _refused, ClientDisconnect: _gone},
    )


async def _models(request: Request) -> Response:
    check_headers(request.headers, OFFLINE_KEY)
    return _response(json_answer(list_models(request.query_params), new_id("req")))


async def _model(request: Request) -> Response:
    check_headers(request.headers, OFFLINE_KEY)
    return _response(json_answer(find_model(request.path_params["name"]), new_id("req")))


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        status = error.status_code if isinstance(error, HTTPException) else 500
        error = ApiError(status, "not_found_error", f"{request.method} {request.url.path}: not found")
    return _response(error_answer(error, new_id("req")))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it: a run that ends cancels what it has on the way


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers)
