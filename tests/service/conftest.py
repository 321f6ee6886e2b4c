from collections.abc import AsyncIterator

import httpx
import pytest

from tests.conftest import ServiceProcess


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        yield client
