"""Wires a run together: service, model, store, report; the one place where the parts meet."""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import resource
import secrets
import signal
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, TextIO

from runner.batch import Batch
from runner.budget import Budget
from runner.caller import Caller
from runner.episode import Episode
from runner.errors import RunnerError, ServiceRefusedError
from runner.local_service import open_service
from runner.model import SDK_VERSION, ClaudeModel, live_client, offline_client
from runner.offline.server import serve_offline
from runner.records import SCRIPTED_NOTICE, EpisodePlan, RunConfig, RunSummary, Usage, Verdict
from runner.request import check_unchanged
from runner.retry import RetryPolicy
from runner.stats import Looks, confidence_of, summarise
from runner.store import Run, RunStore, read_config, read_run
from runner.terminal import Reporter, verdict_line
from runner.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from runner.answers import TaskSpec
    from runner.caller import Provider
    from runner.client import GraderClient
    from runner.records import EpisodeRecord
    from runner.request import RunRequest

_OFFLINE_POLICY = RetryPolicy(first_delay_s=0.02, max_delay_s=1.0)
_OFFLINE_HANG_S = 2.0

__all__ = ["RunResult", "open_model", "resume_session", "run_session"]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the run went; `signal` is the one that stopped it, `fatal` the reason to end it early."""

    summary: RunSummary
    fatal: str | None
    signal: int | None


@asynccontextmanager
async def open_model(request: RunRequest) -> AsyncIterator[Provider]:
    """The model that a request names; opened first, so that a missing key is found before anything is started."""
    if request.live and request.provider == "openai":
        from runner.openai_model import live_openai  # noqa: PLC0415 - an extra

        opened = live_openai(request.model, max_tokens=request.max_tokens, timeout_s=request.call_timeout_s)
        async with opened as openai:
            yield openai
        return
    if request.live:
        async with live_client(request.call_timeout_s) as client:
            yield ClaudeModel(client, request.model, max_tokens=request.max_tokens)
        return
    async with (
        serve_offline(request.seed, faults=request.faults, hang_s=_OFFLINE_HANG_S) as url,
        offline_client(url, request.call_timeout_s) as client,
    ):
        yield ClaudeModel(client, request.model, max_tokens=request.max_tokens)


async def run_session(request: RunRequest, stream: TextIO) -> RunResult:
    """Run all episodes, print them to `stream` and keep their records.

    Raises:
        RunnerError: The run could not begin.
    """
    async with open_model(request) as model, open_service(request.service) as service:
        task = await service.task(request.suite)
        config = await _config(request, task, service, model)
        with RunStore.create(request.out, config) as store:
            run = Run(store.path, config, (), ())
            return await _Session(request, run, task, model=model, service=service, store=store, stream=stream).run()


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
        async with open_model(request) as model, open_service(request.service) as service:
            task = await service.task(request.suite)
            config = await _config(request, task, service, model)
            check_unchanged(run.config, config)
            kept = {"run_id": run.config.run_id, "started_at": run.config.started_at}
            store.configure(config := config.model_copy(update=kept))
            run = Run(path, config, run.records, run.events)
            return await _Session(request, run, task, model=model, service=service, store=store, stream=stream).run()


class _Session:
    """One sitting of a run, the first or a further one."""

    def __init__(
        self,
        request: RunRequest,
        run: Run,
        task: TaskSpec,
        *,
        model: Provider,
        service: GraderClient,
        store: RunStore,
        stream: TextIO,
    ) -> None:
        self._request = request
        self._config = run.config
        self._task = task
        self._model = model
        self._service = service
        self._store = store
        self._valid = {record.episode for record in run.records if record.outcome.is_valid}
        self._attempts = dict(run.attempts)
        self._reporter = Reporter(stream, self._config.episodes, done=len(self._valid))
        self._caller = Caller(
            model,
            policy=_OFFLINE_POLICY if self._config.scripted else RetryPolicy(),
            throttle=Throttle(self._config.concurrency, lambda allowed: self._event("concurrency", allowed=allowed)),
            budget=_budget(self._config, run, model),
            journal=self._event,
            call_timeout_s=request.call_timeout_s,
        )
        self._batch = Batch(self._play, self._keep, concurrency=min(self._config.concurrency, self._config.episodes))

    async def run(self) -> RunResult:
        """Run what is missing, and summarise the whole."""
        # Before the signals are taken over: until the episodes begin, Ctrl-C ends everything at once.
        warning = await self._model.warning() if self._request.live else None
        with self._reporter, _stopped_by_signals(self._batch, self._reporter, self._request.grace_s) as received:
            self._reporter.header(self._config, self._store.path)
            if self._valid:
                self._reporter.lines([f"Resumed: {len(self._valid)} of {self._config.episodes} episodes are kept", ""])
            if warning:
                self._reporter.lines([warning, ""])
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

    async def _play(self, plan: EpisodePlan) -> EpisodeRecord:
        self._attempts[plan.episode] = plan.attempt
        self._event("begun", episode=plan.episode, attempt=plan.attempt)
        return await Episode(plan, self._task, self._caller, self._service).run()

    def _keep(self, record: EpisodeRecord) -> None:
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


async def _config(request: RunRequest, task: TaskSpec, service: GraderClient, model: Provider) -> RunConfig:
    await _check_seeds(request, task, service)
    _allow_descriptors(request.concurrency)
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
        limits=request.limits,
        max_tokens=request.max_tokens,
        max_cost_usd=request.max_cost_usd,
        faults=request.faults,
        task_id=task.id,
        task_version=task.version,
        prompt_sha256=_sha256(task.prompt, task.tools),
        grader_version=await service.grader_version(),
        target_pass_band=task.target_pass_band,
        versions={"runner": _own_version(), "anthropic": SDK_VERSION, "python": platform.python_version()},
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
        raise RunnerError(f"{error} The runner takes the token from GAUNTLET_EVALUATION_TOKEN") from error


def _allow_descriptors(concurrency: int) -> None:
    """Make room for the connections of all episodes, to the model's API, the service and the stand-in."""
    needed = 4 * concurrency + 128
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise RunnerError(
                f"--concurrency {concurrency} needs {needed} open files, {hard} are allowed: see ulimit -n"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _sha256(prompt: str, tools: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps([prompt, tools], sort_keys=True).encode("ascii")).hexdigest()


def _own_version() -> str:
    try:
        return version("resilience-gauntlet")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
