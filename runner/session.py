"""Wires a run together: service, model, store, report; the one place where the parts meet."""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import secrets
import signal
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, TextIO

from runner.batch import Batch
from runner.budget import Budget
from runner.engines.engine import Job
from runner.engines.local import LocalEngine
from runner.errors import RunnerError, ServiceRefusedError
from runner.local_service import open_service
from runner.model import SDK_VERSION
from runner.providers import allow_descriptors, open_model, own_version
from runner.records import SCRIPTED_NOTICE, EpisodePlan, RunConfig, RunSummary, Usage, Verdict
from runner.request import check_unchanged
from runner.stats import Looks, confidence_of, summarise
from runner.store import Run, RunStore, read_config, read_run
from runner.terminal import Reporter, verdict_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from runner.answers import TaskSpec
    from runner.caller import Provider
    from runner.client import GraderClient
    from runner.engines.engine import Engine, Play
    from runner.records import EpisodeRecord
    from runner.request import RunRequest

__all__ = ["RunResult", "resume_session", "run_session"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the run went; `signal` is the one that stopped it, `fatal` the reason to end it early."""

    summary: RunSummary
    fatal: str | None
    signal: int | None


async def run_session(request: RunRequest, stream: TextIO) -> RunResult:
    """Run all episodes, print them to `stream` and keep their records.

    Raises:
        RunnerError: The run could not begin.
    """
    async with _opened(request) as parts:
        task = await parts.service.task(request.suite)
        config = await _config(request, task, parts)
        with RunStore.create(request.out, config) as store:
            run = Run(store.path, config, (), ())
            return await _Session(request, run, task, parts, store=store, stream=stream).run()


async def resume_session(request: RunRequest, path: Path, stream: TextIO) -> RunResult:
    """Go on with a run: what is missing or invalid is run again, what is valid stays.

    Args:
        request: As it was, but for what may change.
        path: The run's directory.
        stream: Where to print.

    Raises:
        RunnerError: There is no such run, another process is at it, or its configuration is not what it was.
    """
    read_config(path)  # first of all, so that nothing is written where there is no run
    with RunStore(path) as store:  # and held before the rest is read: nobody adds to it meanwhile
        run = read_run(path)
        async with _opened(request) as parts:
            task = await parts.service.task(request.suite)
            config = await _config(request, task, parts)
            check_unchanged(run.config, config)
            kept = {"run_id": run.config.run_id, "started_at": run.config.started_at}
            store.configure(config := config.model_copy(update=kept))
            run = Run(path, config, run.records, run.events)
            return await _Session(request, run, task, parts, store=store, stream=stream).run()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a run is wired of."""

    engine: Engine
    model: Provider
    service: GraderClient


@asynccontextmanager
async def _opened(request: RunRequest) -> AsyncIterator[_Parts]:
    """Open what a request names; a missing key, extra or cluster is found before anything is started."""
    async with open_model(request) as model, _open_engine(request) as engine, open_service(request.service) as service:
        yield _Parts(engine, model, service)


@asynccontextmanager
async def _open_engine(request: RunRequest) -> AsyncIterator[Engine]:
    if request.engine == "local":
        yield LocalEngine()
        return
    from runner.engines.cluster import check_reach, connected  # noqa: PLC0415 - so that a local run loads nothing of it
    from runner.engines.ray_engine import RayEngine  # noqa: PLC0415

    with connected(request.ray_address) as cluster:
        await check_reach(cluster, request.service)
        yield RayEngine(cluster)


class _Session:
    """One sitting of a run, the first or a further one."""

    def __init__(
        self, request: RunRequest, run: Run, task: TaskSpec, parts: _Parts, *, store: RunStore, stream: TextIO
    ) -> None:
        self._config = run.config
        self._engine = parts.engine
        self._store = store
        self._valid = {record.episode for record in run.records if record.outcome.is_valid}
        self._attempts = dict(run.attempts)
        self._reporter = Reporter(stream, self._config.episodes, done=len(self._valid))
        self._job = Job(
            request,
            concurrency=min(self._config.concurrency, self._config.episodes),
            task=task,
            model=parts.model,
            service=parts.service,
            budget=_budget(self._config, run, parts.model),
            journal=self._event,
        )

    async def run(self) -> RunResult:
        """Run what is missing, and summarise the whole."""
        # Before the signals are taken over: until the episodes begin, Ctrl-C ends everything at once.
        request, model = self._job.request, self._job.model
        warning = await model.warning() if request.live else None
        with self._reporter:
            self._reporter.header(self._config, self._store.path)
            if self._valid:
                self._reporter.lines([f"Resumed: {len(self._valid)} of {self._config.episodes} episodes are kept", ""])
            if warning:
                self._reporter.lines([warning, ""])
            async with self._engine.playing(self._job) as play:
                self._batch = Batch(self._begun(play), self._keep, concurrency=self._job.concurrency)
                with _stopped_by_signals(self._batch, self._reporter, request.grace_s) as received:
                    await self._calibrate() if self._config.calibrate else await self._batch.run(self._plans())
                    summary = self._summary()
                    self._store.finish(summary)
                    self._reporter.summary(summary)
        return RunResult(summary, self._batch.fatal, received[0] if received else None)

    async def _calibrate(self) -> None:
        """Look at the verdict now and then, and end the run when it is settled."""
        for look in Looks.up_to(self._config.episodes).counts:
            await self._batch.run(self._plans(up_to=look))
            summary = self._summary(up_to=look)
            if self._batch.is_ended or summary.verdict is not Verdict.INCONCLUSIVE:
                break
            self._reporter.lines([verdict_line(summary)])

    def _plans(self, up_to: int | None = None) -> Iterator[EpisodePlan]:
        """The missing episodes in order; a seeded suite draws other cases for each, the same in every run."""
        config = self._config
        for episode in range(1, (up_to or config.episodes) + 1):
            if episode in self._valid:
                continue
            yield EpisodePlan(
                run_id=config.run_id,
                episode=episode,
                attempt=self._attempts.get(episode, 0) + 1,
                suite=config.suite,
                seed=None if config.suite == "classic" else config.seed + episode - 1,
                limits=config.limits,
                scripted=config.scripted,
            )

    def _begun(self, play: Play) -> Play:
        async def begin(plan: EpisodePlan) -> EpisodeRecord:
            self._event("begun", episode=plan.episode, attempt=plan.attempt)
            return await play(plan)

        return begin

    def _keep(self, record: EpisodeRecord) -> None:
        self._attempts[record.episode] = record.attempt
        self._store.append(record)
        if record.outcome.is_valid:
            self._valid.add(record.episode)
        self._reporter.episode(record)

    def _event(self, kind: str, /, **fields: object) -> None:
        self._store.event(kind, **fields)
        self._reporter.event(kind, **fields)

    def _summary(self, up_to: int | None = None) -> RunSummary:
        """Of what is on disk, which is what a later look at the run will find.

        Args:
            up_to: The last episode to look at, where a resumed run may have more.
        """
        run = read_run(self._store.path)
        return summarise(
            self._config,
            [record for record in run.counted if up_to is None or record.episode <= up_to],
            discarded=run.discarded,
            confidence=confidence_of(self._config),
            error=self._batch.fatal,
        )


def _budget(config: RunConfig, run: Run, model: Provider) -> Budget:
    limited = config.max_cost_usd is not None or config.limits.cost_usd is not None
    if limited and model.pricing.cost_usd(model.name, Usage(input_tokens=1)) is None:
        raise RunnerError(f"no price is known for --model {model.name}: a limit in dollars cannot be kept")
    return Budget(config.max_cost_usd, run.spent_usd)


@contextmanager
def _stopped_by_signals(batch: Batch, reporter: Reporter, grace_s: float) -> Iterator[list[int]]:
    """Let Ctrl-C end the batch after what is in flight, a second one or SIGTERM at once; yields those that came."""
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        if number == signal.SIGINT and len(received) == 1:
            batch.drain()
            loop.call_later(grace_s, batch.stop)
            reporter.lines([f"Stopping: up to {grace_s:g} s for what is under way; Ctrl-C again stops at once"])
        else:
            batch.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop, int(number))
    try:
        yield received
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _config(request: RunRequest, task: TaskSpec, parts: _Parts) -> RunConfig:
    service, model = parts.service, parts.model
    await _check_seeds(request, task, service)
    allow_descriptors(request.concurrency)
    started_at = datetime.now(UTC)
    origin = "" if request.service.url else " (started for this run)"
    return RunConfig(
        run_id=f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        started_at=started_at,
        scripted=not request.live,
        notice=None if request.live else SCRIPTED_NOTICE,
        provider=request.provider,
        endpoint=model.endpoint if request.live else None,
        model=request.model,
        service=service.url + origin,
        suite=request.suite,
        seed=request.seed,
        episodes=request.episodes,
        calibrate=request.calibrate,
        concurrency=request.concurrency,
        engine=request.engine,
        limits=request.limits,
        max_tokens=request.max_tokens,
        max_cost_usd=request.max_cost_usd,
        faults=request.faults,
        task_id=task.id,
        task_version=task.version,
        prompt_sha256=_sha256(task.prompt, task.tools),
        grader_version=await service.grader_version(),
        target_pass_band=task.target_pass_band,
        versions={"runner": own_version(), "anthropic": SDK_VERSION, "python": platform.python_version()},
    )


