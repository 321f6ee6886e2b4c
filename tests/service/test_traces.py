"""Traces of a real service, as a real collector gets them."""

import json
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from websockets.sync.client import connect

from service.task import RUBRIC
from tests.conformance.clients import EXAMPLES
from tests.conftest import RedisServer, ServiceProcess, running_service
from tests.sandbox.test_processes import descendants_of
from tests.service.collector import Collector, Seen, collecting
from tests.service.test_start import begin_request

ORACLE = (EXAMPLES / "solution.py").read_text()
SECRET = "what-a-client-wrote-and-no-collector-should-get"
TOKEN = "a-token-of-some-trainer"
SERVER, INTERNAL, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT
CASES = {row.id for row in RUBRIC} - {"guardrails"}  # which no case decides


def to(collector: Collector, **settings: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"} | settings


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[ServiceProcess]:
    with running_service(**to(collector)) as service:
        yield service


@pytest.fixture
def client(traced: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=traced.url, timeout=30) as client:
        yield client


class Caller:
    """Somebody who has a trace of their own, and calls from within one of its spans."""

    def __init__(self, *, sampled: bool = True) -> None:
        self.trace = secrets.token_hex(16)
        self.span = secrets.token_hex(8)
        self.headers = {"traceparent": f"00-{self.trace}-{self.span}-0{sampled:d}"}


def children(spans: list[Seen], parent: Seen) -> list[Seen]:
    return [span for span in spans if span.parent == parent.id]


def shape(spans: list[Seen], parent: Seen) -> Any:
    """Names below a span."""
    return sorted((span.name, shape(spans, span)) for span in children(spans, parent))


# What a trace holds


def test_a_grade_is_one_trace_of_its_caller_with_a_span_for_each_case(
    client: httpx.Client, collector: Collector
) -> None:
    caller = Caller()
    client.post("/grade", json={"code": ORACLE}, headers=caller.headers | {"x-request-id": "mine"}).raise_for_status()
    request, *inside = collector.trace(caller.trace)
    assert (request.name, request.kind, request.parent, request.failed) == ("POST /grade", SERVER, caller.span, False)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/grade",
        "http.response.status_code": 200,
        "gauntlet.request_id": "mine",
    }
    [grade] = children(inside, request)
    assert (grade.name, grade.kind) == ("gauntlet.grade", INTERNAL)
    assert grade.attributes == {"gauntlet.suite": "classic", "gauntlet.audit": False, "gauntlet.passed": True}
    cases = children(inside, grade)
    assert {case.name for case in cases} == {"gauntlet.case"}
    assert [case.attributes for case in cases] == [
        {"gauntlet.row": case.attributes["gauntlet.row"], "gauntlet.passed": True} for case in cases
    ]
    assert {case.attributes["gauntlet.row"] for case in cases} == CASES
    assert len(cases) == len(CASES)
    processes = [span for case in cases for span in children(inside, case)]
    assert {span.name for span in processes} <= {"sandbox.process", "sandbox.fork", "sandbox.wait"}
    assert all("sandbox.process" in {span.name for span in children(inside, case)} for case in cases)
    assert all(0 < span.seconds <= request.seconds for span in inside)
    assert not any(span.failed for span in inside)


def test_a_case_that_a_submission_loses_says_so(client: httpx.Client, collector: Collector) -> None:
    caller = Caller()
    long = ORACLE.replace("MAX_BUFFER = 240", "MAX_BUFFER = 241")
    client.post("/grade", json={"code": long}, headers=caller.headers).raise_for_status()
    spans = collector.trace(caller.trace)
    lost = {(span.name, span.attributes.get("gauntlet.row")) for span in spans if _is_lost(span)}
    assert lost == {("gauntlet.grade", None), ("gauntlet.case", "tier3")}
    assert not any(span.failed for span in spans)


def _is_lost(span: Seen) -> bool:
    return span.attributes.get("gauntlet.passed") is False


def test_a_drawn_grade_has_a_span_for_each_process_that_a_case_took(client: httpx.Client, collector: Collector) -> None:
    caller = Caller()
    client.post("/grade", json={"code": ORACLE, "suite": "hardened", "seed": 3}, headers=caller.headers)
    spans = collector.trace(caller.trace)
    processes = {
        span.attributes["gauntlet.row"]: sum(child.name == "sandbox.process" for child in children(spans, span))
        for span in spans
        if span.name == "gauntlet.case"
    }
    assert processes.keys() == CASES
    assert max(processes.values()) > 1  # the flood, whose processes are replaced
    assert "seed" not in str([span.attributes for span in spans])


