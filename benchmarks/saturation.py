"""Asks the real service for twice what it can do: ``python -m benchmarks.saturation``."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.server import Server, running
from benchmarks.worker import ROOT, MeasureError

__all__ = ["main"]

_USERS = 200
_CAPACITY_USERS = 8
_CAPACITY_S = 20


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of locust came to.

    Attributes:
        accepted_per_s, refused_per_s: answers.
        failed: calls without an answer, or with a wrong one.
        p50_s, p99_s: of the accepted ones.
    """

    accepted_per_s: float
    refused_per_s: float
    failed: int
    p50_s: float
    p99_s: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=600, show_default=True, type=click.IntRange(10), help="How long twice is asked for.")
@click.option("--queue", default=64, show_default=True, type=click.IntRange(1), help="GAUNTLET_QUEUE.")
def main(seconds: int, queue: int) -> None:
    """Measure what the service can grade, ask it for twice as much, and say what became of every call."""
    with running("service", "--port", "0", GAUNTLET_QUEUE=str(queue)) as server:
        capacity = _locust(server, users=_CAPACITY_USERS, seconds=_CAPACITY_S).accepted_per_s
        before = _resident_kib(server)
        load = _locust(server, users=_USERS, seconds=seconds, rate=2 * capacity)
        after = _resident_kib(server)
    bound_s = queue / load.accepted_per_s
    found = {
        "capacity_per_s": round(capacity, 1),
        "asked_per_s": round(2 * capacity, 1),
        "accepted_per_s": round(load.accepted_per_s, 1),
        "refused_per_s": round(load.refused_per_s, 1),
        "failed": load.failed,
        "p50_s": load.p50_s,
        "p99_s": load.p99_s,
        "queue_s": round(bound_s, 3),
        "p99_per_queue": round(load.p99_s / bound_s, 2),
        "service_kib": [before, after],
        "seconds": seconds,
    }
    click.echo(json.dumps(found, indent=2))
    sys.exit(bool(load.failed))


def _locust(server: Server, *, users: int, seconds: int, rate: float = 0.0) -> Load:
    command = [sys.executable, "-m", "locust", "--locustfile", str(ROOT / "benchmarks/locustfile.py"), "--headless"]
    command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s", "--json"]
    command += ["--host", f"http://127.0.0.1:{server.port}", "--exit-code-on-error", "0", "--loglevel", "ERROR"]
    environment = {"RATE_EACH": str(rate / users), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasureError(done.stderr)
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)}
    accepted, refused = entries["grade"], entries.get("refused", {})
    times = sorted((float(ms), count) for ms, count in accepted["response_times"].items())
    return Load(
        accepted["num_requests"] / seconds,
        refused.get("num_requests", 0) / seconds,
        sum(entry["num_failures"] for entry in entries.values()),
        _share(times, 0.5),
        _share(times, 0.99),
    )


def _share(times: list[tuple[float, int]], share: float) -> float:
    """The time within which a share of calls was answered, seconds."""
    left = share * sum(count for _, count in times)
    for milliseconds, count in times:
        left -= count
        if left <= 0:
            return milliseconds / 1000
    raise MeasureError("nothing was accepted")


def _resident_kib(server: Server) -> int:
    status: Any = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


if __name__ == "__main__":
    main()
