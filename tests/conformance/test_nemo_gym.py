"""NeMo Gym: by vf-eval of verifiers, and what the wire of a resources server answers beside the one good episode."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from service.task import SEEDS, Split
from tests.conformance.clients import EXAMPLES, PLACES, TOKEN, last_json, run_client
from tests.conformance.conftest import ROW_POINTS
from tests.conftest import ServiceProcess

pytestmark = pytest.mark.anyio

NEMO_GYM = EXAMPLES / "nemo_gym"
ORACLE = (EXAMPLES / "solution.py").read_text()
COOKIE = "ResilienceGauntlet___resilience_gauntlet"
TRY = {"expression": "6 * 7"}
AS_JSON = {"content-type": "application/json"}
NO_TOOL = {"detail": "There is no such tool: use python_expression or submit_code.", "code": "unknown_tool"}
ENDED = {"detail": "The episode has ended: its submission was graded.", "code": "episode_finished"}


class Agent:
    """As NeMo Gym's own agent goes about it: of cookies it knows those of the last answer, and nothing else."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.cookie = ""

    async def post(self, path: str, body: Any = None, **sent: Any) -> httpx.Response:
        headers = {"cookie": self.cookie} if self.cookie else {}
        sent = {"json": body, **sent, "headers": {**headers, **sent.get("headers", {})}}
        if "content" in sent:
            del sent["json"]
        response = await self.client.post(path, **sent)
        self.cookie = response.headers.get("set-cookie", "").partition(";")[0]
        self.client.cookies.clear()
        return response

    async def seed(self, **row: Any) -> Any:
        return (await self.post("/seed_session", {**conversation(), **row})).raise_for_status().json()

    async def verify(self, *calls: dict[str, Any], **row: Any) -> Any:
        return (await self.post("/verify", conversation(*calls) | row)).raise_for_status().json()


def call_of(name: str, arguments: Any) -> dict[str, Any]:
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"type": "function_call", "call_id": "1", "name": name, "arguments": written}


def conversation(*calls: dict[str, Any]) -> dict[str, Any]:
    response = {"id": "resp_1", "object": "response", "output": list(calls), "usage": {"total_tokens": 7}}
    return {"responses_create_params": {"input": "λ", "temperature": 0.5}, "response": response}


@pytest.fixture
async def agent(service: ServiceProcess) -> AsyncIterator[Agent]:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        yield Agent(client)


# The real client


def test_vf_eval_runs_the_examples_rows_to_their_reward(
    service: ServiceProcess, graded: tuple[Path, dict[str, Any]], offline_path: str
) -> None:
    submission, expected = graded
    command = [str(EXAMPLES / "verifiers" / "run.py"), "nemo_gym", str(submission)]
    printed = run_client("verifiers", command, url=service.url, settings={"PATH": offline_path})
    low = SEEDS[Split.VALIDATION].low
    told = [json.loads(line) for line in printed.rstrip().splitlines()[-2:]]
    assert sorted(told, key=lambda rollout: str(rollout["seed"])) == [
        {**expected, "seed": seed, "split": "validation"} for seed in (low, low + 1)
    ]


def test_the_examples_rows_are_what_the_service_describes(service: ServiceProcess) -> None:
    command = [sys.executable, str(NEMO_GYM / "rows.py"), "validation", "2"]
    written = subprocess.run(command, env={**os.environ, "GAUNTLET_URL": service.url}, check=True, capture_output=True)
    assert written.stdout.decode() == (NEMO_GYM / "example.jsonl").read_text()
    assert last_json(written.stdout.decode())["seed"] == SEEDS[Split.VALIDATION].low + 1


# A rollout


async def test_a_rollout_from_its_seed_to_its_reward(agent: Agent) -> None:
    begun = await agent.seed(seed=7)
    assert begun == {
        "suite": "hardened",
        "split": "train",
        "seed": 7,
        "status": "running",
        "steps": 0,
        "step_limit": 64,
    }
    tried = await agent.post("/python_expression", TRY)
    assert (tried.headers["content-type"], tried.text) == ("text/plain; charset=utf-8", "result:\n42")
    graded = await agent.post("/submit_code", {"code": ORACLE})
    assert graded.text.startswith("Score: 100% - ")
    verdict = await agent.verify()
    assert {name: verdict.pop(name) for name in conversation()} == conversation()
    assert (verdict["reward"], verdict["points"], verdict["passed"]) == (1.0, 100, True)
    assert {row: verdict[row] for row in ROW_POINTS} == ROW_POINTS
    assert (verdict["seed"], verdict["split"], verdict["status"], verdict["steps"]) == (7, "train", "submitted", 2)
    assert {name for name, value in verdict.items() if isinstance(value, dict | list)} == set()
    assert (await agent.verify())["reward"] == 1.0


