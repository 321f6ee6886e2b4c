"""The HTTP contract, against the real service in a process of its own."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PATIENT, ServiceProcess, running_service
from tests.service.problems import problem_of

pytestmark = pytest.mark.anyio

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
CHUNKED = (
    b"POST /mcp HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    b'28\r\n{"jsonrpc":"2.0","id":1,"method":"ping"}\r\n0\r\n'
)
HONEST = {path.stem: path.read_text() for path in (SUBMISSIONS / "honest").glob("*.py")}


async def test_task_tells_all_that_a_framework_needs(client: httpx.AsyncClient) -> None:
    task = (await client.get("/task")).json()
    assert (task["id"], task["entry_point"], task["suite"]) == ("resilience-gauntlet", "process_batch", "classic")
    assert "def process_batch(events, state):" in task["prompt"]
    assert [row["id"] for row in task["rubric"]] == [
        "tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails",
    ]  # fmt: skip
    assert sum(row["max_points"] for row in task["rubric"]) == 100
    assert task["target_pass_band"] == {"low": 0.1, "high": 0.4}
    assert task["limits"] == {
        "wall_time_s": float(PATIENT["GAUNTLET_WALL_TIME_S"]), "max_wall_time_s": 30, "cpu_time_s": 5,
        "memory_mib": 256, "stdout_kib": 64, "answer_kib": 1024, "code_kib": 256, "open_files": 64,
    }  # fmt: skip


async def test_the_prompt_shows_no_grader_input(client: httpx.AsyncClient) -> None:
    prompt = (await client.get("/task")).json()["prompt"]
    for given in ("7.2", "5.4", "9.5", "1000", "10.5", "260", "190"):
        assert given not in prompt


async def test_tools_come_in_three_shapes(client: httpx.AsyncClient) -> None:
    anthropic, openai, mcp = [
        (await client.get("/task", params={"format": shape})).json()["tools"]
        for shape in ("anthropic", "openai", "mcp")
    ]
    assert [tool["name"] for tool in anthropic] == ["python_expression", "submit_code"]
    for plain, function, tool in zip(anthropic, openai, mcp, strict=True):
        assert function["type"] == "function"
        assert function["function"]["name"] == tool["name"] == plain["name"]
        assert function["function"]["parameters"] == tool["inputSchema"] == plain["input_schema"]
    assert anthropic[0]["input_schema"]["required"] == ["expression"]
    assert anthropic[1]["input_schema"]["required"] == ["code"]


@pytest.mark.parametrize("path", ["/task?format=xml", "/task?suite=unknown"])
async def test_an_unknown_choice_is_named_with_the_known_ones(client: httpx.AsyncClient, path: str) -> None:
    body = problem_of(await client.get(path), 422)
    field = path.partition("?")[2].partition("=")[0]
    assert body["errors"][0]["field"] == field
    assert "Input should be" in body["errors"][0]["message"]


async def test_execute_answers_what_was_printed_and_the_last_value(client: httpx.AsyncClient) -> None:
    response = await client.post("/execute", json={"expression": "print('hi')\nstats.mean([1, 2])"})
    body = response.json()
    assert response.status_code == 200
    assert (body["status"], body["stdout"], body["result"], body["error"]) == ("ok", "hi\n", "1.5", None)
    assert body["duration_ms"] > 0


@pytest.mark.parametrize(
    ("expression", "status"),
    [
        ("open('/etc/passwd')", "error"),
        ("import socket; socket.socket()", "error"),
        ("import os; os.fork()", "error"),
        ("import os; os.kill(os.getppid(), 9)", "error"),
        ("bytearray(10 * 10**9)", "memory_limit"),
        ("while True: pass", "timeout"),
        ("import sys\nfor _ in range(200): sys.stdout.write('x' * 2**20)", "output_limit"),
        ("def f(:", "syntax_error"),
        ("import os; os.kill(os.getpid(), 11)", "killed"),
    ],
)
async def test_what_code_does_is_data_and_the_next_call_works(
    client: httpx.AsyncClient, expression: str, status: str
) -> None:
    response = await client.post("/execute", json={"expression": expression, "timeout_s": 1})
    assert (response.status_code, response.json()["status"]) == (200, status)
    assert (await client.post("/execute", json={"expression": "1 + 1"})).json()["result"] == "2"


@pytest.mark.parametrize("name", sorted(HONEST))
async def test_honest_solutions_score_everything(client: httpx.AsyncClient, name: str) -> None:
    code = HONEST[name]
    body = (await client.post("/grade", json={"code": code})).json()
    assert (body["passed"], body["score"], body["points"], body["feedback"]) == (True, 1.0, 100, "✓ All tiers stable")
    assert [row["passed"] for row in body["checks"]] == [True] * 6
    assert (body["suite"], body["seed"]) == ("classic", None)
    assert body["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()


async def test_the_fragile_pipeline_scores_20_percent(client: httpx.AsyncClient) -> None:
    prompt = (await client.get("/task")).json()["prompt"]
    source = prompt.split("```python\n")[1].split("```")[0]
    body = (await client.post("/grade", json={"code": source})).json()
    assert (body["score"], body["points"]) == (0.2, 20)
    assert {row["id"] for row in body["checks"] if row["passed"]} == {"validity"}


@pytest.mark.parametrize("seed", [0, 7, 7.0, 1_999_999_999])
async def test_the_hardened_suite_is_graded_from_its_seed(client: httpx.AsyncClient, seed: float) -> None:
    code = next(iter(HONEST.values()))
    body = (await client.post("/grade", json={"code": code, "suite": "hardened", "seed": seed})).json()
    assert (body["passed"], body["suite"], body["seed"]) == (True, "hardened", seed)
    assert body["integrity"] is None


async def test_without_a_seed_one_for_training_is_drawn_and_told(client: httpx.AsyncClient) -> None:
    code = next(iter(HONEST.values()))
    seeds = [
        (await client.post("/grade", json={"code": code, "suite": "hardened", "seed": None})).json()["seed"]
        for _ in range(3)
    ]
    assert len(set(seeds)) == 3
    assert all(0 <= seed <= 999_999_999 for seed in seeds)


async def test_an_audit_is_added_to_the_same_grade(client: httpx.AsyncClient) -> None:
    code = next(iter(HONEST.values()))
    plain, audited = [
        (await client.post("/grade", json={"code": code, "audit": audit})).json() for audit in (False, True)
    ]
    integrity = audited.pop("integrity")
    assert plain.pop("integrity") is None
    assert plain | {"duration_ms": 0} == audited | {"duration_ms": 0}
    assert (integrity["overfit"], integrity["nondeterministic"], integrity["scores"]) == (False, False, [1.0] * 5)


async def test_the_prompt_of_the_hardened_suite_holds_its_whole_contract(client: httpx.AsyncClient) -> None:
    classic, hardened = [
        (await client.get("/task", params={"suite": suite})).json() for suite in ("classic", "hardened")
    ]
    assert (hardened["suite"], hardened["suites"]) == ("hardened", ["classic", "hardened"])
    contract, how = classic["prompt"].split("## How to work")
    assert hardened["prompt"].startswith(contract)
    assert hardened["prompt"].endswith(how)
    assert "at most 2,000 values" in hardened["prompt"]
    spans = sorted((span["low"], span["high"]) for span in hardened["seeds"].values())
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))


async def test_grading_the_same_code_again_gives_the_same_grade(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.post("/grade", json={"code": next(iter(HONEST.values()))}) for _ in range(6))
    )
    bodies = [answer.json() for answer in answers]
    for body in bodies:
        del body["duration_ms"]
    assert all(body == bodies[0] for body in bodies)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/grade", {}, "code"),
        ("/grade", {"code": 7}, "code"),
        ("/grade", {"code": None}, "code"),
        ("/grade", {"code": "x", "suit": "classic"}, "suit"),
        ("/grade", {"code": "x", "suite": "impossible"}, "suite"),
        ("/grade", {"code": "x", "seed": 7}, "seed"),
        ("/grade", {"code": "x", "suite": "hardened", "seed": -1}, "seed"),
        ("/grade", {"code": "x", "suite": "hardened", "seed": 2_000_000_000}, "seed"),
        ("/grade", {"code": "x", "suite": "hardened", "seed": 1.5}, "seed"),
        ("/grade", {"code": "x", "suite": "hardened", "seed": "1"}, "seed"),
        ("/grade", {"code": "x", "suite": "hardened", "seed": True}, "seed"),
        ("/grade", {"code": "x", "audit": "maybe"}, "audit"),
        ("/grade", {"code": "x", "audit": 1}, "audit"),
        ("/grade", {"code": "\ud800"}, "code"),
        ("/grade", {"code": "#" * (256 * 1024 + 1)}, "code"),
        ("/grade", [], "body"),
        ("/grade", "text", "body"),
        ("/execute", {}, "expression"),
        ("/execute", {"expression": ["1"]}, "expression"),
        ("/execute", {"expression": "\udfff"}, "expression"),
        ("/execute", {"expression": "1", "timeout_s": 0}, "timeout_s"),
        ("/execute", {"expression": "1", "timeout_s": 31}, "timeout_s"),
        ("/execute", {"expression": "1", "timeout_s": "soon"}, "timeout_s"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_by_the_fields_name(
    client: httpx.AsyncClient, path: str, body: Any, field: str
) -> None:
    response = await client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    errors = problem_of(response, 422)["errors"]
    assert [error["field"] for error in errors] == [field]
    assert errors[0]["message"]


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"{", b'{"code": "x"', b"\xff\xfe", b"[" * 100_000, b'{"code": ' + b"9" * 5000 + b"}"]
)
async def test_what_is_no_json_is_a_clear_4xx(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post("/grade", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    problem_of(response, response.status_code)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_of_another_type_is_told_which_to_send(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    body = problem_of(await client.post("/grade", content=b'{"code": "x"}', headers=headers), 422)
    assert "content-type: application/json" in body["detail"]


@pytest.mark.parametrize(
    ("code", "feedback"),
    [
        ("", "✗ process_batch missing"),
        ("   \n", "✗ process_batch missing"),
        ("process_batch = 7", "✗ process_batch missing"),
        ("x = 1\ny =\n", "✗ Syntax error on line 2: invalid syntax"),
        ("x = 1\0", "✗ Syntax error"),
        ("```python\ndef process_batch(e, s): pass\n```", "remove the Markdown fence"),
        ("raise ValueError('no')", "✗ Import failed: ValueError: no (line 1)"),
        ("import sys; sys.exit()", "✗ Import failed: SystemExit"),
    ],
)
async def test_code_that_never_runs_scores_0_and_says_why(client: httpx.AsyncClient, code: str, feedback: str) -> None:
    response = await client.post("/grade", json={"code": code})
    body = response.json()
    assert (response.status_code, body["score"], body["points"], body["passed"]) == (200, 0, 0, False)
    assert feedback in body["feedback"]


async def test_a_megabyte_of_code_is_refused_by_name_before_it_is_read(client: httpx.AsyncClient) -> None:
    body = problem_of(await client.post("/grade", json={"code": "#" * (1 << 20)}), 413)
    assert "`code`" in body["detail"]
    assert "262144" in body["detail"]


async def test_an_endless_body_is_refused_on_the_way(service: ServiceProcess) -> None:
    """Chunked, so that no length is announced: the answer comes while the client still sends."""
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = b"host: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n"
    writer.write(b"POST /grade HTTP/1.1\r\n" + headers + b"\r\n")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(32):
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        answer = await reader.read()  # to the end: the service hangs up on who never ends
    writer.close()
    assert answer.split()[1] == b"413"
    assert b"`code`" in answer


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/grade", 405), ("DELETE", "/task", 405)]
)
async def test_other_errors_are_problem_documents_too(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    problem_of(await client.request(method, path), status)


async def test_health_reports_layers_and_capacity(client: httpx.AsyncClient) -> None:
    body = (await client.get("/health")).json()
    assert body["status"] == "healthy"
    assert {"rlimits", "landlock", "seccomp"} <= set(body["sandbox"]["layers"])
    assert body["sandbox"]["missing"] == []
    assert body["sandbox"]["landlock_abi"] >= 1
    assert body["capacity"]["processes"] == body["capacity"]["requests"] == 0
    assert (await client.get("/ready")).json() == {"status": "ready"}


async def test_one_request_too_many_is_answered_503_with_retry_after() -> None:
    with running_service(GAUNTLET_QUEUE="2") as small:
        async with httpx.AsyncClient(base_url=small.url, timeout=30) as client:
            slow = {"expression": "import time; time.sleep(1)"}
            waiting = [asyncio.create_task(client.post("/execute", json=slow)) for _ in range(2)]
            await asyncio.sleep(0.3)
            refused = await client.post("/execute", json={"expression": "1"})
            problem_of(refused, 503)
            assert int(refused.headers["retry-after"]) >= 1
            assert [(await answer).status_code for answer in waiting] == [200, 200]
            assert (await client.post("/execute", json={"expression": "1"})).status_code == 200


async def test_documented_examples_are_what_the_service_answers(client: httpx.AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    for path, name in (("/execute", "Execute"), ("/grade", "Grade")):
        request = schemas[f"{name}Request"]["examples"][0]
        documented = schemas[f"{name}Response"]["examples"][0]
        answered = (await client.post(path, json=request)).json()
        for measured in ("duration_ms", "cpu_ms", "max_rss_kb"):
            answered.pop(measured, None)
            documented.pop(measured, None)
        assert answered == dict.fromkeys(answered) | documented  # FastAPI leaves nulls out of examples


async def test_every_body_has_an_example(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    bodies = set()
    for operations in document["paths"].values():
        for operation in operations.values():
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in contents:
                for media_type, media in content.get("content", {}).items():
                    if "json" in media_type:
                        bodies.add(media["schema"]["$ref"].rpartition("/")[2])
                    else:
                        assert media["example"]
    assert {"TaskResponse", "GradeRequest", "GradeResponse", "ExecuteRequest", "ExecuteResponse"} <= bodies
    assert {name for name in bodies if not document["components"]["schemas"][name].get("examples")} == set()


@pytest.mark.timed
@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 200_000,
        b"GET /health HTTP/1.1\r\na: " + b"x" * 2_000_000,
        b"GET /" + b"x" * 2_000_000,
        CHUNKED + b"a: b\r\n" * 200_000,
        CHUNKED + b"a: " + b"x" * 2_000_000,
    ],
    ids=["many headers", "one long header", "a long path", "many trailers", "one long trailer"],
)
async def test_a_head_without_end_is_refused_and_holds_nobody_up(service: ServiceProcess, head: bytes) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for start in range(0, len(head), 65536):
        writer.write(head[start : start + 65536])
        await writer.drain()
    async with asyncio.timeout(5):
        assert (await reader.read()).split()[1] == b"431"
    writer.close()
    started = time.monotonic()
    async with httpx.AsyncClient(base_url=service.url) as client:
        assert (await client.get("/health", headers={"x-long": "y" * 30_000})).status_code == 200
    assert time.monotonic() - started < 1


async def test_what_came_before_a_head_counts_for_nothing(service: ServiceProcess) -> None:
    """A client that sends its next request before it has heard of the last, both in one piece."""
    body = b'{"expression": "1' + b" " * 100_000 + b'"}'
    first = b"POST /execute HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first + body + b"GET /health HTTP/1.1\r\nconnection: cl")
    await asyncio.sleep(0.3)
    writer.write(b"ose\r\n\r\n")
    answers = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert (answers.count(b"HTTP/1.1 "), answers.count(b"HTTP/1.1 200")) == (2, 2)


async def test_trailers_are_no_headers(service: ServiceProcess) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(CHUNKED + b"origin: http://elsewhere.example\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.split()[1] == b"200"


async def test_fifty_thousand_unknown_members_are_one_error(client: httpx.AsyncClient) -> None:
    body = {"code": "x", **{f"member{number}": 1 for number in range(50_000)}}
    response = await client.post("/grade", json=body)
    assert response.status_code in (413, 422)
    assert len(response.content) < 1000


@pytest.mark.parametrize("timeout_s", ["2", True, [2]])
async def test_a_timeout_is_a_number(client: httpx.AsyncClient, timeout_s: Any) -> None:
    response = await client.post("/execute", json={"expression": "1", "timeout_s": timeout_s})
    assert problem_of(response, 422)["errors"][0]["field"] == "timeout_s"


async def test_descriptors_used_up_by_idle_clients_are_survived() -> None:
    with running_service(limits=["--nofile=96:96"]) as small:
        host, port = small.url.removeprefix("http://").split(":")
        for _ in range(3):
            idle = [await asyncio.open_connection(host, int(port)) for _ in range(120)]
            await asyncio.sleep(0.3)
            for _, writer in idle[:4]:
                writer.close()
            async with httpx.AsyncClient(base_url=small.url, timeout=15) as client:
                with contextlib.suppress(httpx.TransportError):
                    answers = await asyncio.gather(
                        *(client.post("/execute", json={"expression": "1"}) for _ in range(2)), return_exceptions=True
                    )
                    statuses = {answer.status_code for answer in answers if isinstance(answer, httpx.Response)}
                    assert statuses <= {200, 500, 503}
            for _, writer in idle:
                writer.close()
            await asyncio.sleep(0.3)
        async with httpx.AsyncClient(base_url=small.url, timeout=15) as client:
            for _ in range(12):
                assert (await client.post("/execute", json={"expression": "1 + 1"})).json()["result"] == "2"
            assert (await client.get("/health")).json()["capacity"]["processes"] == 0
