"""What OpenEnv 0.10 puts on the wire, by the names that its schemas have."""

import json
import reprlib
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from service.episodes import EpisodeRequest
from service.errors import GauntletError, InputError
from service.schemas import Request, first_error

__all__ = [
    "CallToolAction",
    "CallToolObservation",
    "ErrorCode",
    "FrameError",
    "ListToolsAction",
    "ListToolsObservation",
    "Outcome",
    "ResetObservation",
    "ResetRequest",
    "State",
    "StepRequest",
    "ToolError",
    "ToolErrorType",
    "error_frame",
    "read_action",
    "read_frame",
]

_Message = TypeVar("_Message", bound=BaseModel)


class ErrorCode(StrEnum):
    """Of an `error` frame; upstream's `WSErrorCode`."""

    INVALID_JSON = "INVALID_JSON"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    EXECUTION_ERROR = "EXECUTION_ERROR"
    CAPACITY_REACHED = "CAPACITY_REACHED"
    SESSION_ERROR = "SESSION_ERROR"


class FrameError(GauntletError):
    """A frame that is no message of the protocol.

    Attributes:
        answer: the code to answer it with.
    """

    code = "invalid"

    def __init__(self, answer: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.answer = answer


def _written(text: Any) -> Any:
    """A text as UTF-8 can hold it: a model may have put lone surrogates there."""
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text


class _Action(Request):
    model_config = ConfigDict(extra="forbid", frozen=True)

    metadata: dict[str, Any] = Field(default_factory=dict, description="Not read")


class CallToolAction(_Action):
    """Calls a tool: python_expression with its expression, or submit_code with the code, which ends the episode."""

    type: Literal["call_tool"] = "call_tool"
    tool_name: Annotated[str, BeforeValidator(_written)] = Field(
        max_length=1 << 20, description="python_expression or submit_code"
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="The tool's arguments, by name")


class ListToolsAction(_Action):
    """Asks for the tools; takes no step, and can be asked before a reset."""

    type: Literal["list_tools"]


def read_action(data: dict[str, Any]) -> CallToolAction | ListToolsAction:
    """Reads an action; as upstream does, one without a type calls a tool.

    Raises:
        InputError: it is none.
    """
    return _read(ListToolsAction, data) if data.get("type") == "list_tools" else _read(CallToolAction, data)


class ResetRequest(EpisodeRequest):
    """What `reset` takes: what every new episode takes, and a name for it."""

    episode_id: str | None = Field(None, max_length=255, description="a name of your own, which is echoed")


class StepRequest(Request):
    """What `POST /step` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: dict[str, Any]
    timeout_s: float | None = Field(None, gt=0, description="not read: the sandbox has its own limit")
    request_id: str | None = Field(None, max_length=255, description="not read")


class _Observation(BaseModel):
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="The episode's, once it has ended; empty before, since a model reads it"
    )


class ResetObservation(_Observation):
    """What an episode begins with."""

    prompt: str


class ToolErrorType(StrEnum):
    """What a call failed of; upstream's names."""

    TOOL_NOT_FOUND = "tool_not_found"
    INVALID_ARGS = "invalid_args"
    TIMEOUT = "timeout"
    EXECUTION_ERROR = "execution_error"


class ToolError(BaseModel):
    """Why there is no result."""

    error_type: ToolErrorType
    message: str


class CallToolObservation(_Observation):
    """What came of a call. That the code raised is a result, not an error."""

    tool_name: str
    result: str | None = Field(description="What the tool answered, to show the model")
    error: ToolError | None


class ListToolsObservation(_Observation):
    """The tools."""

    tools: list[dict[str, Any]]


class Outcome(BaseModel):
    """What `reset` and `step` answer."""

    observation: ResetObservation | CallToolObservation | ListToolsObservation
    reward: float | None = None
    done: bool = False
    metadata: dict[str, Any] = Field(default_factory=dict)


class State(BaseModel):
    """What `state` answers: where the episode is."""

    model_config = ConfigDict(extra="allow")

    episode_id: str | None = None
    step_count: int = Field(0, ge=0)


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["reset", "step", "state", "close"]
    data: dict[str, Any] = Field(default_factory=dict)


def read_frame(text: str | None) -> tuple[str, dict[str, Any]]:
    """Reads a frame's type and data.

    Args:
        text: None for one that is binary.

    Raises:
        FrameError: it is no message of the protocol.
        InputError: it does not fit its type.
    """
    try:
        message = json.loads(text or "")  # as upstream: lone surrogates are a model's, and no reason to end its rollout
    except ValueError as error:
        raise FrameError(ErrorCode.INVALID_JSON, f"Invalid JSON: {error}") from None
    except RecursionError:
        raise FrameError(ErrorCode.INVALID_JSON, "Invalid JSON: recursion limit exceeded") from None
    if not isinstance(message, dict):
        raise FrameError(ErrorCode.INVALID_JSON, "Invalid JSON: a message is an object")
    if message.get("type") not in _TYPES:
        kind = message.get("type", "")
        shown = kind if isinstance(kind, str) else reprlib.repr(kind)
        raise FrameError(ErrorCode.UNKNOWN_TYPE, f"Unknown message type: {shown[:64]}")
    if message["type"] == "step" and "data" not in message:
        raise InputError("data", "Field required")
    frame = _read(_Frame, message)
    return frame.type, frame.data


def error_frame(code: ErrorCode, message: str, **details: Any) -> dict[str, Any]:
    """The frame that says why there is no answer."""
    return {"type": "error", "data": {"message": _written(message), "code": code.value, **details}}


_TYPES = ("reset", "step", "state", "close")


def _read(model: type[_Message], data: dict[str, Any]) -> _Message:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise first_error(error, "message") from None
