from collections.abc import AsyncIterator

import pytest

from service.sandbox import Sandbox, SandboxConfig


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """With shorter times than in production, so that what must run into them does so soon."""
    running = Sandbox(SandboxConfig(wall_time_s=1.5, cpu_time_s=2))
    await running.start()
    yield running
    await running.stop()
