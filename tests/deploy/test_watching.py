"""A real service that a real Prometheus watches with the shipped files: what they ask for is there, and alerts fire."""

import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.clients import EXAMPLES
from tests.conftest import RedisServer, ServiceProcess, running_service
from tests.deploy import prometheus
from tests.deploy.prometheus import ROOT, Prometheus, eventually, running_prometheus

pytestmark = [prometheus.NEEDED, pytest.mark.timeout(300)]  # where Prometheus is fetched first

PLACE = ROOT / "deploy" / "observability"
PANELS = [p for p in json.loads((PLACE / "grafana" / "dashboard.json").read_text())["panels"] if p["type"] != "row"]
SCRAPE_S = 0.5
ORACLE = (EXAMPLES / "solution.py").read_text()
NAIVE = "def process_batch(events, state):\n    return {}"
EXPRESSIONS = {
    "ok": "1 + 1",
    "error": "1 / 0",
    "timeout": "while True: pass",
    "memory_limit": "'x' * (1 << 40)",
    "output_limit": "while True: print('x' * 65536)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "syntax_error": "1 +",
}
SLOW = "import time; time.sleep(1)"

# Alerts ask about these only once there has been such an answer.
UNTIL_THEN_EMPTY = {
    "job_instance:gauntlet_http_errors:ratio_rate5m",
    "job_instance:gauntlet_readiness_failures:ratio_rate5m",
}


@dataclass(frozen=True)
class Watch:
    service: ServiceProcess
    prometheus: Prometheus
    fired_at_rest: set[str]


def shortened(place: Path, url: str) -> Path:
    """The shipped files, but that they look at one service, often, and that alerts wait for a moment only."""
    scrape = f"{SCRAPE_S * 1000:.0f}ms"
    configuration = re.sub(r"(_interval|_timeout): (15|5)s", rf"\1: {scrape}", (PLACE / "prometheus.yml").read_text())
    assert configuration.count(scrape) == 4
    configuration, looked_up = re.subn(r"names: \[.*?\]", "names: [service.invalid]", configuration)
    assert looked_up == 1
    (place / "prometheus.yml").write_text(configuration)
    (place / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 1s", (PLACE / "alerts.yml").read_text()))
    shutil.copytree(PLACE / "targets", place / "targets")
    target = place / "targets" / "local.yml"
    target.write_text(target.read_text().replace("127.0.0.1:8000", url.removeprefix("http://")))
    return place / "prometheus.yml"


def work(url: str) -> None:
    """Every kind of end that there is, and calls that are refused."""
    with httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor(2) as both:
        for status, expression in EXPRESSIONS.items():
            seconds = 0.3 if status == "timeout" else 20
            told = client.post("/execute", json={"expression": expression, "timeout_s": seconds}).json()
            assert told["status"] == status
        for suite in ("classic", "hardened"):
            for code in (ORACLE, NAIVE):
                client.post("/grade", json={"code": code, "suite": suite}).raise_for_status()
        executed = both.map(
            lambda _: client.post("/execute", json={"expression": SLOW, "timeout_s": 5}).status_code, range(2)
        )
        assert sorted(executed) == [200, 503]
        episode = client.post("/episodes", json={}).raise_for_status().json()["id"]
        assert client.post("/episodes", json={}).status_code == 503
        client.post(f"/episodes/{episode}/tools/submit_code", json={"code": NAIVE}).raise_for_status()
        client.get("/ready").raise_for_status()


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Watch]:
    place = tmp_path_factory.mktemp("prometheus")
    settings = {"GAUNTLET_QUEUE": "1", "GAUNTLET_EPISODES": "1", "GAUNTLET_REDIS_URL": redis_server.url}
    with running_service(**settings) as service, running_prometheus(shortened(place, service.url), place) as watching:
        assert eventually(lambda: watching.ask("up == 1"), seconds=20), (place / "log").read_text()
        time.sleep(10 * SCRAPE_S)  # of rest, longer than alerts wait
        fired_at_rest = set(watching.firing())
        for _ in range(2):  # a series that is new has grown by the second time
            work(service.url)
            time.sleep(3 * SCRAPE_S)
        yield Watch(service, watching, fired_at_rest)


