"""What the web page calls beyond the task's own endpoints; programs may as well."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi import Request as HttpRequest
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from service.access import Access
from service.api.models import Problem, Source, SubmissionRequest
from service.api.problems import documented, refusal
from service.errors import GauntletError
from service.gauntlet import Gauntlet
from service.grading import CaseTrace
from service.schemas import CheckRow, GradeResponse, Request, documented_model
from service.task import BUFFER_LIMIT

__all__ = ["playground_routes"]

_CLIENT_GONE = 499  # as nginx has it: for the metrics, since nobody reads the answer


class TraceRequest(Request):
    """A submission: the whole replacement source."""

    model_config = documented_model({"code": "def process_batch(events, state):\n    return {'clean': events}\n"})

    code: Source = Field(description="Python source that defines process_batch(events, state)")


class TraceResponse(BaseModel):
    """What became of every reading."""

    model_config = documented_model(
        {
            "buffer_limit": 240,
            "cases": [
                {
                    "id": "heavy_tail",
                    "row": "tier2_heavy_tail",
                    "broken": "a spike of 1000 remains in clean",
                    "spread_broken": None,
                    "events": [
                        {
                            "ts": 100,
                            "tag": "spike",
                            "given": "1000.0",
                            "value": 1000.0,
                            "is_text": False,
                            "fate": "kept",
                            "became": 1000.0,
                            "position": 6,
                        }
                    ],
                    "strangers": 0,
                    "calls": [
                        {
                            "error": None,
                            "rows": 10,
                            "mean": 208.05,
                            "std": 395.98,
                            "seen": 10,
                            "buffer": 10,
                            "given_buffer": 10,
                            "telemetry": False,
                        }
                    ],
                }
            ],
        }
    )

    buffer_limit: int = Field(description="rows that a buffer may hold after every call")
    cases: tuple[CaseTrace, ...] = Field(description="of the classic suite; a row may be lost for the source, too")


class GradeLine(BaseModel):
    """One line of a streamed grade; it has one of these."""

    model_config = documented_model(
        {
            "row": {
                "id": "tier3",
                "title": "Tier 3: resilience",
                "passed": False,
                "points": 0,
                "max_points": 20,
                "detail": "call 1 of 12: telemetry is missing",
            }
        }
    )

    row: CheckRow | None = None
    grade: GradeResponse | None = None
    problem: Problem | None = None


class JsonLines(StreamingResponse):
    """One JSON object in every line."""

    media_type = "application/jsonl"


def playground_routes(gauntlet: Gauntlet, access: Access) -> APIRouter:
    """The router of ``/grade/rows`` and ``/trace``."""
    router = APIRouter(tags=["page"])

    @router.post(
        "/grade/rows",
        response_class=JsonLines,
        responses={200: {"model": GradeLine}, **documented(400, 403, 413, 422, 500, 503)},
    )
    async def grade_rows(
        request: SubmissionRequest, caller: HttpRequest, authorization: Annotated[str | None, Header()] = None
    ) -> Response:
        """Grades like `POST /grade`, and answers each row as it is judged: one JSON object in every line.

        First come lines `{"row": …}`, in the order in which cases end, then one line `{"grade": …}` with the answer of
        `POST /grade`, which has the last word: code that one of its processes cannot load loses every row. A fault of
        the service after the first row is the line `{"problem": …}` instead, and there is no grade.
        """
        access.check_seed(request.seed, authorization)
        lines = _lines(gauntlet, request)
        first = await _first(lines, caller)  # so that a refusal has its own status
        return JsonLines(_after(first, lines)) if first is not None else Response(status_code=_CLIENT_GONE)

    @router.post("/trace", responses=documented(400, 413, 422, 500, 503))
    async def trace(request: TraceRequest) -> TraceResponse:
        """Runs a submission on the public cases, and answers what became of each reading and of the buffer.

        All calls of a case are made, whatever its row has come to. There is no such thing for the hardened suite.
        """
        return TraceResponse(buffer_limit=BUFFER_LIMIT, cases=await gauntlet.trace(request.code))

    return router


async def _lines(gauntlet: Gauntlet, request: SubmissionRequest) -> AsyncIterator[str]:
    """The lines of a grade; who stops reading them ends it."""
    rows: asyncio.Queue[CheckRow | None] = asyncio.Queue()
    grading = asyncio.create_task(
        gauntlet.grade(request.code, suite=request.suite, seed=request.seed, heard=rows.put_nowait)
    )
    grading.add_done_callback(_unasked)
    grading.add_done_callback(lambda _: rows.put_nowait(None))
    has_begun = False
    try:
        while (row := await rows.get()) is not None:
            yield _line(GradeLine(row=row))
            has_begun = True
        try:
            yield _line(GradeLine(grade=grading.result()))
        except GauntletError as error:
            if not has_begun:
                raise
            yield _line(GradeLine(problem=Problem.model_validate_json(bytes(refusal(error).body))))
    finally:
        grading.cancel()


def _unasked(task: asyncio.Task[GradeResponse]) -> None:
    """Looks at how a task has ended, so that nothing complains where nobody asks any more."""
    if not task.cancelled():
        task.exception()


async def _first(lines: AsyncIterator[str], caller: HttpRequest) -> str | None:
    """The first line; None where the caller has gone before there is one, which ends the grade."""
    line = asyncio.ensure_future(anext(lines))
    gone = asyncio.ensure_future(_gone(caller))
    try:
        await asyncio.wait((line, gone), return_when=asyncio.FIRST_COMPLETED)
        return line.result() if line.done() else None
    finally:
        line.cancel()
        gone.cancel()
        await asyncio.wait((line, gone))


async def _gone(caller: HttpRequest) -> None:
    while (await caller.receive())["type"] != "http.disconnect":
        pass


async def _after(first: str, lines: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for line in lines:
        yield line


def _line(line: GradeLine) -> str:
    return line.model_dump_json(exclude_unset=True) + "\n"
