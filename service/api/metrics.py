"""The metrics, in Prometheus' text."""

from collections.abc import Iterator

from fastapi import APIRouter, Request
from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily
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
    """A collector: what the service is and has under way, read at every scrape."""

    def __init__(
        self, version: str, condition: Condition, sandbox: Sandbox, admission: Admission, episodes: Episodes
    ) -> None:
        self._build = {"version": version, "grader_version": GRADER_VERSION}
        self._condition = condition
        self._sandbox = sandbox
        self._admission = admission
        self._episodes = episodes
        self._running: int | None = None

    async def refresh(self) -> None:
        """Asks for what cannot be asked while it is read."""
        self._running = await self._episodes.running_if_known()

    def collect(self) -> Iterator[Metric]:
        """Reads it."""
        yield InfoMetricFamily("gauntlet_build", "Versions of the service and its grader.", self._build)
        yield from self._load()
        yield from self._protection()

    def _load(self) -> Iterator[Metric]:
        sandbox, admission, episodes = self._sandbox, self._admission, self._episodes
        for name, text, value in (
            ("requests_in_flight", "Requests that run code, or wait to.", admission.requests),
            ("requests_limit", "Most of them at a time.", admission.limit),
            ("sandbox_slots", "Most sandboxed processes in use at a time.", sandbox.config.concurrency),
            ("sandbox_queued", "Sandboxed processes asked for that wait for a slot.", sandbox.queued),
            ("episodes_running", "Episodes that have not ended.", self._running),
            ("episodes_limit", "Most episodes kept.", episodes.limit),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"gauntlet_{name}", text, value)
        processes = GaugeMetricFamily("gauntlet_sandbox_processes", "Sandboxed processes.", labels=["state"])
        processes.add_metric(["in_use"], sandbox.in_use)
        processes.add_metric(["waiting"], sandbox.waiting)
        yield processes

    def _protection(self) -> Iterator[Metric]:
        layers = GaugeMetricFamily(
            "gauntlet_sandbox_layer", "Whether a sandbox layer is in force (1) or missing (0).", labels=["layer"]
        )
        if (report := self._condition.report) is not None:
            for layer in report.layers:
                layers.add_metric([layer], 1)
            for layer in report.missing:
                layers.add_metric([layer], 0)
        yield layers
