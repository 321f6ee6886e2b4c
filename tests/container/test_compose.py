"""The whole thing inside the hardened containers that docker-compose.yml describes."""

import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import running_service
from tests.container.conftest import API_KEY, Composition
from tests.deploy.prometheus import eventually
from tests.server import free_port

pytestmark = pytest.mark.timeout(600)

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
SAME_EVERYWHERE = (
    "honest/median_mad",
    "honest/iqr_clip",
    "honest/decimal_inside",
    "wrong/tier1_drops_numeric_strings",
    "wrong/object_rows",
    "wrong/tier2_flat_divides_by_zero",
    "grafts/tier3_no_maxlen",
    "grafts/tier2_heavy_tail_reach",
    "attacks/fingerprint_by_values",
)


@pytest.fixture
def client(composition: Composition) -> httpx.Client:
    return httpx.Client(base_url=composition.url, timeout=30)


def test_no_layer_is_missing(client: httpx.Client) -> None:
    with client:
        sandbox = client.get("/health").json()["sandbox"]
    assert sandbox["layers"] == ["rlimits", "landlock", "seccomp"]
    assert sandbox["missing"] == []
    assert sandbox["landlock_abi"] >= 1


def test_the_containers_have_no_privilege(composition: Composition) -> None:
    container = composition.inspect("service")
    host = container["HostConfig"]
    assert container["Config"]["User"] == "10001:10001"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 512
    assert host["Memory"] == 4 << 30
    assert {binding["HostIp"] for ports in host["PortBindings"].values() for binding in ports} == {"127.0.0.1"}


def test_the_api_key_never_reaches_the_service(composition: Composition) -> None:
    environment = composition.inspect("service")["Config"]["Env"]
    assert not [variable for variable in environment if API_KEY in variable or variable.startswith("ANTHROPIC")]


def test_the_image_holds_the_wheel_and_not_the_checkout(composition: Composition) -> None:
    places = "/opt/gauntlet/bin/gauntlet /build /tests /opt/gauntlet/bin/pip"
    shell = composition.compose(
        "exec",
        "-T",
        "service",
        "sh",
        "-c",
        f"ls -d {places}",
        check=False,
    )
    assert shell.stdout.split() == ["/opt/gauntlet/bin/gauntlet"]


def test_the_service_has_none_of_the_runners_packages(composition: Composition) -> None:
    packages = "anthropic openai scipy numpy genai_prices rich httpx2"
    found = composition.compose(
        "exec", "-T", "service", "python", "-c",
        f"import importlib.util as u; print([name for name in '{packages}'.split() if u.find_spec(name)])",
    )  # fmt: skip
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((SUBMISSIONS / "honest").glob("*.py")), ids=lambda path: path.stem)
def test_honest_solutions_score_everything(client: httpx.Client, path: Path) -> None:
    with client:
        grade = client.post("/grade", json={"code": path.read_text()}).json()
    assert (grade["score"], grade["feedback"]) == (1.0, "✓ All tiers stable")


@pytest.fixture(scope="module")
def here() -> Iterator[httpx.Client]:
    """The same service outside of the containers, on this machine's own Python."""
    with running_service() as service, httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize("name", SAME_EVERYWHERE)
def test_the_report_is_the_same_in_the_container_and_on_this_machines_own_python(
    client: httpx.Client, here: httpx.Client, name: str
) -> None:
    code = (SUBMISSIONS / f"{name}.py").read_text()
    with client:
        for seed in (None, 0, 1, 2, 1_200_000_000):
            drawn = {} if seed is None else {"suite": "hardened", "seed": seed}
            asked = {"code": code, "audit": seed == 0, **drawn}
            there, local = ({**each.post("/grade", json=asked).json(), "duration_ms": 0} for each in (client, here))
            assert there == local
            assert there["checks"]


def test_curl_from_the_host_works_as_the_readme_shows(composition: Composition) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    commands = re.findall(r"^\$ (curl .*?)$", readme, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        there = command.replace("http://127.0.0.1:8000", composition.url)
        shown = readme.split(command, 1)[1].split("```", 1)[0].strip()
        done = subprocess.run(["bash", "-c", f"set -o pipefail; {there}"], capture_output=True, text=True, check=True)
        assert forget_measurements(done.stdout) == forget_measurements(shown), command


def forget_measurements(text: str) -> str:
    return re.sub(r'"(duration_ms|cpu_ms|max_rss_kb)": ?[\d.]+', r'"\1":…', text).strip()


def test_the_runner_does_the_whole_main_job(composition: Composition) -> None:
    done = composition.compose("run", "--rm", "-T", "runner")
    assert "Passed: 1/10 (10.0%)" in done.stdout
    assert "Avg Score: 74.0%" in done.stdout
    assert "✅ Run 3: 100% - ✓ All tiers stable" in done.stdout
    assert "SCRIPTED MODEL, not a Claude result" in done.stdout
    kept = composition.compose("run", "--rm", "-T", "--entrypoint", "sh", "runner", "-c", "cat /runs/*/episodes.jsonl")
    assert len(kept.stdout.splitlines()) == 10


def test_the_runner_needs_no_network_offline(composition: Composition) -> None:
    command = ["docker", "run", "--rm", "--network", "none", "resilience-gauntlet/runner", "run", "-n", "3"]
    done = subprocess.run([*command, "--out", "/tmp/runs"], capture_output=True, text=True, timeout=120, check=False)
    assert "✅ Run 3: 100% - ✓ All tiers stable" in done.stdout, done.stderr


def test_two_hundred_grades_leave_two_processes(client: httpx.Client, composition: Composition) -> None:
    code = next((SUBMISSIONS / "honest").glob("*.py")).read_text()
    with client:
        for _ in range(200):
            assert client.post("/grade", json={"code": code}).json()["score"] == 1.0
        for _ in range(20):  # the pool is refilled meanwhile
            waiting = client.get("/health").json()["capacity"]["waiting"]
            processes = [line for line in composition.processes() if "urllib" not in line]
            if len(processes) == 3 + waiting:
                break
            time.sleep(0.2)
    assert len(processes) == 3 + waiting, processes  # the service, two zygotes, and what they forked ahead


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").is_success
    except httpx.TransportError:  # the engine takes connections before the service does
        return False


def test_code_that_the_kernel_killed_for_want_of_memory_gets_no_verdict(composition: Composition) -> None:
    """Where more is allowed at a time than there is room for, as the service warns at start."""
    address = f"127.0.0.1:{free_port()}"
    limits = ["--memory", "400m", "--memory-swap", "400m", "--cap-drop", "ALL", "--publish", f"{address}:8000"]
    settings = ["--env", "GAUNTLET_CONCURRENCY=6", "--env", "GAUNTLET_POOL_LOW=1"]
    run = ["docker", "run", "--rm", "--detach", *limits, *settings, "resilience-gauntlet/service"]
    container = subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    held = {"expression": "import time; held = b'x' * (180 << 20); time.sleep(2); len(held) >> 20", "timeout_s": 10}
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=30) as client, ThreadPoolExecutor(6) as pool:
            assert eventually(lambda: is_ready(client), seconds=30)
            answers = list(pool.map(lambda _: client.post("/execute", json=held), range(6)))
        logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)
    told = [answer.json() for answer in answers]
    faults = [each for each in told if each.get("code") == "sandbox_fault"]
    assert {each.get("status") for each in told} <= {"ok", 500}, told
    assert faults, told
    assert logs.stderr.count("for want of memory") == len(faults)


def test_it_stops_in_order(composition: Composition) -> None:
    composition.compose("stop", "service")
    assert composition.inspect("service")["State"]["ExitCode"] == 0
