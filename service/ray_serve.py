"""The service as a Ray Serve application: ``serve run service.ray_serve:app``. Nothing else of the service knows Ray.

Every replica is a whole service, with a sandbox of its own. It needs the extra: ``resilience-gauntlet[ray]``.
"""

import os
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.metrics import Gauge
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.advice import warn
from service.app import create_app
from service.errors import StartError
from service.logs import configure
from service.machine import this_machine
from service.settings import PREFIX, Settings, read_settings

__all__ = ["Options", "Replica", "app"]

_CONCURRENCY = f"{PREFIX}CONCURRENCY"
_PROCESSES_OF_A_GRADE = 5
_SLOTS_PER_CPU = 4
_SPARE_REQUESTS = 16  # beyond the queue: for /health, /metrics and refusals, which all have to get through
_STOPPING_S = 5  # from the last request to the end of the sandbox


class Options(BaseModel):
    """Arguments of `app`.

    Attributes:
        min_replicas: least replicas.
        max_replicas: most of them; more than one need a Redis.
        cpus: processors that Ray reserves for a replica; it gets four slots for sandboxed processes for each of them.
        target_in_flight: requests in flight in each replica that autoscaling aims at.
        autoscaling: further fields of Ray's `AutoscalingConfig`.
        settings: of each replica, by their names in the environment. No secrets: Ray shows arguments to everybody.
    """

    model_config = ConfigDict(extra="forbid")

    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(1, ge=1)
    cpus: float = Field(1, gt=0)
    target_in_flight: float | None = Field(None, gt=0)
    autoscaling: dict[str, Any] = {}
    settings: dict[str, str] = {}


def app(options: Options) -> Application:
    """Describes the deployment; Ray calls it with the arguments of ``serve run`` or of the configuration file.

    Raises:
        StartError: a setting is wrong, or a secret is among the arguments.
    """
    given = _given(options, os.environ)
    settings = read_settings(given)
    _check_shared(settings, options.max_replicas)
    deployment = serve.deployment(serve.ingress()(Replica)).options(
        name="gauntlet",
        max_ongoing_requests=settings.queue + _SPARE_REQUESTS,
        max_queued_requests=settings.queue,
        backpressure_config=BackpressureConfig(retry_after_s=1),
        autoscaling_config=_autoscaling(options, settings),
        graceful_shutdown_timeout_s=settings.drain_s + _STOPPING_S,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        ray_actor_options={
            "num_cpus": options.cpus,
            "runtime_env": {"env_vars": {name: text for name, text in given.items() if name not in _secrets()}},
        },
    )
    is_set = _CONCURRENCY in os.environ or _CONCURRENCY in options.settings
    return deployment.bind(options.max_replicas, is_concurrency_set=is_set)


class Replica:
    """One service, made from the environment of its own process."""

    def __init__(self, max_replicas: int, *, is_concurrency_set: bool = True) -> None:
        """Reads the settings.

        Args:
            max_replicas: most replicas, itself included.
            is_concurrency_set: whether somebody wants just that many; else it is what has room on this node.

        Raises:
            StartError: a setting is wrong, or missing.
        """
        settings = read_settings(os.environ)
        _check_shared(settings, max_replicas)
        configure(settings.log_format)
        if not is_concurrency_set:
            slots = this_machine().slots(settings.memory_mib, most=settings.concurrency)
            settings = settings.model_copy(update={"concurrency": slots})
        warn(settings)
        self._service = create_app(settings)
        self._service.add_middleware(_OneRequestId)
        self._gauges: dict[str, Gauge] = {}

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application that Ray serves, whose lifespan it runs."""
        return self._service

    async def check_health(self) -> None:
        """Ray asks this every few seconds, and replaces a replica that fails.

        Raises:
            StartError: the sandbox is at fault.
        """
        fault = self._service.state.condition.fault
        if fault is not None:
            raise StartError(fault)
        await self._service.state.live.refresh()
        self._publish()

    def _publish(self) -> None:
        """Has Ray export what `/metrics` says: that would answer for whichever replica the proxy picks."""
        for metric in self._service.state.metrics.collect():
            for sample in metric.samples:
                if sample.name not in self._gauges:
                    self._gauges[sample.name] = Gauge(sample.name, metric.documentation, tuple(sample.labels))
                self._gauges[sample.name].set(sample.value, sample.labels)


class _OneRequestId:
    """ASGI middleware: leaves a request's id to Ray's proxy, which adds it to every answer, where both say the same."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on."""
        given = {header for header in scope.get("headers", ()) if header[0] == b"x-request-id"}

        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [header for header in message.get("headers", ()) if tuple(header) not in given]
            await send(message)

        await self._app(scope, receive, send_without_id)


def _given(options: Options, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that replicas get: whoever deploys and they themselves must agree on some."""
    refused = sorted(_secrets() & options.settings.keys())
    if refused:
        raise StartError(
            f"{', '.join(refused)}: no argument may be a secret, Ray shows them; set it in the environment of the nodes"
        )
    given = {name: text for name, text in environment.items() if name.startswith(PREFIX)} | options.settings
    slots = max(1, round(_SLOTS_PER_CPU * options.cpus))
    settings = read_settings(given := {_CONCURRENCY: str(slots)} | given)
    return given | {f"{PREFIX}QUEUE": str(settings.queue), f"{PREFIX}DRAIN_S": str(settings.drain_s)}


def _check_shared(settings: Settings, max_replicas: int) -> None:
    """Asked of whoever deploys, who reads the answer, and of each replica, whose environment counts."""
    if max_replicas > 1 and settings.redis_url is None:
        raise StartError("more than one replica needs GAUNTLET_REDIS_URL: the calls of an episode go to any of them")


def _secrets() -> set[str]:
    fields = Settings.model_fields.items()
    return {PREFIX + name.upper() for name, field in fields if field.annotation == SecretStr | None}


def _autoscaling(options: Options, settings: Settings) -> AutoscalingConfig:
    """As many grades as fill the slots are what a replica is to have in flight."""
    target = options.target_in_flight or max(1, settings.concurrency / _PROCESSES_OF_A_GRADE)
    return AutoscalingConfig(
        min_replicas=options.min_replicas,
        max_replicas=options.max_replicas,
        target_ongoing_requests=target,
        **options.autoscaling,
    )
