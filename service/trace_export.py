"""Sends spans to a collector: the OpenTelemetry SDK, an extra, and so imported only where a collector is named."""

import os
import uuid
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

__all__ = ["start_provider"]


def start_provider() -> TracerProvider:
    """A provider as the standard variables of the environment have it, with a thread that sends what it is given.

    Raises:
        ValueError: one of the variables does not fit.
    """
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)  # at the exit it could wait for 30 s
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _resource() -> Resource:
    """Who sends: the environment has the last word, and processes that it gives one id have their own pid."""
    ours: dict[str, str | int] = {
        "service.name": "resilience-gauntlet",
        "service.version": version("resilience-gauntlet"),
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
    }
    return Resource.create(ours | dict(OTELResourceDetector().detect().attributes))