async def test_a_cookie_keeps_the_session_from_scripts_and_comes_with_every_answer(agent: Agent) -> None:
    begun = await agent.post("/seed_session", {})
    kept = agent.cookie
    name, _, episode = kept.partition("=")
    assert (name, len(episode)) == (COOKIE, 32)
    assert begun.headers["set-cookie"] == f"{kept}; Path=/; HttpOnly; SameSite=lax"
    for path, sent in (
        ("/no_such_tool", {"body": {}}),
        ("/submit_code", {"body": {"source": ""}}),
        ("/python_expression", {"content": b"{", "headers": AS_JSON}),
        ("/python_expression", {"body": "x" * 600_000}),
        ("/python_expression", {"body": TRY}),
        ("/submit_code", {"body": {"code": ""}}),
        ("/submit_code", {"body": {"code": ""}}),
        ("/verify", {"body": conversation()}),
    ):
        await agent.post(path, **sent)
        assert agent.cookie == kept


@pytest.mark.timed
@pytest.mark.parametrize("name", [COOKIE, "another"])
async def test_cookies_of_whatever_kind_hold_nobody_up(agent: Agent, name: str) -> None:
    """Python before 3.11.10 takes the square of the time for backslashes: two seconds for these."""
    started = time.monotonic()
    for path in ("/health", "/seed_session"):
        await agent.client.post(path, json={}, headers={"Cookie": f'{name}="' + "\\" * 20_000 + '"'})
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("path", ["/grade", "/execute", "/episodes", "/create_session", "/task", "/%67rade", "/"])
async def test_a_model_that_names_a_path_finds_no_other_api(agent: Agent, path: str) -> None:
    await agent.seed()
    answer = await agent.post(path, {"code": ORACLE})
    assert (answer.status_code, answer.json()) == (404, NO_TOOL)
    assert (await agent.post("/python_expression", TRY)).text == "result:\n42"


async def test_a_model_cannot_seed_itself_another_episode(agent: Agent) -> None:
    await agent.seed(seed=7)
    await agent.post("/submit_code", {"code": ""})
    again = await agent.post("/seed_session", {})
    assert (again.status_code, again.json()) == (
        409,
        {"detail": "This session has its episode: another one begins without the cookie", "code": "episode_exists"},
    )
    assert (await agent.verify())["reward"] == 0.0


# What is verified


async def test_nothing_is_graded_where_nothing_was_submitted(agent: Agent) -> None:
    await agent.seed(seed=7)
    await agent.post("/python_expression", TRY)
    for _ in range(2):
        verdict = await agent.verify(call_of("submit_code", "{"), call_of("submit_code", {"code": 1}))
        assert (verdict["reward"], verdict["status"], verdict["feedback"]) == (0.0, "abandoned", None)
        assert {row: verdict[row] for row in ROW_POINTS} == dict.fromkeys(ROW_POINTS, 0)
    refused = await agent.post("/submit_code", {"code": ORACLE})
    assert (refused.status_code, refused.json()["code"]) == (409, "episode_finished")


async def test_episodes_that_were_verified_make_room(scarce: httpx.AsyncClient) -> None:
    for _ in range(PLACES + 5):
        agent = Agent(scarce)
        await agent.seed()
        await agent.verify()


async def test_the_sessions_submission_counts_and_not_what_the_response_says(agent: Agent) -> None:
    await agent.seed()
    await agent.post("/submit_code", {"code": ""})
    assert (await agent.verify(call_of("submit_code", {"code": ORACLE})))["reward"] == 0.0


@pytest.mark.parametrize("seeded", [True, False])
async def test_the_first_call_of_the_response_is_submitted_where_none_was_made(agent: Agent, seeded: bool) -> None:
    if seeded:
        await agent.seed(seed=9)
    wrong, right = call_of("submit_code", {"code": "x = 1"}), call_of("submit_code", {"code": ORACLE})
    verdict = await agent.verify(call_of("python_expression", TRY), call_of("submit_code", "no JSON"), right, seed=9)
    assert (verdict["reward"], verdict["seed"], verdict["status"]) == (1.0, 9, "submitted")
    assert (await Agent(agent.client).verify(wrong, right, seed=9))["reward"] == 0.0
    assert (await Agent(agent.client).verify(seed=9))["status"] == "abandoned"


async def test_verifying_waits_for_a_grade_that_is_under_way(agent: Agent) -> None:
    await agent.seed()
    other = Agent(agent.client)
    other.cookie = agent.cookie
    submitting = asyncio.create_task(agent.post("/submit_code", {"code": ORACLE}))
    await asyncio.sleep(0.01)
    assert (await other.verify())["reward"] == 1.0
    await submitting


