"""What the grader does when there is no sandbox to grade in: there is no grade, and the cause is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.errors import SandboxError
from service.grading import CodeProcess, Grader
from service.sandbox import Outcome, Sandbox, SandboxConfig
from tests.grading.corpus import submissions

pytestmark = pytest.mark.anyio

HONEST = next(each.source for each in submissions("honest") if each.id == "honest/median_mad")


class FailingExecutor:
    """A real sandbox that has no process to give once in a while."""

    def __init__(self, sandbox: Sandbox, *, fails_at: int) -> None:
        self._sandbox = sandbox
        self._fails_at = fails_at
        self._asked = 0

    @asynccontextmanager
    async def process(self) -> AsyncIterator[CodeProcess]:
        self._asked += 1
        if self._asked == self._fails_at:
            raise SandboxError("no process could be had")
        async with self._sandbox.process() as process:
            yield process


@pytest.mark.parametrize(("fails_at", "seed"), [(1, None), (3, None), (5, None), *((at, 1) for at in range(1, 8))])
async def test_a_fault_of_the_sandbox_is_no_grade(sandbox: Sandbox, fails_at: int, seed: int | None) -> None:
    grader = Grader(FailingExecutor(sandbox, fails_at=fails_at))

    with pytest.raises(SandboxError, match="no process could be had"):
        await grader.grade(HONEST, seed=seed)
    assert sandbox.in_use == 0

    assert (await grader.grade(HONEST, seed=seed)).score == 1.0


class DyingProcesses:
    """A real sandbox whose processes are killed from outside at their n-th call."""

    def __init__(self, sandbox: Sandbox, *, dies_at: int) -> None:
        self._sandbox = sandbox
        self._calls_left = dies_at

    @asynccontextmanager
    async def process(self) -> AsyncIterator[CodeProcess]:
        async with self._sandbox.process() as process:
            ask = process.ask

            async def counted(message: dict[str, Any], **options: Any) -> Outcome:
                self._calls_left -= message["op"] == "call"
                if message["op"] == "call" and self._calls_left == 0:
                    process.kill()
                return await ask(message, **options)

            process.ask = counted  # type: ignore[method-assign]
            yield process


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("dies_at", [1, 2, 5, 9, 14])
async def test_a_process_that_dies_with_the_code_costs_its_row_and_nothing_else(
    sandbox: Sandbox, seed: int | None, dies_at: int
) -> None:
    grade = await Grader(DyingProcesses(sandbox, dies_at=dies_at)).grade(HONEST, seed=seed)

    lost = {row.id: row.detail for row in grade.rows if not row.passed}
    assert set(lost) - {"guardrails"} <= {"tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity"}
    assert len(set(lost) - {"guardrails"}) == 1
    assert all("killed: it was ended by SIGKILL" in detail for row, detail in lost.items() if row != "guardrails")


async def test_a_sandbox_that_never_started_gives_no_grade() -> None:
    with pytest.raises(SandboxError, match="not running"):
        await Grader(Sandbox(SandboxConfig())).grade(HONEST)
