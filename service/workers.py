"""Several processes that serve on one address: uvicorn's own supervisor, and what its workers share."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.app import Condition, create_app
from service.errors import StartError
from service.logs import configure
from service.settings import Settings

__all__ = ["Worker", "Workers", "shared_folder"]

_MEMORY = Path("/dev/shm")  # noqa: S108 - can be written where the rest of a container cannot
_READY_S = 1.0


@dataclass(frozen=True)
class Worker:
    """Makes the application of one worker, within its process.

    Attributes:
        settings: of one worker.
        folder: where all of them keep what they count.
    """

    settings: Settings
    folder: str

    def __call__(self) -> ASGIApp:
        """Makes it; an app whose sandbox does not hold refuses to start."""
        configure(self.settings.log_format)
        app = create_app(self.settings, metrics_folder=self.folder)

        return _Strict(app, app.state.condition)


class _Strict:
    """Has an app whose sandbox does not hold refuse to start, as the server understands it."""

    def __init__(self, app: ASGIApp, condition: Condition) -> None:
        self._app = app
        self._condition = condition

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def receive_or_end() -> Message:
            return await receive() if self._condition.fault is None else {"type": "lifespan.shutdown"}

        async def send_if_sound(message: Message) -> None:
            if self._condition.fault is None:
                self._condition.warn()
                await send(message)

        await self._app(scope, receive_or_end, send_if_sound)
        if self._condition.fault is not None:
            await send({"type": "lifespan.startup.failed", "message": self._condition.fault})


class Workers(Multiprocess):
    """Keeps as many workers running as there shall be; SIGHUP replaces them one by one.

    Attributes:
        status: what the process is to end with.
    """

    def __init__(self, config: uvicorn.Config, listener: socket, folder: str, on_ready: Callable[[], None]) -> None:
        """Takes the signals over.

        Args:
            config: of every worker; its app is a `Worker`.
            listener: what they all accept from.
            folder: where they keep what they count.
            on_ready: called once all of them serve.
        """
        super().__init__(config, [listener])
        self._folder = folder
        self._on_ready: Callable[[], None] | None = on_ready
        self._counted: set[int] = set()
        self.status = 0

    def handle_int(self) -> None:
        """Ends as a program does that was interrupted."""
        self.status = 128 + signal.SIGINT
        super().handle_int()

    def keep_subprocess_alive(self) -> None:
        """Replaces workers that have ended; called twice a second."""
        for process in self.processes:
            process.child_conn.close()  # the worker's end: so that a worker which dies while it is asked is noticed
        super().keep_subprocess_alive()
        if any(process.exitcode == STARTUP_FAILURE for process in self.processes):
            self.status = 1
            return
        running = {process.pid for process in self.processes if process.pid is not None}
        for pid in self._counted - running:
            mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]
        self._counted = running
        _reap_orphans(running)
        if self._on_ready is not None and all(process.is_ready(_READY_S) for process in self.processes):
            self._on_ready()
            self._on_ready = None


def _reap_orphans(workers: set[int]) -> None:
    """Reaps what a killed worker has left to the first process of a container; ends of workers are uvicorn's to see."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in workers:
            os.waitpid(ended.si_pid, 0)


@contextlib.contextmanager
def shared_folder() -> Iterator[str]:
    """A folder for what workers count, which their library finds in its environment variable.

    Raises:
        StartError: there is nowhere to write.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="gauntlet-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    except OSError as error:
        raise StartError(f"--workers needs a folder that can be written, such as a tmpfs at /tmp: {error}") from None
    with made as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield folder
