"""Three replicas that ask for a token, and the frameworks' own clients, with the token in their address."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import cluster
from tests.conformance.clients import EXAMPLES, path_without_index, run_client
from tests.server import free_port

TOKEN = "a-token-of-some-trainer"

CLIENTS = [
    ("openenv", "openenv_client.py"),
    ("openenv", "openenv_mcp_client.py"),
    ("ors", "ors_client.py"),
    ("ors", "openreward_client.py"),
    ("mcp1", "mcp_client.py"),
    ("mcp2", "mcp_client.py"),
    ("mcp1", "fastmcp_client.py"),
    ("mcp2", "fastmcp_client.py"),
    ("mcp1", "langchain_agent.py"),
    ("mcp2", "openai_agents.py"),
    ("mcp2", "pydantic_ai_agent.py"),
    ("inspect", "inspect_task.py"),
    ("trl", "trl_grpo.py"),
    ("verifiers", "verifiers/run.py openenv"),
    ("verifiers", "verifiers/run.py nemo_gym"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    with cluster("gauntlet-test-frameworks", port, GAUNTLET_API_TOKENS=TOKEN):
        yield f"http://token:{TOKEN}@127.0.0.1:{port}"


@pytest.mark.timeout(600)  # where an environment is made first
@pytest.mark.parametrize(("environment", "example"), CLIENTS)
def test_an_example_gets_its_reward(address: str, environment: str, example: str, tmp_path: Path) -> None:
    settings = {"INSPECT_LOG_DIR": str(tmp_path), "OPENREWARD_DISABLE_UPDATE_CHECK": "1"}
    if environment == "verifiers":
        settings["PATH"] = path_without_index(tmp_path)
    command = [str(EXAMPLES / example.split(maxsplit=1)[0]), *example.split()[1:]]
    printed = run_client(environment, command, url=address, settings=settings)
    told = [json.loads(line) for line in printed.splitlines() if line.startswith('{"reward"')]
    assert {float(episode["reward"]) for episode in told} == {1.0}
    assert {episode["split"] for episode in told} <= {"train", "validation"}