def test_an_execution_tells_what_became_of_it(client: httpx.Client, collector: Collector) -> None:
    for expression, status in (("1", "ok"), ("1 / 0", "error")):
        caller = Caller()
        client.post("/execute", json={"expression": expression}, headers=caller.headers).raise_for_status()
        request, *inside = collector.trace(caller.trace)
        [execution] = children(inside, request)
        assert (execution.name, execution.attributes) == ("gauntlet.execute", {"gauntlet.status": status})
        assert not execution.failed  # code that fails is no fault
        assert ("sandbox.process", []) in shape(inside, execution)


def test_waiting_and_forking_on_demand_are_seen(collector: Collector) -> None:
    narrow = to(collector, GAUNTLET_CONCURRENCY="1", GAUNTLET_POOL_LOW="0", GAUNTLET_POOL_HIGH="0")
    caller = Caller()
    with running_service(**narrow) as service:
        httpx.post(f"{service.url}/grade", json={"code": ORACLE}, headers=caller.headers, timeout=30)
        spans = collector.trace(caller.trace)
    waits = [span for span in spans if span.name == "sandbox.wait"]
    assert len(waits) == len(CASES) - 1
    forks = [span for span in spans if span.name == "sandbox.fork"]
    assert len(forks) == len(CASES)
    names = {span.id: span.name for span in spans}
    assert {names[span.parent] for span in waits} == {"gauntlet.case"}
    assert {names[span.parent] for span in forks} == {"sandbox.process"}
    assert max(span.seconds for span in waits) > max(span.seconds for span in forks)


def test_calls_of_an_episode_show_the_store_and_the_grade(collector: Collector, redis_server: RedisServer) -> None:
    callers = {name: Caller() for name in ("begin", "try", "submit")}
    with (
        running_service(**to(collector, GAUNTLET_REDIS_URL=redis_server.url)) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        begun = client.post("/episodes", json={"suite": "classic"}, headers=callers["begin"].headers).json()["id"]
        tools = f"/episodes/{begun}/tools"
        client.post(f"{tools}/python_expression", json={"expression": "1"}, headers=callers["try"].headers)
        client.post(f"{tools}/submit_code", json={"code": ORACLE}, headers=callers["submit"].headers)
        traces = {name: collector.trace(caller.trace) for name, caller in callers.items()}
    [added] = [span for span in traces["begin"] if not span.is_server]
    assert (added.name, added.kind) == ("redis.add", CLIENT)
    assert added.attributes == {"db.system.name": "redis", "db.operation.name": "add"}
    tried = [name for name, _ in shape(traces["try"], traces["try"][0])]
    assert tried == ["gauntlet.execute", "redis.change", "redis.change", "redis.change"]
    submitted = [name for name, _ in shape(traces["submit"], traces["submit"][0])]
    assert submitted.count("gauntlet.grade") == 1
    assert submitted.count("redis.change") >= 3
    assert begun.encode() not in b"".join(collector.bodies)  # whoever knows it may use the episode


def test_a_socket_is_one_span_and_what_is_done_over_it_stands_below(
    traced: ServiceProcess, collector: Collector
) -> None:
    caller = Caller()
    with connect(traced.url.replace("http", "ws") + "/ws", additional_headers=caller.headers) as played:
        played.send(json.dumps({"type": "reset", "data": {}}))
        played.recv()
        action = {"type": "call_tool", "tool_name": "python_expression", "arguments": {"expression": "1"}}
        played.send(json.dumps({"type": "step", "data": action}))
        played.recv()
    request, *inside = collector.trace(caller.trace)
    assert (request.name, request.parent) == ("GET /ws", caller.span)
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/ws",
        "http.response.status_code": 101,
    }
    assert [name for name, _ in shape(inside, request)] == ["gauntlet.execute"]


# What is an error


