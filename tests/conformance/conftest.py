import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conformance.clients import EXAMPLES, PLACES, ROOT, TOKEN, path_without_index
from tests.conftest import ServiceProcess, running_service

ROW_POINTS = {"tier1": 20, "tier2_flat": 10, "tier2_heavy_tail": 10, "tier3": 20, "validity": 20, "guardrails": 20}


@pytest.fixture(scope="session")
def oracle() -> Path:
    """A submission to which every row is due."""
    return EXAMPLES / "solution.py"


@pytest.fixture(scope="session")
def correct(oracle: Path) -> str:
    return oracle.read_text()


@pytest.fixture(scope="session")
def partial(oracle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a buffer that grows without end: four checks of five hold."""
    bound = "MAX_BUFFER = 240"
    source = oracle.read_text()
    assert bound in source
    path = tmp_path_factory.mktemp("submissions") / "partial.py"
    path.write_text(source.replace(bound, "MAX_BUFFER = 10**6"))
    return path


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place on the import path where the wheel of this project is installed."""
    place = tmp_path_factory.mktemp("wheel") / "site-packages"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place.parent)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = place.parent.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(place)
    return place


@pytest.fixture(params=["oracle", "partial"])
def graded(request: pytest.FixtureRequest) -> tuple[Path, dict[str, object]]:
    """A submission, and what every client must report of its episode on any seed of the hardened suite."""
    path: Path = request.getfixturevalue(request.param)
    if request.param == "oracle":
        return path, {"reward": 1.0, "rows": ROW_POINTS}
    return path, {"reward": 0.8, "rows": {**ROW_POINTS, "tier3": 0}}


@pytest.fixture
def offline_path(tmp_path: Path) -> str:
    """A search path on which verifiers' programs find what they need without asking a package index."""
    return path_without_index(tmp_path)


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def small() -> Iterator[ServiceProcess]:
    """A service with few places, which soon forgets, and keeps the test split for those who evaluate."""
    settings = {"GAUNTLET_EPISODES": str(PLACES), "GAUNTLET_EPISODE_IDLE_S": "2", "GAUNTLET_EVALUATION_TOKEN": TOKEN}
    with running_service(**settings) as process:
        yield process


@pytest.fixture
async def scarce(small: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=small.url, timeout=60) as client:
        yield client


@pytest.fixture
async def crowded() -> AsyncIterator[httpx.AsyncClient]:
    """With as few places, and nobody else in them."""
    with running_service(GAUNTLET_EPISODES=str(PLACES)) as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            yield client
