"""Bodies of the native endpoints, with an example each: real requests and their real answers."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from service.schemas import Request, Seed, check_takes_seed, documented_model
from service.task import Suite

__all__ = [
    "ExecuteRequest",
    "GradeRequest",
    "Limits",
    "PassBand",
    "Problem",
    "ProblemField",
    "RubricEntry",
    "SeedSpan",
    "SubmissionRequest",
    "TaskResponse",
]

Source = Annotated[str, StringConstraints(strict=True)]
_EXAMPLE_CODE = (
    "def process_batch(events, state):\n"
    "    return {'clean': [], 'mean': 0.0, 'std': 0.0, 'alerts': [], 'telemetry': {}, 'state': state}\n"
)
_SEED_OF_HARDENED = [
    {"properties": {"suite": {"const": "hardened"}}, "required": ["suite"]},
    {"properties": {"seed": {"type": "null"}}},
]


class ExecuteRequest(Request):
    """Python to run in a sandboxed process of its own."""

    model_config = documented_model({"expression": "print('probing')\nstats.median([5.0, 8.0])", "timeout_s": 2.0})

    expression: Source = Field(description="Python source; the value of a last bare expression is answered")
    timeout_s: float | None = Field(
        None, gt=0, strict=True, allow_inf_nan=False, description="wall clock in seconds, up to the service's own limit"
    )


class SubmissionRequest(Request):
    """A submission: the whole replacement source, and what to grade it on."""

    model_config = documented_model(
        {"code": _EXAMPLE_CODE, "suite": "classic"},
        {"code": _EXAMPLE_CODE, "suite": "hardened", "seed": 7},
        anyOf=_SEED_OF_HARDENED,
    )

    code: Source = Field(description="Python source that defines process_batch(events, state)")
    suite: Suite = Field(Suite.CLASSIC, description="which inputs to grade on")
    seed: Seed | None = Field(
        None,
        description="draws the inputs of the hardened suite; left out, the service draws it, and says which. The "
        "classic suite takes none: its inputs are the same for everyone",
    )

    @field_validator("seed")
    @classmethod
    def _no_seed_of_classic(cls, seed: int | None, info: ValidationInfo) -> int | None:
        check_takes_seed(info.data.get("suite"), seed)
        return seed


class GradeRequest(SubmissionRequest):
    """A submission, and whether to look twice."""

    model_config = documented_model(
        {"code": _EXAMPLE_CODE, "suite": "classic"},
        {"code": _EXAMPLE_CODE, "suite": "hardened", "seed": 7, "audit": True},
        anyOf=_SEED_OF_HARDENED,
    )

    audit: bool = Field(
        False,
        strict=True,
        description="grades on further seeds and once more on the same, and reports `integrity`; the score is the same",
    )


class RubricEntry(BaseModel):
    """One row of the rubric."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    check: str = Field(description="the 20 % check that the row belongs to")
    max_points: int


class PassBand(BaseModel):
    """Pass rates between which the task separates models."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float


class Limits(BaseModel):
    """What submitted code may use."""

    model_config = ConfigDict(frozen=True)

    wall_time_s: float
    max_wall_time_s: float
    cpu_time_s: int
    memory_mib: int
    stdout_kib: int
    answer_kib: int
    code_kib: int
    open_files: int


class SeedSpan(BaseModel):
    """Seeds, both ends inclusive."""

    model_config = ConfigDict(frozen=True)

    low: int
    high: int


class TaskResponse(BaseModel):
    """Everything an agent framework needs to put the task before a model."""

    model_config = documented_model(
        {
            "id": "resilience-gauntlet",
            "version": "1.0.0",
            "title": "Resilience Gauntlet: harden a streaming-sensor pipeline",
            "suite": "classic",
            "prompt": "You maintain a preprocessing pipeline for streaming sensor readings. …",
            "tools": [{"name": "submit_code", "description": "…", "input_schema": {"type": "object"}}],
            "entry_point": "process_batch",
            "rubric": [{"id": "tier1", "title": "Tier 1: data integrity", "check": "tier1", "max_points": 20}],
            "suites": ["classic", "hardened"],
            "seeds": {
                "train": {"low": 0, "high": 999999999},
                "validation": {"low": 1000000000, "high": 1499999999},
                "test": {"low": 1500000000, "high": 1999999999},
            },
            "limits": {
                "wall_time_s": 5.0,
                "max_wall_time_s": 30.0,
                "cpu_time_s": 5,
                "memory_mib": 256,
                "stdout_kib": 64,
                "answer_kib": 1024,
                "code_kib": 256,
                "open_files": 64,
            },
            "target_pass_band": {"low": 0.1, "high": 0.4},
        }
    )

    id: str
    version: str
    title: str
    suite: Suite = Field(description="the suite that the prompt is for")
    prompt: str
    tools: list[dict[str, Any]] = Field(description="tool schemas, in the shape that `format` asked for")
    entry_point: str
    rubric: list[RubricEntry]
    suites: list[Suite]
    seeds: dict[str, SeedSpan] = Field(description="of the hardened suite, disjoint, by what they are for")
    limits: Limits
    target_pass_band: PassBand


class ProblemField(BaseModel):
    """One thing wrong with a request."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="the member, parameter or header; dots lead into nested ones")
    message: str


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "expression: Field required",
                    "errors": [{"field": "expression", "message": "Field required"}],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    code: str | None = Field(None, description="the refusal's name, where it has one, such as `episode_finished`")
    errors: list[ProblemField] | None = Field(None, description="of a request that does not fit its schema")
