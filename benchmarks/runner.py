"""What an episode costs the runner beyond the SDK's own share: ``make bench-runner``."""

import asyncio
import io
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from anthropic import AsyncAnthropic

from benchmarks.server import running
from runner.answers import Json
from runner.local_service import ServiceAddress
from runner.model import offline_client
from runner.request import RunRequest
from runner.session import run_session
from runner.store import Run, read_run

_CALLS = 4  # of each episode: its policy probes three times and hands in
_BAR_MS = 15.0


@dataclass(frozen=True, slots=True)
class _Cost:
    """What some episodes took.

    Attributes:
        cpu_ms: of this process, for each of them.
        wall_s: all of them together.
    """

    cpu_ms: float
    wall_s: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-n", "--episodes", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--concurrency", default=64, show_default=True, type=click.IntRange(1))
def main(episodes: int, concurrency: int) -> None:
    """Run offline episodes of four calls, then the same calls with the bare SDK, and compare the processor time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running("service") as service,
        running("benchmarks.four_calls") as api,
    ):
        urls = f"http://127.0.0.1:{service.port}", f"http://127.0.0.1:{api.port}"
        sys.exit(asyncio.run(_compare(episodes, concurrency, Path(folder), *urls)))


async def _compare(episodes: int, concurrency: int, folder: Path, service: str, api: str) -> int:
    await _episodes(1, 1, folder / "first", service, api)  # imports, and whatever else happens once
    ours, run = await _episodes(episodes, concurrency, folder / "runs", service, api)
    requests = _requests(run)
    sdk = await _bare(episodes, concurrency, requests, api)
    beyond = ours.cpu_ms - sdk.cpu_ms
    for name, cost in (("gauntlet run", ours), ("the SDK alone", sdk)):
        click.echo(f"{name:<14} {cost.cpu_ms:6.2f} ms of processor time per episode, {cost.wall_s:.1f} s in all")
    click.echo(f"{'beyond the SDK':<14} {beyond:6.2f} ms; the bar is {_BAR_MS:g} ms")
    return 0 if beyond < _BAR_MS else 1


async def _episodes(count: int, concurrency: int, out: Path, service: str, api: str) -> tuple[_Cost, Run]:
    os.environ.update(ANTHROPIC_BASE_URL=api, ANTHROPIC_API_KEY="offline")
    address = ServiceAddress(service, {})
    request = RunRequest(address, out, episodes=count, concurrency=concurrency, live=True)
    cost = await _measured(count, lambda: run_session(request, io.StringIO()))
    run = _only_run(out)
    if [(record.steps, record.passed) for record in run.counted] != [(_CALLS, True)] * count:
        raise click.ClickException("not every episode made four calls and passed")
    return cost, run


def _only_run(out: Path) -> Run:
    [path] = out.iterdir()
    return read_run(path)


def _requests(run: Run) -> list[list[Json]]:
    """The conversation before each call of one episode."""
    messages = run.transcript(run.counted[0])
    return [list(messages[: 2 * call + 1]) for call in range(_CALLS)]


async def _bare(count: int, concurrency: int, requests: Sequence[Sequence[Json]], api: str) -> _Cost:
    async with offline_client(api) as client:
        turns: Iterator[int] = iter(range(count))

        async def work() -> None:
            for _ in turns:
                for messages in requests:
                    await _call(client, messages)

        return await _measured(count, lambda: asyncio.gather(*(work() for _ in range(concurrency))))


async def _call(client: AsyncAnthropic, messages: Any) -> None:
    await client.messages.create(
        model="claude-sonnet-5-5",
        max_tokens=8192,
        messages=messages,
        tools=_TOOLS,
        metadata={"user_id": "run-1"},
        cache_control={"type": "ephemeral"},
    )


async def _measured(count: int, work: Callable[[], Awaitable[object]]) -> _Cost:
    cpu, wall = time.process_time(), time.monotonic()
    await work()
    return _Cost((time.process_time() - cpu) * 1000 / count, time.monotonic() - wall)


_TOOLS: Any = [
    {
        "name": name,
        "description": name,
        "input_schema": {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]},
    }
    for name, field in (("python_expression", "expression"), ("submit_code", "code"))
]


if __name__ == "__main__":
    main()
