"""The service without what watches it and asks who calls: the measure of what that costs.

Takes the options of `gauntlet-service`.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from fastapi import FastAPI

import service.__main__
import service.app
from service.api.callers import Callers
from service.api.traffic import Traffic
from service.errors import Refusal
from service.metrics import Metrics
from service.settings import Settings

__all__ = ["main"]

_LEFT_OUT: tuple[object, ...] = (Callers, Traffic)


class _Deaf(Metrics):
    """Counts nothing."""

    def refused(self, reason: Refusal) -> None:
        pass

    def faults(self) -> Any:
        return nullcontext()

    def executed(self, status: str, seconds: float) -> None:
        pass

    def graded(self, suite: str, rows: Mapping[str, bool], seconds: float, *, passed: bool) -> None:
        pass


def _create_bare_app(settings: Settings) -> FastAPI:
    app = service.app.create_app(settings)
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls not in _LEFT_OUT]
    return app


def main() -> None:
    """Serve."""
    service.app.Metrics = _Deaf  # type: ignore[attr-defined]
    service.__main__.create_app = _create_bare_app  # type: ignore[assignment, attr-defined]
    service.__main__.main()


if __name__ == "__main__":
    main()
