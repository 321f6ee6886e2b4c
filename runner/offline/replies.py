"""What goes over the connection: whole answers, answers that break off, and none at all."""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runner.offline.answers import stream_events
from runner.offline.errors import ApiError
from runner.offline.faults import Fault, Transient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from runner.answers import Json

__all__ = ["Answer", "Silence", "error_answer", "faulty_reply", "json_answer", "message_answer"]

# Per minute, as the rate-limit headers state them. They limit nothing: a rate limit is a fault like any other.
_REQUESTS, _TOKENS_IN, _TOKENS_OUT = 4_000, 2_000_000, 400_000

_RATE_LIMITED = ApiError(429, "rate_limit_error", "This request would exceed your organization's rate limit.")
_OVERLOADED = ApiError(529, "overloaded_error", "Overloaded")
_BROKEN = ApiError(500, "api_error", "Internal server error")

_HALF_A_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-i"
_PROXY_PAGE = b"<!DOCTYPE html>\n<title>Please wait</title>\n<p>Your connection is being checked.</p>\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, as an ASGI application.

    Attributes:
        status: Of HTTP.
        headers: But for the length.
        body: The whole of it.
        has_length: Whether its length is announced; it goes in chunks otherwise.
        keep: After so many bytes of the body the connection is closed; None sends it in good order.
        tells_message: Whether it carries a message, or part of one.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    has_length: bool = True
    keep: int | None = None
    tells_message: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        if self.has_length:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        breaks_off = self.keep is not None
        await send({"type": "http.response.body", "body": self.body[: self.keep], "more_body": breaks_off})
        if breaks_off:
            await _close(scope, receive)


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer, as an ASGI application: sooner or later the connection is closed.

    Attributes:
        after_s: For so many seconds not a byte is sent, unless the client leaves first.
        last_words: Sent before the connection is closed.
        status, tells_message: As of an answer; there is none.
    """

    after_s: float = 0.0
    last_words: bytes = b""
    status: int | None = None
    tells_message: bool = False

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        """Wait, and close the connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.after_s):
                await _left(receive)
        if self.last_words:
            scope["state"]["transport"].write(self.last_words)
        await _close(scope, receive)


async def _close(scope: Scope, receive: Receive) -> None:
    scope["state"]["transport"].close()
    await _left(receive)  # or the server would take a missing answer for an error of ours


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def json_answer(body: Json, request_id: str, headers: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    """What the API says in JSON."""
    named = {"content-type": "application/json", "request-id": request_id, **(headers or {})}
    return Answer(status, named, json.dumps(body).encode())


def error_answer(error: ApiError, request_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    """The API's refusal."""
    return json_answer(_error(error, request_id), request_id, headers, error.status)


def message_answer(message: Json, request_id: str, *, stream: bool) -> Answer:
    """A message, whole or as a stream of events."""
    if stream:
        return _streamed(_frames(message), message, request_id)
    return replace(json_answer(message, request_id, _rate_limits(message["usage"])), tells_message=True)


def faulty_reply(fault: Fault, message: Json, request_id: str, *, stream: bool, hang_s: float) -> Answer | Silence:
    """What a fault leaves of a message."""
    match fault.kind:
        case Transient.HANG | Transient.DROP | Transient.DROP_IN_HEADERS:
            last_words = _HALF_A_HEAD if fault.kind is Transient.DROP_IN_HEADERS else b""
            return Silence(hang_s if fault.kind is Transient.HANG else 0.0, last_words)
        case Transient.PROXY_PAGE:
            return Answer(200, {"content-type": "text/html"}, _PROXY_PAGE)
        case Transient.TRUNCATED | Transient.CUT | Transient.UNFINISHED:
            mutilated = _mutilated_stream if stream else _mutilated
            return mutilated(fault, message, request_id)
        case Transient.OVERLOADED_MIDWAY if stream:
            return _mutilated_stream(fault, message, request_id)
        case _:
            return _refusal(fault, request_id)


def _refusal(fault: Fault, request_id: str) -> Answer:
    headers = {"x-should-retry": "true"}
    if fault.kind is Transient.API_ERROR:
        return error_answer(_BROKEN, request_id, headers)
    if fault.kind in {Transient.OVERLOADED, Transient.OVERLOADED_MIDWAY}:
        return error_answer(_OVERLOADED, request_id, headers)
    if fault.kind is Transient.RATE_LIMIT:
        headers["retry-after"] = f"{fault.retry_after_s:.2f}"
    return error_answer(_RATE_LIMITED, request_id, {**headers, **_rate_limits(exhausted_for_s=fault.retry_after_s)})


def _mutilated(fault: Fault, message: Json, request_id: str) -> Answer:
    if fault.kind is Transient.UNFINISHED:
        return message_answer({**message, "stop_reason": None}, request_id, stream=False)
    whole = message_answer(message, request_id, stream=False)
    return _broken_off(whole, int(len(whole.body) * fault.keep), fault)


def _mutilated_stream(fault: Fault, message: Json, request_id: str) -> Answer:
    frames = _frames(message)
    told = frames[:-2]  # all but the stop reason and the end
    if fault.kind is Transient.UNFINISHED:
        return _streamed(told, message, request_id)
    if fault.kind is Transient.OVERLOADED_MIDWAY:
        told = told[: 1 + int(len(told) * fault.keep)]
        return _streamed([*told, _frame(_error(_OVERLOADED, request_id))], message, request_id)
    keep = len(told[0]) + int(sum(map(len, told[1:])) * fault.keep)
    return _broken_off(_streamed(frames, message, request_id), keep, fault)


def _broken_off(whole: Answer, keep: int, fault: Fault) -> Answer:
    if fault.kind is Transient.TRUNCATED:
        return replace(whole, keep=keep)
    return replace(whole, body=whole.body[:keep])


def _frames(message: Json) -> list[bytes]:
    return [_frame(event) for event in stream_events(message)]


def _frame(event: Json) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _streamed(frames: list[bytes], message: Json, request_id: str) -> Answer:
    headers = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "request-id": request_id,
        **_rate_limits(message["usage"]),
    }
    return Answer(200, headers, b"".join(frames), has_length=False, tells_message=True)


def _error(error: ApiError, request_id: str) -> Json:
    return {"type": "error", "error": {"type": error.kind, "message": error.message}, "request_id": request_id}


def _rate_limits(usage: Json | None = None, exhausted_for_s: float = 0.0) -> dict[str, str]:
    """The rate-limit headers of an answer; tokens are rounded to thousands, as the API does."""
    used_in = usage["input_tokens"] + usage["cache_creation_input_tokens"] if usage else 0
    used_out = usage["output_tokens"] if usage else 0
    reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(time.time() + exhausted_for_s)))
    rows = (
        ("requests", _REQUESTS, 0 if exhausted_for_s else _REQUESTS - 1),
        ("tokens", _TOKENS_IN + _TOKENS_OUT, round(_TOKENS_IN + _TOKENS_OUT - used_in - used_out, -3)),
        ("input-tokens", _TOKENS_IN, round(_TOKENS_IN - used_in, -3)),
        ("output-tokens", _TOKENS_OUT, round(_TOKENS_OUT - used_out, -3)),
    )
    return {
        f"anthropic-ratelimit-{name}-{kind}": str(value)
        for name, limit, remaining in rows
        for kind, value in (("limit", limit), ("remaining", remaining), ("reset", reset))
    }
