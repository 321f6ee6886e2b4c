"""Whether the service is up, takes work, and what protects it."""

import os
from typing import Protocol

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from service.admission import Admission
from service.api.health_models import Capacity, HealthResponse, ReadyResponse, SandboxHealth
from service.api.problems import documented, problem
from service.episodes import Episodes
from service.grading import GRADER_VERSION
from service.sandbox import Report, Sandbox

__all__ = ["Condition", "health_routes"]


class Condition(Protocol):
    """How the service's start went.

    Attributes:
        report: the sandbox's, None while there is none.
        fault: why the service cannot work, None when it can.
    """

    report: Report | None
    fault: str | None


def health_routes(
    version: str, condition: Condition, sandbox: Sandbox, admission: Admission, episodes: Episodes
) -> APIRouter:
    """The router of ``/health`` and ``/ready``."""
    router = APIRouter(tags=["operation"])

    @router.get("/health")
    async def health() -> HealthResponse:
        """Answers the version, the sandbox layers in force and the capacity in use."""
        return HealthResponse(
            status="healthy" if condition.fault is None else "unhealthy",
            version=version,
            grader_version=GRADER_VERSION,
            sandbox=_sandbox_health(condition.report),
            capacity=Capacity(
                concurrency=sandbox.config.concurrency,
                processes=sandbox.in_use,
                waiting=sandbox.waiting,
                queue=admission.limit,
                requests=admission.requests,
                episodes=await episodes.running_if_known(),
                episode_limit=episodes.limit,
            ),
        )

    @router.get("/ready", response_model=ReadyResponse, responses=documented(503))
    async def ready() -> Response:
        """Answers 200 while the service takes work, else 503: starting, draining, or its sandbox did not hold."""
        if condition.report is None or condition.fault is not None or admission.draining:
            return problem(503, "The service takes no work now.", headers={"Retry-After": "1"})
        return JSONResponse(ReadyResponse(status="ready").model_dump())

    return router


def _sandbox_health(report: Report | None) -> SandboxHealth:
    layers = list(report.layers) if report else []
    return SandboxHealth(
        layers=layers,
        missing=list(report.missing) if report else [],
        landlock_abi=report.landlock_abi if report else 0,
        seccomp="seccomp" in layers,
        rlimits="rlimits" in layers,
        namespaces=False,
        kernel=os.uname().release,
    )