# Sessions


@pytest.mark.parametrize("path", ["/python_expression", "/submit_code", "/verify"])
async def test_a_session_unknown_or_expired_is_refused(scarce: httpx.AsyncClient, path: str) -> None:
    body = conversation(call_of("submit_code", {"code": ""})) if path == "/verify" else TRY
    expired = Agent(scarce)
    await expired.seed()
    cookie = expired.cookie
    await asyncio.sleep(2.1)
    for foreign in (cookie, f"{COOKIE}={'0' * 32}", f"{COOKIE}=../../x"):
        stranger = Agent(scarce)
        stranger.cookie = foreign
        refused = await stranger.post(path, body)
        assert (refused.status_code, refused.json()["code"]) == (404, "episode_not_found")
    if path != "/verify":
        missing = await Agent(scarce).post(path, body)
        assert (missing.status_code, missing.json()) == (
            400,
            {
                "detail": "There is no session: POST /seed_session begins one, and its cookie comes with calls",
                "code": "invalid",
            },
        )


async def test_sixty_four_sessions_are_kept_apart_and_one_more_is_refused(crowded: httpx.AsyncClient) -> None:
    agents = [Agent(crowded) for _ in range(PLACES)]
    await asyncio.gather(*(agent.seed(seed=index) for index, agent in enumerate(agents)))
    for path in ("/seed_session", "/verify"):
        full = await Agent(crowded).post(path, conversation())
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert full.json()["code"] == "capacity"

    async def play(index: int, agent: Agent) -> None:
        for step in range(1 + index % 3):
            tried = await agent.post("/python_expression", {"expression": f"{index} * 1000 + {step}"})
            assert tried.text == f"result:\n{index * 1000 + step}"
        code = ORACLE if index % 8 == 0 else f"# {index}"
        await agent.post("/submit_code", {"code": code})
        verdict = await agent.verify()
        assert (verdict["reward"], verdict["seed"], verdict["steps"]) == (float(index % 8 == 0), index, 2 + index % 3)
        assert verdict["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()

    await asyncio.gather(*(play(index, agent) for index, agent in enumerate(agents)))


async def test_seeds_and_splits_are_the_rows(scarce: httpx.AsyncClient) -> None:
    validation = await Agent(scarce).seed(split="validation")
    assert (validation["split"], validation["seed"] in SEEDS[Split.VALIDATION]) == ("validation", True)
    assert (await Agent(scarce).seed(suite="classic"))["seed"] is None
    assert (await Agent(scarce).seed(step_limit=3))["step_limit"] == 3
    for row in ({"split": "test"}, {"seed": SEEDS[Split.TEST].low}):
        for path in ("/seed_session", "/verify"):
            refused = await Agent(scarce).post(path, conversation() | row)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            token = {"authorization": f"Bearer {TOKEN}"}
            allowed = await Agent(scarce).post(path, conversation() | row, headers=token)
            assert (allowed.status_code, allowed.json()["split"]) == (200, "test")


# What does not fit


async def test_calls_that_do_not_fit_cost_nothing(agent: Agent) -> None:
    await agent.seed()
    unfit: list[Any] = [{}, [], "1", None, {"expression": 1}, {"expression": "1", "more": 2}, {"code": "1"}]
    for arguments in unfit:
        refused = await agent.post("/python_expression", arguments)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert (await agent.post("/no_such_tool", {})).json() == NO_TOOL
    await agent.post("/submit_code", {"code": ""})
    for path in ("/python_expression", "/submit_code"):
        refused = await agent.post(path, {"code": ORACLE})
        assert (refused.status_code, refused.json()) == (409, ENDED)
    assert (await agent.verify())["steps"] == 1


@pytest.mark.parametrize("path", ["/seed_session", "/verify", "/aggregate_metrics", "/python_expression"])
async def test_bodies_that_are_no_json_are_refused(agent: Agent, path: str) -> None:
    if path == "/python_expression":
        await agent.seed()
    for body in (b"", b"{", b"[]", b"null", b'"\\ud800"', b"\xff", b"[" * 100_000):
        refused = await agent.post(path, content=body, headers=AS_JSON)
        assert (refused.status_code in {400, 422}, refused.json().keys()) == (True, {"detail", "code"})
        assert "Traceback" not in refused.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"responses_create_params":{"a":"\\ud800"},"response":{"output":[]}}',
        b'{"responses_create_params":{"\\udfff":1},"response":{"output":[]}}',
        b'{"responses_create_params":' + b'{"a":' * 700 + b"1" + b"}" * 700 + b',"response":{"output":[]}}',
        b'{"responses_create_params":[],"response":{"output":[]}}',
        b'{"responses_create_params":{},"response":{"output":[1]}}',
        b'{"responses_create_params":{},"response":{}}',
        b'{"response":{"output":[]}}',
        b'{"responses_create_params":{},"response":{"output":[]},"seed":"7"}',
        b'{"responses_create_params":{},"response":{"output":[]},"split":"\\ud800"}',
    ],
)
async def test_conversations_that_cannot_be_verified_are_refused(agent: Agent, body: bytes) -> None:
    refused = await agent.post("/verify", content=body, headers=AS_JSON)
    assert (refused.status_code, refused.json().keys(), refused.json()["code"]) == (422, {"detail", "code"}, "invalid")


