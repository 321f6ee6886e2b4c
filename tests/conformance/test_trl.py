"""TRL's GRPOTrainer on the service's episodes. Its environment takes 4.4 GB: the registry's torch comes with CUDA."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.task import SEEDS, Split
from tests.conformance.clients import client_python, last_json, run_client
from tests.conformance.conftest import ROW_POINTS
from tests.conformance.faulty_service import faulty_service
from tests.conftest import ServiceProcess

pytestmark = pytest.mark.timeout(600)  # its environment may have to be made first

OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def steps(service: ServiceProcess, oracle: Path, partial: Path) -> dict[str, str]:
    """What the example prints of a training step, side by side, as most of its time goes into imports."""
    client_python("trl")
    with faulty_service() as faulty, ThreadPoolExecutor() as threads:
        runs = {"oracle": (service.url, oracle), "partial": (service.url, partial), "fault": (faulty, oracle)}
        printed = threads.map(lambda run: step(*run), runs.values())
        return dict(zip(runs, printed, strict=True))


def step(url: str, submission: Path) -> str:
    return run_client("trl", ["examples/trl_grpo.py", str(submission)], url=url, timeout_s=180, settings=OFFLINE)


@pytest.mark.parametrize(
    ("submission", "reward", "rows"),
    [("oracle", 1.0, ROW_POINTS), ("partial", 0.8, {**ROW_POINTS, "tier3": 0})],
)
def test_the_trainer_logs_the_reward_and_its_rows(
    steps: dict[str, str], submission: str, reward: float, rows: dict[str, int]
) -> None:
    told = last_json(steps[submission])
    assert (told["reward"], told["rows"]) == (pytest.approx(reward), rows)  # TRL keeps them as 32-bit floats
    assert told["split"] == "train"
    assert told["seed"] in SEEDS[Split.TRAIN]


def test_both_tools_are_called_by_every_rollout(steps: dict[str, str]) -> None:
    assert "'tools/call_frequency': '2', 'tools/failure_frequency': '0'" in steps["oracle"]


def test_a_fault_is_no_reward_to_the_trainer(steps: dict[str, str]) -> None:
    assert "'rewards/gauntlet_reward/mean': None" in steps["fault"]
    told: dict[str, Any] = last_json(steps["fault"])
    assert told["reward"] is None
    assert told["rows"] == {}
