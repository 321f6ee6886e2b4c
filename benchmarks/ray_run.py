"""Loses a node of a Ray cluster in the middle of a run: ``python -m benchmarks.ray_run``.

What is kept of the run is held against one that had no cluster and lost nothing.

Service, cluster and stand-in are real, and all on this machine. A node is lost with SIGKILL, its workers with it.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.server import running

__all__ = ["ROOT", "Nodes", "differences", "events", "nodes", "records", "start_run", "wait_for_records"]

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "clients" / "ray" / "bin" / "python"
_FAULTS = "0.2"  # the share of calls that fail, and of episodes that leave their script


@dataclass(frozen=True)
class Nodes:
    """A cluster on this machine.

    Attributes:
        address: of its head.
        environment: of whoever connects.
    """

    process: "subprocess.Popen[str]"
    address: str
    dashboard: str
    environment: Mapping[str, str]

    def order(self, line: str) -> None:
        """Has a node killed or added; see benchmarks.ray_cluster."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()


@contextmanager
def nodes(python: Path, folder: Path, *arguments: str) -> Iterator[Nodes]:
    """Runs a cluster until the block is left.

    Args:
        python: an interpreter that has Ray.
        folder: where Ray keeps its logs and sockets, whose names may have some hundred characters.
        arguments: of benchmarks.ray_cluster.
    """
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    process, told = _started(python, folder, arguments, environment)
    try:
        yield Nodes(process, told["address"], told["dashboard"], environment)
    finally:
        process.communicate(timeout=60)


def _started(
    python: Path, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple["subprocess.Popen[str]", Any]:
    """Starts it, and once more where that fails: Ray looks for free ports before it takes them."""
    command = [str(python), "-m", "benchmarks.ray_cluster", "--folder", str(folder), *arguments]
    said = folder / "cluster.err"
    for _ in range(2):
        with said.open("a") as errors:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                return process, json.loads(line)
        process.communicate(timeout=60)
    raise RuntimeError(f"the cluster did not come up: {said.read_text()[-8000:]}")


def start_run(
    python: Path, out: Path, *arguments: str, environment: Mapping[str, str], service: str | None
) -> "subprocess.Popen[str]":
    """Begins ``gauntlet run``, or goes on with one."""
    named = [] if service is None else ["--service", service]
    return subprocess.Popen(
        [str(python), "-m", "runner", "run", "--out", str(out), *named, *arguments],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def records(out: Path) -> list[Any]:
    """The whole lines of the records below a folder that holds one run."""
    return [json.loads(line) for path in out.glob("*/episodes.jsonl") for line in _lines(path)]


def events(out: Path, kind: str) -> list[Any]:
    """The events of a kind of the run in a folder."""
    found = [json.loads(line) for path in out.glob("*/events.jsonl") for line in _lines(path)]
    return [event for event in found if event["event"] == kind]


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def wait_for_records(out: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Waits until a run has so many.

    Raises:
        RuntimeError: it ended before.
    """
    while len(records(out)) < count:
        if process.poll() is not None:
            raise RuntimeError(f"the run has ended: {process.communicate()}")
        time.sleep(0.05)


def differences(ours: Path, theirs: Path) -> list[str]:
    """What two runs of the same seed should have in common and have not."""
    kept = ("outcome", "score", "passed", "points", "feedback", "code", "suite", "seed", "usage", "cost_usd", "steps")
    rows = [{row["episode"]: {name: row[name] for name in kept} for row in records(out)} for out in (ours, theirs)]
    found = [
        f"episode {number}"
        for number in sorted(rows[0].keys() | rows[1].keys())
        if rows[0].get(number) != rows[1].get(number)
    ]
    found += [
        f"doubles of {number}"
        for number, count in Counter(row["episode"] for row in records(ours)).items()
        if count > 1
    ]
    of_the_moment = {"run_id", "wait_s", "discarded", "retries"}
    summaries = [json.loads(next(out.glob("*/summary.json")).read_text()) for out in (ours, theirs)]
    return found + [name for name in summaries[0].keys() - of_the_moment if summaries[0][name] != summaries[1][name]]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-n", "--episodes", default=500, show_default=True, type=click.IntRange(10))
@click.option("--concurrency", default=24, show_default=True, type=click.IntRange(1))
@click.option("--nodes", "count", default=3, show_default=True, type=click.IntRange(2))
@click.option("--python", default=PYTHON, type=click.Path(exists=True, path_type=Path), help="One that has Ray.")
def main(episodes: int, concurrency: int, count: int, python: Path) -> None:
    """Run episodes on a cluster that loses a node when a third of them is done, and on none; compare the records."""
    with tempfile.TemporaryDirectory(prefix="ray") as name, running("service") as server:
        folder, url = Path(name), f"http://127.0.0.1:{server.port}"
        shape = ["-n", str(episodes), "--concurrency", str(concurrency), "--faults", _FAULTS, "--seed", "7"]
        with nodes(python, folder, "--nodes", str(count)) as started:
            told = _on_cluster(started, python, folder / "ray", shape, url)
            began = time.monotonic()
            local = start_run(python, folder / "local", *shape, environment=started.environment, service=url)
            local.communicate(timeout=3600)
        differing = differences(folder / "ray", folder / "local")
        click.echo(
            json.dumps({**told, "local_s": round(time.monotonic() - began, 1), "differences": differing}, indent=2)
        )
        sys.exit(bool(differing or not told["lost_episodes"]))


def _on_cluster(started: Nodes, python: Path, out: Path, shape: list[str], url: str) -> dict[str, Any]:
    began = time.monotonic()
    engine = ["--engine", "ray", "--ray-address", started.address]
    run = start_run(python, out, *shape, *engine, environment=started.environment, service=url)
    wait_for_records(out, int(shape[1]) // 3, run)
    killed = time.time()
    started.order("kill 1")
    printed, errors = run.communicate(timeout=3600)
    [lost] = [event for event in events(out, "worker") if event["state"] == "lost"]
    return {
        "status": run.returncode,
        "said": errors or printed.splitlines()[-3:],
        "records": len(records(out)),
        "episodes": len({row["episode"] for row in records(out)}),
        "lost_episodes": len(events(out, "lost")),
        "noticed_s": round(_epoch(lost["at"]) - killed, 1),
        "ray_s": round(time.monotonic() - began, 1),
    }


def _epoch(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


if __name__ == "__main__":
    main()
