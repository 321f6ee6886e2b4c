"""Claude over the Messages API; the only file that imports the SDK.

The SDK's own retries are off: it sleeps out any `retry-after`, however long, and each caller alone. Here waits are
capped, attempts are counted in the record, and one rate limit holds back every episode that shares the model.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import anthropic
import httpx2
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from runner.errors import ContextOverflowError, FatalModelError, ModelError, RunnerError
from runner.records import Json, Turn, Usage
from runner.retry import RetryPolicy, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anthropic.types import Message

__all__ = ["MAX_TOKENS", "SDK_VERSION", "ClaudeModel", "live_client", "offline_client"]

MAX_TOKENS = 8192
"""Of one answer: a hardened pipeline with its reasoning fits twice; the SDK refuses to wait for more than 21,333."""

SDK_VERSION = anthropic.__version__

# A client timeout other than the SDK's default replaces it whole, so the connect limit is stated again.
_ATTEMPT_TIMEOUT = anthropic.Timeout(300.0, connect=5.0)
_FATAL = frozenset({400, 401, 402, 403, 404, 422})
_RETRIED = frozenset({408, 409, 429})
_RATE_LIMITED = 429
_CONTENT_TOO_LARGE = 413


@asynccontextmanager
async def live_client() -> AsyncIterator[AsyncAnthropic]:
    """A client for the real API, with credentials and base URL as the SDK finds them in the environment.

    Raises:
        FatalModelError: There are no credentials, or they or the base URL cannot be sent.
    """
    try:
        client = AsyncAnthropic(max_retries=0, timeout=_ATTEMPT_TIMEOUT)
    except (anthropic.AnthropicError, ValueError, ImportError) as error:  # ImportError: a SOCKS proxy, no socksio
        raise FatalModelError(f"--live: the SDK cannot be set up: {error}") from error
    async with client:
        _check_credentials(client)
        yield client


@asynccontextmanager
async def offline_client(base_url: str) -> AsyncIterator[AsyncAnthropic]:
    """A client that can reach nothing but the local server, whatever keys, URLs and proxies the environment names."""
    # The SDK's client reads proxies from the environment even without `trust_env`, unless it is given a transport.
    http = DefaultAsyncHttpxClient(transport=httpx2.AsyncHTTPTransport(), trust_env=False)
    async with AsyncAnthropic(
        api_key="offline", base_url=base_url, max_retries=0, timeout=_ATTEMPT_TIMEOUT, http_client=http
    ) as client:
        yield client


def _check_credentials(client: AsyncAnthropic) -> None:
    """Catch before the first call what the SDK would only find in it."""
    secret = client.api_key or client.auth_token
    if secret is None and client.credentials is None:
        raise FatalModelError("--live needs an API key: set ANTHROPIC_API_KEY, or run --offline")
    if secret is not None and not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise FatalModelError("ANTHROPIC_API_KEY has blanks or non-ASCII characters in it: copy the key again")
    if client.base_url.scheme not in {"http", "https"} or not client.base_url.host:
        raise FatalModelError("ANTHROPIC_BASE_URL is not an http URL: unset it, or write it like https://host")


class ClaudeModel:
    """One model, shared by all episodes of a run.

    Args:
        client: An SDK client with `max_retries=0`.
        name: The model id to ask for; answers name the one that replied.
        retry: The policy for every call.
        max_tokens: The longest single answer, in tokens.
    """

    def __init__(
        self, client: AsyncAnthropic, name: str, *, retry: RetryPolicy | None = None, max_tokens: int = MAX_TOKENS
    ) -> None:
        self._client = client
        self._name = name
        self._retry = retry or RetryPolicy()
        self._max_tokens = max_tokens
        self._cooldown = _Cooldown()

    async def reply(self, messages: Sequence[Json], tools: Sequence[Json], user_id: str) -> Turn:
        """Get the next turn, trying again as often as the policy allows.

        Raises:
            FatalModelError: The API would refuse every other call too.
            ContextOverflowError: The conversation is longer than the API takes.
            ModelError: The last attempt failed, or its answer was no message.
        """
        started = time.monotonic()
        for attempt in range(1, self._retry.attempts + 1):
            await self._cooldown.passed()
            try:
                message = await self._create(messages, tools, user_id)
                return _turn(message, attempt, time.monotonic() - started)
            except (anthropic.APIError, _IncompleteAnswerError) as error:
                fault = _fault(error, self._name)
            if not fault.is_transient or attempt == self._retry.attempts:
                raise fault.error
            delay_s = self._retry.delay_s(attempt, fault.retry_after_s)
            if fault.is_rate_limit:
                self._cooldown.extend(delay_s)
            else:
                await asyncio.sleep(delay_s)
        raise AssertionError("a retry policy allows at least one attempt")

    async def _create(self, messages: Sequence[Json], tools: Sequence[Json], user_id: str) -> Message:
        # No sampling parameters, thinking settings or forced tools: current models refuse them.
        create = cast("Any", self._client.messages.create)
        try:
            message = await create(
                model=self._name,
                max_tokens=self._max_tokens,
                messages=messages,
                tools=tools,
                metadata={"user_id": user_id},
                cache_control={"type": "ephemeral"},
            )
        except UnicodeEncodeError as error:
            raise ModelError("the model wrote a lone surrogate, which the API does not take back") from error
        except ValueError as error:
            raise _IncompleteAnswerError("the answer was not JSON") from error
        # A proxy's HTML page with status 200 reaches us as a str, half an answer with its fields missing.
        if not isinstance(message, anthropic.types.Message) or not isinstance(message.content, list):
            raise _IncompleteAnswerError("the answer was no message")
        if message.stop_reason is None or message.usage is None:
            raise _IncompleteAnswerError("the answer has no stop reason: it was cut off")
        return message


class _Cooldown:
    """Holds back every caller until a rate limit has passed."""

    def __init__(self) -> None:
        self._ends = 0.0

    def extend(self, seconds: float) -> None:
        self._ends = max(self._ends, time.monotonic() + seconds)

    async def passed(self) -> None:
        while (rest := self._ends - time.monotonic()) > 0:  # noqa: ASYNC110  the end may be put off meanwhile
            # Spread out, so that the callers do not run into the same limit together again.
            await asyncio.sleep(rest * random.uniform(1.0, 1.25))


class _IncompleteAnswerError(Exception):
    """A 200 that carries no whole message."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """A failed attempt: the error it becomes if it was the last, and whether another is worth while."""

    error: RunnerError
    is_transient: bool
    is_rate_limit: bool = False
    retry_after_s: float | None = None


def _fault(error: anthropic.APIError | _IncompleteAnswerError, model: str) -> _Fault:
    if not isinstance(error, anthropic.APIStatusError):
        cause = error.__cause__
        words = f"{error} ({type(cause).__name__}: {cause})" if cause is not None else str(error)
        return _Fault(ModelError(f"no answer from the Messages API: {words}"), is_transient=True)
    status = error.status_code
    transient = status in _RETRIED or status >= 500
    wish = error.response.headers.get("x-should-retry")
    return _Fault(
        _status_error(error, model),
        is_transient={"true": True, "false": False}.get(wish or "", transient),
        is_rate_limit=status == _RATE_LIMITED,
        retry_after_s=parse_retry_after(error.response.headers.get("retry-after")),
    )


def _status_error(error: anthropic.APIStatusError, model: str) -> RunnerError:
    status, request_id = error.status_code, error.request_id
    reason = error.api_message or error.response.reason_phrase or "no reason given"
    words = f"the Messages API answered {status} {error.type or ''}".rstrip() + f": {reason}"
    words += f" (request id {request_id})" if request_id else ""
    if status == _CONTENT_TOO_LARGE or (status == 400 and "prompt is too long" in reason):
        return ContextOverflowError(words, status=status, request_id=request_id)
    if status in _FATAL:
        hint = {401: "check ANTHROPIC_API_KEY; ", 404: f"check --model {model}; "}.get(status, "")
        return FatalModelError(hint + words, status=status, request_id=request_id)
    return ModelError(words, status=status, request_id=request_id)


def _turn(message: Message, attempts: int, duration_s: float) -> Turn:
    # Fields the SDK does not know yet are kept, and fields the API left out stay out: thinking must go back as it came.
    content = message.to_dict(mode="json", warnings=False)["content"]
    details = message.stop_details
    return Turn(
        message_id=message.id,
        model=message.model,
        stop_reason=str(message.stop_reason),
        content=cast("list[Json]", content),
        usage=Usage(
            input_tokens=message.usage.input_tokens,
            output_tokens=message.usage.output_tokens,
            cache_read_input_tokens=message.usage.cache_read_input_tokens or 0,
            cache_creation_input_tokens=message.usage.cache_creation_input_tokens or 0,
        ),
        request_id=message._request_id,  # noqa: SLF001  the SDK documents it as public in spite of its name
        refusal=None if details is None else (details.explanation or details.category),
        attempts=attempts,
        duration_s=duration_s,
    )
