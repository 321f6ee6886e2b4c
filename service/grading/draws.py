"""Random draws that are the same on every platform and in every version of Python.

Only what Python promises to keep is used: seeding from a text, and `random.Random.random`. The rest is built of
additions, multiplications and rounding, which IEEE 754 fixes; no function of the C library's is called.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

__all__ = ["Draws"]

_T = TypeVar("_T")
_DIGITS = 6


class Draws:
    """A stream of draws for one key."""

    def __init__(self, *key: str | int) -> None:
        self._unit = Random("/".join(map(str, key))).random

    def integer(self, low: int, high: int) -> int:
        """Between both, inclusive."""
        return low + int(self._unit() * (high - low + 1))

    def number(self, low: float, high: float) -> float:
        """Evenly between both, to six decimals."""
        return round(low + self._unit() * (high - low), _DIGITS)

    def spread(self, low: float, high: float, count: int) -> list[float]:
        """So many numbers, one in each of as many equal parts: no few of them lie together, far from the rest."""
        width = (high - low) / count
        return self.shuffled([self.number(low + part * width, low + (part + 1) * width) for part in range(count)])

    def bell(self, center: float, spread: float) -> float:
        """About normal, within 3.5 standard deviations (`spread`) of the center."""
        return center + spread * (sum(self._unit() for _ in range(4)) - 2) * 1.7320508

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self._unit() < probability

    def one_of(self, items: Sequence[_T]) -> _T:
        """One of them, each as likely."""
        return items[self.integer(0, len(items) - 1)]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """All of them, in any order."""
        left = list(items)
        for last in range(len(left) - 1, 0, -1):
            other = self.integer(0, last)
            left[last], left[other] = left[other], left[last]
        return left
