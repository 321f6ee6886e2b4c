"""What the service says of itself, as text for people or as JSON for collectors. No log holds what was submitted."""

import json
import logging
import time
from contextvars import ContextVar
from typing import Any

__all__ = ["ACCESS", "REQUEST_ID", "TRACE_ID", "configure", "line"]

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request at hand
TRACE_ID: ContextVar[str | None] = ContextVar("trace_id", default=None)  # of its trace, if it has one
ACCESS = logging.getLogger("gauntlet.access")
_FIELDS = ("method", "route", "status", "duration_ms", "caller", "url")
_EXPORTER = "opentelemetry"
_PAUSE_S = 300.0


def configure(log_format: str) -> None:
    """Has the service's and the server's records written to stderr.

    Args:
        log_format: ``text``, which tells of what went wrong; ``json``, one object a line, with a line for each request.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    if log_format == "json":
        handler.setFormatter(_Json())
        ACCESS.setLevel(logging.INFO)
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))


def line(message: str, log_format: str, **fields: str) -> str:
    """What is said elsewhere than in the log, in its format.

    Args:
        message: for people.
        log_format: ``text``, which is the message alone; ``json``.
        fields: for programs, in JSON only.
    """
    if log_format == "text":
        return message
    told = {"name": "gauntlet", "levelno": logging.INFO, "levelname": "INFO", "msg": message, **fields}
    return _Json().format(logging.makeLogRecord(told))


class _Seldom(logging.Filter):
    """Lets a complaint about a collector of traces pass every five minutes: there is one for every batch."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a record."""
        if record.name.partition(".")[0] != _EXPORTER:
            return True
        now = time.monotonic()
        is_due = now >= self._silent_until
        if is_due:
            self._silent_until = now + _PAUSE_S
        return is_due


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        told: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := REQUEST_ID.get()) is not None:
            told["request_id"] = request_id
        if (trace_id := TRACE_ID.get()) is not None:
            told["trace_id"] = trace_id
        told |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)
