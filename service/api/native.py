"""The three calls of the task: read it, try things out, hand in."""

from typing import Annotated

from fastapi import APIRouter, Header, Query

from service.access import Access
from service.api.models import ExecuteRequest, GradeRequest, Limits, PassBand, RubricEntry, SeedSpan, TaskResponse
from service.api.problems import documented
from service.gauntlet import Gauntlet
from service.schemas import ExecuteResponse, GradeResponse
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


def native_routes(settings: Settings, gauntlet: Gauntlet, access: Access) -> APIRouter:
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
        return await gauntlet.execute(request.expression, timeout_s=request.timeout_s)

    @router.post("/grade", responses=documented(400, 403, 413, 422, 500, 503))
    async def grade(request: GradeRequest, authorization: Annotated[str | None, Header()] = None) -> GradeResponse:
        """Grades a submission: five checks of 20 %, six rows, each with its reason.

        The suite `hardened` draws its inputs from `seed`; with `audit` the answer says whether the submission fits
        its inputs rather than the contract.

        A 200 says that it was graded, whatever it did: code that does not parse, dies or hangs scores what it
        earned, down to 0. A fault of the service is a 500 and gives no score at all.
        """
        access.check_seed(request.seed, authorization)
        return await gauntlet.grade(request.code, suite=request.suite, seed=request.seed, audit=request.audit)

    return router


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
