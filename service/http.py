"""HTTP/1.1 as uvicorn speaks it, with what it lacks: a limit on the head of a request."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedHttpProtocol"]

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


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a request whose line and headers do not end within 64 KiB; the parser itself would gather any amount."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_bytes = 0
        self._refused = False

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The parser has seen the end of the headers."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Counts what has come since the request began, as long as its head has not ended."""
        if self._refused:
            return  # dropped: a connection closed before the client has sent it would take the answer with it
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse()

    def _refuse(self) -> None:
        self._refused = True
        self.transport.write(_REFUSAL % (len(_PROBLEM), _PROBLEM))
        self.loop.call_later(_LINGER_S, self.transport.close)