def asked_by(panel: dict[str, Any]) -> list[str]:
    """A panel's expressions with what Grafana puts in."""
    put_in = {"$__rate_interval": "1m", "$__range": "1h", "$job": "resilience-gauntlet", "$instance": ".+"}
    expressions = [target["expr"] for target in panel["targets"]]
    for name, value in put_in.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    assert not [expression for expression in expressions if "$" in expression]
    return expressions


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: f"{panel['id']}-{panel['title']}")
def test_every_panel_shows_something(watch: Watch, panel: dict[str, Any]) -> None:
    for expression in asked_by(panel):
        series = watch.prometheus.ask(expression)
        assert [each for each in series if math.isfinite(float(each["value"][1]))], expression


def shown(watch: Watch, title: str) -> dict[str, float]:
    """What the first expression of a panel comes to, by its labels' values."""
    panel = next(panel for panel in PANELS if panel["title"] == title)
    series = watch.prometheus.ask(asked_by(panel)[0])
    return {" ".join(sorted(each["metric"].values())): float(each["value"][1]) for each in series}


def test_panels_show_what_has_happened(watch: Watch) -> None:
    executed = shown(watch, "Executions by status")
    assert executed.keys() == EXPRESSIONS.keys()
    assert min(executed.values()) > 0
    assert shown(watch, "Ended by the sandbox").keys() == {"timeout", "memory_limit", "output_limit", "killed"}
    refused = shown(watch, "Refusals by reason")
    assert {reason for reason, rate in refused.items() if rate > 0} == {"full", "capacity"}
    assert shown(watch, "Errors by route").keys() == {"/episodes 503", "/execute 503"}
    assert shown(watch, "Replicas that answer") == {"": 1}
    assert shown(watch, "Sandbox faults") == {"": 0}
    held = shown(watch, "Rows that held")
    assert len(held) == 12
    assert 0 < held["classic tier1"] < 1
    assert 0 < shown(watch, "Refused")[""] < 1


def test_every_rule_is_evaluated_without_a_fault(watch: Watch) -> None:
    rules = watch.prometheus.rules()
    assert len(rules) > 20
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
    for rule in rules:
        series = watch.prometheus.ask(rule["query"])
        if rule["type"] == "recording":
            assert bool(series) == (rule["name"] not in UNTIL_THEN_EMPTY), rule["name"]
            assert bool(watch.prometheus.ask(rule["name"])) == bool(series)


def test_no_file_names_a_metric_that_the_service_has_not(watch: Watch) -> None:
    text = httpx.get(f"{watch.service.url}/metrics").raise_for_status().text
    families = list(text_string_to_metric_families(text))
    there = {family.name for family in families} | {sample.name for family in families for sample in family.samples}
    named = {
        "panels": " ".join(expression for panel in PANELS for expression in asked_by(panel)),
        "rules": " ".join(rule["query"] for rule in watch.prometheus.rules()),
        "docs/metrics.md": (ROOT / "docs" / "metrics.md").read_text(),
    }
    for place, words in named.items():
        metrics = set(re.findall(r"(?<![:\w])(?:gauntlet|process)_\w+(?![:\w])", words))
        assert len(metrics) > 3, place
        assert metrics - there == set(), place


def test_alerts_tell_of_what_is_wrong_and_of_nothing_else(watch: Watch) -> None:
    assert watch.fired_at_rest == set()
    refusing = eventually(lambda: watch.prometheus.firing().get("GauntletRefusing"), seconds=10)
    assert refusing
    assert re.match(r"[\d.]+% of the calls were refused", refusing["annotations"]["description"])
    assert watch.prometheus.firing().keys() <= {"GauntletRefusing", "GauntletQueueNearLimit"}  # there is one place
    assert shown(watch, "Alerts firing")[""] >= 1


def test_a_redis_that_does_not_answer_is_told(watch: Watch, redis_server: RedisServer) -> None:
    redis_server.hang()
    try:
        assert eventually(lambda: watch.prometheus.firing().get("GauntletStoreUnreachable"), seconds=20)
        assert "GauntletDown" not in watch.prometheus.firing()
    finally:
        redis_server.go_on()
    assert eventually(lambda: "GauntletStoreUnreachable" not in watch.prometheus.firing(), seconds=20)


def test_the_death_of_the_service_is_told(watch: Watch) -> None:
    watch.service.process.kill()
    down = eventually(lambda: watch.prometheus.firing().get("GauntletDown"), seconds=20)
    assert down
    instance = watch.service.url.removeprefix("http://")
    assert down["labels"]["instance"] == instance
    assert down["annotations"]["summary"] == f"{instance} does not answer"
    assert shown(watch, "Replicas that answer") == {"": 0}
