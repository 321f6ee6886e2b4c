"""What of the Harbor task needs no container: its texts, and the verifier's program."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.task import Suite, fragile_pipeline, prompt
from tests.conformance.clients import EXAMPLES
from tests.conformance.conftest import ROW_POINTS
from tests.conformance.faulty_service import faulty_service
from tests.conftest import ServiceProcess

TASK = EXAMPLES / "harbor" / "resilience-gauntlet"
NOTHING = {"reward": 0.0, **dict.fromkeys(ROW_POINTS, 0)}

Verify = Callable[..., dict[str, Any]]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    """Runs the verifier on what an agent left; answers the reward file."""
    (tmp_path / "fragile_pipeline.py").touch()

    def run(url: str, left: bytes | None) -> Any:
        monkeypatch.setenv("GAUNTLET_URL", url)
        program = runpy.run_path(str(TASK / "tests" / "verify.py"))
        main = program["main"]
        submission = tmp_path / "process_batch.py"
        places = {"SUBMISSION": submission, "WITNESS": tmp_path / "fragile_pipeline.py", "LOGS": tmp_path}
        main.__globals__.update(places, PAUSES_S=(0, 0))
        if left is not None:
            submission.write_bytes(left)
        main()
        return json.loads((tmp_path / "reward.json").read_text())

    return run


def test_the_instruction_has_the_whole_contract() -> None:
    contract, _, _ = prompt(Suite.HARDENED).partition("## How to work")
    assert (TASK / "instruction.md").read_text().startswith(contract)


def test_the_agent_finds_the_fragile_pipeline() -> None:
    assert (TASK / "environment" / "fragile_pipeline.txt").read_text() == fragile_pipeline()


def test_the_solution_is_the_other_examples(oracle: Path) -> None:
    assert f"<<'EOF'\n{oracle.read_text()}EOF\n" in (TASK / "solution" / "solve.sh").read_text()


def test_what_was_left_is_graded(
    service: ServiceProcess, verify: Verify, graded: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    submission, expected = graded
    rewards = verify(service.url, submission.read_bytes())
    assert rewards == {"reward": expected["reward"], **expected["rows"]}
    assert json.loads((tmp_path / "grade.json").read_text())["split"] == "validation"


@pytest.mark.parametrize("left", [None, b"", b"\xff\xfe\x00 no source", b"#" * 300_000, b"#" * 3_000_000])
def test_an_agent_that_left_nothing_fit_to_grade_has_zero(
    service: ServiceProcess, verify: Verify, left: bytes | None
) -> None:
    assert verify(service.url, left) == NOTHING


def test_the_source_may_begin_with_a_byte_order_mark(service: ServiceProcess, verify: Verify, oracle: Path) -> None:
    assert verify(service.url, b"\xef\xbb\xbf" + oracle.read_bytes())["reward"] == 1.0


def test_a_fault_leaves_no_reward_file(verify: Verify, oracle: Path, tmp_path: Path) -> None:
    with faulty_service() as url, pytest.raises(SystemExit, match="no reward"):
        verify(url, oracle.read_bytes())
    assert not list(tmp_path.glob("reward*"))


def test_where_nothing_was_collected_there_is_no_reward_file(
    service: ServiceProcess, verify: Verify, tmp_path: Path
) -> None:
    (tmp_path / "fragile_pipeline.py").unlink()
    with pytest.raises(SystemExit, match="no reward"):
        verify(service.url, None)
    assert not list(tmp_path.glob("reward*"))
