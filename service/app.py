"""Wires the service together: the one place where its parts meet."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import FastAPI

from service.access import Access, ApiToken
from service.admission import Admission
from service.api.callers import Callers
from service.api.episodes import episode_routes
from service.api.hangups import Hangups
from service.api.health import health_routes
from service.api.metrics import LiveState, metrics_routes
from service.api.native import native_routes
from service.api.openapi import complete
from service.api.playground import playground_routes
from service.api.problems import BodyLimit, install
from service.api.traffic import Traffic
from service.episodes import OUTCOMES, Episodes, MemoryStore, Store
from service.errors import StartError
from service.gauntlet import Gauntlet
from service.metrics import Metrics
from service.protocols.mcp import mcp_routes
from service.protocols.nemo_gym import NeMoGymSession, nemo_gym_routes
from service.protocols.openenv import openenv_routes
from service.protocols.ors import ors_routes
from service.sandbox import Report, Sandbox, SandboxConfig, Status
from service.settings import Settings
from service.traces import Traces
from service.web import page_routes

__all__ = ["Condition", "create_app"]

_DESCRIPTION = """\
An LLM agent gets a fragile streaming-sensor pipeline and hands in a hardened `process_batch(events, state)`.
`GET /task` is what it is asked, `POST /execute` lets it try things out, `POST /grade` judges what it hands in."""

_LOG = logging.getLogger("gauntlet")
_PUBLIC = frozenset({"/", "/health", "/ready", "/metrics", "/openapi.json", "/docs"})  # whatever tokens are set
_LARGER_BODIES = {"/verify": 8 << 20, "/aggregate_metrics": 8 << 20}  # whole conversations, many rollouts


@dataclass
class Condition:
    """How the start went; see `service.api.health.Condition`."""

    report: Report | None = None
    fault: str | None = None

    def warn(self) -> None:
        """Says which sandbox layers are missing, as allowed."""
        if self.report is not None and self.report.missing:
            _LOG.warning("sandbox layers not in force, as allowed: %s", ", ".join(self.report.missing))


def create_app(settings: Settings, *, metrics_folder: str | None = None) -> FastAPI:
    """Makes the application; its lifespan starts the sandbox and ends it.

    Args:
        settings: of this process.
        metrics_folder: where several workers keep what they count; see `service.metrics.Metrics`.

    An app whose sandbox could not be started answers nothing but that: `app.state.condition.fault` says why,
    ``/ready`` is 503 and no code runs.
    """
    sandbox = Sandbox(_sandbox_config(settings))
    metrics = Metrics(statuses=Status, outcomes=OUTCOMES, folder=metrics_folder)
    admission = Admission(settings.queue, metrics.refused, share=settings.client_requests)
    gauntlet = Gauntlet(settings, sandbox, admission, metrics)
    access = Access(settings.evaluation_token, ApiToken.read_all(settings.api_tokens))
    episodes = Episodes(settings, gauntlet, access, metrics, _store(settings))
    condition = Condition()
    live = LiveState(metrics, condition, sandbox, admission, episodes)
    traces = Traces(os.environ)  # whose variables are not the service's own

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            traces.start()
            condition.report = await sandbox.start()
        except StartError as error:
            condition.fault = str(error)
        beside = [asyncio.create_task(episodes.greet())]
        if metrics_folder is not None:
            beside.append(asyncio.create_task(live.keep_fresh()))
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            admission.draining = True
            await episodes.leave()
            await sandbox.stop()
            await traces.stop(settings.drain_s)

    app = FastAPI(
        title="Resilience Gauntlet",
        version=version("resilience-gauntlet"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # its spans hold paths and queries
    )
    app.state.condition = condition
    app.state.metrics = metrics
    app.state.live = live
    app.add_middleware(Hangups)
    app.add_middleware(BodyLimit, code_bytes=settings.code_kib * 1024, larger=_LARGER_BODIES)
    app.add_middleware(NeMoGymSession)
    app.add_middleware(Callers, access=access, public=_PUBLIC, public_folders=("/page/", "/docs/"))
    app.add_middleware(Traffic, metrics=metrics, traces=traces, routes=app.routes)
    install(app)
    app.include_router(native_routes(settings, gauntlet, access))
    app.include_router(episode_routes(episodes))
    app.include_router(health_routes(app.version, condition, sandbox, admission, episodes))
    app.include_router(metrics_routes(metrics, live))
    app.include_router(mcp_routes(episodes, app.version))
    app.include_router(nemo_gym_routes(episodes))
    app.include_router(openenv_routes(episodes, app.version))
    app.include_router(ors_routes(episodes, access))
    if settings.page:
        app.include_router(playground_routes(gauntlet, access))
        app.router.routes += page_routes(app.version)
    complete(app, settings, public=_PUBLIC)
    return app


def _store(settings: Settings) -> Store:
    if settings.redis_url is None:
        return MemoryStore(settings.episodes, settings.episode_idle_s, share=settings.client_episodes)
    try:
        from service.episodes.redis_store import RedisStore  # noqa: PLC0415 - of an extra
    except ImportError:
        raise StartError(
            "GAUNTLET_REDIS_URL needs the package redis: pip install 'resilience-gauntlet[redis]'"
        ) from None
    try:
        url, share = settings.redis_url.get_secret_value(), settings.client_episodes
        return RedisStore.at(url, settings.episodes, settings.episode_idle_s, share=share)
    except ValueError as error:
        raise StartError(f"GAUNTLET_REDIS_URL: {error}") from None


def _sandbox_config(settings: Settings) -> SandboxConfig:
    return SandboxConfig(
        wall_time_s=settings.wall_time_s,
        cpu_time_s=settings.cpu_time_s,
        memory_bytes=settings.memory_mib << 20,
        stdout_bytes=settings.stdout_kib << 10,
        answer_bytes=settings.answer_kib << 10,
        open_files=settings.open_files,
        concurrency=settings.concurrency,
        pool_low=settings.pool_low,
        pool_high=settings.pool_high,
        zygote_children=settings.zygote_children,
        uid=settings.sandbox_uid,
        allow_weaker=settings.sandbox_allow_weaker,
    )
