"""What the Messages API checks of a request, as far as the runner could get it wrong."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.records import Json

__all__ = ["API_VERSION", "ApiError", "ThinkingSigner", "check_headers", "check_request"]

API_VERSION = "2026-10-21"

_MODELS = frozenset({"claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"})
_REQUIRED = ("model", "max_tokens", "messages")
_SAMPLING = ("temperature", "top_p", "top_k")
_OPTIONAL = ("tools", "tool_choice", "metadata", "cache_control", "system", "stop_sequences", "stream", "thinking")
_PARAMETERS = frozenset({*_REQUIRED, *_SAMPLING, *_OPTIONAL, "service_tier", "output_config"})


class ApiError(Exception):
    """A refusal in the API's own words."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


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
        raise _invalid("anthropic-version: header is required")
    if version != API_VERSION:
        raise _invalid(f"anthropic-version: {version!r} is not a valid version")


def check_request(body: Any, signer: ThinkingSigner) -> None:
    """Refuse what the API refuses.

    Raises:
        ApiError: 400 naming the parameter, or 404 for a model that is not there.
    """
    if not isinstance(body, dict):
        raise _invalid("the request body is not a JSON object")
    _check_parameters(body)
    _check_refused(body)
    _check_roles(body["messages"])
    for index, message in enumerate(body["messages"]):
        _check_content(message, f"messages.{index}", signer)
    _check_pairs(body["messages"])


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_request_error", message)


def _check_parameters(body: Json) -> None:
    for name in _REQUIRED:
        if name not in body:
            raise _invalid(f"{name}: Field required")
    for name in sorted(set(body) - _PARAMETERS):
        raise _invalid(f"{name}: Extra inputs are not permitted")
    if body["model"] not in _MODELS:
        raise ApiError(404, "not_found_error", f"model: {body['model']}")
    if type(body["max_tokens"]) is not int or body["max_tokens"] < 1:
        raise _invalid("max_tokens: Input should be an integer greater than or equal to 1")
    if not isinstance(body["messages"], list) or not body["messages"]:
        raise _invalid("messages: at least one message is required")
    for index, tool in enumerate(body.get("tools", [])):
        if not isinstance(tool, dict) or not {"name", "input_schema"} <= set(tool):
            raise _invalid(f"tools.{index}: `name` and `input_schema` are required")


def _check_refused(body: Json) -> None:
    """What current models no longer take."""
    for name in _SAMPLING:
        if name in body:
            raise _invalid(f"`{name}` is not supported by this model")
    if body.get("thinking", {"type": "adaptive"}).get("type") != "adaptive":
        raise _invalid("thinking.type: this model supports only `adaptive`; `budget_tokens` is not supported")
    if body.get("tool_choice", {}).get("type") in {"any", "tool"}:
        raise _invalid("tool_choice: forcing tool use is not supported by this model")
    if body.get("stream"):
        raise _invalid("stream: this server does not stream")


def _check_roles(messages: list[Any]) -> None:
    for index, message in enumerate(messages):
        expected = ("user", "assistant")[index % 2]
        if not isinstance(message, dict) or message.get("role") != expected:
            raise _invalid(f"messages.{index}.role: roles must alternate, starting with `user`; expected `{expected}`")
    if messages[-1]["role"] == "assistant":
        raise _invalid("messages: assistant prefill is not supported by this model; the last message must be `user`")


def _check_content(message: Json, where: str, signer: ThinkingSigner) -> None:
    for index, block in enumerate(_blocks(message, where)):
        kind, spot = block.get("type"), f"{where}.content.{index}"
        if kind == "text" and not block.get("text"):
            raise _invalid(f"{spot}.text: text content blocks must be non-empty")
        if kind == "thinking" and not signer.issued(block):
            raise _invalid(f"{spot}: `thinking` blocks cannot be modified; they must remain as they were returned")
    blocks = _blocks(message, where)
    # Every answer of this server that calls a tool begins with thinking: without it, it was taken out.
    if any(block["type"] == "tool_use" for block in blocks) and blocks[0]["type"] != "thinking":
        raise _invalid(f"{where}.content.0.type: expected `thinking`, but found `{blocks[0]['type']}`")


def _blocks(message: Json, where: str) -> list[Json]:
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise _invalid(f"{where}.content: must be non-empty")
    if not all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in content):
        raise _invalid(f"{where}.content: every block needs a `type`")
    return content


def _check_pairs(messages: list[Json]) -> None:
    """Every tool_use is answered in the next turn, before anything else, and nothing else is answered."""
    asked: list[str] = []
    for index, message in enumerate(messages):
        blocks = _blocks(message, f"messages.{index}")
        answered = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
        if strangers := [name for name in answered if name not in asked]:
            raise _invalid(f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {strangers[0]}")
        if missing := [name for name in asked if answered.count(name) != 1]:
            raise _invalid(
                f"messages.{index}: `tool_use` ids need exactly one `tool_result` block each, immediately after: "
                f"{', '.join(missing)}"
            )
        if any(block["type"] != "tool_result" for block in blocks[: len(answered)]):
            raise _invalid(f"messages.{index}: `tool_result` blocks must come first in the turn")
        asked = [str(block.get("id")) for block in blocks if block["type"] == "tool_use"]
