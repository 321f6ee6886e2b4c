"""The two things that cost: running an expression and grading a submission, behind one door."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict

from service.admission import Admission
from service.errors import InputError
from service.grading import GRADER_VERSION, CaseTrace, Grader, Row, Tracer
from service.metrics import Metrics
from service.sandbox import Sandbox
from service.schemas import CheckRow, ExecuteResponse, GradeResponse, IntegrityReport
from service.settings import Settings
from service.spans import span
from service.task import SEEDS, Split, Suite

__all__ = ["Gauntlet"]


class Gauntlet:
    """Runs and grades for every protocol alike.

    Both calls answer whatever the code did. They raise `InputError` for what cannot be given to a sandbox,
    `OverloadedError` where there is no capacity, and `SandboxError` where the service itself has failed.
    """

    def __init__(self, settings: Settings, sandbox: Sandbox, admission: Admission, metrics: Metrics) -> None:
        self._code_bytes = settings.code_kib * 1024
        self._max_wall_time_s = settings.max_wall_time_s
        self._sandbox = sandbox
        self._grader = Grader(sandbox)
        self._tracer = Tracer(sandbox)
        self._admission = admission
        self._metrics = metrics

    async def execute(self, expression: str, *, timeout_s: float | None = None) -> ExecuteResponse:
        """Runs Python in a fresh process.

        Args:
            expression: its source.
            timeout_s: wall clock; the service's own where it is None.
        """
        self.check_source("expression", expression)
        if timeout_s is not None and timeout_s > self._max_wall_time_s:
            raise InputError("timeout_s", f"Input should be less than or equal to {self._max_wall_time_s:g}")
        started = time.perf_counter()
        with self._admission.enter(), self._metrics.faults(), span("gauntlet.execute") as spent:
            execution = await self._sandbox.execute(expression, timeout_s=timeout_s)
            spent.set("gauntlet.status", execution.status)
        self._metrics.executed(execution.status, time.perf_counter() - started)
        return ExecuteResponse.model_validate(execution, from_attributes=True)

    async def grade(
        self,
        code: str,
        *,
        suite: Suite,
        seed: int | None,
        audit: bool = False,
        heard: Callable[[CheckRow], None] | None = None,
    ) -> GradeResponse:
        """Grades a submission.

        Args:
            code: its whole source.
            suite: which inputs.
            seed: what to draw them from; None for the classic suite, or to have one for training drawn.
            audit: whether to look if the grade says what it seems to.
            heard: is given rows as they are judged, where there is no audit; the grade has the last word.
        """
        self.check_source("code", code)
        started = time.perf_counter()
        integrity = None
        if suite is Suite.HARDENED and seed is None:
            seed = SEEDS[Split.TRAIN].at(secrets.randbits(64))
        asked: dict[str, str | bool] = {"gauntlet.suite": suite, "gauntlet.audit": audit}
        with self._admission.enter(), self._metrics.faults(), span("gauntlet.grade", asked) as spent:
            if audit:
                result, integrity = await self._grader.audit(code, seed=seed)
            else:
                result = await self._grader.grade(code, seed=seed, heard=_as_check_rows(heard))
            spent.set("gauntlet.passed", result.passed)
        seconds = time.perf_counter() - started
        self._metrics.graded(suite, {row.id: row.passed for row in result.rows}, seconds, passed=result.passed)
        return GradeResponse(
            passed=result.passed,
            score=result.score,
            points=result.points,
            feedback=result.feedback,
            checks=[_check_row(row) for row in result.rows],
            suite=suite,
            seed=seed,
            integrity=IntegrityReport.model_validate(integrity, from_attributes=True) if integrity else None,
            grader_version=GRADER_VERSION,
            code_sha256=hashlib.sha256(code.encode()).hexdigest(),
            duration_ms=round(seconds * 1000, 3),
        )

    async def trace(self, code: str) -> tuple[CaseTrace, ...]:
        """Shows what becomes of the readings of the classic suite.

        Args:
            code: the whole source of a submission.
        """
        self.check_source("code", code)
        with self._admission.enter(), self._metrics.faults(), span("gauntlet.trace"):
            return await self._tracer.trace(code)

    def check_source(self, field: str, source: str) -> None:
        """Lets a source pass that can be given to a sandbox.

        Args:
            field: what to call it.
            source: it.

        Raises:
            InputError: it is too large, or no text that a file could hold.
        """
        try:
            size = len(source.encode())
        except UnicodeEncodeError as error:
            reason = f"Input holds a lone surrogate at position {error.start}, which no source file can hold"
            raise InputError(field, reason) from None
        if size > self._code_bytes:
            raise InputError(field, f"has {size} bytes, at most {self._code_bytes} are taken")


def _check_row(row: Row) -> CheckRow:
    return CheckRow.model_validate(asdict(row))


def _as_check_rows(heard: Callable[[CheckRow], None] | None) -> Callable[[Row], None] | None:
    return None if heard is None else lambda row: heard(_check_row(row))
