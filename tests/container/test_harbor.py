"""The Harbor task, run by Harbor itself: its oracle, and agents that fail, forge or meet a broken service."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.task import SEEDS, Split
from tests.conformance.clients import EXAMPLES, ROOT, client_python, run_client
from tests.conformance.conftest import ROW_POINTS

pytestmark = pytest.mark.timeout(600)

TASK = EXAMPLES / "harbor" / "resilience-gauntlet"
ORACLE = (TASK / "solution" / "solve.sh").read_text()
PARTIAL = ORACLE.replace("MAX_BUFFER = 240", "MAX_BUFFER = 10**6")
SEED = 1_234_567_890

FORGES = """
cat >/tmp/forged.json <<'END'
{"reward": 1.0, "tier1": 20, "tier2_flat": 10, "tier2_heavy_tail": 10, "tier3": 20, "validity": 20, "guardrails": 20}
END
cat >/tmp/forge.sh <<'END'
while :; do
  for place in /logs/verifier /logs/artifacts /tests /app; do
    mkdir -p $place
    cp /tmp/forged.json $place/reward.json
    echo 1 >$place/reward.txt
    echo 'cp /logs/artifacts/reward.json /logs/verifier/' >$place/test.sh
    cp $place/test.sh $place/verify.py
  done
done
END
setsid nohup sh /tmp/forge.sh >/dev/null 2>&1 &
sleep 0.2
"""
AGENTS = {
    "oracle": ORACLE,
    "forger": PARTIAL + FORGES,
    "linker": f"#!/bin/sh\nln -s {EXAMPLES / 'solution.py'} /app/process_batch.py\n",
    "remover": "#!/bin/sh\nrm -r /app/*\n",
    "unserved": ORACLE,  # the service that is to grade it does not answer
}
REWARDS = {
    "oracle": {"reward": 1.0, **ROW_POINTS},
    "forger": {"reward": 0.8, **ROW_POINTS, "tier3": 0},
    "linker": {"reward": 0.0, **dict.fromkeys(ROW_POINTS, 0)},
}


def task_for(agent: str, folder: Path) -> None:
    """A copy of the task, whose oracle is that agent."""
    shutil.copytree(TASK, folder)
    (folder / "solution" / "solve.sh").write_text(AGENTS[agent])
    if agent == "unserved":
        with (folder / "task.toml").open("a") as file:
            file.write('\n[verifier.env]\nGAUNTLET_URL = "http://service:9"\n')


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder that Harbor leaves of each agent's trial."""
    place = tmp_path_factory.mktemp("harbor")
    for agent in AGENTS:
        task_for(agent, place / "tasks" / agent)
    subprocess.run(["docker", "compose", "build", "--quiet", "service"], cwd=ROOT, check=True, timeout=300)
    harbor = client_python("harbor").with_name("harbor")
    options = ["--agent", "oracle", "--n-concurrent", "3", "--verifier-env", f"GAUNTLET_SEED={SEED}", "--yes"]
    folders = ["--path", str(place / "tasks"), "--jobs-dir", str(place / "jobs"), "--job-name", "job"]
    settings = {"HARBOR_TELEMETRY": "0", "DOCKER_CONFIG": str(Path.home() / ".docker")}
    engine = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
    run_client("harbor", [str(harbor), "run", *options, *folders], url="", timeout_s=300, settings=settings | engine)
    ended = [path.parent for path in (place / "jobs" / "job").glob("*/result.json")]
    return {Path(told(trial)["task_id"]["path"]).name: trial for trial in ended}


def told(trial: Path) -> Any:
    return json.loads((trial / "result.json").read_text())


def test_every_agent_had_its_trial(trials: dict[str, Path]) -> None:
    assert sorted(trials) == sorted(AGENTS)


@pytest.mark.parametrize("agent", REWARDS)
def test_the_reward_is_what_the_service_gave_for_the_file(trials: dict[str, Path], agent: str) -> None:
    result = told(trials[agent])
    assert result["exception_info"] is None
    assert result["verifier_environment_mode"] == "separate"
    assert result["verifier_result"] == {"rewards": REWARDS[agent]}


@pytest.mark.parametrize("agent", ["remover", "unserved"])
def test_without_a_grade_there_is_an_error_and_no_zero(trials: dict[str, Path], agent: str) -> None:
    result = told(trials[agent])
    assert result["verifier_result"] is None
    assert result["exception_info"]["exception_type"] == "RewardFileNotFoundError"


def test_what_the_agent_planted_is_gone_before_the_verifier_runs(trials: dict[str, Path]) -> None:
    assert (trials["forger"] / "artifacts" / "logs" / "artifacts" / "reward.json").exists()  # it did plant
    left = {path.name for path in (trials["forger"] / "verifier").iterdir()}
    assert left == {"grade.json", "reward.json", "test-stdout.txt"}


def test_the_grade_stands_beside_the_reward(trials: dict[str, Path]) -> None:
    episode = json.loads((trials["forger"] / "verifier" / "grade.json").read_text())
    assert (episode["suite"], episode["split"], episode["seed"]) == ("hardened", "validation", SEED)
    assert SEED in SEEDS[Split.VALIDATION]
    assert "Tier3 resilience broken" in episode["grade"]["feedback"]


def test_no_container_is_left(trials: dict[str, Path]) -> None:
    command = ["docker", "ps", "--all", "--format", "{{.Names}}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not [name for name in listed.stdout.split() for trial in trials.values() if trial.name.lower() in name]
