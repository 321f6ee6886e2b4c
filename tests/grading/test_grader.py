"""What the grader does when there is no sandbox to grade in: there is no grade, and the cause is said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.errors import SandboxError
from service.grading import CodeProcess, Grader
from service.sandbox import Sandbox, SandboxConfig

pytestmark = pytest.mark.anyio

HONEST = "def process_batch(events, state):\n    return {}\n"


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


@pytest.mark.parametrize("fails_at", [1, 3, 5])
async def test_a_fault_of_the_sandbox_is_no_grade(sandbox: Sandbox, fails_at: int) -> None:
    grader = Grader(FailingExecutor(sandbox, fails_at=fails_at))

    with pytest.raises(SandboxError, match="no process could be had"):
        await grader.grade(HONEST)
    assert sandbox.in_use == 0

    assert (await grader.grade(HONEST)).score == 0.0


async def test_a_sandbox_that_never_started_gives_no_grade() -> None:
    with pytest.raises(SandboxError, match="not running"):
        await Grader(Sandbox(SandboxConfig())).grade(HONEST)
