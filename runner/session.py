"""Wires a run together: service, model, store, report; the one place where the parts meet."""

from __future__ import annotations

import asyncio
import platform
import secrets
import signal
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, TextIO

from runner.batch import Batch
from runner.episode import Episode
from runner.local_service import open_service
from runner.model import MAX_TOKENS, SDK_VERSION, ClaudeModel, live_client, offline_client
from runner.offline.server import serve_offline
from runner.records import SCRIPTED_NOTICE, EpisodePlan, RunConfig, RunSummary, TaskSpec, summarise
from runner.report import Reporter
from runner.store import RunStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from runner.client import GraderClient
    from runner.local_service import ServiceAddress
    from runner.records import EpisodeRecord

__all__ = ["RunOptions", "RunResult", "run_session"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `gauntlet run` was asked to do."""

    episodes: int
    concurrency: int
    model: str
    service: ServiceAddress
    suite: str
    live: bool
    out: Path
    seed: int
    max_steps: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the run went; `signal` is the one that stopped it, `fatal` the API's reason to end it."""

    summary: RunSummary
    fatal: str | None
    signal: int | None


@asynccontextmanager
async def _open_model(options: RunOptions) -> AsyncIterator[ClaudeModel]:
    if options.live:
        async with live_client() as client:
            yield ClaudeModel(client, options.model)
        return
    async with serve_offline(options.seed) as url, offline_client(url) as client:
        yield ClaudeModel(client, options.model)


async def run_session(options: RunOptions, stream: TextIO) -> RunResult:
    """Run all episodes, print them to `stream` and keep their records.

    Raises:
        RunnerError: The run could not begin.
    """
    # The model first: a missing key is found before anything is started.
    async with _open_model(options) as model, open_service(options.service) as service:
        task = await service.task(options.suite)
        config = _config(options, task, service.url)
        with RunStore(options.out, config) as store, Reporter(stream, options.episodes) as reporter:
            reporter.header(config, store.path)
            return await _run_batch(config, task, model=model, service=service, store=store, reporter=reporter)


async def _run_batch(
    config: RunConfig,
    task: TaskSpec,
    *,
    model: ClaudeModel,
    service: GraderClient,
    store: RunStore,
    reporter: Reporter,
) -> RunResult:
    def keep(record: EpisodeRecord) -> None:
        store.append(record)
        reporter.episode(record)

    batch = Batch(
        lambda plan: Episode(plan, task, model, service).run(),
        keep,
        concurrency=min(config.concurrency, config.episodes),
    )
    with _stopped_by_signals(batch) as received:
        await batch.run(_plans(config))
    summary = summarise(config, batch.records, batch.fatal)
    store.finish(summary)
    reporter.summary(summary)
    return RunResult(summary, batch.fatal, received[0] if received else None)


def _plans(config: RunConfig) -> Iterator[EpisodePlan]:
    """The episodes in order; a seeded suite draws other cases for each, the same ones whenever the run is repeated."""
    for episode in range(1, config.episodes + 1):
        yield EpisodePlan(
            run_id=config.run_id,
            episode=episode,
            suite=config.suite,
            seed=None if config.suite == "classic" else config.seed + episode - 1,
            max_steps=config.max_steps,
            scripted=config.scripted,
        )


@contextmanager
def _stopped_by_signals(batch: Batch) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end the batch in good order; yields the list of those that came."""
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        batch.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop, int(number))
    try:
        yield received
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _config(options: RunOptions, task: TaskSpec, service_url: str) -> RunConfig:
    started_at = datetime.now(UTC)
    origin = "" if options.service.url else " (started for this run)"
    return RunConfig(
        run_id=f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        started_at=started_at,
        scripted=not options.live,
        notice=None if options.live else SCRIPTED_NOTICE,
        model=options.model,
        service=service_url + origin,
        suite=options.suite,
        seed=options.seed,
        episodes=options.episodes,
        concurrency=options.concurrency,
        max_steps=options.max_steps,
        max_tokens=MAX_TOKENS,
        task_id=task.id,
        task_version=task.version,
        target_pass_band=task.target_pass_band,
        versions={"runner": _own_version(), "anthropic": SDK_VERSION, "python": platform.python_version()},
    )


def _own_version() -> str:
    try:
        return version("resilience-gauntlet")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
