"""What the grading service answers: frozen records of what the runner reads of it."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003  pydantic reads it
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["Check", "Execution", "Frozen", "Grade", "Json", "PassBand", "TaskSpec"]

Json = dict[str, Any]


class Frozen(BaseModel):
    """A record that nobody changes; what it does not know is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PassBand(Frozen):
    """The pass rates the task aims at, as fractions, both ends included."""

    low: float
    high: float

    def holds(self, rate: float) -> bool:
        """Whether a pass rate lies in the band."""
        return self.low <= rate <= self.high


class TaskSpec(Frozen):
    """What the service hands to the agent; `tools` are in the shape the Messages API takes."""

    id: str
    version: str
    prompt: str
    tools: Sequence[Json]
    target_pass_band: PassBand


class Execution(Frozen):
    """What the sandbox answered to one expression; `duration_ms` is its own time, without any queue."""

    status: str
    stdout: str = ""
    stderr: str = ""
    result: Any = None
    error: str | None = None
    truncated: bool = False
    duration_ms: float = 0.0


class Check(Frozen):
    """One row of the rubric, in points of 100."""

    id: str
    title: str
    passed: bool
    points: float
    max_points: float
    detail: str | None = ""


class Grade(Frozen):
    """The service's verdict on a submission; `score` is a fraction, `points` are of 100."""

    passed: bool
    score: float
    points: float
    feedback: str
    checks: Sequence[Check] = ()
    suite: str
    seed: int | None = None
    grader_version: str | None = None
    code_sha256: str | None = None
    duration_ms: float = 0.0