def test_a_fault_of_the_service_is_an_error_and_a_bad_request_is_none(collector: Collector) -> None:
    gone = to(collector, GAUNTLET_REDIS_URL="redis://127.0.0.1:9/0")
    fault, bad = Caller(), Caller()
    with running_service(**gone) as service, httpx.Client(base_url=service.url, timeout=30) as client:
        assert client.post("/episodes", headers=fault.headers).status_code == 503
        assert client.post("/grade", json={}, headers=bad.headers).status_code == 422
        (request, called), (refused,) = collector.trace(fault.trace), collector.trace(bad.trace)
    assert (request.failed, request.attributes["error.type"]) == (True, "503")
    assert (called.failed, called.name, called.attributes["error.type"]) == (True, "redis.add", "ConnectionError")
    assert (refused.failed, refused.attributes["http.response.status_code"]) == (False, 422)
    assert "error.type" not in refused.attributes


def test_a_client_that_has_gone_is_no_fault(traced: ServiceProcess, collector: Collector) -> None:
    before = len(collector.spans)
    begin_request(traced, b'{"expression": "import time; time.sleep(4)"}').close()
    spans = collector.when(lambda spans: any(span.is_server for span in spans[before:]))[before:]
    [request] = [span for span in spans if span.is_server]
    assert (request.attributes["http.response.status_code"], request.failed) == (499, False)
    assert {span.attributes["error.type"] for span in spans if span is not request} == {"CancelledError"}
    counted = 'gauntlet_http_requests_total{method="POST",route="/execute",status="%d"}'
    scraped = httpx.get(f"{traced.url}/metrics").text
    assert counted % 499 in scraped
    assert counted % 500 not in scraped


# Whose trace it is


def test_without_a_caller_each_request_begins_a_trace(client: httpx.Client, collector: Collector) -> None:
    for own in ("one", "another"):
        client.get("/task", headers={"x-request-id": own})
    spans = collector.when(lambda spans: sum(_is_called(span, "one", "another") for span in spans) == 2)
    one, another = (span for span in spans if _is_called(span, "one", "another"))
    assert one.trace != another.trace
    assert one.parent == another.parent == ""


