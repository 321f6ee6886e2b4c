"""How errors read: RFC 9457 problem documents, from which nothing of the service's inside leaks."""

import asyncio
import contextlib
import http
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.models import Problem, ProblemField
from service.errors import GauntletError, InputError, OverloadedError, SandboxError, UnauthorizedError
from service.logs import REQUEST_ID

__all__ = ["BodyLimit", "body_bytes", "documented", "install", "refusal"]

MEDIA_TYPE = "application/problem+json"
_LINGER_S = 2.0
_LINGER_BYTES = 16 << 20
_LARGE_ONES = 2
_log = logging.getLogger("gauntlet.service")


def install(app: FastAPI) -> None:
    """Has every error of an app answered as a problem document."""
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(GauntletError)(_refused)
    app.exception_handler(Exception)(_unexpected)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of an endpoint, for its OpenAPI entry."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # RFC 9110; older Pythons have older phrases
_DESCRIPTIONS = {
    400: "The body is not JSON.",
    401: "It takes a token.",
    403: "It takes the evaluation token.",
    404: "There is no such episode, or it has no such tool.",
    409: "The episode has ended.",
    413: "The body is larger than the service reads.",
    422: "The request does not fit its schema; `errors` names each field.",
    429: "This caller has as much in flight, or open, as one may have; `Retry-After` says when to ask again.",
    500: "The service's own fault; no score is given.",
    503: "No capacity now; `Retry-After` says when to ask again.",
}


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: Sequence[ProblemField] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document as a response."""
    body = Problem(
        type="about:blank",
        title=_TITLES.get(status) or http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(errors) if errors is not None else None,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


async def _http(_: Request, error: HTTPException) -> JSONResponse:
    return problem(error.status_code, str(error.detail), headers=error.headers)


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem(400, "The body is not valid JSON.")
    fields = [ProblemField(field=_field(item["loc"]), message=_message(item)) for item in error.errors()]
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields[:5])
    return problem(422, detail, errors=fields)


def _message(item: Mapping[str, Any]) -> str:
    if item["type"] in {"model_attributes_type", "dict_type"} and len(item["loc"]) == 1:
        return "Input should be a JSON object, sent with content-type: application/json"
    return str(item["msg"])


def _field(location: Sequence[str | int]) -> str:
    """Where in the request: without FastAPI's ``body``, ``query``, … unless there is nothing else."""
    text = ".".join(str(part) for part in location[1:] or location)
    return text.encode("utf-8", "backslashreplace").decode()[:200]


async def _refused(_: Request, error: GauntletError) -> JSONResponse:
    return refusal(error)


def refusal(error: GauntletError) -> JSONResponse:
    """What the service refuses or gets wrong, as a response."""
    match error:
        case InputError():
            fields = [ProblemField(field=error.field, message=error.message)]
            return problem(error.status, str(error), code=error.code, errors=fields)
        case OverloadedError():
            headers = {"Retry-After": str(error.retry_after_s)}
            return problem(error.status, str(error), code=error.code, headers=headers)
        case UnauthorizedError():
            return problem(error.status, str(error), code=error.code, headers={"WWW-Authenticate": "Bearer"})
        case SandboxError():
            _log.error("sandbox fault: %s", error)
            detail = "The sandbox failed, which is the service's own fault: no score is given. Try again."
            return problem(error.status, detail, code=error.code)
    return problem(error.status, str(error), code=error.code)


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    """Answered outside of `Traffic`, which gives all other answers their id."""
    _log.error("unexpected error", exc_info=error)
    headers = {"X-Request-ID": request_id} if (request_id := REQUEST_ID.get()) else None
    return problem(500, "An unexpected fault of the service. No score is given.", headers=headers)


def body_bytes(code_bytes: int) -> int:
    """Most bytes of a body around a source, which JSON may write at twice its length."""
    return 2 * code_bytes + 1024


class BodyLimit:
    """ASGI middleware: a body over the limit is refused before it is read whole.

    FastAPI's own `max_body_size` answers in plain text where the length was announced, not with a problem document.
    """

    def __init__(self, app: ASGIApp, *, code_bytes: int, larger: Mapping[str, int] | None = None) -> None:
        """Sets the limits.

        Args:
            app: what it stands before.
            code_bytes: largest source; a body may have twice that, for what JSON escapes.
            larger: bytes that bodies may have on paths where there is more in them than one source. Two of these are
                worked on at a time: parsed, each may be a hundred times as large.
        """
        self._app = app
        self._code_bytes = code_bytes
        self._limit = body_bytes(code_bytes)
        self._larger = {path: max(limit, self._limit) for path, limit in (larger or {}).items()}
        self._large_ones = asyncio.Semaphore(_LARGE_ONES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads a request's body up to the limit and hands it on, or answers 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._limit)
        if _announced_length(scope) > limit:
            await self._refuse(limit, receive, send)
            return
        body = bytearray()
        message: Message = {"more_body": True}
        while message.get("more_body", False):
            message = await receive()
            body += message.get("body", b"")
            if len(body) > limit:
                await self._refuse(limit, receive, send)
                return
        messages = [{**message, "body": bytes(body)} if message["type"] == "http.request" else message]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        async with self._large_ones if len(body) > self._limit else contextlib.nullcontext():
            await self._app(scope, replay, send)

    async def _refuse(self, limit: int, receive: Receive, send: Send) -> None:
        detail = (
            f"The body is larger than {limit} bytes; `code` and `expression` may have at most {self._code_bytes} bytes."
        )
        answer = problem(413, detail, headers={"Connection": "close"})
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await _discard(receive)
        await send({"type": "http.response.body"})


async def _discard(receive: Receive) -> None:
    """Takes what a client still sends, for a while: a connection closed before would take the answer with it."""
    taken = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while taken < _LINGER_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _announced_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:18])
    return 0
