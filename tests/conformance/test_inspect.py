"""Inspect AI: the example, by its own command too, and MCP sessions that Inspect keeps itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.clients import EXAMPLES, client_python, last_json, run_client
from tests.conformance.faulty_service import faulty_service
from tests.conftest import ServiceProcess


def test_the_example_runs_an_episode_to_its_reward(
    service: ServiceProcess, graded: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    submission, expected = graded
    arguments = [str(EXAMPLES / "inspect_task.py"), str(submission)]
    settings = {"INSPECT_LOG_DIR": str(tmp_path)}
    told = last_json(run_client("inspect", arguments, url=service.url, settings=settings))
    assert told == {**expected, "seed": 1_000_000_000, "split": "validation"}


@pytest.mark.parametrize("task", ["examples/inspect_task.py", "resilience_gauntlet/resilience_gauntlet"])
def test_its_command_evaluates_several_seeds_offline(
    service: ServiceProcess, partial: Path, tmp_path: Path, task: str, installed: Path
) -> None:
    command = [str(client_python("inspect").with_name("inspect")), "eval", task]
    options = ["--model", "mockllm/model", "-T", f"submission={partial}", "-T", "episodes=3", "--display", "plain"]
    settings = {"INSPECT_LOG_DIR": str(tmp_path), "INSPECT_LOG_FORMAT": "json", "PYTHONPATH": str(installed)}
    run_client("inspect", [*command, *options], url=service.url, settings=settings)
    (path,) = tmp_path.glob("*.json")
    log = json.loads(path.read_text())
    scores = [sample["scores"]["episode_reward"] for sample in log["samples"]]
    assert (log["status"], [score["value"] for score in scores]) == ("success", [0.8] * 3)
    assert {score["metadata"]["seed"] for score in scores} == {1_000_000_000, 1_000_000_001, 1_000_000_002}


SESSION = """
import asyncio, json, sys
from inspect_ai.tool import ToolDef, ToolError, mcp_connection, mcp_server_http

async def main():
    server = mcp_server_http(url=sys.argv[1])
    async with mcp_connection(server):
        tools = {ToolDef(tool).name.rpartition("_mcp_")[2]: tool for tool in await server.tools()}
        answers = [(await tools["python_expression"](expression="6 * 7"))[0].text]
        answers.append((await tools["submit_code"](code="x = 1"))[0].text)
        try:
            await tools["submit_code"](code="x = 1")
        except ToolError as error:
            answers.append(error.message)
    print(json.dumps(answers))

asyncio.run(main())
"""


def test_a_connection_that_it_keeps_open_is_one_episode(service: ServiceProcess) -> None:
    told = last_json(run_client("inspect", ["-c", SESSION, f"{service.url}/mcp"], url=service.url))
    assert told[0] == "result:\n42"
    assert told[1].startswith("Score: 0%")
    assert told[2] == "The episode has ended: its submission was graded."


def test_a_fault_of_the_service_is_an_error_and_no_score(tmp_path: Path) -> None:
    arguments = [str(EXAMPLES / "inspect_task.py")]
    with (
        faulty_service() as url,
        pytest.raises(AssertionError, match="the service failed to grade the submission: there is no score"),
    ):
        run_client("inspect", arguments, url=url, settings={"INSPECT_LOG_DIR": str(tmp_path)})
