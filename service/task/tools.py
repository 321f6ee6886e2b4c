"""The two tools, in the shapes that agent frameworks take."""

from enum import StrEnum
from typing import Any

__all__ = ["ToolFormat", "tool_schemas"]


class ToolFormat(StrEnum):
    """Whose shape the schemas have."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    MCP = "mcp"


_TOOLS = (
    (
        "python_expression",
        """Runs Python in a fresh sandboxed process, with `math` and `statistics` (also as `stats`) imported. \
Answers what was printed, the value of a last bare expression, and a short traceback on error. Nothing is kept \
between calls.""",
        "expression",
        "Python source: statements, and if you like a last bare expression whose value is answered.",
    ),
    (
        "submit_code",
        "Hands in the whole replacement source of `process_batch(events, state)`; ends the episode and has it graded.",
        "code",
        "Complete Python source that defines process_batch, without a Markdown fence.",
    ),
)


def tool_schemas(shape: ToolFormat) -> list[dict[str, Any]]:
    """The tools' names, descriptions and JSON Schemas, ready to hand to a framework."""
    return [_shaped(shape, name, text, _object(field, about)) for name, text, field, about in _TOOLS]


def _object(field: str, about: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field: {"type": "string", "description": about}},
        "required": [field],
        "additionalProperties": False,
    }


def _shaped(shape: ToolFormat, name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    if shape is ToolFormat.OPENAI:
        return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
    key = "inputSchema" if shape is ToolFormat.MCP else "input_schema"
    return {"name": name, "description": description, key: schema}
