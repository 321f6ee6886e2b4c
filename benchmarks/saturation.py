"""Asks the real service for twice what it can do: ``python -m benchmarks.saturation``.

The service has one core, those that ask have the others.
"""

import json
import os
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import click

from benchmarks.processes import memory_kib
from benchmarks.server import Server, running
from benchmarks.worker import ROOT, MeasureError

__all__ = ["main"]

T = TypeVar("T")

_USERS = 200
_CAPACITY_USERS = 8
_CAPACITY_S = 20
_SHARES = (0.5, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of locust came to.

    Attributes:
        accepted_per_s, refused_per_s: answers.
        failed: calls without an answer, or with a wrong one.
        times: when each accepted call began and ended, seconds.
    """

    accepted_per_s: float
    refused_per_s: float
    failed: int
    times: list[tuple[float, float]]

    def waited_s(self, share: float) -> float:
        """Within which time a share of the accepted calls was answered."""
        return _quantile([end - began for began, end in self.times], share)

    def waited_for(self, share: float) -> float:
        """At most how many answers, its own included, came while such a call waited: however fast the machine is."""
        ends = sorted(end for _, end in self.times)
        counts = [bisect_right(ends, end) - bisect_right(ends, began) for began, end in self.times]
        return _quantile(counts, share)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=600, show_default=True, type=click.IntRange(10), help="How long twice is asked for.")
@click.option("--queue", default=64, show_default=True, type=click.IntRange(1), help="GAUNTLET_QUEUE.")
def main(seconds: int, queue: int) -> None:
    """Measure what the service can grade, ask it for twice as much, and say what became of every call."""
    settings = {"GAUNTLET_QUEUE": str(queue), "GAUNTLET_CONCURRENCY": "4"}
    with running("service", "--port", "0", before=["taskset", "--cpu-list", "0"], **settings) as server:
        at_rest = memory_kib(server.pid)
        capacity = _locust(server, users=_CAPACITY_USERS, seconds=_CAPACITY_S).accepted_per_s
        pause_s = (_USERS - queue) / (2 * capacity)  # of twice the capacity, half are accepted and wait for the queue
        load, memory = _watched(
            server, lambda: _locust(server, users=_USERS, seconds=seconds, pause_s=pause_s), seconds / 10
        )
    found = {
        "capacity_per_s": round(capacity, 1),
        "asked_per_s": round(load.accepted_per_s + load.refused_per_s, 1),
        "accepted_per_s": round(load.accepted_per_s, 1),
        "refused_per_s": round(load.refused_per_s, 1),
        "failed": load.failed,
        "waited_s": {share: round(load.waited_s(share), 3) for share in _SHARES},
        "queue_s": round(queue / load.accepted_per_s, 3),
        "waited_for": {share: load.waited_for(share) for share in _SHARES},
        "queue": queue,
        "service_kib_at_rest": at_rest,
        "service_kib": memory,
        "seconds": seconds,
    }
    click.echo(json.dumps(found, indent=2))
    sys.exit(bool(load.failed))


def _watched(server: Server, work: Callable[[], T], every_s: float) -> tuple[T, list[int]]:
    """What some work comes to, and the service's memory while it is done."""
    with ThreadPoolExecutor(1) as thread:
        done, memory = thread.submit(work), []
        while not wait([done], timeout=every_s).done:
            memory.append(memory_kib(server.pid))
        return done.result(), memory


def _locust(server: Server, *, users: int, seconds: int, pause_s: float = 0.0) -> Load:
    others = ",".join(map(str, sorted(os.sched_getaffinity(0) - {0}) or [0]))
    command = ["taskset", "--cpu-list", others]
    command += [sys.executable, "-m", "locust", "--locustfile", str(ROOT / "benchmarks/locustfile.py"), "--headless"]
    command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds}s", "--json"]
    command += ["--host", f"http://127.0.0.1:{server.port}", "--exit-code-on-error", "0", "--loglevel", "ERROR"]
    with tempfile.NamedTemporaryFile("r") as file:
        environment = {"PAUSE_S": str(pause_s), "TIMES": file.name, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        times = [(float(began), float(end)) for began, end in map(str.split, file)]
    if done.returncode:
        raise MeasureError(done.stderr)
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)}
    refused = entries.get("refused", {})
    return Load(
        len(times) / seconds,
        refused.get("num_requests", 0) / seconds,
        sum(entry["num_failures"] for entry in entries.values()),
        times,
    )


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


if __name__ == "__main__":
    main()
