"""What is asked and answered about code, in whatever protocol, with an example each: real answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from service.errors import InputError
from service.grading import GUARDRAIL_WORDS
from service.sandbox import Status
from service.task import RUBRIC, SEEDS, Split, Suite

__all__ = [
    "EXECUTION",
    "CheckRow",
    "Count",
    "ExecuteResponse",
    "GradeResponse",
    "IntegrityReport",
    "Request",
    "Seed",
    "check_takes_seed",
    "documented_model",
    "first_error",
]

_MAX_MEMBERS = 32
EXECUTION = {
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


def documented_model(*examples: Any, **schema: Any) -> ConfigDict:
    """The configuration of a model that shows examples in the OpenAPI document."""
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": list(examples), **schema})


def first_error(error: ValidationError, whole: str) -> InputError:
    """The first thing that is wrong, in a form that can be answered whatever the members are called.

    Args:
        error: all that is wrong.
        whole: what to call the whole where no member is at fault.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"])).encode("utf-8", "backslashreplace").decode()
    return InputError(field[:200] or whole, first["msg"])


def _whole(number: Any) -> Any:
    """JSON has one kind of number: 7.0 is the integer 7."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Count = Annotated[int, Field(ge=1, strict=True), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=0, le=SEEDS[Split.TEST].high, strict=True), BeforeValidator(_whole)]


def check_takes_seed(suite: Suite | None, seed: int | None) -> None:
    """Refuses a seed for the suite that takes none."""
    if seed is not None and suite is Suite.CLASSIC:
        raise PydanticCustomError("no_seed", "The classic suite takes no seed: leave it out")


class Request(BaseModel):
    """A body that is refused for what it has too much of."""

    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, data: Any) -> Any:
        """Tells of one surplus member rather than of each of fifty thousand."""
        if isinstance(data, dict) and len(data) > _MAX_MEMBERS:
            raise PydanticCustomError("too_many", "Input has {count} members", {"count": len(data)})
        return data


class ExecuteResponse(BaseModel):
    """What came of it. Whatever the code did, this is a 200: `status` tells."""

    model_config = documented_model(EXECUTION)

    status: Status = Field(description="how the code ended")
    stdout: str = Field(description="what it printed, cut at the limit")
    stderr: str = Field(description="the same of the error stream")
    result: str | None = Field(description="repr of a last bare expression's value")
    error: str | None = Field(description="a short traceback, or why the process was ended")
    truncated: bool = Field(description="whether any of the texts was cut")
    duration_ms: float = Field(description="wall clock from the delivery of the code to its answer")
    cpu_ms: float = Field(description="processor time of all its threads")
    max_rss_kb: int = Field(description="most resident memory it had, KiB")


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

    model_config = documented_model(
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
