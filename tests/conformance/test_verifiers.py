"""vf-eval of verifiers 0.4, with a scripted model in the place of a real one."""

import json
from pathlib import Path

from tests.conformance.clients import EXAMPLES, run_client
from tests.conftest import ServiceProcess


def test_vf_eval_pays_what_the_grade_says_by_its_openenv_taskset(
    service: ServiceProcess, partial: Path, offline_path: str
) -> None:
    command = [str(EXAMPLES / "verifiers" / "run.py"), "openenv", str(partial)]
    printed = run_client("verifiers", command, url=service.url, settings={"PATH": offline_path})
    rollouts = [json.loads(line) for line in printed.splitlines() if line.startswith('{"reward"')]
    assert sorted(rollouts, key=lambda rollout: rollout["seed"]) == [
        {"reward": 0.8, "split": "validation", "seed": seed} for seed in (1_000_000_007, 1_000_000_008)
    ]
