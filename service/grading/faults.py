"""Faults of tasks that run side by side."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import GauntletError

__all__ = ["first_fault"]


@contextmanager
def first_fault() -> Iterator[None]:
    """Raises the first of a task group's faults in place of the group, where they are all of the service's own kind.

    (Not by ``except*``: Python 3.11.2, which is Debian 12's, puts what is raised there into a group again.)
    """
    try:
        yield
    except ExceptionGroup as group:
        own, others = group.split(GauntletError)
        if own is None or others is not None:
            raise
        raise own.exceptions[0] from None
