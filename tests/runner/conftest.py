import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.client import GraderClient
from runner.retry import RetryPolicy
from tests.runner.fake_service import FakeService

ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio"


@pytest.fixture
def fake() -> Iterator[Any]:
    with FakeService().serving() as service:
        yield service


@pytest.fixture
async def service(fake: FakeService) -> AsyncIterator[Any]:
    async with GraderClient(fake.url, retry=RetryPolicy(attempts=4, first_delay_s=0.001, max_delay_s=0.05)) as client:
        yield client


@pytest.fixture
def clean_environment() -> Any:
    """For child processes: no keys, no proxies, and the checkout importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "GAUNTLET_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error"}