async def _check_seeds(request: RunRequest, task: TaskSpec, service: GraderClient) -> None:
    """Refuse a run whose seeds would leave the ranges of a seeded suite, and lose their meaning or their grades."""
    first, last = request.seed, request.seed + request.episodes - 1
    if request.suite == "classic" or not task.seeds:
        return
    if not any(span.low <= first and last <= span.high for span in task.seeds.values()):
        spans = ", ".join(f"{name} {span.low}-{span.high}" for name, span in task.seeds.items())
        raise RunnerError(f"--seed {first} with -n {request.episodes} lies within no range of seeds: {spans}")
    if "test" in task.seeds and task.seeds["test"].low <= first:
        await _check_token(request, service)


_LEAST = "def process_batch(events, state):\n    return {}\n"


async def _check_token(request: RunRequest, service: GraderClient) -> None:
    """Learn before the first model call is paid for whether the service grades on seeds of its test split."""
    try:
        await service.grade(_LEAST, request.suite, request.seed)
    except ServiceRefusedError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        raise RunnerError(
            f"{error} The runner takes the token from GAUNTLET_EVALUATION_TOKEN, or else from RUNNER_TOKEN"
        ) from error


def _sha256(prompt: str, tools: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps([prompt, tools], sort_keys=True).encode("ascii")).hexdigest()
