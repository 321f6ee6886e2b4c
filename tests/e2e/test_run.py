"""The main job as a person runs it, over real HTTP, in real sandboxes."""

import contextlib
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PATIENT, ServiceProcess, running_service
from tests.sandbox.test_processes import descendants_of

SUBMISSIONS = Path(__file__).parents[1] / "submissions"
NOTICE = "SCRIPTED MODEL, not a Claude result"
PUBLISHED = {
    "100% - ✓ All tiers stable": 1,
    "80% - ✗ Tier1 cascade unresolved": 5,
    "60% - ✗ Tier1 cascade unresolved; Tier2 balance broken": 4,
}


def gauntlet(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runner", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_default_run_gives_the_published_snapshot(tmp_path: Path) -> None:
    done = gauntlet("run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    episodes = [re.fullmatch(r"(✅|❌) Run (\d+): (.*)", line) for line in lines if " Run " in line]
    assert sorted(int(found[2]) for found in episodes if found) == list(range(1, 11))
    counted = [found[3] for found in episodes if found]
    assert {text: counted.count(text) for text in counted} == PUBLISHED
    assert lines[0] == lines[-1] == NOTICE
    assert lines[-3:-1] == ["Passed: 1/10 (10.0%)", "Avg Score: 74.0%"]
    assert not re.search(r"Target|\$", done.stdout)


def test_every_record_can_be_graded_again_to_the_same_score(tmp_path: Path, service: ServiceProcess) -> None:
    assert gauntlet("run", "--service", service.url, cwd=tmp_path).returncode == 0
    (kept,) = tmp_path.glob("runs/*/episodes.jsonl")
    records = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [record["notice"] for record in records] == [NOTICE] * 10
    assert len({record["code"] for record in records}) >= 5
    for record in records:
        again = httpx.post(f"{service.url}/grade", json={"code": record["code"]}).json()
        assert (again["score"], again["feedback"]) == (record["score"], record["feedback"])
        assert again["code_sha256"] == record["grade"]["code_sha256"]
        assert record["steps"] >= 2


def test_a_run_ends_the_service_that_it_started(tmp_path: Path) -> None:
    done = gauntlet("run", "-n", "2", cwd=tmp_path)
    found = re.search(r"http://\S+", done.stdout)
    assert found
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{found[0]}/health")


def test_a_service_that_goes_away_ends_the_run_and_loses_nothing_that_was_done(tmp_path: Path) -> None:
    with running_service() as service:
        command = [sys.executable, "-m", "runner", "run", "-n", "200", "--concurrency", "2", "--service", service.url]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            while " Run " not in run.stdout.readline():
                pass
            service.process.kill()
            stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "did not answer" in stderr.splitlines()[-1]
    assert re.search(r"^Passed: \d+/\d+ .*[12] invalid", stdout, re.MULTILINE)
    (kept,) = tmp_path.glob("runs/*/episodes.jsonl")
    outcomes = [json.loads(line)["outcome"] for line in kept.read_text().splitlines()]
    assert 1 <= len(outcomes) < 50
    assert outcomes.count("infra_error") in (1, 2)


def test_a_run_on_test_seeds_takes_the_evaluation_token_and_keeps_it_to_itself(tmp_path: Path) -> None:
    token = {"GAUNTLET_EVALUATION_TOKEN": "for-evaluation-only"}
    run = ("run", "-n", "2", "--suite", "hardened", "--seed", "1500000000")
    with running_service(**token) as guarded:
        refused = gauntlet(*run, "--service", guarded.url, cwd=tmp_path)
        assert refused.returncode != 0
        assert "GAUNTLET_EVALUATION_TOKEN" in refused.stderr
        assert not list(tmp_path.iterdir())
        done = gauntlet(*run, "--service", guarded.url, cwd=tmp_path, **token)
        assert (done.returncode, "invalid" in done.stdout) == (0, False), done.stderr
    started = gauntlet(*run, cwd=tmp_path, **token)
    assert (started.returncode, "invalid" in started.stdout) == (0, False), started.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if token["GAUNTLET_EVALUATION_TOKEN"] in path.read_text()]


def test_a_runner_with_both_tokens_shows_each_where_it_counts(tmp_path: Path) -> None:
    own, evaluation = "a-token-of-this-trainer", "for-evaluation-only"
    both = {"RUNNER_TOKEN": own, "GAUNTLET_EVALUATION_TOKEN": evaluation}
    honest = next((SUBMISSIONS / "honest").glob("*.py"))
    with running_service(GAUNTLET_API_TOKENS=own, GAUNTLET_EVALUATION_TOKEN=evaluation) as guarded:
        for seed in ("0", "1500000000"):
            there = ("--service", guarded.url, "--suite", "hardened", "--seed", seed)
            done = gauntlet("run", "-n", "2", *there, cwd=tmp_path, **both)
            assert (done.returncode, "invalid" in done.stdout) == (0, False), done.stderr
            graded = gauntlet("grade", str(honest), *there, cwd=tmp_path, **both)
            assert graded.returncode in {0, 1}, graded.stderr
        refused = gauntlet("run", "-n", "2", *there, cwd=tmp_path, RUNNER_TOKEN=own)
    assert refused.returncode == 1
    assert "answered 403" in refused.stderr


def test_a_run_shows_its_token_and_ends_where_it_has_none(tmp_path: Path) -> None:
    token = "a-token-of-this-trainer"
    with running_service(GAUNTLET_API_TOKENS=token) as guarded:
        for wrong in ({}, {"RUNNER_TOKEN": f"{token}s"}):
            refused = gauntlet("run", "-n", "2", "--service", guarded.url, cwd=tmp_path, **wrong)
            assert refused.returncode == 1
            assert "answered 401" in refused.stderr
            assert "RUNNER_TOKEN" in refused.stderr
            assert ("is none of the service's" in refused.stderr) == bool(wrong)
            assert not list(tmp_path.iterdir())
        done = gauntlet("run", "-n", "2", "--service", guarded.url, cwd=tmp_path, RUNNER_TOKEN=token)
    assert (done.returncode, "invalid" in done.stdout) == (0, False), done.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if token in path.read_text()]


