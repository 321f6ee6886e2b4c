"""What the grading service answers: frozen records of what the runner reads of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence  # noqa: TC003  pydantic reads them
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

__all__ = ["Check", "Execution", "Frozen", "Grade", "Json", "PassBand", "SeedSpan", "TaskSpec"]

Json = dict[str, Any]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A record that nobody changes; what it does not know is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PassBand(Frozen):
    """The pass rates the task aims at, as fractions, both ends included."""

    low: float
    high: float


class SeedSpan(Frozen):
    """Seeds that a suite can be drawn from, both ends included."""

    low: int
    high: int


class TaskSpec(Frozen):
    """What the service hands to the agent; `tools` are in the shape the Messages API takes."""

    id: str
    version: str
    prompt: str
    tools: Sequence[Json]
    target_pass_band: PassBand
    seeds: Mapping[str, SeedSpan] = Field(default_factory=dict)

    def is_test_seed(self, seed: int | None) -> bool:
        """Whether it is of the split that is kept for those who evaluate; None, of a suite without seeds, is not."""
        test = self.seeds.get("test")
        return seed is not None and test is not None and test.low <= seed <= test.high


class Execution(Frozen):
    """What the sandbox answered to one expression; `duration_ms` is its own time, without any queue."""

    status: str
    stdout: str = ""
    stderr: str = ""
    result: Any = None
    error: str | None = None
    truncated: bool = False
    duration_ms: _Amount = 0.0


class Check(Frozen):
    """One row of the rubric, in points of 100."""

    id: str
    title: str
    passed: StrictBool
    points: _Amount
    max_points: _Amount
    detail: str | None = ""


class Grade(Frozen):
    """The service's verdict on a submission; `score` is a fraction, `points` are of 100."""

    passed: StrictBool
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    points: _Amount
    feedback: str
    checks: Sequence[Check] = ()
    suite: str
    seed: int | None = None
    grader_version: str | None = None
    code_sha256: str | None = None
    duration_ms: _Amount = 0.0

    @model_validator(mode="after")
    def _passes_with_all_points(self) -> Self:
        if self.passed != (self.score == 1.0):
            raise ValueError("passed and score contradict each other")
        return self
