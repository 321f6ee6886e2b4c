"""Tool calls as ORS streams them: an event with the call's id, chunks of the answer, a way back after a lost line."""

import asyncio
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from service.episodes import OWNER

__all__ = ["CallFailure", "Calls", "chunked", "compact", "event", "events"]

_KEPT_S = 60.0
_KEPT_CHARS = 32 << 20
_CHUNK_CHARS = 4096  # clients read line by line, and a line of theirs has a limit
_PING_S = 10.0  # clients give a silent stream up after 30


@dataclass(frozen=True, slots=True)
class CallFailure:
    """A call that has no answer, through no fault of its tool's user.

    Attributes:
        message: for the client.
        status: of HTTP.
        retry_after_s: where asking again is reasonable.
    """

    message: str
    status: int = 500
    retry_after_s: int | None = None


Outcome = str | CallFailure


@dataclass(slots=True)
class _Call:
    owner: str
    session_id: str
    task: "asyncio.Task[Outcome]"
    ended_at: float = 0.0
    chars: int = 0


class Calls:
    """Calls under way, and for a minute the answers of those that ended.

    A client whose connection broke asks for its call again, by the id that the first event told it: the tool must not
    run twice.
    """

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._ended: OrderedDict[str, _Call] = OrderedDict()  # the longest ended first
        self._chars = 0

    def start(self, session_id: str, work: Coroutine[Any, Any, Outcome]) -> "tuple[str, asyncio.Task[Outcome]]":
        """Begins a call, which goes on to its end whoever still listens; answers its id, too."""
        call_id = secrets.token_hex(16)
        call = _Call(OWNER.get(), session_id, asyncio.create_task(work))
        self._calls[call_id] = call
        call.task.add_done_callback(lambda _: self._end(call_id, call))
        return call_id, call.task

    def find(self, session_id: str, call_id: str) -> "asyncio.Task[Outcome] | None":
        """A call of a session of whoever asks; None where it has none of this id, or no longer."""
        self._forget(time.monotonic())
        call = self._calls.get(call_id)
        asked = (OWNER.get(), session_id)
        return call.task if call is not None and (call.owner, call.session_id) == asked else None

    def _end(self, call_id: str, call: _Call) -> None:
        call.ended_at = time.monotonic()
        call.chars = 0 if call.task.cancelled() else len(str(call.task.result()))
        self._chars += call.chars
        self._ended[call_id] = call
        self._forget(call.ended_at)

    def _forget(self, now: float) -> None:
        while self._ended:
            call_id, call = next(iter(self._ended.items()))
            if call.ended_at + _KEPT_S > now and self._chars <= _KEPT_CHARS:
                return
            del self._ended[call_id], self._calls[call_id]
            self._chars -= call.chars


async def events(call_id: str, task: "asyncio.Task[Outcome]") -> AsyncIterator[str]:
    """A call as server-sent events, to its end."""
    yield event("task_id", call_id)
    while not task.done():
        done, _ = await asyncio.wait({task}, timeout=_PING_S)
        if not done:
            yield ": ping\r\n\r\n"
    outcome = task.result()
    if isinstance(outcome, CallFailure):
        yield event("error", outcome.message)
        return
    *chunks, last = chunked(outcome)
    for chunk in chunks:
        yield event("chunk", chunk)
    yield event("end", last)


def event(name: str, data: str) -> str:
    """One server-sent event; the data is a single line."""
    return f"event: {name}\r\ndata: {data}\r\n\r\n"


def chunked(text: str) -> list[str]:
    """JSON in pieces that no client changes when it reads them.

    Clients strip what is blank at the start of an event's data. In compact ASCII JSON a blank stands within a string
    only, where it may be written as an escape.
    """
    chunks = [text[start : start + _CHUNK_CHARS] for start in range(0, len(text), _CHUNK_CHARS)]
    return [f"\\u0020{chunk[1:]}" if chunk.startswith(" ") else chunk for chunk in chunks] or [""]


def compact(value: Any) -> str:
    """JSON for `chunked`."""
    return json.dumps(value, separators=(",", ":"))
