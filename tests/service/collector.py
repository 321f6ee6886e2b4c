"""A collector of traces: a real server that takes OTLP over HTTP and reads it by the protocol's own messages."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.server import served


@dataclass(frozen=True)
class Seen:
    """A span that was exported."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    seconds: float
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    state: str

    @property
    def is_server(self) -> bool:
        return self.kind == Span.SPAN_KIND_SERVER


@dataclass
class Collector:
    """What came to it, as bytes, as headers and as spans."""

    url: str
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[Seen] = field(default_factory=list)

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        self.headers.append(headers)
        self.spans += _seen(ExportTraceServiceRequest.FromString(body))
        self.bodies.append(body)

    def when(self, condition: Callable[[list[Seen]], bool]) -> list[Seen]:
        """All spans, once they are what is waited for."""
        deadline = time.monotonic() + 10
        while not condition(spans := list(self.spans)):
            assert time.monotonic() < deadline, spans
            time.sleep(0.01)
        return spans

    def trace(self, trace: str) -> list[Seen]:
        """The spans of a trace, once the request's own is there, which ends last; that one comes first."""

        def of_it(spans: list[Seen]) -> list[Seen]:
            return [span for span in spans if span.trace == trace]

        spans = of_it(self.when(lambda spans: any(span.is_server for span in of_it(spans))))
        return sorted(spans, key=lambda span: not span.is_server)


@contextmanager
def collecting(status: int = 200) -> Iterator[Collector]:
    """Serves on a free port of 127.0.0.1, with one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with served(Handler) as url:
        collector = Collector(url)
        yield collector


def _seen(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for exported in request.resource_spans:
        resource = _attributes(exported.resource.attributes)
        for scope in exported.scope_spans:
            for span in scope.spans:
                assert not span.events, "an event could hold an exception's text"
                assert not span.status.message
                yield Seen(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    span.kind,
                    (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    span.status.code == Status.STATUS_CODE_ERROR,
                    _attributes(span.attributes),
                    resource,
                    span.trace_state,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
