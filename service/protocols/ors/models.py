"""What ORS clients send, as both `ors-sdk` and `openreward` write it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["CreateSession", "ListTasks", "TaskAt", "TaskSpan", "ToolCall"]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CreateSession(_Body):
    """Which task a session is about."""

    env_name: str | None = None
    task_spec: dict[str, Any] | None = None
    split: str | None = None
    index: int | None = None
    secrets: dict[str, str] | None = None  # `ors-sdk` sends them; nothing here needs any
    toolset_name: str | None = None  # `openreward` sends it; there are none

    @model_validator(mode="after")
    def _one_task(self) -> "CreateSession":
        if (self.split is None) != (self.index is None):
            raise ValueError("split and index must both be provided together")
        if (self.task_spec is None) == (self.split is None):
            raise ValueError("Provide either task_spec or both split and index, not both/neither")
        return self


class ListTasks(_Body):
    """The body of ``/tasks`` and ``/num_tasks``."""

    split: str


class TaskAt(_Body):
    """The body of ``/task``."""

    split: str
    index: int


class TaskSpan(_Body):
    """The body of ``/task_range``."""

    split: str
    start: int | None = None
    stop: int | None = None


class ToolCall(_Body):
    """The body of ``/call``; with the id of a call it is to be heard again, not made again."""

    name: str
    input: dict[str, Any]
    task_id: str | None = None
