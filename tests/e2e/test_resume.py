"""Runs that are killed, and go on."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServiceProcess

ROOT = Path(__file__).parents[2]
EPISODES = 60
KILLS = 10
RUN = ("--concurrency", "6", "--faults", "0.3", "--seed", "3")

# What two runs of the same seeds cannot have in common.
OF_THE_MOMENT = ("run_id", "wait_s", "discarded")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, service: ServiceProcess) -> Start:
    def popen(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "runner", "run", "--service", service.url, *arguments],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return popen


def ended(process: "subprocess.Popen[str]") -> str:
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return {name: value for name, value in found.items() if name not in OF_THE_MOMENT}


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_ten_times_ends_as_one_that_was_left_alone(start: Start, tmp_path: Path) -> None:
    ended(start("--out", "alone", "-n", str(EPISODES), *RUN))
    [alone] = (tmp_path / "alone").iterdir()
    killed = start("--out", "killed", "-n", str(EPISODES), *RUN)
    while not list(tmp_path.glob("killed/*/config.json")):
        time.sleep(0.01)
    [run] = (tmp_path / "killed").iterdir()
    moments = random.Random(5)
    for kill in range(KILLS):
        done = len(lines(run / "episodes.jsonl"))
        while len(lines(run / "episodes.jsonl")) < min(done + 3, EPISODES - KILLS + kill) and killed.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        killed.kill()
        killed.communicate()
        killed = start("--resume", str(run))
    printed = ended(killed)
    assert "Resumed: " in printed
    assert summary(run) == summary(alone)
    rows = lines(run / "episodes.jsonl")
    assert len({row["episode"] for row in rows}) == EPISODES
    valid = [row["episode"] for row in rows if row["outcome"] not in ("infra_error", "cancelled")]
    assert len(valid) == len(set(valid))  # nothing that counted was run again
    whole = json.loads((run / "summary.json").read_text())
    assert whole["discarded"]["attempts"] >= 1
    journal = lines(run / "events.jsonl")
    spent = sum(event["usage"]["output_tokens"] for event in journal if event["event"] == "call")
    assert whole["usage"]["output_tokens"] + whole["discarded"]["usage"]["output_tokens"] == spent


def test_a_complete_run_has_nothing_to_resume(start: Start, tmp_path: Path) -> None:
    ended(start("-n", "3"))
    [run] = (tmp_path / "runs").iterdir()
    before = summary(run), lines(run / "episodes.jsonl")
    printed = ended(start("--resume", str(run)))
    assert "Resumed: 3 of 3 episodes are kept" in printed
    assert (summary(run), lines(run / "episodes.jsonl")) == before
