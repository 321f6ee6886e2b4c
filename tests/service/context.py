"""What a request knows of itself, where a test is the request."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["during"]

T = TypeVar("T")


@contextmanager
def during(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Gives a variable a value for the length of the block."""
    token = variable.set(value)
    yield
    variable.reset(token)
