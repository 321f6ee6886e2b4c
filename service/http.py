"""HTTP/1.1 and WebSockets as uvicorn speaks them, with what it lacks: limits on heads, and an end to bad handshakes."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["BoundedHttpProtocol", "ClosingWebSocketProtocol"]

HEAD_BYTES = 64 << 10
_LINGER_S = 2.0
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type":"about:blank","title":"Request Header Fields Too Large","status":431,'
    b'"detail":"The request line and headers have more than 65536 bytes."}'
)
_BAD_HANDSHAKE = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose line and headers do not end within 64 KiB; the parser itself would gather any amount.

    Trailers after a chunked body are bounded in the same way, and dropped: nobody reads them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_trailers = False
        self._head_bytes = 0
        self._refused = False

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        super().on_message_begin()
        self._in_trailers = False
        self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has seen a header, or a trailer: uvicorn would add that to the headers."""
        if not self._in_trailers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The parser has seen the end of the headers."""
        self._in_head = False
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """The parser has seen the length of a chunk: after that of the last one there are trailers."""
        self._in_trailers = True
        self._begin_head()

    def on_body(self, body: bytes) -> None:
        """The parser has seen a part of the body."""
        self._in_head = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser has seen the end of a request."""
        self._in_head = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Counts what has come since a head began, as long as it has not ended."""
        if self._refused:
            return  # dropped: a connection closed before the client has sent it would take the answer with it
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0  # before it, the same data may hold another request's body

    def _refuse(self) -> None:
        self._refused = True
        self.transport.write(_REFUSAL % (len(_PROBLEM), _PROBLEM))
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
