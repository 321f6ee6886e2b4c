"""The door to everything that costs: so many requests at a time, and an honest no to one more."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service.errors import OverloadedError, Refusal, ShareError

__all__ = ["CALLER", "Admission"]

CALLER: ContextVar[str] = ContextVar("caller", default="")  # whoever makes the request at hand
_RETRY_AFTER_S = 1


class Admission:
    """Counts the requests that hold or wait for sandboxed processes.

    Attributes:
        limit: most requests at a time.
        requests: requests now.
        draining: whether new ones are refused because the service is going away.
    """

    def __init__(self, limit: int, on_refusal: Callable[[Refusal], None], *, share: int | None = None) -> None:
        """Opens.

        Args:
            limit: most requests at a time.
            on_refusal: hears of each.
            share: most of one caller; as many as of all where it is None.
        """
        self.limit = limit
        self._on_refusal = on_refusal
        self._share = share or limit
        self._of: Counter[str] = Counter()
        self.requests = 0
        self.draining = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Admits one request for the length of the block.

        Raises:
            OverloadedError: the service is full, or draining.
            ShareError: this caller has as many in flight as one may have.
        """
        caller = CALLER.get()
        if self.draining:
            self._on_refusal(Refusal.DRAINING)
            raise OverloadedError("The service is shutting down.", retry_after_s=_RETRY_AFTER_S)
        if self.requests >= self.limit:
            self._on_refusal(Refusal.FULL)
            raise OverloadedError(
                f"{self.limit} requests are in flight, which is all the service takes at a time.",
                retry_after_s=_RETRY_AFTER_S,
            )
        if self._of[caller] >= self._share:
            self._on_refusal(Refusal.SHARE)
            raise ShareError(
                f"{self._share} of your requests are in flight, which is all that one caller may have.",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.requests += 1
        self._of[caller] += 1
        try:
            yield
        finally:
            self.requests -= 1
            self._of[caller] -= 1
            if not self._of[caller]:
                del self._of[caller]
