"""The sandbox below HTTP, in a process of its own on uvloop, measuring itself."""

import asyncio
import gc
import json
import sys
import time
from typing import Any

import uvloop

from benchmarks.job import EXPRESSION, RESULT
from benchmarks.window import Window
from benchmarks.worker import say
from service.sandbox import Sandbox, SandboxConfig
from service.settings import Settings

__all__ = ["main"]


async def _ask(sandbox: Sandbox) -> dict[str, Any]:
    """From the job's delivery to its answer, in a process that waits for one."""
    async with sandbox.process() as process:
        started = time.perf_counter()
        outcome = await process.ask({"op": "execute", "code": EXPRESSION})
        ended = time.perf_counter()
    return {"seconds": ended - started, "right": (outcome.answer or {}).get("result") == RESULT}


async def _execute(sandbox: Sandbox) -> dict[str, Any]:
    """The whole of it: a process, its job, its end."""
    started = time.perf_counter()
    execution = await sandbox.execute(EXPRESSION)
    return {"seconds": time.perf_counter() - started, "right": execution.result == RESULT}


async def _load(sandbox: Sandbox, clients: int, window: Window) -> dict[str, Any]:
    async def client() -> None:
        while window.begin():
            started = time.perf_counter()
            execution = await sandbox.execute(EXPRESSION)
            window.note(started, time.perf_counter(), right=execution.result == RESULT)

    await asyncio.sleep(window.at - time.perf_counter())
    await asyncio.gather(*(client() for _ in range(clients)))
    return window.answer()


async def _handle(sandbox: Sandbox, message: dict[str, Any]) -> dict[str, Any]:
    match message:
        case {"op": "load", "clients": clients, "window": window}:
            return await _load(sandbox, clients, Window(**window))
        case {"op": "ask"}:
            return await _ask(sandbox)
    return await _execute(sandbox)


async def main() -> None:
    """Starts a sandbox as the service's and measures what it is told to, until its input ends."""
    sandbox = Sandbox(SandboxConfig(concurrency=Settings().concurrency))
    await sandbox.start()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say({"ready": True})
    async for line in lines:
        say(await _handle(sandbox, json.loads(line)))
    await sandbox.stop()


if __name__ == "__main__":
    gc.freeze()
    uvloop.run(main())
