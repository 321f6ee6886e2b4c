"""HTTP/1.1 and WebSockets as uvicorn speaks them, with what it lacks: bounds on what comes and how long it takes."""

import asyncio
import json
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["BoundedHttpProtocol", "ClosingWebSocketProtocol"]

HEAD_BYTES = 64 << 10
REQUEST_S = 60.0
_LINGER_S = 2.0
_LAST_CALL_S = 0.5
_BAD_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose line and headers do not end within 64 KiB; the parser itself would gather any amount.

    Trailers after a chunked body are bounded in the same way, and dropped: nobody reads them. A connection on which no
    whole request comes in time is closed. Requests are not pipelined: who sends one before the last was answered has to
    send it again. When the server ends, who has connected has half a second to ask.

    Attributes:
        request_s: most seconds from a connection or the first byte of a request to the last one.
    """

    request_s = REQUEST_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_trailers = False
        self._head_bytes = 0
        self._refused = False
        self._is_arriving = False
        self._is_ending = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        super().on_message_begin()
        self._is_arriving = True
        self._await_request()
        self._in_trailers = False
        self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has seen a header, or a trailer: uvicorn would add that to the headers."""
        if not self._in_trailers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The parser has seen the end of the headers."""
        self._in_head = False
        answering = None if self._is_idle() else self.cycle
        super().on_headers_complete()
        if answering is not None:
            self._drop_what_follows(answering)
        elif self._is_ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """The parser has seen the length of a chunk: after that of the last one there are trailers."""
        self._in_trailers = True
        self._begin_head()

    def on_body(self, body: bytes) -> None:
        """The parser has seen a part of the body."""
        self._in_head = False
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser has seen the end of a request."""
        self._in_head = False
        self._is_arriving = False
        self._stop_waiting()
        if not self._refused:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Counts what has come since a head began, as long as it has not ended."""
        if self._refused:
            return  # dropped: a connection closed before the client has sent it would take the answer with it
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # it is a WebSocket now
            self._stop_waiting()
        elif self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(
                431, "Request Header Fields Too Large", "The request line and headers have more than 65536 bytes."
            )
        elif self._is_idle():
            self._await_request()  # also after an empty line, which begins no request and ends uvicorn's own waiting

    def shutdown(self) -> None:
        """The server ends: uvicorn would close a connection on which a request is on its way."""
        self._is_ending = True
        if self._is_idle():
            self.loop.call_later(_LAST_CALL_S, self._close_where_nothing_comes)
        else:
            super().shutdown()

    def _close_where_nothing_comes(self) -> None:
        if self._is_idle() and not self._is_arriving:
            self.transport.close()

    def _await_request(self) -> None:
        if self._deadline is None and self.timeout_keep_alive_task is None:
            self._deadline = self.loop.call_later(self.request_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # as it is until the first request
        return not cycle or cycle.response_complete

    def _has_answered(self) -> bool:
        """Whether an answer to the request that is arriving, or to the one before it, has begun and would be cut."""
        return not self._is_idle() if self._in_head else self.cycle.response_started

    def _give_up(self) -> None:
        if self._is_arriving and not self._refused and not self._has_answered():
            self._refuse(408, "Request Timeout", f"The request has not come within {self.request_s:g} s.")
        else:
            self.transport.close()

    def _drop_what_follows(self, answering: RequestResponseCycle) -> None:
        """Takes no request before the one at hand is answered; uvicorn would read no more, and see no client leave.

        The connection is closed behind that answer, so that its client sends the rest again on another one.
        """
        self.cycle = answering
        self.pipeline.clear()
        answering.keep_alive = False
        self._refused = True
        self.flow.resume_reading()

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0  # before it, the same data may hold another request's body

    def _refuse(self, status: int, title: str, detail: str) -> None:
        self._refused = True
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
        head = f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        self.loop.call_later(_LINGER_S, self.transport.close)


class ClosingWebSocketProtocol(WebSocketsSansIOProtocol):
    """Answers a handshake that cannot be read; uvicorn would keep the socket, and fail over it when it shuts down."""

    def data_received(self, data: bytes) -> None:
        """Hands on what has come."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_HANDSHAKE)
            self.transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        """Sends what the app answers; a refusal is no fault of its own, which uvicorn would take it for."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
