from collections.abc import AsyncIterator

import pytest

from service.grading import Grader
from service.sandbox import Sandbox, SandboxConfig


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig(wall_time_s=5))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture(scope="module")
def grader(sandbox: Sandbox) -> Grader:
    """The real grader over the real sandbox."""
    return Grader(sandbox)
