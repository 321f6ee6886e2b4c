from pathlib import Path

import pytest

from tests.conformance.clients import EXAMPLES, path_without_index

ROW_POINTS = {"tier1": 20, "tier2_flat": 10, "tier2_heavy_tail": 10, "tier3": 20, "validity": 20, "guardrails": 20}


@pytest.fixture(scope="session")
def oracle() -> Path:
    """A submission to which every row is due."""
    return EXAMPLES / "solution.py"


@pytest.fixture(scope="session")
def partial(oracle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a buffer that grows without end: four checks of five hold."""
    bound = "MAX_BUFFER = 240"
    source = oracle.read_text()
    assert bound in source
    path = tmp_path_factory.mktemp("submissions") / "partial.py"
    path.write_text(source.replace(bound, "MAX_BUFFER = 10**6"))
    return path


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
