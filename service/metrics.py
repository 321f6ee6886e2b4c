"""What is counted and timed for Prometheus; docs/metrics.md lists it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.context_managers import ExceptionCounter, InprogressTracker
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from service.errors import Refusal, SandboxError
from service.task import RUBRIC, Suite

__all__ = ["OTHER", "Metrics"]

OTHER = "other"  # the one label of all that a client may write as it likes
_OPENMETRICS = "application/openmetrics-text"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TRUTH = {False: "false", True: "true"}

MultiprocessMode = Literal["livesum", "livemin", "livemax", "livemostrecent"]

# Upper bounds of buckets, seconds.
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 15, 60)
_EXECUTION_S = (0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GRADE_S = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The instruments of one app, in a registry of its own.

    No label ever holds what a client, a model or a seed could choose.
    """

    def __init__(self, *, statuses: Iterable[str], outcomes: Iterable[str], folder: str | None = None) -> None:
        """Starts at 0, in every series whose labels are known.

        Args:
            statuses: what an execution may come to.
            outcomes: how an episode may end.
            folder: where several workers keep their numbers, so that each can tell those of all; the library must have
                been imported with it as ``PROMETHEUS_MULTIPROC_DIR``.
        """
        self._registry = CollectorRegistry()
        self._told = self._registry
        if folder is not None:
            self._told = CollectorRegistry()
            MultiProcessCollector(self._told, folder)  # type: ignore[no-untyped-call]
        self._process = _OwnProcess(self._registry)
        self._make_traffic()
        self._refusals = self._counters("gauntlet_refusals", "Calls refused for want of capacity.", "reason", Refusal)
        self._faults = Counter(
            "gauntlet_sandbox_faults",
            "Calls lost through the sandbox's fault.",
            registry=self._registry,
        )
        self._executions = self._counters("gauntlet_executions", "Expressions that ran.", "status", statuses)
        self._execution_s = Histogram(
            "gauntlet_execution_duration_seconds",
            "Time of an expression, with its wait for a slot.",
            buckets=_EXECUTION_S,
            registry=self._registry,
        )
        self._make_grades()
        self._episodes = self._counters("gauntlet_episodes", "Episodes that have ended.", "outcome", outcomes)

    def gauge(
        self, name: str, text: str, labels: Sequence[str] = (), *, workers: MultiprocessMode = "livesum"
    ) -> Gauge:
        """A new instrument for what is, rather than happens.

        Args:
            name: without the service's prefix.
            text: its help.
            labels: names of its labels.
            workers: how the numbers of several workers become one.
        """
        return Gauge(f"gauntlet_{name}", text, labels, registry=self._registry, multiprocess_mode=workers)

    def refresh(self) -> None:
        """Reads what the process uses."""
        self._process.refresh()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as text, and its content type.

        Args:
            accept: the header of who asks; OpenMetrics where it names that.
        """
        # The library would answer whatever version the header asks for, and fail over one that is no number.
        encode, content_type = choose_encoder(_OPENMETRICS if _OPENMETRICS in accept else "")
        return encode(self), content_type

    def collect(self) -> Iterator[Metric]:
        """All metrics, without the library's second series for each, which says when the first was made."""
        for metric in self._told.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request over HTTP has had its whole answer.

        Args:
            method: of the request.
            route: template of its path, or `OTHER`.
            status: of the answer.
            seconds: from the request's head to the answer's end.
        """
        self._requests.labels(method if method in _METHODS else OTHER, route, status).inc()
        self._request_s.labels(route).observe(seconds)

    def websocket(self) -> InprogressTracker:
        """Counts one more open WebSocket while the block lasts."""
        return self._websockets.track_inprogress()

    def refused(self, reason: Refusal) -> None:
        """There was no capacity for a call."""
        self._refusals[reason].inc()

    def faults(self) -> ExceptionCounter:
        """Counts a fault of the sandbox that leaves the block."""
        return self._faults.count_exceptions(SandboxError)

    def executed(self, status: str, seconds: float) -> None:
        """An expression has run."""
        self._executions[status].inc()
        self._execution_s.observe(seconds)

    def graded(self, suite: Suite, rows: Mapping[str, bool], seconds: float, *, passed: bool) -> None:
        """A submission was graded.

        Args:
            suite: on which inputs.
            rows: whether each row holds, by its id.
            seconds: of the whole grade.
            passed: whether it holds altogether.
        """
        self._grades.labels(suite, _TRUTH[passed]).inc()
        for row, holds in rows.items():
            self._grade_rows.labels(suite, row, _TRUTH[holds]).inc()
        self._grade_s.labels(suite).observe(seconds)

    def episode_ended(self, outcome: str) -> None:
        """An episode has ended."""
        self._episodes[outcome].inc()

    def _counters(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        counter = Counter(name, text, [label], registry=self._registry)
        return {value: counter.labels(value) for value in values}

    def _make_traffic(self) -> None:
        registry = self._registry
        labels = ["method", "route", "status"]
        self._requests = Counter("gauntlet_http_requests", "Requests answered.", labels, registry=registry)
        for method in (*sorted(_METHODS), OTHER):
            self._requests.labels(method, OTHER, 404)
        self._request_s = Histogram(
            "gauntlet_http_request_duration_seconds",
            "Time of a request, to the end of its answer.",
            ["route"],
            buckets=_REQUEST_S,
            registry=registry,
        )
        self._websockets = self.gauge("websockets_open", "WebSockets that are open.")

    def _make_grades(self) -> None:
        registry = self._registry
        self._grades = Counter("gauntlet_grades", "Submissions graded.", ["suite", "passed"], registry=registry)
        self._grade_s = Histogram(
            "gauntlet_grade_duration_seconds",
            "Time of a grade, with its waits for slots.",
            ["suite"],
            buckets=_GRADE_S,
            registry=registry,
        )
        self._grade_rows = Counter(
            "gauntlet_grade_rows",
            "Rows of grades, by whether they hold.",
            ["suite", "row", "passed"],
            registry=registry,
        )
        for suite in Suite:
            self._grade_s.labels(suite)
            for passed in _TRUTH.values():
                self._grades.labels(suite, passed)
                for row in RUBRIC:
                    self._grade_rows.labels(suite, row.id, passed)


class _OwnProcess:
    """What the library's collector tells of a process, in instruments: those can be added up over workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._collector = ProcessCollector(registry=None)
        self._instruments: dict[str, Counter | Gauge] = {}
        self._counted: dict[str, float] = {}
        for family in self._collector.collect():
            if family.type == "counter":
                self._instruments[family.name] = Counter(family.name, family.documentation, registry=registry)
            else:
                mode: MultiprocessMode = "livemax" if family.name == "process_start_time_seconds" else "livesum"
                self._instruments[family.name] = Gauge(
                    family.name, family.documentation, registry=registry, multiprocess_mode=mode
                )

    def refresh(self) -> None:
        """Reads it."""
        for family in self._collector.collect():
            instrument, value = self._instruments[family.name], family.samples[0].value
            if isinstance(instrument, Counter):
                instrument.inc(value - self._counted.get(family.name, 0))
                self._counted[family.name] = value
            else:
                instrument.set(value)
