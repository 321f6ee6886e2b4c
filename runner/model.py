"""Claude over the Messages API; the only file that imports the SDK.

The SDK's own retries are off: it sleeps out any `retry-after`, however long, and each caller alone. `runner.caller`
decides when to try again.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anthropic
import httpx2
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from runner.errors import FatalModelError, ModelError, RunnerError, TransientModelError, shortened
from runner.pricing import Pricing
from runner.records import ListedModel, Turn, Usage
from runner.refusals import UNUSABLE, Refusal, unanswered, without_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anthropic.types import Message, ModelInfo

    from runner.answers import Json

__all__ = ["MAX_TOKENS", "SDK_VERSION", "ClaudeModel", "list_models", "live_client", "offline_client"]

MAX_TOKENS = 8192
"""Of one answer: a hardened pipeline with its reasoning fits twice; the SDK refuses to wait for more than 21,333."""

SDK_VERSION = anthropic.__version__

_API = "the Messages API"
_WARNING_TIMEOUT_S = 10.0

CALL_TIMEOUT_S = 300.0
"""Of one attempt: a hung connection is given up then, and tried again."""


@asynccontextmanager
async def live_client(timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[AsyncAnthropic]:
    """A client for the real API, with credentials and base URL as the SDK finds them in the environment.

    Raises:
        FatalModelError: There are no credentials, or they or the base URL cannot be sent.
    """
    try:
        client = AsyncAnthropic(max_retries=0, timeout=_timeout(timeout_s))
    except (anthropic.AnthropicError, ValueError, ImportError) as error:  # ImportError: a SOCKS proxy, no socksio
        raise FatalModelError(f"--live: the SDK cannot be set up: {error}") from error
    async with client:
        _check_credentials(client)
        yield client


@asynccontextmanager
async def offline_client(base_url: str, timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[AsyncAnthropic]:
    """A client that can reach nothing but the local server, whatever keys, URLs and proxies the environment names."""
    # The SDK's client reads proxies from the environment even without `trust_env`, unless it is given a transport.
    http = DefaultAsyncHttpxClient(transport=httpx2.AsyncHTTPTransport(), trust_env=False)
    async with AsyncAnthropic(
        api_key="offline", base_url=base_url, max_retries=0, timeout=_timeout(timeout_s), http_client=http
    ) as client:
        yield client


def _timeout(seconds: float) -> anthropic.Timeout:
    """A timeout other than the SDK's default replaces it whole, so the connect limit is stated again."""
    return anthropic.Timeout(seconds, connect=5.0)


def _check_credentials(client: AsyncAnthropic) -> None:
    """Catch before the first call what the SDK would only find in it."""
    secret = client.api_key or client.auth_token
    if secret is None and client.credentials is None:
        raise FatalModelError("--live needs an API key: set ANTHROPIC_API_KEY, or run --offline")
    if secret is not None and not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise FatalModelError("ANTHROPIC_API_KEY has blanks or non-ASCII characters in it: copy the key again")
    if client.base_url.scheme not in {"http", "https"} or not client.base_url.host:
        raise FatalModelError("ANTHROPIC_BASE_URL is not an http URL: unset it, or write it like https://host")


async def list_models(client: AsyncAnthropic) -> list[ListedModel]:
    """What the API offers, newest first.

    Raises:
        RunnerError: It does not tell.
    """
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return [_listed(found) async for found in client.models.list(limit=1000)]
    except anthropic.APIStatusError as error:
        raise _refused(error, client, "") from error
    except anthropic.APIError as error:
        raise unanswered(_API, error) from error
    except (TimeoutError, *UNUSABLE) as error:
        raise ModelError("this endpoint does not list its models as the Messages API does") from error


def _listed(found: ModelInfo) -> ListedModel:
    return ListedModel(name=found.id, title=found.display_name, lifecycle=found.lifecycle, retires_at=found.retires_at)


