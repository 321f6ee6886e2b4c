"""Bodies of the native endpoints, with an example each: real requests and their real answers."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from service.grading import GUARDRAIL_WORDS
from service.sandbox import Status
from service.task import RUBRIC, SEEDS, Suite

__all__ = [
    "CheckRow",
    "ExecuteRequest",
    "ExecuteResponse",
    "GradeRequest",
    "GradeResponse",
    "IntegrityReport",
    "Problem",
    "ProblemField",
    "SeedSpan",
    "TaskResponse",
]


def _storable(source: str) -> str:
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError(
            "lone_surrogate",
            "Input holds a lone surrogate at position {position}, which no source file can hold",
            {"position": error.start},
        ) from None
    return source


def _whole(number: Any) -> Any:
    """JSON has one kind of number: 7.0 is the integer 7."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Source = Annotated[str, StringConstraints(strict=True), AfterValidator(_storable)]

_MAX_MEMBERS = 32
_EXAMPLE_CODE = (
    "def process_batch(events, state):\n"
    "    return {'clean': [], 'mean': 0.0, 'std': 0.0, 'alerts': [], 'telemetry': {}, 'state': state}\n"
)


def _documented(*examples: Any, **schema: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": list(examples), **schema})


class _Request(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, data: Any) -> Any:
        """Tells of one surplus member rather than of each of fifty thousand."""
        if isinstance(data, dict) and len(data) > _MAX_MEMBERS:
            raise PydanticCustomError("too_many", "Input has {count} members", {"count": len(data)})
        return data


class ExecuteRequest(_Request):
    """Python to run in a sandboxed process of its own."""

    model_config = _documented({"expression": "print('probing')\nstats.median([5.0, 8.0])", "timeout_s": 2.0})

    expression: Source = Field(description="Python source; the value of a last bare expression is answered")
    timeout_s: float | None = Field(
        None, gt=0, strict=True, allow_inf_nan=False, description="wall clock in seconds, up to the service's own limit"
    )


class ExecuteResponse(BaseModel):
    """What came of it. Whatever the code did, this is a 200: `status` tells."""

    model_config = _documented(
        {
            "status": "ok",
            "stdout": "probing\n",
            "stderr": "",
            "result": "6.5",
            "error": None,
            "truncated": False,
            "duration_ms": 4.2,
            "cpu_ms": 3.9,
            "max_rss_kb": 17304,
        }
    )

    status: Status = Field(description="how the code ended")
    stdout: str = Field(description="what it printed, cut at the limit")
    stderr: str = Field(description="the same of the error stream")
    result: str | None = Field(description="repr of a last bare expression's value")
    error: str | None = Field(description="a short traceback, or why the process was ended")
    truncated: bool = Field(description="whether any of the texts was cut")
    duration_ms: float = Field(description="wall clock from the delivery of the code to its answer")
    cpu_ms: float = Field(description="processor time of all its threads")
    max_rss_kb: int = Field(description="most resident memory it had, KiB")


class GradeRequest(_Request):
    """A submission: the whole replacement source."""

    model_config = _documented(
        {"code": _EXAMPLE_CODE, "suite": "classic"},
        {"code": _EXAMPLE_CODE, "suite": "hardened", "seed": 7, "audit": True},
        anyOf=[
            {"properties": {"suite": {"const": "hardened"}}, "required": ["suite"]},
            {"properties": {"seed": {"type": "null"}}},
        ],
    )

    code: Source = Field(description="Python source that defines process_batch(events, state)")
    suite: Suite = Field(Suite.CLASSIC, description="which inputs to grade on")
    seed: Annotated[int, Field(ge=0, le=SEEDS["test"].high, strict=True), BeforeValidator(_whole)] | None = Field(
        None,
        description="draws the inputs of the hardened suite; left out, the service draws it, and says which. The "
        "classic suite takes none: its inputs are the same for everyone",
    )
    audit: bool = Field(
        False,
        strict=True,
        description="grades on further seeds and once more on the same, and reports `integrity`; the score is the same",
    )

    @field_validator("seed")
    @classmethod
    def _no_seed_of_classic(cls, seed: int | None, info: ValidationInfo) -> int | None:
        if seed is not None and info.data.get("suite") is Suite.CLASSIC:
            raise PydanticCustomError("no_seed", "The classic suite takes no seed: leave it out")
        return seed


class IntegrityReport(BaseModel):
    """What an audit found; rows by their ids."""

    model_config = ConfigDict(frozen=True)

    overfit: bool = Field(description="rows hold on these inputs and are lost on most of the seeds")
    overfit_rows: list[str]
    nondeterministic: bool = Field(description="the same inputs gave other answers the second time")
    nondeterministic_rows: list[str]
    unstable_rows: list[str] = Field(description="rows that hold on some of the seeds only")
    seeds: list[int] = Field(description="of the hardened suite, derived from the code")
    scores: list[float] = Field(description="on each of them")


class CheckRow(BaseModel):
    """One of the six rows."""

    model_config = ConfigDict(frozen=True)

    id: Literal["tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails"]
    title: str
    passed: bool
    points: int = Field(ge=0, description="0, or max_points")
    max_points: int
    detail: str = Field(description="why, in one line that the author of the code can act on")


class GradeResponse(BaseModel):
    """The grade. Whatever the submission did, this is a 200; a fault of the service is a 500 without any score."""

    model_config = _documented(
        {
            "passed": False,
            "score": 0.2,
            "points": 20,
            "feedback": (
                "✗ Tier1 cascade unresolved; Tier2 balance broken; Output validity broken; Guardrail evidence missing"
            ),
            "checks": [
                {
                    "id": row.id,
                    "title": row.title,
                    "passed": reason == "holds",
                    "points": row.max_points if reason == "holds" else 0,
                    "max_points": row.max_points,
                    "detail": reason,
                }
                for row, reason in zip(
                    RUBRIC,
                    (
                        "clean has 0 rows, 2 valid readings were given",
                        "kept 0 of 6 rows of a constant segment, 5 are needed",
                        "kept 0 rows, at least 4 are needed: most of the core must remain",
                        "holds",
                        "clean is empty",
                        f"2 of {', '.join(GUARDRAIL_WORDS)} are needed in the source; found: telemetry",
                    ),
                    strict=True,
                )
            ],
            "suite": "classic",
            "seed": None,
            "integrity": None,
            "grader_version": "1.1.0",
            "code_sha256": "d35edec383df5607fca2a3052bb64cf222c3e7409f3f50f4249ad13fa2971557",
            "duration_ms": 21.7,
        }
    )

    passed: bool = Field(description="all five checks hold")
    score: float = Field(ge=0, le=1, description="share of the five checks that hold")
    points: int = Field(ge=0, le=100, description="sum of the rows' points; half a check counts here")
    feedback: str
    checks: list[CheckRow] = Field(description="the six rows, in the rubric's order")
    suite: Suite
    seed: int | None = Field(description="what the inputs were drawn from; null for classic")
    integrity: IntegrityReport | None = Field(description="of an audit; null where none was asked for")
    grader_version: str
    code_sha256: str = Field(description="SHA-256 of the code's UTF-8, hexadecimal")
    duration_ms: float


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

    model_config = _documented(
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
    errors: list[ProblemField] | None = Field(None, description="of a request that does not fit its schema")
