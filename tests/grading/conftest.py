from collections.abc import AsyncIterator

import pytest

from service.grading import Grader
from service.sandbox import Sandbox, SandboxConfig


@pytest.fixture(scope="session")
async def grader() -> AsyncIterator[Grader]:
    """The real grader over the real sandbox."""
    sandbox = Sandbox(SandboxConfig(wall_time_s=5))
    await sandbox.start()
    yield Grader(sandbox)
    await sandbox.stop()
