"""Any model behind an endpoint that speaks Chat Completions; the only file that imports that SDK, an extra.

Conversations stay in the shape of the Messages API, so that episodes, transcripts and reports know one shape only. This
file translates both ways.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from runner.errors import FatalModelError, ModelError, RunnerError, TransientModelError, shortened
from runner.pricing import Pricing
from runner.records import Turn, Usage
from runner.refusals import UNUSABLE, Refusal, unanswered, without_secrets

try:
    import openai
except ImportError as missing:  # pragma: no cover - the tests have the extra
    raise FatalModelError("--provider openai needs an extra: pip install 'resilience-gauntlet[openai]'") from missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionMessage

    from runner.answers import Json

__all__ = ["OpenAIModel", "live_openai"]

_CHARACTERS_PER_TOKEN = 4
_STOP_REASONS = {
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
}


@asynccontextmanager
async def live_openai(name: str, *, max_tokens: int, timeout_s: float) -> AsyncIterator[OpenAIModel]:
    """A model at `OPENAI_BASE_URL`, with the key in `OPENAI_API_KEY`.

    Raises:
        FatalModelError: There is no key, or it or the base URL cannot be sent.
    """
    try:
        client = openai.AsyncOpenAI(max_retries=0, timeout=openai.Timeout(timeout_s, connect=5.0))
    except (openai.OpenAIError, ValueError, ImportError) as error:
        raise FatalModelError(f"--live: the SDK cannot be set up: {error}") from error
    async with client:
        if client.base_url.scheme not in {"http", "https"} or not client.base_url.host:
            raise FatalModelError("OPENAI_BASE_URL is not an http URL: unset it, or write it like https://host/v1")
        yield OpenAIModel(client, name, max_tokens=max_tokens)


class OpenAIModel:
    """One model, shared by all episodes of a run.

    Args:
        client: An SDK client with `max_retries=0`.
        name: The model to ask for; answers name the one that replied.
        max_tokens: The longest single answer, in tokens.
    """

    pricing = Pricing(None)

    def __init__(self, client: AsyncOpenAI, name: str, *, max_tokens: int) -> None:
        self._client = client
        self.name = name
        self.endpoint = without_secrets(str(client.base_url))
        self.max_tokens = max_tokens

    async def warning(self) -> str | None:
        """Nothing: Chat Completions knows no retirement."""
        return None

    async def count_tokens(self, messages: Sequence[Json], tools: Sequence[Json]) -> int:
        """About how long a prompt is, in tokens: a fourth of its characters, for there is no endpoint to ask."""
        return len(json.dumps([*messages, *tools])) // _CHARACTERS_PER_TOKEN

    async def ask(self, messages: Sequence[Json], tools: Sequence[Json], user_id: str) -> Turn:
        """Make one attempt, as `runner.caller.Provider` describes it."""
        create = cast("Any", self._client.chat.completions.create)
        try:
            completion = await create(
                model=self.name,
                max_completion_tokens=self.max_tokens,
                messages=[spoken for message in messages for spoken in _spoken(message)],
                tools=[_function(tool) for tool in tools],
                user=user_id,
            )
        except openai.APIStatusError as error:
            raise _refused(error, self._client, self.name, is_first_call=len(messages) == 1) from error
        except openai.APIError as error:
            raise unanswered(self.endpoint, error) from error
        except UnicodeEncodeError as error:
            raise ModelError("the model wrote a lone surrogate, which the API does not take back") from error
        except RecursionError as error:
            raise ModelError("the answer cannot be used: it is nested too deeply") from error
        except ValueError as error:
            raise TransientModelError(f"no answer from {self.endpoint}: what came was not JSON") from error
        try:
            return self._turn(completion)
        except UNUSABLE as error:
            raise ModelError(f"the answer cannot be used: {shortened(str(error))}") from error

    def _turn(self, completion: ChatCompletion) -> Turn:
        if not isinstance(cast("Any", completion), openai.types.chat.ChatCompletion) or not completion.choices:
            raise TransientModelError(f"no answer from {self.endpoint}: what came was no completion")
        choice, usage = completion.choices[0], _usage(completion)
        cost_usd = self.pricing.cost_usd(completion.model or self.name, usage or Usage())
        finish: str | None = choice.finish_reason  # the SDK does not validate what it got
        if finish is None:
            raise TransientModelError(f"no answer from {self.endpoint}: it has no finish reason, so it was cut off")
        stop = "refusal" if choice.message.refusal else _STOP_REASONS.get(finish, finish)
        calls = bool(choice.message.tool_calls)
        return Turn(
            message_id=completion.id or "",
            model=completion.model or self.name,
            stop_reason="tool_use" if calls and stop == "end_turn" else stop,
            content=list(_blocks(choice.message)),
            usage=usage or Usage(),
            cost_usd=None if usage is None else cost_usd,
            request_id=completion._request_id,  # noqa: SLF001  the SDK documents it as public in spite of its name
            refusal=choice.message.refusal,
        )


def _spoken(message: Json) -> Iterator[Json]:
    """One message as Chat Completions has it: each tool result is a message of its own."""
    texts = [block["text"] for block in message["content"] if block["type"] == "text"]
    if message["role"] == "assistant":
        calls = [_call(block) for block in message["content"] if block["type"] == "tool_use"]
        spoken: Json = {"role": "assistant", "content": "\n".join(texts) or None}
        yield {**spoken, "tool_calls": calls} if calls else spoken
        return
    for block in message["content"]:
        if block["type"] == "tool_result":
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]}
    if texts:
        yield {"role": "user", "content": "\n".join(texts)}


def _call(block: Json) -> Json:
    arguments = block["input"] if isinstance(block["input"], str) else json.dumps(block["input"])
    return {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": arguments}}


def _function(tool: Json) -> Json:
    about = {"name": tool["name"], "description": tool.get("description", ""), "parameters": tool["input_schema"]}
    return {"type": "function", "function": about}


def _blocks(message: ChatCompletionMessage) -> Iterator[Json]:
    extra = message.model_extra or {}
    if isinstance(reasoning := extra.get("reasoning_content") or extra.get("reasoning"), str):
        yield {"type": "thinking", "thinking": reasoning}  # for the transcript; these endpoints do not take it back
    content: Any = message.content  # the SDK does not validate what it got
    if not isinstance(content, str | None):
        raise TypeError(f"content is a {type(content).__name__}, not a text")
    if content:
        yield {"type": "text", "text": content}
    for call in message.tool_calls or ():
        function = getattr(call, "function", None)
        name, arguments = (function.name, function.arguments) if function is not None else (call.type, "")
        yield {"type": "tool_use", "id": call.id, "name": name, "input": _parsed(arguments)}


def _parsed(arguments: str) -> Any:
    """Arguments as they are meant; what is no JSON stays text, and the tool says what is wrong with it."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _usage(completion: ChatCompletion) -> Usage | None:
    """Tokens, with the cached ones beside the input and not within it; None where an endpoint does not count."""
    if completion.usage is None:
        return None
    details = completion.usage.prompt_tokens_details
    read = (details.cached_tokens or 0) if details is not None else 0
    return Usage(
        input_tokens=completion.usage.prompt_tokens - read,
        output_tokens=completion.usage.completion_tokens,
        cache_read_input_tokens=read,
    )


def _refused(error: openai.APIStatusError, client: AsyncOpenAI, model: str, *, is_first_call: bool) -> RunnerError:
    body = error.body if isinstance(error.body, dict) else {}
    return Refusal(
        secret=client.api_key,
        api="the model's API",
        key="OPENAI_API_KEY",
        model=model,
        status=error.status_code,
        kind=error.type or "",
        code=error.code or "",
        reason=str(body.get("message") or error.message),
        request_id=error.request_id,
        headers=error.response.headers,
        is_first_call=is_first_call,
    ).error()
