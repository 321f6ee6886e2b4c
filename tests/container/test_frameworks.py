"""One running container, and the clients of the frameworks as they are: each runs an episode to its reward."""

import json
from pathlib import Path

import pytest

from tests.conformance.clients import EXAMPLES, path_without_index, run_client
from tests.container.conftest import Composition

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
def running(composition: Composition) -> Composition:
    """The service, whatever tests of before have done to it."""
    composition.compose("up", "--detach", "--wait", "service")
    return composition


@pytest.mark.timeout(600)  # where an environment is made first
@pytest.mark.parametrize(("environment", "example"), CLIENTS)
def test_an_example_gets_its_reward_of_the_container(
    running: Composition, environment: str, example: str, tmp_path: Path
) -> None:
    settings = {"INSPECT_LOG_DIR": str(tmp_path)}
    if environment == "verifiers":
        settings["PATH"] = path_without_index(tmp_path)
    command = [str(EXAMPLES / example.split(maxsplit=1)[0]), *example.split()[1:]]
    printed = run_client(environment, command, url=running.url, settings=settings)
    told = [json.loads(line) for line in printed.splitlines() if line.startswith('{"reward"')]
    assert {float(episode["reward"]) for episode in told} == {1.0}
    assert {episode["split"] for episode in told} <= {"train", "validation"}
