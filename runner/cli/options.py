"""Options that several commands have, and their checks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from runner.client import checked_service_url

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Finite", "model_id", "positive", "service_options"]


def _service_url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else checked_service_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def model_id(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Refuse what cannot be a model's id."""
    if not value.strip() or not value.isprintable():
        raise click.BadParameter("name a model, such as claude-sonnet-5-5")
    return value.strip()


class Finite(click.FloatRange):
    """Numbers within a range, of which NaN and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


positive = Finite(0, min_open=True)
"""A number above zero."""


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the grading service is, and which cases it takes."""
    url = click.option(
        "--service",
        metavar="URL",
        envvar="RUNNER_SERVICE",
        show_envvar=True,
        callback=_service_url,
        help="A running service; without it, one is started. Its token, if it asks for one: RUNNER_TOKEN.",
    )
    suite = click.option("--suite", metavar="NAME", default="classic", show_default=True, help="The cases to grade on.")
    return url(suite(command))
