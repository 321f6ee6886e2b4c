"""How amounts and foreign text are written, on a terminal and on a page."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.records import Interval

__all__ = ["dollars", "neutralised", "percent_range", "token_count"]

_NOT_PLAIN = re.compile(r"[^ -~]")


def neutralised(text: str, *, keep: str = "") -> str:
    r"""Write out every control, format and surrogate character, so that foreign text cannot command a terminal.

    Args:
        text: From a model, a submission or a server.
        keep: Characters to leave alone, such as `"\n"` for a text of several lines.
    """

    def written(found: re.Match[str]) -> str:
        character = found[0]
        return character if character in keep or not _commands(character) else ascii(character)[1:-1]

    return _NOT_PLAIN.sub(written, text)


def _commands(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def dollars(cost_usd: float | None) -> str:
    """An amount as it is printed; small ones to a hundredth of a cent."""
    if cost_usd is None:
        return "unknown"
    return f"${cost_usd:.2f}" if cost_usd >= 1 else f"${cost_usd:.4f}"


def token_count(tokens: int) -> str:
    """A number of tokens, rounded above a thousand."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.1f}M"
    return f"{tokens / 1000:.1f}k" if tokens >= 1000 else str(tokens)


def percent_range(interval: Interval | None) -> str:
    """An interval of fractions, in percent."""
    return "" if interval is None else f"{100 * interval.low:.1f}–{100 * interval.high:.1f} %"