def test_a_file_can_be_graded_at_a_terminal(tmp_path: Path, service: ServiceProcess) -> None:
    honest = next((SUBMISSIONS / "honest").glob("*.py"))
    done = gauntlet("grade", str(honest), "--service", service.url, cwd=tmp_path)
    assert (done.returncode, "All tiers stable" in done.stdout) == (0, True)
    (tmp_path / "broken.py").write_text("def process_batch(events, state):\n    return {}\n")
    done = gauntlet("grade", "broken.py", "--service", service.url, cwd=tmp_path)
    assert done.returncode == 1
    assert "clean is None, not a list" in done.stdout


def test_a_suite_that_the_service_does_not_have_is_named_with_those_it_has(
    tmp_path: Path, service: ServiceProcess
) -> None:
    done = gauntlet("run", "--suite", "easy", "--service", service.url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--suite easy is not offered here" in done.stderr
    assert "Input should be 'classic'" in done.stderr


def test_the_task_can_be_read_at_a_terminal(tmp_path: Path, service: ServiceProcess) -> None:
    done = gauntlet("task", "--service", service.url, cwd=tmp_path)
    assert done.returncode == 0
    assert "def process_batch(events, state):" in done.stdout


def test_a_thousand_grades_leave_no_process_no_descriptor_and_no_file(tmp_path: Path) -> None:
    settings = {"GAUNTLET_POOL_LOW": "5", "GAUNTLET_POOL_HIGH": "5", "GAUNTLET_ZYGOTE_CHILDREN": "2000"}
    with running_service(TMPDIR=str(tmp_path), **settings, **PATIENT) as service:
        before = footprint(service.pid, tmp_path)
        assert grade_repeatedly(service.url, times=1000) == {1.0}
        deadline = time.monotonic() + 5
        while footprint(service.pid, tmp_path) != before and time.monotonic() < deadline:
            time.sleep(0.05)  # until the service has heard that the clients hung up
        assert footprint(service.pid, tmp_path) == before


def grade_repeatedly(url: str, *, times: int) -> set[float]:
    code = next((SUBMISSIONS / "honest").glob("*.py")).read_text()
    with httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor(8) as threads:
        grades = [threads.submit(client.post, "/grade", json={"code": code}) for _ in range(times)]
        return {grade.result().json()["score"] for grade in grades}


def footprint(pid: int, scratch: Path) -> tuple[int, int, list[str]]:
    """Processes, with as many waiting for a job as ever, descriptors, and files wherever one could be written."""
    files = [str(path) for folder in (scratch, Path("/dev/shm")) for path in folder.iterdir()]
    others = (".org.chromium.", "plasma", "gauntlet-")  # of the tests beside this one: browsers, Ray, workers
    files = [path for path in files if not any(name in path for name in others)]
    return len(descendants_of(pid)), len(list(Path(f"/proc/{pid}/fd").iterdir())), files


def test_the_readmes_rollout_gets_a_reward(service: ServiceProcess) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(import httpx.*?)```", readme, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(snippet.replace("http://127.0.0.1:8000", service.url), scope)
    with contextlib.closing(scope["service"]):
        assert scope["call_tool"]("python_expression", {"expression": "1 + 1"}) == ("result:\n2", None)
        shown, ended = scope["call_tool"]("python_code", {})
        assert ("no such tool" in shown, ended) == (True, None)
        code = next((SUBMISSIONS / "honest").glob("*.py")).read_text()
        shown, ended = scope["call_tool"]("submit_code", {"code": code})
        assert ended is not None
        assert (shown.splitlines()[0], ended["reward"]) == ("Score: 100% - ✓ All tiers stable", 1.0)
        assert sum(ended["rows"].values()) == 100
