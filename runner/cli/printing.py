"""What the commands share: how they print, and how an expected error ends them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.errors import RunnerError
from runner.wording import neutralised

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["awaited", "print_error", "print_text", "told"]

_Answer = TypeVar("_Answer")


def print_text(text: str) -> None:
    """Print lines to standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_error(text: str) -> None:
    """Print an error as all of them are printed."""
    words = neutralised(text, keep="\n")
    sys.stderr.write(f"gauntlet: error: {words}\n")


def told(work: Callable[[], _Answer], failure_status: int = 1) -> _Answer:
    """Do something; an expected error is printed and ends the command with `failure_status`."""
    try:
        return work()
    except RunnerError as error:
        print_error(str(error))
        raise click.exceptions.Exit(failure_status) from error


def awaited(work: Coroutine[Any, Any, _Answer], failure_status: int = 1) -> _Answer:
    """Run a coroutine as `told` runs a function."""
    return told(lambda: asyncio.run(work), failure_status)
