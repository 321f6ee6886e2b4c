"""A Messages API on the loopback: one endpoint, the real one's shapes and refusals, scripted answers.

Nothing is kept between requests. An answer follows from the request alone, its history and the episode named in
`metadata.user_id`, so any number of conversations can run at once.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runner.offline.checks import ApiError, ThinkingSigner, check_headers, check_request
from runner.offline.policies import Step, policy_for, script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager

    from starlette.requests import Request

    from runner.records import Json

__all__ = ["OFFLINE_KEY", "serve_offline"]

OFFLINE_KEY = "offline"
"""The only key the server takes: a real one that strayed here is refused, and so noticed."""

_EPISODE = re.compile(r"-([1-9][0-9]*)$")
_CHARACTERS_PER_TOKEN = 4
_FAREWELL = Step("", "I have handed in my work and have nothing to add.")


@asynccontextmanager
async def serve_offline(seed: int) -> AsyncIterator[str]:
    """Serve on a free loopback port while the context lasts.

    Args:
        seed: Decides which policy plays which episode.

    Yields:
        The base URL for an SDK client.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    # Connections inherit it; asyncio itself sets it only where a socket names its protocol. Without it, a body waits
    # 40 ms for the client to acknowledge the head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        server = _Server(
            uvicorn.Config(_app(seed), log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=2)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """Leaves the signals to the program it runs in."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def _app(seed: int) -> Starlette:
    signer = ThinkingSigner()

    async def messages(request: Request) -> JSONResponse:
        try:
            check_headers(request.headers, OFFLINE_KEY)
            body = _json(await request.body())
            check_request(body, signer)
            answer = _message(body, _next_step(body, seed), signer)
        except ApiError as error:
            return _refusal(error)
        return JSONResponse(answer, headers={"request-id": _new_id("req")})

    async def unknown(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return _refusal(ApiError(status, "not_found_error", f"{request.method} {request.url.path}: not found"))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it: a run that ends cancels what it has on the way

    return Starlette(
        routes=[Route("/v1/messages", messages, methods=["POST"])],
        exception_handlers={HTTPException: unknown, ClientDisconnect: gone},
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ApiError(400, "invalid_request_error", f"the request body is not valid JSON: {error}") from error


def _refusal(error: ApiError) -> JSONResponse:
    request_id = _new_id("req")
    body = {"type": "error", "error": {"type": error.kind, "message": error.message}, "request_id": request_id}
    return JSONResponse(body, status_code=error.status, headers={"request-id": request_id})


def _next_step(body: Json, seed: int) -> Step:
    """Find the place in the episode's script by counting the turns already taken."""
    found = _EPISODE.search(str(body.get("metadata", {}).get("user_id", "")))
    if found is None:
        raise ApiError(400, "invalid_request_error", "metadata.user_id: must end in the episode's number, as in run-1")
    steps = script(policy_for(seed, int(found[1])), _prompt(body["messages"][0]))
    taken = sum(message["role"] == "assistant" for message in body["messages"])
    return steps[taken] if taken < len(steps) else _FAREWELL


def _prompt(message: Json) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def _message(body: Json, step: Step, signer: ThinkingSigner) -> Json:
    content: list[Json] = [signer.block(step.thinking)] if step.thinking else []
    content.append({"type": "text", "text": step.text})
    content += [
        {"type": "tool_use", "id": _new_id("toolu"), "name": use.name, "input": use.input} for use in step.tool_uses
    ]
    return {
        "id": _new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": "tool_use" if step.tool_uses else "end_turn",
        "stop_sequence": None,
        "usage": _usage(body, content),
    }


def _usage(body: Json, content: list[Json]) -> Json:
    """Token counts of the right order: with caching on, all but the last exchange was read before."""
    messages = body["messages"]
    before, new = [body.get("tools"), messages[:-2]], messages[-2:]
    if len(messages) == 1:
        before, new = [], [body.get("tools"), messages]
    cached = "cache_control" in body
    return {
        "input_tokens": 4 if cached else _tokens(before) + _tokens(new),
        "cache_creation_input_tokens": _tokens(new) if cached else 0,
        "cache_read_input_tokens": _tokens(before) if cached else 0,
        "output_tokens": _tokens(content),
        "service_tier": "standard",
    }


def _tokens(value: Any) -> int:
    return len(json.dumps(value)) // _CHARACTERS_PER_TOKEN if value else 0


def _new_id(kind: str) -> str:
    return f"{kind}_01{secrets.token_hex(11)}"
