"""The door to everything that costs: so many requests at a time, and an honest no to one more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import OverloadedError, Refusal

__all__ = ["Admission"]

_RETRY_AFTER_S = 1


class Admission:
    """Counts the requests that hold or wait for sandboxed processes.

    Attributes:
        limit: most requests at a time.
        requests: requests now.
        draining: whether new ones are refused because the service is going away.
    """

    def __init__(self, limit: int, on_refusal: Callable[[Refusal], None]) -> None:
        """Opens.

        Args:
            limit: most requests at a time.
            on_refusal: hears of each.
        """
        self.limit = limit
        self._on_refusal = on_refusal
        self.requests = 0
        self.draining = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Admits one request for the length of the block.

        Raises:
            OverloadedError: the service is full, or draining.
        """
        if self.draining:
            self._on_refusal(Refusal.DRAINING)
            raise OverloadedError("The service is shutting down.", retry_after_s=_RETRY_AFTER_S)
        if self.requests >= self.limit:
            self._on_refusal(Refusal.FULL)
            raise OverloadedError(
                f"{self.limit} requests are in flight, which is all the service takes at a time.",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