async def test_whole_conversations_may_be_verified_up_to_eight_mib(agent: Agent) -> None:
    await agent.seed()
    output = {"type": "function_call_output", "call_id": "1", "output": "x" * (4 << 20)}
    assert (await agent.verify(output))["response"]["output"] == [output]
    over = await agent.post("/verify", conversation({**output, "output": "x" * (8 << 20)}))
    assert (over.status_code, over.json()["status"]) == (413, 413)


@pytest.mark.timed
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/aggregate_metrics", b'{"verify_responses":[%s]}'),
        ("/verify", b'{"responses_create_params":{},"response":{"output":[%s]}}'),
    ],
)
async def test_a_million_wrong_members_are_one_error(agent: Agent, path: str, body: bytes) -> None:
    started = time.monotonic()
    refused = await agent.post(path, content=body % b",".join([b"1"] * 1_000_000), headers=AS_JSON)
    assert (refused.status_code, refused.json()["detail"].count("valid dictionary")) == (422, 1)
    assert time.monotonic() - started < 2


async def test_infinities_are_echoed_as_null(agent: Agent) -> None:
    body = b'{"responses_create_params":{"a":NaN,"b":1e999},"response":{"output":[]}}'
    echoed = await agent.post("/verify", content=body, headers=AS_JSON)
    assert echoed.json()["responses_create_params"] == {"a": None, "b": None}


# Metrics


async def test_metrics_are_of_every_number_per_task_and_in_all(agent: Agent) -> None:
    rollouts: list[dict[str, Any]] = [
        {"_ng_task_index": task, "_ng_rollout_index": 0, "reward": reward, "tier1": 20, "passed": reward == 1}
        for task, reward in ((0, 1.0), (0, 0.0), (3, 0.5))
    ]
    rollouts[0]["response"] = {"usage": {"total_tokens": 5}}
    rollouts[1] |= {"seed": 7, "huge": 10**400, "text": "x", "none": None}
    report = (await agent.post("/aggregate_metrics", {"verify_responses": rollouts})).json()
    assert report.keys() == {"group_level_metrics", "agent_metrics", "key_metrics"}
    tasks = [(group["_ng_task_index"], group["num_rollouts"]) for group in report["group_level_metrics"]]
    assert tasks == [(0, 2), (3, 1)]
    first = report["group_level_metrics"][0]
    assert (first["mean/reward"], first["std/reward"], first["median/tier1"]) == (0.5, pytest.approx(0.5**0.5), 20)
    assert report["key_metrics"] == {
        "mean/reward": 0.5,
        "mean/tier1": 20.0,
        "mean/passed": pytest.approx(1 / 3),
        "mean/total_tokens": 5.0,
    }
    assert report["agent_metrics"]["max/reward"] == 1.0
    empty = (await agent.post("/aggregate_metrics", {"verify_responses": []})).json()
    assert empty == {"group_level_metrics": [], "agent_metrics": {}, "key_metrics": {}}


# The service's own faults


async def test_a_fault_of_the_service_is_an_error_without_a_reward() -> None:
    """The sandbox of this service was never started."""
    transport = httpx.ASGITransport(app=create_app(Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        agent = Agent(client)
        await agent.seed(seed=7)
        failed = await agent.post("/python_expression", TRY)
        expected = {"detail": "The tool could not be run, which is the service's own fault", "code": "sandbox_fault"}
        assert (failed.status_code, failed.json()) == (500, expected)
        assert "There is no grade and no reward" in (await agent.post("/submit_code", {"code": ORACLE})).text
        for verifying, calls in ((agent, []), (Agent(client), [call_of("submit_code", {"code": ORACLE})])):
            answer = await verifying.post("/verify", conversation(*calls) | {"seed": 7})
            told = answer.json()
            assert (answer.status_code, told["reward"], told["done"], told["status"]) == (500, None, True, "fault")
            assert (told["code"], told["seed"], told["split"]) == ("fault", 7, "train")
