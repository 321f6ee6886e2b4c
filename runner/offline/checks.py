"""What the Messages API checks of a request, as far as the runner could get it wrong."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any

from runner.offline.errors import ApiError, invalid
from runner.offline.models import SERVED
from runner.offline.policies import PAUSE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.answers import Json

__all__ = ["API_VERSION", "ThinkingSigner", "check_count_request", "check_headers", "check_request", "content_blocks"]

API_VERSION = "2026-10-21"

_SAMPLING = ("temperature", "top_p", "top_k")
_COUNTED = frozenset(
    {"model", "messages", "tools", "tool_choice", "cache_control", "system", "thinking", "output_config"}
)
_GENERATING = frozenset({"max_tokens", "metadata", "stop_sequences", "stream", "service_tier", *_SAMPLING})


class ThinkingSigner:
    """Signs thinking blocks, to tell them from altered ones when they come back; the key lives as long as a server."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def block(self, thinking: str) -> Json:
        """A thinking block as a response carries it."""
        return {"type": "thinking", "thinking": thinking, "signature": self._signature(thinking)}

    def issued(self, block: Json) -> bool:
        """Whether the block is one of this server's, to the last byte."""
        thinking = block.get("thinking")
        return isinstance(thinking, str) and block == self.block(thinking)

    def _signature(self, thinking: str) -> str:
        return hmac.new(self._key, thinking.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def check_headers(headers: Mapping[str, str], api_key: str) -> None:
    """Refuse a request without the right key or version.

    Raises:
        ApiError: 401 or 400.
    """
    if not hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {api_key}".encode()):
        raise ApiError(401, "authentication_error", "invalid bearer token")
    version = headers.get("anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if version != API_VERSION:
        raise invalid(f"anthropic-version: {version!r} is not a valid version")


def check_request(body: Any, signer: ThinkingSigner) -> None:
    """Refuse what the API refuses to answer.

    Raises:
        ApiError: 400 naming the parameter, or 404 for a model that is not there.
    """
    _check_names(body, ("model", "max_tokens", "messages"), _COUNTED | _GENERATING)
    if type(body["max_tokens"]) is not int or body["max_tokens"] < 1:
        raise invalid("max_tokens: Input should be an integer greater than or equal to 1")
    if type(body.get("stream", False)) is not bool:
        raise invalid("stream: Input should be a valid boolean")
    _check_common(body, signer)


def check_count_request(body: Any, signer: ThinkingSigner) -> None:
    """Refuse what the API refuses to count: the same, without what only an answer needs.

    Raises:
        ApiError: 400 naming the parameter, or 404 for a model that is not there.
    """
    _check_names(body, ("model", "messages"), _COUNTED)
    _check_common(body, signer)


def _check_names(body: Any, required: Sequence[str], allowed: frozenset[str]) -> None:
    if not isinstance(body, dict):
        raise invalid("the request body is not a JSON object")
    for name in required:
        if name not in body:
            raise invalid(f"{name}: Field required")
    for name in sorted(set(body) - allowed):
        raise invalid(f"{name}: Extra inputs are not permitted")


def _check_common(body: Json, signer: ThinkingSigner) -> None:
    _check_parameters(body)
    _check_refused(body)
    _check_roles(body["messages"])
    contents = [content_blocks(message, f"messages.{index}") for index, message in enumerate(body["messages"])]
    for index, blocks in enumerate(contents):
        _check_content(blocks, f"messages.{index}.content", signer)
    _check_pairs(contents)
    if body["messages"][-1]["role"] == "assistant" and not _is_pause(contents[-1][-1]):
        raise invalid("messages: assistant prefill is not supported by this model; the last message must be `user`")


def _check_parameters(body: Json) -> None:
    if body["model"] not in SERVED:
        raise ApiError(404, "not_found_error", f"model: {body['model']}")
    if not isinstance(body["messages"], list) or not body["messages"]:
        raise invalid("messages: at least one message is required")
    control = body.get("cache_control")
    if control is not None and not (isinstance(control, dict) and control.get("type") == "ephemeral"):
        raise invalid("cache_control.type: Input should be 'ephemeral'")
    for index, tool in enumerate(body.get("tools", [])):
        if not isinstance(tool, dict) or not {"name", "input_schema"} <= set(tool):
            raise invalid(f"tools.{index}: `name` and `input_schema` are required")


def _check_refused(body: Json) -> None:
    """What current models no longer take."""
    for name in _SAMPLING:
        if name in body:
            raise invalid(f"`{name}` is not supported by this model")
    if body.get("thinking", {"type": "adaptive"}).get("type") != "adaptive":
        raise invalid("thinking.type: this model supports only `adaptive`; `budget_tokens` is not supported")
    if body.get("tool_choice", {}).get("type") in {"any", "tool"}:
        raise invalid("tool_choice: forcing tool use is not supported by this model")


def _check_roles(messages: Sequence[Any]) -> None:
    for index, message in enumerate(messages):
        expected = ("user", "assistant")[index % 2]
        if not isinstance(message, dict) or message.get("role") != expected:
            raise invalid(f"messages.{index}.role: roles must alternate, starting with `user`; expected `{expected}`")


def _check_content(blocks: list[Json], where: str, signer: ThinkingSigner) -> None:
    for index, block in enumerate(blocks):
        if block["type"] == "text" and not block.get("text"):
            raise invalid(f"{where}.{index}.text: text content blocks must be non-empty")
        if block["type"] == "thinking" and not signer.issued(block):
            raise invalid(
                f"{where}.{index}: `thinking` blocks cannot be modified; they must remain as they were returned"
            )
    # Every answer of this server that calls a tool begins with thinking: without it, it was taken out. Only a pause
    # that the answer resumed may stand before it.
    kinds = [block["type"] for block in blocks if not _is_pause(block)]
    if "tool_use" in kinds and kinds[0] != "thinking":
        raise invalid(f"{where}.0.type: expected `thinking`, but found `{kinds[0]}`")


def _is_pause(block: Json) -> bool:
    return block.get("type") == "text" and block.get("text") == PAUSE.text


def content_blocks(message: Json, where: str = "messages") -> list[Json]:
    """The content of a message as blocks, whichever form it came in.

    Raises:
        ApiError: 400 naming the message at `where`.
    """
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise invalid(f"{where}.content: must be non-empty")
    if not all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in content):
        raise invalid(f"{where}.content: every block needs a `type`")
    return content


def _check_pairs(contents: list[list[Json]]) -> None:
    """Every tool_use is answered in the next turn, before anything else, and nothing else is answered."""
    asked: list[str] = []
    for index, blocks in enumerate(contents):
        answered = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
        if strangers := [name for name in answered if name not in asked]:
            raise invalid(f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {strangers[0]}")
        if missing := [name for name in asked if answered.count(name) != 1]:
            raise invalid(
                f"messages.{index}: `tool_use` ids need exactly one `tool_result` block each, immediately after: "
                f"{', '.join(missing)}"
            )
        if any(block["type"] != "tool_result" for block in blocks[: len(answered)]):
            raise invalid(f"messages.{index}: `tool_result` blocks must come first in the turn")
        asked = [str(block.get("id")) for block in blocks if block["type"] == "tool_use"]
