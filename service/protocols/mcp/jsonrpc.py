"""JSON-RPC 2.0 messages as the MCP face reads and writes them. Pure but for the response that carries them."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError
from starlette.responses import Response

__all__ = [
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "SERVER_ERROR",
    "Message",
    "RpcError",
    "answer",
    "failure",
    "read_message",
]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000  # the first of those that JSON-RPC leaves to implementations


class RpcError(Exception):
    """An error answer.

    Attributes:
        code: JSON-RPC's.
        message: for whoever asked.
        status: of HTTP; 200 unless a transport names another.
        data: what a program may want to know besides.
    """

    def __init__(self, code: int, message: str, *, status: int = 200, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data


class Message(BaseModel):
    """A request; a notification, where `id` was not sent; or a client's response, which has no method."""

    model_config = ConfigDict(frozen=True)

    jsonrpc: Literal["2.0"]
    id: StrictInt | StrictStr = 0
    method: StrictStr = ""
    params: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_request(self) -> bool:
        """Whether an answer is due."""
        return {"id", "method"} <= self.model_fields_set


def read_message(body: bytes) -> Message:
    """Reads a body.

    Raises:
        RpcError: it is no JSON, not one object (a batch, say), or no JSON-RPC message.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "The body is not valid JSON.", status=400) from None
    if not isinstance(value, dict):
        raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC message; batches are not taken.", status=400)
    try:
        message = Message.model_validate(value)
    except ValidationError:
        raise RpcError(INVALID_REQUEST, "The body is not a JSON-RPC 2.0 message.") from None
    if not message.method and not {"result", "error"} & value.keys():
        raise RpcError(INVALID_REQUEST, "The body is not a JSON-RPC 2.0 message: it has no method.")
    return message


def answer(message: Message, result: Mapping[str, Any], *, headers: Mapping[str, str] | None = None) -> Response:
    """A result as a response."""
    return _response({"jsonrpc": "2.0", "id": message.id, "result": result}, 200, headers)


def failure(message: Message | None, error: RpcError, *, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response; its id is null where there was none to be read."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    asked = message.id if message is not None and message.is_request else None
    return _response({"jsonrpc": "2.0", "id": asked, "error": body}, error.status, headers)


def _response(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None) -> Response:
    content = json.dumps(body, separators=(",", ":"))  # in ASCII: ids may hold what UTF-8 cannot
    return Response(content, status, headers=dict(headers or {}), media_type="application/json")
