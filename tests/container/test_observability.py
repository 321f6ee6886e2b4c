"""Prometheus and Grafana beside the service, as compose reads the files."""

import json
import os
import re
import subprocess

import yaml  # type: ignore[import-untyped]

from tests.conformance.clients import ROOT


def composed(*profiles: str, **environment: str) -> subprocess.CompletedProcess[str]:
    options = "".join(f" --profile {profile}" for profile in profiles)
    command = f"docker compose -f docker-compose.yml -f deploy/observability/compose.yml{options} config --format json"
    return subprocess.run(
        command.split(),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_compose_takes_the_override_and_hardens_what_it_adds() -> None:
    asked = composed(GRAFANA_PASSWORD="of-a-test")
    assert asked.returncode == 0, asked.stderr
    services = json.loads(asked.stdout)["services"]
    assert set(services) == {"service", "prometheus", "grafana"}
    for name in ("prometheus", "grafana"):
        service = services[name]
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}
        assert service["networks"].keys() >= services["service"]["networks"].keys()
    assert services["grafana"]["networks"].keys() == services["service"]["networks"].keys()


def test_prometheus_is_where_whatever_it_looks_up_is_and_nowhere_else() -> None:
    asked = composed("cluster", GRAFANA_PASSWORD="of-a-test")
    assert asked.returncode == 0, asked.stderr
    services = json.loads(asked.stdout)["services"]
    (job,) = yaml.safe_load((ROOT / "deploy/observability/prometheus.yml").read_text())["scrape_configs"]
    (lookup,) = job["dns_sd_configs"]
    assert set(lookup["names"]) == {
        name for name, service in services.items() if service["image"] == "resilience-gauntlet/service"
    }
    reached = services["prometheus"]["networks"].keys()
    shared = [services[name]["networks"].keys() & reached for name in lookup["names"]]
    assert all(shared)
    assert set().union(*shared) == reached
    assert not reached & services["redis"]["networks"].keys()


def test_compose_starts_no_grafana_without_a_password() -> None:
    asked = composed()
    assert asked.returncode != 0
    assert "GRAFANA_PASSWORD" in asked.stderr
