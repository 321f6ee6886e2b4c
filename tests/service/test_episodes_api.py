"""Episodes over plain HTTP, against the real service."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.conformance.clients import EXAMPLES
from tests.conftest import ServiceProcess, running_service
from tests.service.problems import problem_of

pytestmark = pytest.mark.anyio

ORACLE = (EXAMPLES / "solution.py").read_text()
TOKEN = "an-evaluation-token"
PLACES = 64


@pytest.fixture(scope="module")
def small() -> Iterator[ServiceProcess]:
    with running_service(GAUNTLET_EPISODES=str(PLACES), GAUNTLET_EVALUATION_TOKEN=TOKEN) as process:
        yield process


@pytest.fixture
async def scarce(small: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=small.url, timeout=30) as client:
        yield client


async def opened(client: httpx.AsyncClient, **options: Any) -> Any:
    return (await client.post("/episodes", json=options)).raise_for_status().json()


async def test_an_episode_from_its_prompt_to_its_reward(client: httpx.AsyncClient) -> None:
    response = await client.post("/episodes?format=openai", json={"seed": 1_000_000_007})
    episode = response.json()
    assert (response.status_code, episode["split"], episode["seed"]) == (201, "validation", 1_000_000_007)
    task = (await client.get("/task?suite=hardened&format=openai")).json()
    assert (episode["prompt"], episode["tools"]) == (task["prompt"], task["tools"])
    path = f"/episodes/{episode['id']}"
    tried = (await client.post(f"{path}/tools/python_expression", json={"expression": "print(6 * 7)"})).json()
    assert (tried["text"], tried["execution"]["stdout"], tried["done"]) == ("stdout:\n42", "42\n", False)
    ended = (await client.post(f"{path}/tools/submit_code", json={"code": ORACLE})).json()
    assert (ended["done"], ended["reward"], ended["grade"]["seed"], ended["steps"]) == (True, 1.0, 1_000_000_007, 2)
    assert len(ended["grade"]["checks"]) == 6
    assert (await client.get(path)).json() == {name: ended[name] for name in ended if name not in {"text", "execution"}}
    assert (await client.delete(path)).status_code == 204
    assert problem_of(await client.get(path), 404)["code"] == "episode_not_found"


async def test_no_body_is_an_episode_of_every_default(client: httpx.AsyncClient) -> None:
    episode = (await client.post("/episodes")).json()
    assert (episode["suite"], episode["split"], episode["step_limit"]) == ("hardened", "train", 64)


async def test_refusals_are_problem_documents_with_a_code(client: httpx.AsyncClient) -> None:
    tools = f"/episodes/{(await opened(client, suite='classic'))['id']}/tools"

    async def refused(status: int, path: str, **body: Any) -> Any:
        return problem_of(await client.post(path, **body), status)

    assert (await refused(404, f"{tools}/grade", json={}))["code"] == "unknown_tool"
    unfit = await refused(422, f"{tools}/submit_code", json={"source": ""})
    assert (unfit["code"], unfit["errors"][0]["field"]) == ("invalid", "code")
    as_json = {"content-type": "application/json"}
    await refused(400, f"{tools}/submit_code", content=b'{"code": ', headers=as_json)
    await refused(422, f"{tools}/submit_code", content=b'{"code": "\\ud800"}', headers=as_json)
    untold = await refused(422, f"{tools}/submit_code", content=b'{"code": ""}')
    assert "content-type: application/json" in untold["detail"]
    await refused(413, f"{tools}/submit_code", json={"code": "#" * 600_000})
    foreign = await refused(404, f"/episodes/{'0' * 32}/tools/submit_code", json={"code": ""})
    assert foreign["code"] == "episode_not_found"
    assert (await client.post(f"{tools}/submit_code", json={"code": ""})).json()["reward"] == 0.0
    assert (await refused(409, f"{tools}/submit_code", json={"code": ORACLE}))["code"] == "episode_finished"


async def test_sixty_four_episodes_are_kept_apart_and_one_more_is_refused(scarce: httpx.AsyncClient) -> None:
    opening = [opened(scarce, seed=index, step_limit=2 + index % 3) for index in range(PLACES)]
    episodes = await asyncio.gather(*opening)
    assert len({episode["id"] for episode in episodes}) == PLACES
    refused = await scarce.post("/episodes")
    assert problem_of(refused, 503)["code"] == "capacity"
    assert int(refused.headers["retry-after"]) > 0

    async def play(index: int, episode: Any) -> None:
        tools = f"/episodes/{episode['id']}/tools"
        tried = (await scarce.post(f"{tools}/python_expression", json={"expression": f"{index} * 1000"})).json()
        assert (tried["execution"]["result"], tried["steps"]) == (str(index * 1000), 1)
        code = ORACLE if index % 2 else "def process_batch(events, state):\n    return {}"
        ended = (await scarce.post(f"{tools}/submit_code", json={"code": code})).json()
        assert (ended["seed"], ended["reward"]) == (index, float(index % 2))
        assert (ended["steps"], ended["step_limit"]) == (2, 2 + index % 3)

    await asyncio.gather(*(play(index, episode) for index, episode in enumerate(episodes)))
    assert (await scarce.post("/episodes")).status_code == 201  # in the place of one that has ended


async def test_an_idle_episode_is_forgotten() -> None:
    with running_service(GAUNTLET_EPISODE_IDLE_S="2") as process:
        async with httpx.AsyncClient(base_url=process.url) as client:
            path = f"/episodes/{(await opened(client))['id']}"
            assert (await client.get(path)).status_code == 200
            await asyncio.sleep(2.1)
            assert problem_of(await client.get(path), 404)["code"] == "episode_not_found"


async def test_test_seeds_take_the_evaluation_token_for_episodes_and_grades(scarce: httpx.AsyncClient) -> None:
    calls = [
        ("/episodes", {"split": "test"}),
        ("/episodes", {"seed": 1_700_000_000}),
        ("/grade", {"code": ORACLE, "suite": "hardened", "seed": 1_700_000_000}),
    ]
    for path, body in calls:
        for headers in ({}, {"authorization": f"Bearer {TOKEN}!"}, {"authorization": TOKEN}):
            refused = problem_of(await scarce.post(path, json=body, headers=headers), 403)
            assert refused["code"] == "forbidden"
            assert TOKEN not in str(refused)
        given = await scarce.post(path, json=body, headers={"authorization": f"Bearer {TOKEN}"})
        assert given.is_success


async def test_health_tells_of_the_places(scarce: httpx.AsyncClient) -> None:
    before = (await scarce.get("/health")).json()["capacity"]
    await opened(scarce)
    after = (await scarce.get("/health")).json()["capacity"]
    assert (after["episode_limit"], after["episodes"]) == (PLACES, before["episodes"] + 1)
