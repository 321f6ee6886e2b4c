"""What an operator should know at start: settings that are taken as they are, and will hurt."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from service.access import ApiToken
from service.machine import SERVICE_MIB, Machine, this_machine
from service.settings import Settings

__all__ = ["advice", "warn"]

_LOG = logging.getLogger("gauntlet")
_SOON_S = 7 * 86_400


def warn(settings: Settings, *, workers: int = 1) -> None:
    """Writes into the log what there is to say, once."""
    for words in advice(settings, this_machine(), now=time.time(), workers=workers):
        _LOG.warning("%s", words)


def advice(settings: Settings, machine: Machine, *, now: float, workers: int = 1) -> Iterator[str]:
    """Says what there is to say.

    Args:
        settings: of all workers together.
        machine: that they run on.
        now: Unix time.
        workers: how many there are; each has one sandboxed process at least.
    """
    slots = workers * settings.of_one_worker(workers).concurrency
    if slots > machine.room(settings.memory_mib):
        yield (
            f"GAUNTLET_CONCURRENCY × GAUNTLET_MEMORY_MIB is {slots} × {settings.memory_mib} MiB: with {SERVICE_MIB} "
            f"MiB for the service, that is over the limit of {machine.memory_mib} MiB. Where many submissions use all "
            "they may, the kernel kills sound ones, which then get no grade, and their callers a 500"
        )
    for number, token in enumerate(ApiToken.read_all(settings.api_tokens), 1):
        if token.until is not None and token.until < now + _SOON_S:
            day = f"{datetime.fromtimestamp(token.until, UTC):%Y-%m-%d} (UTC)"
            yield f"GAUNTLET_API_TOKENS: token {number} {'has ended' if token.until <= now else 'ends'} on {day}"
