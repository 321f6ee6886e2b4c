"""The metrics, in Prometheus' text."""

import asyncio
import math
from importlib.metadata import version

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from service.admission import Admission
from service.api.health import Condition
from service.episodes import Episodes
from service.grading import GRADER_VERSION
from service.metrics import Metrics
from service.sandbox import Sandbox

__all__ = ["LiveState", "metrics_routes"]

_EXAMPLE = """\
# HELP gauntlet_executions_total Expressions that ran.
# TYPE gauntlet_executions_total counter
gauntlet_executions_total{status="ok"} 7.0
"""
_REFRESH_S = 1.0


def metrics_routes(metrics: Metrics, live: "LiveState") -> APIRouter:
    """The router of ``/metrics``."""
    router = APIRouter(tags=["operation"])
    answer = {"schema": {"type": "string"}, "example": _EXAMPLE}
    content = {"text/plain": answer, "application/openmetrics-text": {**answer, "example": f"{_EXAMPLE}# EOF\n"}}

    @router.get("/metrics", response_class=PlainTextResponse, responses={200: {"content": content}})
    async def read_metrics(request: Request) -> Response:
        """Answers counts, times and the load, for Prometheus; as OpenMetrics where `Accept` names it."""
        await live.refresh()
        text, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(text, media_type=content_type)

    return router


class LiveState:
    """Gauges of what the service is and has under way, read at every scrape."""

    def __init__(
        self, metrics: Metrics, condition: Condition, sandbox: Sandbox, admission: Admission, episodes: Episodes
    ) -> None:
        self._condition = condition
        self._sandbox = sandbox
        self._admission = admission
        self._episodes = episodes
        self._metrics = metrics
        self._make_gauges(metrics)

    async def refresh(self) -> None:
        """Reads it."""
        self._metrics.refresh()
        self._in_flight.set(self._admission.requests)
        self._queued.set(self._sandbox.queued)
        self._processes.labels("in_use").set(self._sandbox.in_use)
        self._processes.labels("waiting").set(self._sandbox.waiting)
        running = await self._episodes.running_if_known()
        self._running.set(math.nan if running is None else running)
        if (report := self._condition.report) is not None:
            for layer in report.layers:
                self._layers.labels(layer).set(1)
            for layer in report.missing:
                self._layers.labels(layer).set(0)

    async def keep_fresh(self) -> None:
        """Reads it every second, for the workers that are asked in this one's place."""
        while True:
            await self.refresh()
            await asyncio.sleep(_REFRESH_S)

    def _make_gauges(self, metrics: Metrics) -> None:
        gauge = metrics.gauge
        versions = {"version": version("resilience-gauntlet"), "grader_version": GRADER_VERSION}
        build = gauge("build_info", "Versions of the service and its grader.", list(versions), workers="livemax")
        build.labels(**versions).set(1)
        self._in_flight = gauge("requests_in_flight", "Requests that run code, or wait to.")
        gauge("requests_limit", "Most of them at a time.").set(self._admission.limit)
        gauge("sandbox_slots", "Most sandboxed processes in use at a time.").set(self._sandbox.config.concurrency)
        self._queued = gauge("sandbox_queued", "Sandboxed processes asked for that wait for a slot.")
        self._processes = gauge("sandbox_processes", "Sandboxed processes.", ["state"])
        self._layers = gauge(
            "sandbox_layer", "Whether a sandbox layer is in force (1) or missing (0).", ["layer"], workers="livemin"
        )
        # Workers share their episodes.
        self._running = gauge("episodes_running", "Episodes that have not ended.", workers="livemostrecent")
        gauge("episodes_limit", "Most episodes kept.", workers="livemax").set(self._episodes.limit)
