"""Tool calls out of a turn, and tool results back into one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.answers import Execution, Json

__all__ = [
    "RESULT_LIMIT",
    "ToolCall",
    "ToolInputError",
    "describe_execution",
    "text_argument",
    "tool_calls",
    "tool_result",
]

RESULT_LIMIT = 16_000
"""Characters of one output that the model is shown; more would buy it nothing and cost context in every later call."""


class ToolInputError(Exception):
    """The model's input does not fit the tool; the message is meant for the model."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One `tool_use` block."""

    id: str
    name: str
    input: object


def tool_calls(content: Sequence[Json]) -> list[ToolCall]:
    """The tool calls of a turn, in order."""
    return [ToolCall(block["id"], block["name"], block["input"]) for block in content if block["type"] == "tool_use"]


def text_argument(call: ToolCall, name: str) -> str:
    """The one argument both tools have.

    Raises:
        ToolInputError: It is missing, is no string, or has company.
    """
    if not isinstance(call.input, dict) or set(call.input) != {name} or not isinstance(call.input[name], str):
        raise ToolInputError(f"{call.name} takes exactly one argument, {name!r}, a string.")
    return str(call.input[name])


def tool_result(call: ToolCall, text: str, *, is_error: bool = False) -> Json:
    """Answer a call."""
    sendable = text.encode("utf-8", "backslashreplace").decode()  # a sandbox may print lone surrogates
    block: Json = {"type": "tool_result", "tool_use_id": call.id, "content": sendable}
    return {**block, "is_error": True} if is_error else block


def describe_execution(execution: Execution) -> str:
    """Write what the sandbox answered in a form the model can read; long output is cut and says so."""
    parts = [] if execution.status == "ok" else [f"status: {execution.status}"]
    parts += [
        f"{label}:\n{_cut(text)}"
        for label, text in (
            ("stdout", execution.stdout.rstrip("\n")),
            ("stderr", execution.stderr.rstrip("\n")),
            ("result", _as_text(execution.result)),
            ("error", execution.error or ""),
        )
        if text
    ]
    if execution.truncated:
        parts.append("(the output was longer than the sandbox keeps; the rest is lost)")
    return "\n".join(parts) or "(no output: print something or end with an expression)"


def _as_text(result: object) -> str:
    if result is None:
        return ""
    return result if isinstance(result, str) else json.dumps(result)


def _cut(text: str) -> str:
    if len(text) <= RESULT_LIMIT:
        return text
    return f"{text[:RESULT_LIMIT]}\n… ({len(text) - RESULT_LIMIT} more characters cut)"
