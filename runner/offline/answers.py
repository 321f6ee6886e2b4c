"""Messages as the API writes them, whole or as a stream of events, and what they cost in tokens."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.answers import Json
    from runner.offline.checks import ThinkingSigner
    from runner.offline.policies import Step

__all__ = ["build_message", "count_input", "new_id", "stream_events"]

_CHARACTERS_PER_TOKEN = 4
_FRAME_TOKENS = 4  # of a request around its contents; never cached
_PIECE = 160  # characters of one delta


def new_id(kind: str) -> str:
    """A fresh id as the API writes them; `kind` is its prefix."""
    return f"{kind}_01{secrets.token_hex(11)}"


def build_message(body: Json, step: Step, signer: ThinkingSigner) -> Json:
    """The answer to a request that has come to a step of the script."""
    content: list[Json] = [signer.block(step.thinking)] if step.thinking else []
    content += [{"type": "text", "text": step.text}] if step.text else []
    content += [
        {"type": "tool_use", "id": new_id("toolu"), "name": use.name, "input": use.input} for use in step.tool_uses
    ]
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": step.stop_reason,
        "stop_sequence": None,
        "stop_details": step.details,
        "usage": {**_input_usage(body), "output_tokens": _tokens(content), "service_tier": "standard"},
    }


def count_input(body: Json) -> int:
    """All tokens that go in with a request, cached or not."""
    usage = _input_usage(body)
    return int(usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"])


def _input_usage(body: Json) -> Json:
    """Token counts of the right order: with caching on, all but the last exchange was read before."""
    prefix, messages = [body.get("tools"), body.get("system")], body["messages"]
    last = max((index for index, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    before = _tokens([prefix, messages[:last]]) if last else 0
    new = _tokens(messages[last:] if last else [prefix, messages])
    control = body.get("cache_control")
    created = new if control else 0
    lasting = created if control and control.get("ttl") == "1h" else 0
    return {
        "input_tokens": _FRAME_TOKENS + (0 if control else before + new),
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": before if control else 0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": created - lasting,
            "ephemeral_1h_input_tokens": lasting,
        },
    }


def _tokens(value: Any) -> int:
    return _size(value) // _CHARACTERS_PER_TOKEN


def _size(value: Any) -> int:
    """Characters of all text in a JSON value; cheaper than writing it down, and a history is measured every time."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + _size(item) for key, item in value.items())
    return sum(map(_size, value)) if isinstance(value, list) else 1


def stream_events(message: Json) -> Iterator[Json]:
    """The same message as a stream tells it."""
    usage = message["usage"]
    opening: Json = {"content": [], "stop_reason": None, "stop_details": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": {**message, **opening}}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        start, deltas = _unfolded(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    yield {
        "type": "message_delta",
        "delta": {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")},
        "usage": {name: usage[name] for name in counts},
    }
    yield {"type": "message_stop"}


def _unfolded(block: Json) -> tuple[Json, list[Json]]:
    """A block as it begins, and the deltas that complete it."""
    match block["type"]:
        case "thinking":
            signature = {"type": "signature_delta", "signature": block["signature"]}
            deltas = _pieces(block["thinking"], "thinking_delta", "thinking")
            return {**block, "thinking": "", "signature": ""}, [*deltas, signature]
        case "text":
            return {**block, "text": ""}, _pieces(block["text"], "text_delta", "text")
        case _:
            # A first delta without content is what the API sends.
            deltas = _pieces(json.dumps(block["input"]), "input_json_delta", "partial_json")
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": ""}, *deltas]


def _pieces(text: str, kind: str, field: str) -> list[Json]:
    return [{"type": kind, field: text[start : start + _PIECE]} for start in range(0, len(text), _PIECE)]
