"""Traces for OpenTelemetry, where the environment names a collector; docs/observability.md lists the spans."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import StartError
from service.logs import TRACE_ID
from service.spans import NO_SPAN, TRACER, NoSpan, Span

__all__ = ["Traces"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_PARENT_CHARS = 512
_FLUSH_S = 3.0
_log = logging.getLogger("gauntlet.service")


class _Provider(Protocol):
    def get_tracer(self, instrumenting_module_name: str, /) -> Tracer: ...

    def shutdown(self) -> None: ...


class Traces:
    """The traces of one app: on between `start` and `stop`, if at all.

    No span holds what a client, a model or a seed could choose, but for the id of a request.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Looks if traces are wanted.

        Args:
            environment: of the process; the SDK reads the same.

        Raises:
            StartError: they are, and cannot be had.
        """
        self._wanted = _is_wanted(environment)
        self._provider: _Provider | None = None
        self._tracer: Tracer | None = None
        if self._wanted:
            _check(environment)

    def start(self) -> None:
        """Begins to export, in a thread of this very process.

        Raises:
            StartError: a variable does not fit.
        """
        if not self._wanted:
            return
        from service.trace_export import start_provider  # noqa: PLC0415 - of an extra

        try:
            self._provider = start_provider()
        except ValueError as error:
            raise StartError(f"OTEL_…: {error}") from None
        self._tracer = self._provider.get_tracer("resilience-gauntlet")

    async def stop(self, within_s: float = _FLUSH_S) -> None:
        """Sends what is left, and gives up where nobody takes it.

        Args:
            within_s: most that it may take, if less than three seconds.
        """
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is None:
            return
        sent, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=shut_down, daemon=True).start()  # no executor: its threads hold up the exit
        try:
            async with asyncio.timeout(min(within_s, _FLUSH_S)):
                await sent.wait()
        except TimeoutError:
            _log.warning("traces: the last spans were given up, their collector did not take them in time")

    @contextmanager
    def request(
        self, method: str, route: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> Iterator[Span | NoSpan]:
        """A span for a request, of its caller's trace where it has one; what is done inside is traced.

        Args:
            method: as the client wrote it.
            route: template of its path, None where there is none.
            headers: of the request.
        """
        if self._tracer is None:
            yield NO_SPAN
            return
        known = method if method in _METHODS else "_OTHER"
        attributes = {"http.request.method": known} | ({"http.route": route} if route is not None else {})
        name = f"{known if known in _METHODS else 'HTTP'} {route or ''}".strip()
        with Span(self._tracer, name, attributes, kind=SpanKind.SERVER, parent=_parent(headers)) as span:
            TRACE_ID.set(span.trace_id)
            if span.is_recorded:
                TRACER.set(self._tracer)
            yield span


def _is_wanted(environment: Mapping[str, str]) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporters = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    return not disabled and "otlp" in exporters and any(environment.get(name) for name in _ENDPOINTS)


def _check(environment: Mapping[str, str]) -> None:
    name, endpoint = next((name, environment[name]) for name in _ENDPOINTS if environment.get(name))
    if not endpoint.startswith(("http://", "https://")):
        raise StartError(f"{name} is no URL of HTTP: give it as http://collector:4318")
    for name in _PROTOCOLS:
        if environment.get(name, "") not in {"", "http/protobuf"}:
            raise StartError(
                f"{name}: only http/protobuf is spoken, at port 4318 of most collectors; OTEL_SDK_DISABLED=true goes"
                " without traces"
            )
    try:
        import service.trace_export  # noqa: F401, PLC0415 - of an extra
    except ImportError:
        raise StartError(
            f"{name} needs the packages of OpenTelemetry: pip install 'resilience-gauntlet[otel]';"
            " OTEL_SDK_DISABLED=true goes without"
        ) from None


def _parent(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """What ``traceparent`` says; ``tracestate`` and ``baggage``, in which anything could stand, are not read."""
    given = [value for name, value in headers if name == b"traceparent"]
    if len(given) != 1 or len(given[0]) > _PARENT_CHARS:
        return Context()
    return TraceContextTextMapPropagator().extract({"traceparent": given[0].decode("latin-1")}, Context())
