"""As much HTTP/1.1 as a client needs that must not measure itself."""

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.worker import MeasureError

__all__ = ["Client", "Request", "connect", "judge", "post"]

CHUNK_BYTES = 1 << 16
_OK = b"HTTP/1.1 200 "
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request, serialized once.

    Attributes:
        port: of this machine.
        text: head and body, ASCII.
        expected: what the body of a right answer contains.
    """

    port: int
    text: str
    expected: str


def post(port: int, path: str, body: dict[str, Any], expected: str) -> Request:
    """Makes a POST of a JSON body."""
    content = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return Request(port, f"{head}Content-Length: {len(content)}\r\n\r\n{content}", expected)


def judge(data: bytes, expected: bytes) -> bool | None:
    """Whether an answer is the right one; None while it is not whole."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    length = _LENGTH.search(data, 0, end)
    if length is None or not data.startswith(_OK):
        return False
    if len(data) < end + int(length[1]):
        return None
    return data.find(expected, end) >= 0


def connect(port: int) -> socket.socket:
    """A connection that sends at once."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Client:
    """One client on one connection that is kept."""

    def __init__(self, request: Request) -> None:
        self._request = request.text.encode("ascii")
        self._expected = request.expected.encode()
        self._socket = connect(request.port)

    def sample(self) -> float:
        """Seconds from the first byte sent to the last one received.

        Raises:
            MeasureError: a wrong answer, or none.
        """
        started = time.perf_counter()
        self._socket.sendall(self._request)
        answer = b""
        while (right := judge(answer, self._expected)) is None:
            chunk = self._socket.recv(CHUNK_BYTES)
            if not chunk:
                break
            answer += chunk
        elapsed = time.perf_counter() - started
        if not right:
            raise MeasureError(f"a wrong answer: {answer[:500]!r}")
        return elapsed

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()
