"""Spans inside of a request that is traced: what took how long. Elsewhere they cost next to nothing, and say nothing.

Nothing that a client or a model wrote belongs into a name or an attribute, and so no exception's text does.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context

__all__ = ["NO_SPAN", "TRACER", "NoSpan", "Span", "span"]

TRACER: ContextVar[Tracer | None] = ContextVar("tracer", default=None)  # of the request at hand, if it is traced
_FAULT = 500


class Span:
    """A span that is current while its block lasts; it tells the type of an error that leaves the block."""

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        attributes: Mapping[str, str | bool | int] | None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: Context | None = None,
    ) -> None:
        """Begins.

        Args:
            tracer: makes it.
            name: one of a few.
            attributes: what is known of it.
            kind: which side of a call it is.
            parent: the context to begin in; the current one where it is None.
        """
        self._span = tracer.start_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        )

    @property
    def trace_id(self) -> str:
        """Of the trace that it belongs to, in hexadecimal."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def is_recorded(self) -> bool:
        """Whether the sampler wants it."""
        return self._span.is_recording()

    def __enter__(self) -> Self:
        """Makes it the current one."""
        self._token = context.attach(set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends it."""
        context.detach(self._token)
        if kind is not None:
            self._span.set_attribute("error.type", kind.__qualname__)
        if isinstance(error, Exception):  # and no cancellation
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def set(self, name: str, value: str | bool | int) -> None:
        """Gives it an attribute."""
        self._span.set_attribute(name, value)

    def answer(self, status: int) -> None:
        """Tells the status of the answer to a request, which is an error from 500 on."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= _FAULT:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)


class NoSpan:
    """What stands for a span where there is none."""

    def __enter__(self) -> Self:
        """Begins nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends nothing."""

    def set(self, name: str, value: str | bool | int) -> None:
        """Drops it."""

    def answer(self, status: int) -> None:
        """Drops it."""


NO_SPAN = NoSpan()


def span(
    name: str, attributes: Mapping[str, str | bool | int] | None = None, kind: SpanKind = SpanKind.INTERNAL
) -> Span | NoSpan:
    """A span for the length of a block, if the request at hand is traced.

    Args:
        name: one of a few.
        attributes: what is known of it.
        kind: which side of a call it is.
    """
    tracer = TRACER.get()
    return NO_SPAN if tracer is None else Span(tracer, name, attributes, kind=kind)