class ClaudeModel:
    """One model, shared by all episodes of a run.

    Args:
        client: An SDK client with `max_retries=0`.
        name: The model id to ask for; answers name the one that replied.
        max_tokens: The longest single answer, in tokens.
    """

    pricing = Pricing("anthropic")

    def __init__(self, client: AsyncAnthropic, name: str, *, max_tokens: int = MAX_TOKENS) -> None:
        self._client = client
        self.name = name
        self.endpoint = without_secrets(str(client.base_url))
        self.max_tokens = max_tokens

    async def warning(self) -> str | None:
        """Tell of a model that retires; other endpoints than Anthropic's may list no models."""
        try:
            async with asyncio.timeout(_WARNING_TIMEOUT_S):
                listed = _listed(await self._client.models.retrieve(self.name))
        except (anthropic.APIError, TimeoutError, *UNUSABLE):
            return None
        return None if listed.lifecycle == "active" else f"Warning: {listed.name} is {listed.fate}"

    async def count_tokens(self, messages: Sequence[Json], tools: Sequence[Json]) -> int:
        """How long a prompt is, in tokens; asking costs nothing."""
        count = cast("Any", self._client.messages.count_tokens)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return int((await count(model=self.name, messages=messages, tools=tools)).input_tokens)
        except anthropic.APIStatusError as error:
            raise _refused(error, self._client, self.name) from error
        except anthropic.APIError as error:
            raise unanswered(_API, error) from error
        except (TimeoutError, *UNUSABLE) as error:
            raise ModelError("this endpoint does not count tokens as the Messages API does") from error

    async def ask(self, messages: Sequence[Json], tools: Sequence[Json], user_id: str) -> Turn:
        """Make one attempt, as `runner.caller.Provider` describes it."""
        try:
            message = await self._create(messages, tools, user_id)
        except anthropic.APIStatusError as error:
            raise _refused(error, self._client, self.name, is_first_call=len(messages) == 1) from error
        except anthropic.APIError as error:
            raise unanswered(_API, error) from error
        try:
            return _turn(message, self.pricing)
        except UNUSABLE as error:
            raise ModelError(f"the answer cannot be used: {shortened(str(error))}") from error

    async def _create(self, messages: Sequence[Json], tools: Sequence[Json], user_id: str) -> Message:
        # No sampling parameters, thinking settings or forced tools: current models refuse them.
        create = cast("Any", self._client.messages.create)
        try:
            message = await create(
                model=self.name,
                max_tokens=self.max_tokens,
                messages=messages,
                tools=tools,
                metadata={"user_id": user_id},
                cache_control={"type": "ephemeral"},
            )
        except UnicodeEncodeError as error:
            raise ModelError("the model wrote a lone surrogate, which the API does not take back") from error
        except RecursionError as error:
            raise ModelError("the answer cannot be used: it is nested too deeply") from error
        except ValueError as error:
            raise _incomplete("it was not JSON") from error
        # A proxy's HTML page with status 200 reaches us as a str, half an answer with its fields missing.
        if not isinstance(message, anthropic.types.Message) or not isinstance(message.content, list):
            raise _incomplete("it was no message")
        if message.stop_reason is None or message.usage is None:
            raise _incomplete("it has no stop reason, so it was cut off")
        return message


def _incomplete(reason: str) -> TransientModelError:
    return TransientModelError(f"no answer from {_API}: what came with status 200 is none: {reason}")


def _refused(
    error: anthropic.APIStatusError, client: AsyncAnthropic, model: str, *, is_first_call: bool = True
) -> RunnerError:
    return Refusal(
        secret=client.api_key or client.auth_token,
        api=_API,
        key="ANTHROPIC_API_KEY",
        model=model,
        status=error.status_code,
        kind=error.type or "",
        code=error.error_code or "",
        reason=error.api_message or error.response.reason_phrase,
        request_id=error.request_id,
        headers=error.response.headers,
        is_first_call=is_first_call,
    ).error()


def _turn(message: Message, pricing: Pricing) -> Turn:
    # Fields the SDK does not know yet are kept, and fields the API left out stay out: thinking must go back as it came.
    content = message.to_dict(mode="json", warnings=False)["content"]
    details = message.stop_details
    usage = Usage(
        input_tokens=message.usage.input_tokens,
        output_tokens=message.usage.output_tokens,
        cache_read_input_tokens=message.usage.cache_read_input_tokens or 0,
        cache_creation_input_tokens=message.usage.cache_creation_input_tokens or 0,
    )
    return Turn(
        message_id=message.id,
        model=message.model,
        stop_reason=str(message.stop_reason),
        content=cast("list[Json]", content),
        usage=usage,
        cost_usd=pricing.cost_usd(message.model, usage),
        request_id=message._request_id,  # noqa: SLF001  the SDK documents it as public in spite of its name
        refusal=None if details is None else (details.explanation or details.category),
    )
