"""The Open Reward Standard: by both of its SDKs, and what its wire answers beside the one good episode."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.protocols.ors.calls import Calls, chunked
from service.settings import Settings
from service.task import SEEDS, Split, Suite, prompt
from tests.conformance.clients import EXAMPLES, PLACES, TOKEN, last_json, run_client
from tests.conformance.ors_probe import BLANKS
from tests.conftest import ServiceProcess, running_service

pytestmark = pytest.mark.anyio

ORACLE = (EXAMPLES / "solution.py").read_text()
TRY = {"name": "python_expression", "input": {"expression": "6 * 7"}}
SUBMIT = {"name": "submit_code", "input": {"code": ""}}
AS_JSON = {"content-type": "application/json"}
NO_UNICODE = "episode: Input should be a valid string, unable to parse raw data as a unicode string"
NO_SESSION = {"detail": "Active environment not found"}


def events_of(text: str) -> list[tuple[str, str]]:
    """As both SDKs read them: blanks at the start of the data are lost."""
    events = []
    for block in text.split("\r\n\r\n"):
        lines = [line for line in block.split("\r\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(":", 1) for line in lines)
            events.append((fields["event"].lstrip(), fields["data"].lstrip()))
    return events


async def session_id(client: httpx.AsyncClient) -> str:
    response = await client.post("/create_session", json={})
    assert response.headers["content-type"].startswith("text/event-stream")
    (name, issued), end = events_of(response.text)
    assert (name, end) == ("task_id", ("end", ""))
    return issued


async def opened(client: httpx.AsyncClient, **body: Any) -> dict[str, str]:
    session = {"X-Session-ID": await session_id(client)}
    created = await client.post("/create", json=body or {"split": "train", "index": 0}, headers=session)
    assert (created.status_code, created.json()) == (200, {"sid": session["X-Session-ID"]})
    return session


async def called(client: httpx.AsyncClient, session: Mapping[str, str], body: Any) -> Any:
    response = await client.post("/resilience-gauntlet/call", json=body, headers=session)
    assert response.status_code == 200, response.text
    (first, _), *chunks = events_of(response.text)
    assert (first, {name for name, _ in chunks[:-1]} - {"chunk"}, chunks[-1][0]) == ("task_id", set(), "end")
    return json.loads("".join(data for _, data in chunks))


async def output_of(client: httpx.AsyncClient, session: Mapping[str, str], body: Any) -> Any:
    result = await called(client, session, body)
    assert result["ok"], result
    return result["output"]


async def refused(client: httpx.AsyncClient, path: str, session: Mapping[str, str] | None = None, **sent: Any) -> Any:
    """Status and body of an error, which is a lone ``detail``."""
    method = "GET" if path in {"/prompt", "/task_tools", "/tools"} else "POST"
    response = await client.request(method, path, headers={**(session or {}), **sent.pop("headers", {})}, **sent)
    assert response.json().keys() == {"detail"}
    return response.status_code, response.json()


# The real clients


@pytest.mark.parametrize("example", ["ors_client.py", "openreward_client.py"])
def test_the_examples_run_an_episode_to_its_reward(
    service: ServiceProcess, graded: tuple[Path, dict[str, Any]], example: str
) -> None:
    submission, expected = graded
    told = last_json(run_client("ors", [str(EXAMPLES / example), str(submission)], url=service.url))
    assert told == {**expected, "seed": SEEDS[Split.VALIDATION].at(7), "split": "validation"}


@pytest.mark.parametrize("sdk", ["ors", "openreward"])
def test_the_sdks_raise_what_their_own_servers_make_them_raise(small: ServiceProcess, sdk: str) -> None:
    probe = str(Path(__file__).with_name("ors_probe.py"))
    settings = {"OPENREWARD_DISABLE_UPDATE_CHECK": "1"}
    told = last_json(run_client("ors", [probe, sdk], url=small.url, settings=settings))
    high = SEEDS[Split.VALIDATION].low + 1000
    assert (told["splits"], told["counts"], told["tasks"]) == (["train", "validation"], [10_000, 1_000], 10_000)
    assert told["range"] == [high - 2, high - 1]
    assert told["tools"] == ["python_expression", "submit_code"]
    assert (told["no_environment"], told["no_index"].split(", ")[:2]) == (404, ["400", "message='Invalid index'"])
    assert told["long"] == "stdout:\n" + "".join(" " * n + "λ" for n in range(170))
    assert told["open"] == [None, False, 3, 1]
    assert [told[name]["type"] for name in ("no_tool", "unfit", "again")] == ["ToolCallError"] * 3
    assert "'no_such_tool' is not a valid tool" in told["no_tool"]["text"]
    assert "Tool input validation error: code: " in told["unfit"]["text"]
    assert (told["ended"], "its submission was graded" in told["again"]["text"]) == (True, True)
    if sdk == "openreward":
        reasons = [told[name]["reason"] for name in ("no_tool", "unfit", "again")]
        assert reasons == ["not_found", "input_validation", "episode_finished"]


async def test_the_operators_api_key_opens_the_test_split_to_the_sdks(small: ServiceProcess) -> None:
    settings = {"ORS_API_KEY": TOKEN}
    script = (
        "import os; from ors.client import ORS\n"
        "client = ORS(os.environ['GAUNTLET_URL'])\n"
        "environment = client.environment('resilience-gauntlet')\n"
        "print(environment.list_splits())\n"
        "with environment.session(split='test', index=-1) as session:\n"
        "    print(session.call_tool('submit_code', {'code': ''}).metadata['seed'])\n"
    )
    splits, seed = run_client("ors", ["-c", script], url=small.url, settings=settings).splitlines()
    assert (splits, int(seed)) == ("['train', 'validation', 'test']", SEEDS[Split.TEST].low + 999)


# Sessions


async def test_an_episode_by_paths_with_and_without_the_environments_name(client: httpx.AsyncClient) -> None:
    assert (await client.get("/list_environments")).json() == ["resilience-gauntlet"]
    session = await opened(client, env_name="resilience-gauntlet", split="validation", index=1)
    for prefix in ("", "/resilience-gauntlet"):
        text = (await client.get(f"{prefix}/prompt", headers=session)).json()
        assert text == [{"text": prompt(Suite.HARDENED), "detail": None, "type": "text"}]
        tools = (await client.get(f"{prefix}/task_tools", headers=session)).json()
        assert tools == (await client.get(f"{prefix}/tools")).json()
        assert [tool.keys() for tool in tools["tools"]] == [{"name", "description", "input_schema"}] * 2
    tried = await output_of(client, session, TRY)
    assert (tried["blocks"][0]["text"], tried["reward"], tried["finished"]) == ("result:\n42", None, False)
    ended = await output_of(client, session, SUBMIT)
    assert (ended["reward"], ended["finished"]) == (0.0, True)
    metadata = ended["metadata"]
    assert (metadata["status"], metadata["steps"], metadata["split"]) == ("submitted", 2, "validation")
    assert (set(metadata["rows"].values()), len(metadata["rows"]), metadata["grade"]["seed"]) == (
        {0},
        6,
        metadata["seed"],
    )
    for path in ("/delete", "/delete_session"):
        assert (await client.post(path, headers=session)).json() == {"sid": session["X-Session-ID"]}
    assert await refused(client, "/ping", session) == (404, NO_SESSION)


async def test_a_session_opens_one_episode(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    again = await refused(client, "/create", session, json={"split": "train", "index": 1})
    assert again == (400, {"detail": "Session already exists"})
    assert (await output_of(client, session, TRY))["metadata"]["seed"] == 0


async def test_only_ids_that_were_handed_out_become_sessions(client: httpx.AsyncClient) -> None:
    task = {"split": "train", "index": 0}
    issued = await session_id(client)
    assert len({await session_id(client) for _ in range(20)} | {issued}) == 21
    forged = issued[:-1] + ("0" if issued[-1] != "0" else "1")
    for name in ("a", forged, issued[:32], issued + "0"):
        answer = await refused(client, "/create", {"X-Session-ID": name}, json=task)
        assert answer == (404, {"detail": "Unknown session: POST /create_session answers a new one"})
    odd = await client.post("/create", json=task, headers=[(b"X-Session-ID", b"\xe9" * 64)])
    assert odd.status_code == 404


async def test_sessions_that_never_open_an_episode_take_no_place(scarce: httpx.AsyncClient) -> None:
    for _ in range(2 * PLACES):
        await session_id(scarce)
    await opened(scarce)


async def test_a_session_unknown_missing_or_expired_is_refused(scarce: httpx.AsyncClient) -> None:
    expiring = await opened(scarce)
    kept = await opened(scarce)
    for session in ({"X-Session-ID": await session_id(scarce)}, {"X-Session-ID": "0" * 64}):
        for path in ("/ping", "/prompt", "/task_tools", "/call"):
            body = {"json": TRY} if path == "/call" else {}
            assert await refused(scarce, path, session, **body) == (404, NO_SESSION)
    for path in ("/ping", "/prompt", "/call", "/create", "/delete", "/delete_session"):
        task: dict[str, Any] = TRY if path == "/call" else {"split": "train", "index": 0}
        assert await refused(scarce, path, **({} if path == "/prompt" else {"json": task})) == (
            400,
            {"detail": "X-Session-ID header is required"},
        )
    for _ in range(3):
        await asyncio.sleep(0.8)
        assert (await scarce.post("/ping", headers=kept)).json() == {"status": "ok"}
    assert await refused(scarce, "/ping", expiring) == (404, NO_SESSION)
    assert await refused(scarce, "/call", expiring, json=SUBMIT) == (404, NO_SESSION)


async def test_sixty_four_sessions_are_kept_apart_and_one_more_is_refused(crowded: httpx.AsyncClient) -> None:
    sessions = await asyncio.gather(*(opened(crowded, split="train", index=index) for index in range(PLACES)))
    extra = {"X-Session-ID": await session_id(crowded)}
    full = await crowded.post("/create", json={"split": "train", "index": 64}, headers=extra)
    assert (full.status_code, full.headers["retry-after"]) == (503, "5")
    assert full.json() == {"detail": "64 episodes are open, which is all that the service keeps."}

    async def play(index: int, session: dict[str, str]) -> None:
        for step in range(1 + index % 3):
            body = {"name": "python_expression", "input": {"expression": f"{index} * 1000 + {step}"}}
            tried = await output_of(crowded, session, body)
            assert tried["blocks"][0]["text"] == f"result:\n{index * 1000 + step}"
        code = f"# {index}"
        ended = await output_of(crowded, session, {"name": "submit_code", "input": {"code": code}})
        told = ended["metadata"]
        assert (ended["reward"], told["seed"], told["steps"]) == (0.0, index, 2 + index % 3)
        assert told["grade"]["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()

    await asyncio.gather(*(play(index, session) for index, session in enumerate(sessions)))


# Calls that lose their connection


async def test_a_call_is_heard_again_by_its_id_and_not_made_again(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    slow = {"name": "python_expression", "input": {"expression": "import time; time.sleep(0.5); 'late'"}}
    async with client.stream("POST", "/call", json=slow, headers=session) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                break
    call = {**slow, "task_id": line.removeprefix("data: ")}
    heard = await asyncio.gather(*(output_of(client, session, call) for _ in range(2)))
    assert [output["blocks"][0]["text"] for output in heard] == ["result:\n'late'"] * 2
    assert (await output_of(client, session, TRY))["metadata"]["steps"] == 2
    for foreign in (await opened(client), {"X-Session-ID": "0" * 64}):
        answer = await client.post("/call", json=call, headers=foreign)
        assert events_of(answer.text) == [("error", "unknown task_id")]


async def test_a_submission_is_graded_though_the_connection_is_lost(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    submit = {"name": "submit_code", "input": {"code": ORACLE}}
    async with client.stream("POST", "/call", json=submit, headers=session) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                break
    ended = await output_of(client, session, {**submit, "task_id": line.removeprefix("data: ")})
    assert (ended["reward"], ended["finished"]) == (1.0, True)


async def test_answers_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.protocols.ors.calls._KEPT_CHARS", 100)
    calls = Calls()

    async def answer() -> str:
        return "x" * 40

    started = [calls.start("session", answer()) for _ in range(3)]
    await asyncio.gather(*(task for _, task in started))
    await asyncio.sleep(0)
    assert [calls.find("session", call_id) is not None for call_id, _ in started] == [False, True, True]
    monkeypatch.setattr("service.protocols.ors.calls._KEPT_S", 0.0)
    assert [calls.find("session", call_id) for call_id, _ in started] == [None] * 3


@pytest.mark.parametrize("text", [BLANKS, " " * 20_000, 'a"\\ ' * 5000, "λ \u2028\x85\t" * 5000])
def test_no_chunk_is_changed_by_a_reader_that_strips_blanks(text: str) -> None:
    written = json.dumps(text, separators=(",", ":"))
    chunks = chunked(written)
    assert max(map(len, chunks)) <= 4096 + 5
    assert json.loads("".join(chunk.lstrip() for chunk in chunks)) == text


# Tasks, seeds and splits


async def test_the_test_split_is_for_those_with_the_token(scarce: httpx.AsyncClient) -> None:
    test_seed = SEEDS[Split.TEST].low
    tasks: list[tuple[str, Any]] = [
        ("/tasks", {"split": "test"}),
        ("/num_tasks", {"split": "test"}),
        ("/task", {"split": "test", "index": 0}),
        ("/task_range", {"split": "test"}),
        ("/create", {"split": "test", "index": 0}),
        ("/create", {"task_spec": {"seed": test_seed}}),
        ("/create", {"task_spec": {"split": "test"}}),
    ]
    session = {"X-Session-ID": await session_id(scarce)}
    for path, body in tasks:
        status, answer = await refused(scarce, path, session, json=body)
        assert (status, "need the evaluation token" in answer["detail"]) == (403, True)
        assert (await refused(scarce, path, {**session, "X-API-Key": "another"}, json=body))[0] == 403
    assert [split["name"] for split in (await scarce.get("/splits")).json()] == ["train", "validation"]
    for header in ({"Authorization": f"Bearer {TOKEN}"}, {"X-API-Key": TOKEN}):
        splits = (await scarce.get("/splits", headers=header)).json()
        assert splits == [{"name": name, "type": name} for name in ("train", "validation", "test")]
        for path, body in tasks[:4]:
            assert (await scarce.post(path, json=body, headers=header)).status_code == 200
        issued = {"X-Session-ID": await session_id(scarce)}
        assert (await scarce.post("/create", json=tasks[4][1], headers={**issued, **header})).status_code == 200


async def test_tasks_are_seeds_of_their_split(client: httpx.AsyncClient) -> None:
    for split, count in ((Split.TRAIN, 10_000), (Split.VALIDATION, 1_000), (Split.TEST, 1_000)):
        listed = (await client.post("/resilience-gauntlet/tasks", json={"split": split})).json()
        assert (listed["env_name"], len(listed["tasks"])) == ("resilience-gauntlet", count)
        low = SEEDS[split].low
        assert listed["tasks"][-1] == {"suite": "hardened", "split": split, "seed": low + count - 1, "index": count - 1}
        one = (await client.post("/task", json={"split": split, "index": -1})).json()
        assert one == {"task": listed["tasks"][-1], "env_name": "resilience-gauntlet"}
        ranged = (await client.post("/task_range", json={"split": split, "start": 2, "stop": 10**9})).json()
        assert ranged["tasks"] == listed["tasks"][2:]


async def test_a_task_may_be_anything_that_an_episode_takes(client: httpx.AsyncClient) -> None:
    session = await opened(client, task_spec={"suite": "classic", "step_limit": 1})
    ended = await output_of(client, session, TRY)
    told = ended["metadata"]
    assert (ended["finished"], ended["reward"], told["status"]) == (True, 0.0, "step_limit")
    assert (told["suite"], told["seed"], told["rows"]) == ("classic", None, None)


# What does not fit


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/task", {"split": "dev", "index": 0}, 400, "Invalid split: use train, validation or test"),
        ("/num_tasks", {"split": "\ud800"}, 400, "Invalid split: use train, validation or test"),
        ("/task", {"split": "train", "index": 10_000}, 400, "Invalid index"),
        ("/task", {"split": "train", "index": -10_001}, 400, "Invalid index"),
        ("/create", {"split": "dev", "index": 0}, 400, "Invalid split: use train, validation or test"),
        ("/create", {"split": "train", "index": 10**30}, 400, "Invalid index"),
        ("/create", {"split": "train", "index": 0, "env_name": "nobody"}, 404, "unknown environment 'nobody'"),
        (
            "/create",
            {"split": "train", "index": 0, "toolset_name": "codex"},
            400,
            "unknown toolset 'codex'; valid options are []",
        ),
        ("/create", {"task_spec": {"seed": -1}}, 400, "seed: Input should be greater than or equal to 0"),
        ("/create", {"task_spec": {"seeds": 1}}, 400, "seeds: Extra inputs are not permitted"),
        ("/create", {"task_spec": {"step_limit": 65}}, 400, "step_limit: Input should be less than or equal to 64"),
        ("/create", {"task_spec": {"\ud800": 1}}, 400, NO_UNICODE),
        ("/create", {"task_spec": {}, "split": "train", "index": 0}, 422, None),
        ("/create", {"split": "train"}, 422, None),
        ("/create", {}, 422, None),
        ("/call", {"name": "python_expression"}, 422, None),
        ("/call", {"name": "python_expression", "input": {}, "more": 1}, 422, None),
        ("/call", {"name": "python_expression", "input": []}, 422, None),
    ],
)
async def test_bodies_that_do_not_fit_are_refused(
    client: httpx.AsyncClient, path: str, body: Any, status: int, detail: str | None
) -> None:
    session = {"X-Session-ID": await session_id(client)}
    if path == "/call":
        await client.post("/create", json={"split": "train", "index": 0}, headers=session)
    answer = await refused(client, path, session, content=json.dumps(body).encode(), headers=AS_JSON)
    if detail is not None:
        assert answer == (status, {"detail": detail})
    else:
        assert (answer[0], {item.keys() == {"type", "loc", "msg"} for item in answer[1]["detail"]}) == (422, {True})


@pytest.mark.parametrize("path", ["/task", "/create", "/call", "/resilience-gauntlet/call"])
async def test_bodies_that_are_no_json_are_refused(client: httpx.AsyncClient, path: str) -> None:
    session = {**await opened(client), **AS_JSON}
    for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"name":' * 2000 + b"1" + b"}" * 2000):
        response = await client.post(path, content=body, headers=session)
        assert (response.status_code in {400, 422}, "detail" in response.json()) == (True, True)
        assert "Traceback" not in response.text
    large = await client.post(path, content=b" " * 600_000, headers=session)
    assert (large.status_code, "larger than" in large.json()["detail"]) == (413, True)


async def test_arguments_that_no_tool_takes_cost_nothing(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    for arguments in ({}, {"expression": 1}, {"expression": "1", "more": 1}, {"code": "1"}, {"expression": "\ud800"}):
        sent = json.dumps({"name": "python_expression", "input": arguments}).encode()
        response = await client.post("/call", content=sent, headers={**session, **AS_JSON})
        if response.status_code == 200:
            result = json.loads(events_of(response.text)[-1][1])
            assert (result["ok"], result["reason"]) == (False, "input_validation")
            assert result["error"].startswith("Tool input validation error: expression: ")
        else:
            assert response.status_code == 422
    unknown = await called(client, session, {"name": "grade", "input": {"code": ""}})
    assert unknown == {"ok": False, "error": "'grade' is not a valid tool", "reason": "not_found"}
    assert (await output_of(client, session, TRY))["metadata"]["steps"] == 1
    await output_of(client, session, SUBMIT)
    for body in (TRY, SUBMIT, {"name": "grade", "input": {}}):
        assert await called(client, session, body) == {
            "ok": False,
            "error": "The episode has ended: its submission was graded.",
            "reason": "episode_finished",
        }


@pytest.mark.parametrize("path", ["/nobody/tools", "/nobody/splits", "/resilience-gauntlet/messages"])
async def test_another_environment_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


# The service's own faults


async def test_a_fault_of_the_service_pays_nothing() -> None:
    """The sandbox of this service was never started."""
    transport = httpx.ASGITransport(app=create_app(Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        session = await opened(client)
        failed = await client.post("/call", json=TRY, headers=session)
        (_, _), error = events_of(failed.text)
        expected = "The tool could not be run, which is the service's own fault. No score is given."
        assert error == ("error", expected)
        ended = await output_of(client, session, SUBMIT)
        assert (ended["reward"], ended["finished"], ended["metadata"]["status"]) == (None, True, "fault")
        assert "There is no grade and no reward" in ended["blocks"][0]["text"]
        assert ended["metadata"]["rows"] is None


async def test_a_full_queue_asks_to_come_back_and_costs_no_step() -> None:
    with running_service(GAUNTLET_QUEUE="1") as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            sessions = [await opened(client) for _ in range(2)]
            slow = {"name": "python_expression", "input": {"expression": "import time; time.sleep(1)"}}
            first = asyncio.create_task(output_of(client, sessions[0], slow))
            await asyncio.sleep(0.3)
            busy = await client.post("/call", json=SUBMIT, headers=sessions[1])
            assert (busy.status_code, busy.json().keys()) == (503, {"detail"})
            assert int(busy.headers["retry-after"]) > 0
            await first
            assert (await output_of(client, sessions[1], SUBMIT))["metadata"]["steps"] == 1