@pytest.mark.parametrize(
    "given",
    [
        [b"00-00000000000000000000000000000000-b7ad6b7169203331-01"],
        [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"00-" + b"1" * 32 + b"-b7ad6b7169203331-01"],
        [b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-" + b"x" * 600],
        [b"\xff\xfe"],
    ],
)
def test_a_parent_that_is_none_begins_a_trace(client: httpx.Client, collector: Collector, given: list[bytes]) -> None:
    own = secrets.token_hex(8)
    headers = [(b"traceparent", value) for value in given]
    assert client.get("/task", headers=[*headers, (b"x-request-id", own.encode())]).status_code == 200
    spans = collector.when(lambda spans: any(_is_called(span, own) for span in spans))
    [request] = [span for span in spans if _is_called(span, own)]
    assert request.parent == ""
    assert request.trace not in {"0af7651916cd43dd8448eb211c80319c", "0" * 32, "1" * 32}


def _is_called(span: Seen, *ids: str) -> bool:
    return span.attributes.get("gauntlet.request_id") in ids


def test_what_its_caller_does_not_sample_is_not_exported(client: httpx.Client, collector: Collector) -> None:
    unsampled, sampled = Caller(sampled=False), Caller()
    for caller in (unsampled, sampled):
        client.post("/execute", json={"expression": "1"}, headers=caller.headers).raise_for_status()
    collector.trace(sampled.trace)
    assert unsampled.trace not in {span.trace for span in collector.spans}


def test_probes_and_scrapes_are_not_traced(client: httpx.Client, collector: Collector) -> None:
    probe, after = Caller(), Caller()
    for path in ("/health", "/ready", "/metrics"):
        client.get(path, headers=probe.headers).raise_for_status()
    client.get("/task", headers=after.headers)
    collector.trace(after.trace)
    assert probe.trace not in {span.trace for span in collector.spans}


# What must not be in it


def test_nothing_that_a_client_wrote_is_exported(collector: Collector) -> None:
    marked = {
        "user-agent": SECRET,
        "tracestate": f"vendor={SECRET}",
        "baggage": f"of={SECRET}",
        "host": f"{SECRET}.example",
        "x-forwarded-for": SECRET,
        "x-request-id": f"{SECRET} {SECRET}",
        "cookie": SECRET,
    }
    last = Caller()
    with (
        running_service(**to(collector, GAUNTLET_API_TOKENS=TOKEN)) as service,
        httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {TOKEN}"} | marked) as client,
    ):
        client.post("/grade", json={"code": f"# {SECRET}\n{ORACLE}"})
        client.post("/grade", json={"code": f"raise ValueError({SECRET!r})", "suite": "hardened"})
        client.post("/grade", json={SECRET: SECRET})
        client.post("/trace", json={"code": f"raise ValueError({SECRET!r})"})
        client.post("/execute", json={"expression": f"print({SECRET!r}); raise ValueError({SECRET!r})"})
        client.get(f"/{SECRET}?{SECRET}={SECRET}")
        client.get(f"/episodes/{SECRET}?{SECRET}")
        client.request("PROPFIND", f"/task?{SECRET}")
        client.get("/task", headers={"authorization": f"Bearer {SECRET}"})
        client.get("/task", headers=last.headers)
        [request] = collector.trace(last.trace)
    sent = b"".join(collector.bodies)
    assert b"/episodes/{episode_id}" in sent
    assert b"_OTHER" in sent
    assert request.state == ""
    for secret in (SECRET, TOKEN, "127.0.0.1"):
        assert secret.encode() not in sent, secret


def test_sandboxed_code_sees_nothing_of_it(traced: ServiceProcess, service: ServiceProcess) -> None:
    """The same as in a service without traces, after spans were exported over connections that are kept."""
    look = """import os, sys, threading
def kind(n):
    try: return oct(os.fstat(n).st_mode)
    except OSError as error: return error.errno
(dict(os.environ), [kind(n) for n in range(256)], sorted(sys.modules), threading.active_count())"""
    plain, beside = (
        httpx.post(f"{each.url}/execute", json={"expression": look}, timeout=30).json() for each in (service, traced)
    )
    assert plain["status"] == "ok"
    assert beside["result"] == plain["result"]
    assert "telemetry" not in plain["result"].lower()


def test_processes_of_the_sandbox_inherit_neither_variables_nor_connections(
    traced: ServiceProcess, collector: Collector, client: httpx.Client
) -> None:
    caller = Caller()
    client.post("/execute", json={"expression": "1"}, headers=caller.headers)
    collector.trace(caller.trace)
    ours = {link.readlink() for link in Path(f"/proc/{traced.pid}/fd").iterdir() if link.exists()}
    started = descendants_of(traced.pid)
    assert started
    for pid in started:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            opened = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
        except FileNotFoundError:
            continue  # it has had its turn
        except PermissionError:
            pytest.skip("only root may look at processes that cannot be traced")
        assert b"OTEL" not in environment
        sockets = {link for link in opened if str(link).startswith("socket:")}
        assert not sockets & ours, "a socket of the service's"


# Switched on, switched off


def test_without_an_endpoint_or_disabled_or_sampled_away_nothing_is_exported(collector: Collector) -> None:
    before = len(collector.bodies)
    off: tuple[dict[str, str], ...] = (
        {"OTEL_SERVICE_NAME": "named"},
        to(collector, OTEL_SDK_DISABLED="true"),
        to(collector, OTEL_TRACES_EXPORTER="none"),
        to(collector, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0"),
    )
    for settings in off:
        with running_service(**settings) as service:
            asked = httpx.post(f"{service.url}/execute", json={"expression": "1"}, headers=Caller().headers)
            assert asked.json()["result"] == "1"
        assert len(collector.bodies) == before, settings  # the service has ended, and sends nothing any more


def test_each_process_is_a_resource_of_its_own(traced: ServiceProcess, collector: Collector) -> None:
    """As the environment names it."""
    given = {
        "OTEL_SERVICE_NAME": "ours",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=let%20me%20in",
    }
    callers = Caller(), Caller()
    with running_service(**to(collector, **given)) as other:
        for caller, service in zip(callers, (traced, other), strict=True):
            httpx.get(f"{service.url}/task", headers=caller.headers)
        one, another = (collector.trace(caller.trace)[0].resource for caller in callers)
        assert (one["process.pid"], another["process.pid"]) == (traced.pid, other.pid)
    assert one["service.instance.id"] != another["service.instance.id"]
    assert (one["service.name"], another["service.name"]) == ("resilience-gauntlet", "ours")
    assert another["deployment.environment.name"] == "test"
    assert "let me in" in [headers.get("x-key") for headers in collector.headers]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is no URL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://a"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no URL"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "max_queue_size"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(settings: dict[str, str], said: str) -> None:
    done = _started("from service.__main__ import main; main()", settings)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_endpoint_without_the_extra_is_refused_with_what_to_install() -> None:
    absent = "import sys; sys.modules['opentelemetry.sdk'] = None; from service.__main__ import main; main()"
    done = _started(absent, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    assert done.returncode == 1
    assert "pip install 'resilience-gauntlet[otel]'" in done.stderr
    assert "Traceback" not in done.stderr


def _started(source: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", source, "--port", "0"]
    return subprocess.run(
        command, env={"PATH": "", **settings}, capture_output=True, text=True, timeout=30, check=False
    )


# When the collector is gone, and when the service goes


@pytest.fixture(params=["refuses", "hangs", "fails"])
def broken(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings for a collector that takes no connection, answers none, or answers 503."""
    with socket.create_server(("127.0.0.1", 0)) as listener, collecting(status=503) as failing:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}" if request.param != "fails" else failing.url
        if request.param == "refuses":
            listener.close()
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "20"}


@pytest.mark.timed
def test_a_broken_collector_slows_and_fails_no_request_and_keeps_no_service_from_stopping(
    broken: dict[str, str], service: ServiceProcess
) -> None:
    with running_service(**broken, GAUNTLET_DRAIN_S="1") as beside:
        times: dict[str, list[float]] = {service.url: [], beside.url: []}
        clients = [httpx.Client(base_url=url) for url in times]
        for turn in range(50):
            for client in clients if turn % 2 else reversed(clients):
                started = time.perf_counter()
                answer = client.post("/execute", json={"expression": "6 * 7"}).json()
                times[str(client.base_url).rstrip("/")].append(time.perf_counter() - started)
                assert answer["result"] == "42"
        for client in clients:
            client.close()
        started = time.monotonic()
        beside.process.terminate()
        assert beside.process.wait(timeout=30) == 0
        assert time.monotonic() - started < 4  # a second of them for the spans; the exporter would try for ten
    plain, slower = (statistics.median(each) for each in times.values())
    assert slower < 2 * plain + 0.002


def test_a_broken_collector_is_told_of_once(broken: dict[str, str], stderr: Path) -> None:
    fast = {"OTEL_EXPORTER_OTLP_TIMEOUT": "0.2", "GAUNTLET_DRAIN_S": "1"}  # a complaint for each of many batches
    with running_service(**broken, **fast) as service:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            httpx.post(f"{service.url}/execute", json={"expression": "1"}).raise_for_status()
            time.sleep(0.05)
    complaints = stderr.read_text().splitlines()
    assert 1 <= len(complaints) <= 2, complaints  # the second, that the last spans were given up
    assert "export" in complaints[0]


def test_a_service_that_stops_sends_what_is_left(collector: Collector) -> None:
    caller = Caller()
    slow = b'{"expression": "import time; time.sleep(0.8)"}'
    seldom = to(collector, OTEL_BSP_SCHEDULE_DELAY="60000")
    with running_service(**seldom) as service, begin_request(service, slow):
        httpx.get(f"{service.url}/task", headers=caller.headers)
        service.process.terminate()
        assert service.process.wait(timeout=10) == 0
    assert [span.name for span in collector.trace(caller.trace)] == ["GET /task"]
    assert [span.name for span in collector.spans[-3:]] == ["sandbox.process", "gauntlet.execute", "POST /execute"]


def test_json_logs_name_the_trace_of_a_request_that_has_one(collector: Collector, stderr: Path) -> None:
    caller, unsampled = Caller(), Caller(sampled=False)
    with running_service(**to(collector, GAUNTLET_LOG_FORMAT="json")) as service:
        for asked in (caller, unsampled):
            httpx.get(f"{service.url}/task", headers=asked.headers)
        httpx.get(f"{service.url}/ready", headers=caller.headers)
    told = [json.loads(line) for line in stderr.read_text().splitlines()]
    assert [line.get("trace_id") for line in told] == [caller.trace, unsampled.trace, None]
