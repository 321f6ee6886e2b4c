"""What an HTTP status from a model's API means for the call, the episode and the run; the same for every API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from runner.errors import (
    ContextOverflowError,
    FatalModelError,
    ModelError,
    RateLimitError,
    RunnerError,
    TransientModelError,
    shortened,
)
from runner.retry import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNUSABLE", "Refusal", "unanswered", "without_secrets"]

UNUSABLE = (ValueError, TypeError, AttributeError, KeyError, RecursionError)
"""What an endpoint that only resembles an API brings about, for the SDKs do not validate what they get."""

_FATAL = frozenset({401, 402, 403, 404})
_UNPROCESSABLE = frozenset({400, 422})
_TRANSIENT = frozenset({408, 409, 429})
_RATE_LIMITED = 429
_CONTENT_TOO_LARGE = 413
_OVERLONG = ("prompt is too long", "context_length_exceeded", "maximum context length")
_NO_MORE_MONEY = frozenset(
    {
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "organization_on_hold",
        "insufficient_quota",
    }
)


def without_secrets(url: str) -> str:
    """An endpoint as it may be kept and printed: without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def unanswered(api: str, error: Exception) -> TransientModelError:
    """An attempt that came back without a status: refused, dropped, timed out."""
    cause = error.__cause__
    words = f"{error} ({type(cause).__name__}: {cause})" if cause is not None else str(error)
    return TransientModelError(f"no answer from {api}: {words}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status that is no answer.

    Attributes:
        api: Who refused, in words.
        key: The environment variable its key is taken from.
        model: The id that was asked for.
        status: Of HTTP.
        kind: The API's own name for it.
        code: Its more exact name, where it has one.
        reason: The API's words.
        headers: Of the response.
        is_first_call: Whether the conversation had only begun.
        secret: What the reason must not repeat.
    """

    api: str
    key: str
    model: str
    status: int
    kind: str
    code: str
    reason: str
    request_id: str | None
    headers: Mapping[str, str]
    is_first_call: bool
    secret: str | None = None

    def error(self) -> RunnerError:
        """What it is to the runner."""
        status, request_id = self.status, self.request_id
        if self._is_transient:
            kind = RateLimitError if status == _RATE_LIMITED else TransientModelError
            wait_s = parse_retry_after(self.headers.get("retry-after"))
            return kind(self._words, status=status, request_id=request_id, retry_after_s=wait_s)
        if status == _CONTENT_TOO_LARGE or any(sign in self.reason + self.code for sign in _OVERLONG):
            return ContextOverflowError(self._words, status=status, request_id=request_id)
        kinds = FatalModelError if self._is_fatal else ModelError
        return kinds(self._hint + self._words, status=status, request_id=request_id)

    @property
    def _hint(self) -> str:
        if self.status == 404 and self.model:
            return f"check --model {self.model}; "
        return f"check {self.key}; " if self.status == 401 else ""

    @property
    def _words(self) -> str:
        reason = shortened(self.reason or "no reason given")
        reason = reason.replace(self.secret, "***") if self.secret else reason
        words = f"{self.api} answered {self.status} {self.kind}".rstrip() + f": {reason}"
        return words + (f" (request id {self.request_id})" if self.request_id else "")

    @property
    def _is_transient(self) -> bool:
        wish = self.headers.get("x-should-retry")
        if wish in {"true", "false"}:
            return wish == "true"
        return (self.status in _TRANSIENT or self.status >= 500) and self.code not in _NO_MORE_MONEY

    @property
    def _is_fatal(self) -> bool:
        """Every episode begins with the same request: what is refused there is refused to all."""
        is_everyones = self.status in _UNPROCESSABLE and self.is_first_call
        return self.status in _FATAL or self.code in _NO_MORE_MONEY or is_everyones
