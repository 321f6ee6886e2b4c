"""The three calls of the task: read it, try things out, hand in."""

import hashlib
import secrets
import time
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError

from service.api.admission import Admission
from service.api.models import (
    CheckRow,
    ExecuteRequest,
    ExecuteResponse,
    GradeRequest,
    GradeResponse,
    IntegrityReport,
    Limits,
    PassBand,
    RubricEntry,
    SeedSpan,
    TaskResponse,
)
from service.api.problems import documented
from service.grading import GRADER_VERSION, Grader
from service.sandbox import Sandbox
from service.settings import Settings
from service.task import (
    ENTRY_POINT,
    RUBRIC,
    SEEDS,
    TARGET_PASS_BAND,
    TASK_ID,
    TASK_VERSION,
    TITLE,
    Suite,
    ToolFormat,
    prompt,
    tool_schemas,
)

__all__ = ["native_routes"]


def native_routes(settings: Settings, sandbox: Sandbox, grader: Grader, admission: Admission) -> APIRouter:
    """The router of ``/task``, ``/execute`` and ``/grade``."""
    router = APIRouter(tags=["task"])

    @router.get("/task", responses=documented(422))
    async def read_task(
        format: Annotated[ToolFormat, Query(description="shape of the tool schemas")] = ToolFormat.ANTHROPIC,  # noqa: A002
        suite: Annotated[Suite, Query(description="suite that the prompt is for")] = Suite.CLASSIC,
    ) -> TaskResponse:
        """Answers the prompt, the tools' schemas, the rubric and the limits: all a framework needs.

        Example: `GET /task?format=openai`.
        """
        return _task(settings, format, suite)

    @router.post("/execute", responses=documented(400, 413, 422, 500, 503))
    async def execute(request: ExecuteRequest) -> ExecuteResponse:
        r"""Runs Python in a fresh sandboxed process and answers what it printed and its last value.

        A 200 says that the sandbox ran the code; what became of it is `status`: `ok`, `error` (it raised),
        `syntax_error`, `timeout`, `memory_limit`, `output_limit` or `killed`.

        Example: `{"expression": "print('probing')\nstats.median([5.0, 8.0])"}` answers `"result": "6.5"`.
        """
        _check_size("expression", request.expression, settings)
        _check_timeout(request.timeout_s, settings)
        with admission.enter():
            execution = await sandbox.execute(request.expression, timeout_s=request.timeout_s)
        return ExecuteResponse.model_validate(execution, from_attributes=True)

    @router.post("/grade", responses=documented(400, 413, 422, 500, 503))
    async def grade(request: GradeRequest) -> GradeResponse:
        """Grades a submission: five checks of 20 %, six rows, each with its reason.

        The suite `hardened` draws its inputs from `seed`; with `audit` the answer says whether the submission fits
        its inputs rather than the contract.

        A 200 says that it was graded, whatever it did: code that does not parse, dies or hangs scores what it
        earned, down to 0. A fault of the service is a 500 and gives no score at all.
        """
        _check_size("code", request.code, settings)
        started = time.perf_counter()
        seed = _seed(request)
        integrity = None
        with admission.enter():
            if request.audit:
                result, integrity = await grader.audit(request.code, seed=seed)
            else:
                result = await grader.grade(request.code, seed=seed)
        return GradeResponse(
            passed=result.passed,
            score=result.score,
            points=result.points,
            feedback=result.feedback,
            checks=[CheckRow.model_validate(asdict(row)) for row in result.rows],
            suite=request.suite,
            seed=seed,
            integrity=IntegrityReport.model_validate(integrity, from_attributes=True) if integrity else None,
            grader_version=GRADER_VERSION,
            code_sha256=hashlib.sha256(request.code.encode()).hexdigest(),
            duration_ms=_milliseconds_since(started),
        )

    return router


def _seed(request: GradeRequest) -> int | None:
    """What to draw from: the seed that was asked for, or one for training that nobody can foresee."""
    if request.suite is Suite.CLASSIC or request.seed is not None:
        return request.seed
    return SEEDS["train"].at(secrets.randbits(64))


def _task(settings: Settings, shape: ToolFormat, suite: Suite) -> TaskResponse:
    low, high = TARGET_PASS_BAND
    return TaskResponse(
        id=TASK_ID,
        version=TASK_VERSION,
        title=TITLE,
        suite=suite,
        prompt=prompt(suite),
        tools=tool_schemas(shape),
        entry_point=ENTRY_POINT,
        rubric=[RubricEntry(id=row.id, title=row.title, check=row.check, max_points=row.max_points) for row in RUBRIC],
        suites=list(Suite),
        seeds={purpose: SeedSpan(low=span.low, high=span.high) for purpose, span in SEEDS.items()},
        limits=Limits(**settings.model_dump(include=set(Limits.model_fields))),
        target_pass_band=PassBand(low=low, high=high),
    )


def _check_size(field: str, source: str, settings: Settings) -> None:
    limit = settings.code_kib * 1024
    size = len(source.encode())
    if size > limit:
        raise _invalid(field, f"has {size} bytes, at most {limit} are taken")


def _check_timeout(timeout_s: float | None, settings: Settings) -> None:
    if timeout_s is not None and timeout_s > settings.max_wall_time_s:
        raise _invalid("timeout_s", f"Input should be less than or equal to {settings.max_wall_time_s:g}")


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
