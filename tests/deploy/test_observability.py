"""Prometheus' configuration, rules and Grafana's dashboard as files: each says what is so."""

import itertools
import json
import re
import subprocess
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.conformance.clients import client_python
from tests.deploy import prometheus
from tests.deploy.prometheus import ROOT, promtool

PLACE = ROOT / "deploy" / "observability"
UNIT_TESTS = ROOT / "tests" / "deploy" / "alerts.test.yml"
RUNBOOK = ROOT / "docs" / "observability.md"
DASHBOARD: dict[str, Any] = json.loads((PLACE / "grafana" / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PLACE / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
WIDTH = 24


def panel_name(panel: dict[str, Any]) -> str:
    return f"{panel['id']}-{panel['title']}"


# Prometheus


@prometheus.NEEDED
@pytest.mark.timeout(300)  # where Prometheus is fetched first
@pytest.mark.parametrize("command", ["check config prometheus.yml", "check rules alerts.yml"])
def test_prometheus_takes_the_files(command: str) -> None:
    *words, file = command.split()
    checked = promtool(*words, str(PLACE / file))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout


@prometheus.NEEDED
@pytest.mark.timeout(300)
def test_every_alert_fires_when_it_should_and_only_then() -> None:
    tested = promtool("test", "rules", str(UNIT_TESTS))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_tested_on_what_fires_it_and_on_what_does_not() -> None:
    loud: set[str] = set()
    quiet: set[str] = set()
    for case in yaml.safe_load(UNIT_TESTS.read_text())["tests"]:
        for expected in case["alert_rule_test"]:
            (loud if expected["exp_alerts"] else quiet).add(expected["alertname"])
        if "good:8000" in str(case["input_series"]):
            quiet.add(case["alert_rule_test"][0]["alertname"])
    assert loud == quiet == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/observability.md#{name.lower()}"


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    sections = re.split(r"^### ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    told = {section.split("\n")[0]: re.findall(r"^\*\*(.+?)\.\*\*", section, re.MULTILINE) for section in sections}
    assert list(told) == list(ALERTS)
    for name, parts in told.items():
        assert parts == ["Means", "Look at", "Do"], name


def test_the_runbook_sends_to_panels_that_there_are() -> None:
    named = set(re.findall(r"(?<!\*)\*(\w[^*\n]+)\*(?!\*)", RUNBOOK.read_text()))
    assert len(named) > 10
    assert named - {panel["title"] for panel in PANELS} == set()


def test_recorded_series_are_those_that_alerts_ask_for() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert recorded == set(re.findall(r"\w+:\w+:\w+", " ".join(alert["expr"] for alert in ALERTS.values())))


# Grafana


@pytest.mark.timeout(300)  # where the environment is made first
def test_grafanas_own_types_know_every_field_and_every_unit_of_the_dashboard() -> None:
    run = subprocess.run(
        [str(client_python("grafana")), str(ROOT / "tests" / "deploy" / "dashboard_fields.py")],
        input=json.dumps(DASHBOARD),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {"fields": [], "units": []}


def test_no_two_panels_have_an_id_or_a_title_in_common() -> None:
    for name in ("id", "gridPos"):
        found = [str(panel[name]) for panel in DASHBOARD["panels"]]
        assert len(found) == len(set(found)), name
    titles = [(panel["type"], panel["title"]) for panel in DASHBOARD["panels"]]
    assert len(titles) == len(set(titles))


def test_panels_fill_the_grid_and_none_covers_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH, panel["title"]
        columns, lines = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        for cell in itertools.product(columns, lines):
            assert cell not in taken, (panel["title"], taken.get(cell))
            taken[cell] = panel["title"]
    assert len(taken) == WIDTH * (1 + max(line for _, line in taken)), "there is a gap"


@pytest.mark.parametrize("panel", PANELS, ids=panel_name)
def test_every_panel_asks_the_chosen_data_source_and_instances(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len(set(references)) > 0
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        selectors = re.findall(r"\b(?:gauntlet|process)_\w+|\bup\b", target["expr"])
        assert target["expr"].count('{job=~"$job", instance=~"$instance"') == len(selectors)


def test_the_variables_come_from_what_the_service_tells() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert {name: each["type"] for name, each in variables.items()} == {
        "datasource": "datasource", "job": "query", "instance": "query"
    }  # fmt: skip
    assert [variables["datasource"]["query"], variables["job"]["definition"], variables["instance"]["definition"]] == [
        "prometheus",
        "label_values(gauntlet_build_info, job)",
        'label_values(gauntlet_build_info{job=~"$job"}, instance)',
    ]


def test_the_data_source_knows_how_often_prometheus_scrapes() -> None:
    [source] = yaml.safe_load((PLACE / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    configured = yaml.safe_load((PLACE / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == configured["scrape_interval"]


# Compose


def test_what_containers_call_each_other_and_mount_is_there() -> None:
    services = yaml.safe_load((PLACE / "compose.yml").read_text())["services"]
    mounted = {}
    for volume in itertools.chain.from_iterable(service["volumes"] for service in services.values()):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            mounted[target] = ROOT / source
    [source] = yaml.safe_load((PLACE / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"].removeprefix("http://").removesuffix(":9090") in services
    [provider] = yaml.safe_load((PLACE / "grafana/provisioning/dashboards/gauntlet.yml").read_text())["providers"]
    assert mounted[f"{provider['options']['path']}/dashboard.json"] == PLACE / "grafana" / "dashboard.json"
    [job] = yaml.safe_load((PLACE / "prometheus.yml").read_text())["scrape_configs"]
    [lookup] = job["dns_sd_configs"]
    assert lookup["names"] == ["service", "replica-1", "replica-2", "replica-3"]
    assert set(lookup["names"]) < set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    assert f"EXPOSE {lookup['port']}" in (ROOT / "docker" / "Dockerfile").read_text()
