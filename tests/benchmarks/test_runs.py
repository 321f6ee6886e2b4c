"""Both commands, as they are run, on the real service; only shorter."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.commands import COMMANDS
from benchmarks.report import RESULTS
from benchmarks.results import ASK, BARE_FORK, EMPTY_POST, EXECUTE, GRADE, IDLE_FORK, SANDBOX, read
from benchmarks.soak import Snapshot, leaks

ROOT = Path(__file__).parents[2]
AT_REST = Snapshot(processes=10, zombies=0, descriptors=40, files=0, service_kib=50_000, zygotes_kib=20_000)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=100
    )


def test_a_run_measures_every_row_and_leaves_the_documents_alone(tmp_path: Path) -> None:
    kept = RESULTS.read_bytes()
    out = tmp_path / "results.json"
    amounts = ["--rounds", "2", "--seconds", "0.1", "--clients", "1", "--clients", "4"]
    done = run("benchmarks", "--quick", "--no-bars", "--out", str(out), *amounts)
    assert done.returncode == 0, done.stderr
    results = read(out)
    under_load = [EMPTY_POST, EXECUTE, GRADE, BARE_FORK, IDLE_FORK, SANDBOX]
    assert {row.row for row in results.latency} == {*under_load, ASK, *COMMANDS}
    assert all(row.p50_ms or row.skipped for row in results.latency)
    assert list(results.rows()) == under_load
    assert results.levels() == [1, 4]
    assert sum(item.errors for item in results.throughput) == 0
    assert all(results.per_s(row, 4) for row in (EMPTY_POST, BARE_FORK, IDLE_FORK))
    assert "job to answer below HTTP: under 0.4 ms, p50" in done.stdout
    assert RESULTS.read_bytes() == kept


def test_a_soak_of_the_service_finds_nothing_left_behind() -> None:
    done = run("benchmarks.soak", "-n", "200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 of 200 calls" in done.stdout
    assert done.stdout.endswith("Nothing is left behind.\n")


def test_memory_may_grow_by_a_twentieth() -> None:
    assert leaks(AT_REST, replace(AT_REST, service_kib=52_400, zygotes_kib=15_000)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("processes", 11), ("processes", 9), ("zombies", 1), ("descriptors", 41), ("files", 1),
     ("service_kib", 52_600), ("zygotes_kib", 21_100)],
)  # fmt: skip
def test_whatever_is_left_behind_is_a_leak(name: str, value: int) -> None:
    (leak,) = leaks(AT_REST, replace(AT_REST, **{name: value}))
    assert leak.startswith(f"{name}: ")
