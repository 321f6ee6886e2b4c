import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ServiceProcess


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        yield client


@pytest.fixture
def stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where what services write to stderr goes."""
    file = tmp_path / "stderr"
    real = subprocess.Popen
    with file.open("wb") as written:
        monkeypatch.setattr(subprocess, "Popen", lambda *args, **named: real(*args, **{"stderr": written, **named}))
        yield file
