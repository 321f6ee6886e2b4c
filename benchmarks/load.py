"""A load generator that costs little: non-blocking sockets, epoll, a request serialized once, its own process."""

import contextlib
import gc
import select
import time
from typing import Any

from benchmarks.http import CHUNK_BYTES, Request, connect, judge
from benchmarks.window import Window
from benchmarks.worker import serve

__all__ = ["drive"]

_SILENCE_S = 60.0
_SHOWN_BYTES = 2000


class _Connection:
    """One client: it sends the request, gathers the answer, and connects anew where that fails."""

    __slots__ = ("_answer", "_expected", "_port", "_request", "_socket", "started")

    def __init__(self, request: Request) -> None:
        self._port = request.port
        self._request = request.text.encode("ascii")
        self._expected = request.expected.encode()
        self._open()

    def _open(self) -> None:
        self._socket = connect(self._port)
        self._socket.setblocking(False)
        self._answer = b""
        self.started = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self) -> None:
        self._answer = b""
        self.started = time.perf_counter()
        with contextlib.suppress(OSError):  # reading will tell
            if self._socket.send(self._request) != len(self._request):
                self._socket.close()
                raise ValueError("the request does not fit the socket's buffer")

    def receive(self) -> bool | None:
        """Whether the right answer came; None while it is not whole."""
        try:
            chunk = self._socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return False
        self._answer = self._answer + chunk if self._answer else chunk
        return judge(self._answer, self._expected) if chunk else False

    def said(self) -> str:
        """The answer so far, for a reader."""
        return self._answer[:_SHOWN_BYTES].decode("utf-8", "replace") or "the connection was closed"

    def renew(self) -> None:
        self._socket.close()
        self._open()

    def close(self) -> None:
        self._socket.close()


def drive(request: Request, clients: int, window: Window) -> None:
    """Keeps so many clients busy for a window, each sending its next request when its answer has come."""
    with contextlib.ExitStack() as stack:
        poller = stack.enter_context(select.epoll())
        connections = {}
        for _ in range(clients):
            connection = _Connection(request)
            stack.callback(connection.close)
            connections[connection.fileno()] = connection
            poller.register(connection.fileno(), select.EPOLLIN)
        window.wait()
        _loop(poller, connections, window)


def _loop(poller: select.epoll, connections: dict[int, _Connection], window: Window) -> None:
    busy = sum(_next(poller, connection, window) for connection in connections.values())
    while busy:
        ready = poller.poll(_SILENCE_S)
        if not ready:
            window.errors += busy
            window.fault = window.fault or f"no answer for {_SILENCE_S:g} s"
            return
        for descriptor, _ in ready:
            connection = connections[descriptor]
            right = connection.receive()
            if right is None:
                continue
            window.note(connection.started, time.perf_counter(), right=right)
            if not right:
                window.fault = window.fault or connection.said()
                connection = _renewed(poller, connections, descriptor)
            busy -= not _next(poller, connection, window)


def _next(poller: select.epoll, connection: _Connection, window: Window) -> bool:
    """Whether a client goes on; what happens to the connection of one that does not is no matter."""
    if not window.begin():
        poller.unregister(connection.fileno())
        return False
    connection.send()
    return True


def _renewed(poller: select.epoll, connections: dict[int, _Connection], descriptor: int) -> _Connection:
    """A connection that answered wrongly may be in the middle of anything: it is replaced."""
    connection = connections.pop(descriptor)
    poller.unregister(descriptor)
    connection.renew()
    connections[connection.fileno()] = connection
    poller.register(connection.fileno(), select.EPOLLIN)
    return connection


def _handle(message: dict[str, Any]) -> dict[str, Any]:
    window = Window(**message["window"])
    drive(Request(**message["request"]), message["clients"], window)
    return window.answer()


if __name__ == "__main__":
    gc.disable()
    serve(_handle)
