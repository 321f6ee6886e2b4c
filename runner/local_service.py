"""The grading service: the one that was named, or one started as a child process."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.client import GraderClient
from runner.errors import LocalServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = ["SERVICE_ARGUMENTS", "ServiceAddress", "local_service", "open_service"]

SERVICE_ARGUMENTS = ("-m", "service", "--host", "127.0.0.1", "--port", "0")

_READY_LINE = re.compile(rb"is serving on (http://127\.0\.0\.1:\d+)(?:\"|\s*$)")  # in JSON or alone
_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 10.0
_STDERR_KEPT = 16_384

# The kernel ends the service when the runner is killed without a chance to do it; elsewhere than on Linux, nobody does.
_TETHER = """
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the runner is gone")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where the service is; without a URL it is started as a child with `environment`."""

    url: str | None
    environment: Mapping[str, str]

    @property
    def token(self) -> str | None:
        """What it is shown: one of its API tokens, or its evaluation token."""
        return self.environment.get("RUNNER_TOKEN") or self.evaluation_token

    @property
    def evaluation_token(self) -> str | None:
        """What it is shown with seeds of its test split; both sides know it by the same name."""
        return self.environment.get("GAUNTLET_EVALUATION_TOKEN") or None


@asynccontextmanager
async def open_service(address: ServiceAddress) -> AsyncIterator[GraderClient]:
    """Connect to a service, starting one if none is named."""
    async with AsyncExitStack() as stack:
        url = address.url
        if url is None:
            url = await stack.enter_async_context(local_service(address.environment))
        client = GraderClient(url, token=address.token, evaluation_token=address.evaluation_token)
        yield await stack.enter_async_context(client)


@asynccontextmanager
async def local_service(
    environment: Mapping[str, str],
    *,
    arguments: Sequence[str] = SERVICE_ARGUMENTS,
    start_limit_s: float = _START_LIMIT_S,
    stop_limit_s: float = _STOP_LIMIT_S,
) -> AsyncIterator[str]:
    """Start the service on a free loopback port, and stop it on leaving.

    Args:
        environment: The child's environment; whatever belongs to the Anthropic SDK is left out of it.
        arguments: What the interpreter is given.
        start_limit_s: Seconds until the service must have named its URL.
        stop_limit_s: Seconds it has to leave after SIGTERM before it is killed.

    Yields:
        The URL it listens on.

    Raises:
        LocalServiceError: It ended or stayed silent instead of starting; the message ends with its last words.
    """
    process = await _spawn(environment, arguments)
    last_words = bytearray()
    drains = [asyncio.create_task(_drain(process.stderr, last_words))]
    try:
        url = await _ready_url(process, start_limit_s, last_words, drains[0])
        drains.append(asyncio.create_task(_drain(process.stdout, bytearray())))
        yield url
    finally:
        await _stop(process, stop_limit_s)
        await asyncio.gather(*drains, return_exceptions=True)


async def _spawn(environment: Mapping[str, str], arguments: Sequence[str]) -> Process:
    """Start the child in a session of its own: Ctrl-C is for the runner, which then stops the child in good order."""
    clean = {name: value for name, value in environment.items() if not name.startswith("ANTHROPIC_")}
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _TETHER,
            str(os.getpid()),
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=clean,
            start_new_session=True,
        )
    except OSError as error:
        raise LocalServiceError(f"the local service cannot be started: {error}") from error


async def _ready_url(process: Process, limit_s: float, last_words: bytearray, stderr: asyncio.Task[None]) -> str:
    try:
        async with asyncio.timeout(limit_s):
            url = await _announced_url(process)
    except TimeoutError:
        raise LocalServiceError(_told("did not start within", f"{limit_s:g} s", last_words)) from None
    if url is None:
        status = await process.wait()
        await stderr
        raise LocalServiceError(_told("ended while starting, with status", str(status), last_words))
    return url


async def _announced_url(process: Process) -> str | None:
    """Read up to the line that names the URL; None when the output ends without one."""
    if process.stdout is None:
        return None
    with suppress(ValueError):  # a line longer than the reader's limit is not the one awaited
        async for line in process.stdout:
            if found := _READY_LINE.search(line):
                return found[1].decode()
    return None


def _told(what: str, detail: str, last_words: bytearray) -> str:
    words = last_words.decode(errors="replace").strip() or "(it said nothing)"
    return f"the local service {what} {detail}; name a running one with --service. It said:\n{words}"


async def _drain(stream: asyncio.StreamReader | None, kept: bytearray) -> None:
    """Keep the pipe empty, so that the child never blocks on it, and its last bytes at hand."""
    while stream is not None and (chunk := await stream.read(8192)):
        kept += chunk
        del kept[:-_STDERR_KEPT]


async def _stop(process: Process, limit_s: float) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(limit_s):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
