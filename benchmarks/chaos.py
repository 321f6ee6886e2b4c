"""Kills parts of a cluster while clients play episodes and have code graded: ``python -m benchmarks.chaos``.

It starts the compose profile ``cluster`` as a project of its own, and takes it down again. Clients ask again as any
client should, and what they were told in the end is held against what each submission is worth.
"""

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import click
import httpx

from benchmarks.nuisances import misbehave

__all__ = ["Cluster", "Mortal", "Tally", "cluster", "trouble"]

ROOT = Path(__file__).parents[1]
ORACLE = (ROOT / "examples/solution.py").read_text()
WORTH = {  # what submissions score on the classic suite
    ORACLE: 1.0,
    (ROOT / "service/task/fragile_pipeline.py").read_text(): 0.2,
    "def process_batch(events, state): return {}": 0.0,
}
_KILL_ZYGOTES = """
import contextlib, os, pathlib
for path in pathlib.Path("/proc").glob("[0-9]*"):
    pid = int(path.name)
    with contextlib.suppress(OSError):  # it has ended since
        if pid not in {1, os.getpid()} and os.getsid(pid) == pid and b"zygote" in (path / "cmdline").read_bytes():
            os.kill(pid, 9)
            print(pid)
"""
_LOST_FOR_GOOD_S = 60.0
_POLL_S = 0.05


@dataclass
class Tally:
    """What clients came to.

    Attributes:
        grades, episodes: that ended as they should.
        wrong: answers that were not what the submission is worth, with what was asked.
        lost: calls that never had an answer, for a minute.
        rewarded_twice: episodes with more than one graded submission, or with a reward that changed.
        refusals: answers that told to ask again, by status; 0 for connections that broke.
        waits_s: from the first try to the answer, of each grade.
        nuisances: what clients did that misbehave.
    """

    grades: int = 0
    episodes: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    rewarded_twice: list[str] = field(default_factory=list)
    refusals: Counter[int] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    nuisances: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Cluster:
    """A composed cluster.

    Attributes:
        url: of its proxy.
        project: its name in Docker.
        environment: of its commands.
    """

    url: str
    project: str
    environment: dict[str, str]

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command of docker compose."""
        command = ["docker", "compose", "--project-name", self.project, "--profile", "cluster", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=600, check=check
        )

    def kill(self, victim: str) -> None:
        """Kills a container where it stands, and starts it again; or, of ``replica-1:zygotes``, these only."""
        service, _, part = victim.partition(":")
        if part:
            killed = self.compose("exec", "-T", service, "python", "-c", _KILL_ZYGOTES).stdout
            if not killed:
                raise RuntimeError(f"{service} has no zygotes")
        else:
            self.compose("kill", service)
            self.compose("start", service)


@contextmanager
def cluster(project: str, port: int, **settings: str) -> Iterator[Cluster]:
    """Starts one with settings of its own, and takes it down when the block is left."""
    started = Cluster(f"http://127.0.0.1:{port}", project, {**os.environ, "CLUSTER_PORT": str(port), **settings})
    started.compose("down", "--volumes", "--timeout", "5")
    up = started.compose("up", "--build", "--detach", "--wait", "proxy", check=False)
    try:
        if up.returncode:
            raise RuntimeError(up.stderr + started.compose("logs").stdout)
        yield started
    finally:
        started.compose("down", "--volumes", "--timeout", "20")


class Mortal(Protocol):
    """What `trouble` can be made in."""

    @property
    def url(self) -> str:
        """Where clients find it."""

    def kill(self, victim: str) -> None:
        """Kills one of its parts, which is to come up again."""


async def trouble(
    at: Mortal, victims: list[str], *, seconds: float, every_s: float, clients: int, nuisances: int = 0
) -> Tally:
    """Has clients work while one part after the other is killed.

    Args:
        at: the cluster.
        victims: parts to kill, in turn.
        seconds: how long clients begin new work.
        every_s: seconds between two kills.
        clients: half of them grade, half of them play episodes.
        nuisances: clients beside them that misbehave.
    """
    tally, until = Tally(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=4 * clients, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=at.url, timeout=30, limits=limits) as client, asyncio.TaskGroup() as group:
        for each in range(clients):
            work = _grade_on if each % 2 else _play_on
            group.create_task(work(client, tally, until, random.Random(each)))
        bad = [group.create_task(misbehave(at.url, until, random.Random(each))) for each in range(nuisances)]
        for victim in itertools.cycle(victims):
            await asyncio.sleep(every_s)
            if time.monotonic() >= until:
                break
            await asyncio.to_thread(at.kill, victim)
    tally.nuisances = sum((each.result() for each in bad), Counter())
    return tally


async def _grade_on(client: httpx.AsyncClient, tally: Tally, until: float, chance: random.Random) -> None:
    while time.monotonic() < until:
        code, started = chance.choice(list(WORTH)), time.monotonic()
        answer = await _asked(client, tally, "POST", "/grade", {"code": code})
        if answer is None:
            tally.lost.append("a grade")
        elif answer.status_code != 200 or answer.json()["score"] != WORTH[code]:
            tally.wrong.append(f"a grade: {answer.status_code} {answer.text[:300]}")
        else:
            tally.grades += 1
            tally.waits_s.append(time.monotonic() - started)


async def _play_on(client: httpx.AsyncClient, tally: Tally, until: float, chance: random.Random) -> None:
    while time.monotonic() < until:
        code = chance.choice(list(WORTH))
        reward = await _played(client, tally, code)
        if reward is None:
            tally.lost.append("an episode")
        elif reward != WORTH[code]:
            tally.wrong.append(f"an episode: {reward} for {WORTH[code]}")
        else:
            tally.episodes += 1


async def _played(client: httpx.AsyncClient, tally: Tally, code: str) -> Any:
    """An episode's reward, None where it has none in time."""
    opened = await _asked(client, tally, "POST", "/episodes", {"suite": "classic"})
    if opened is None or opened.status_code != 201:
        return None
    path = f"/episodes/{opened.json()['id']}"
    tried = await _asked(client, tally, "POST", f"{path}/tools/python_expression", {"expression": "6 * 7"})
    if tried is None or tried.json()["execution"]["result"] != "42":
        return None
    told = await _asked(client, tally, "POST", f"{path}/tools/submit_code", {"code": code})
    again = await _asked(client, tally, "POST", f"{path}/tools/submit_code", {"code": ORACLE})
    if again is not None and again.status_code == 200:
        tally.rewarded_twice.append(f"{path}: a second submission was graded")
    rewards = {told.json()["reward"]} if told is not None and told.status_code == 200 else set()
    for _ in range(2):
        rewards.add(await _reward(client, tally, path))
    if len(rewards) > 1:
        tally.rewarded_twice.append(f"{path}: {rewards}")
    await _asked(client, tally, "DELETE", path, None)
    return rewards.pop()


async def _reward(client: httpx.AsyncClient, tally: Tally, path: str) -> Any:
    until = time.monotonic() + _LOST_FOR_GOOD_S
    while time.monotonic() < until:
        seen = await _asked(client, tally, "GET", path, None)
        if seen is None or seen.status_code != 200:
            return None
        if seen.json()["done"]:
            return seen.json()["reward"]
        await asyncio.sleep(_POLL_S)
    return None


async def _asked(
    client: httpx.AsyncClient, tally: Tally, method: str, path: str, body: object
) -> httpx.Response | None:
    """Asks until there is an answer, as any client should; None where there is none for a minute."""
    until = time.monotonic() + _LOST_FOR_GOOD_S
    while time.monotonic() < until:
        try:
            answer = await client.send(client.build_request(method, path, json=body or None))
        except httpx.TransportError:
            tally.refusals[0] += 1
        else:
            if answer.status_code not in {429, 500, 502, 503, 504}:
                return answer
            tally.refusals[answer.status_code] += 1
        await asyncio.sleep(_POLL_S)
    return None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=120.0, show_default=True, help="How long clients begin new work.")
@click.option("--every", "every_s", default=10.0, show_default=True, help="Seconds between two kills.")
@click.option("--clients", default=8, show_default=True, help="Clients at a time.")
@click.option(
    "--nuisances", default=0, show_default=True, help="Clients beside them that hang, drop and send too much."
)
@click.option("--port", default=18080, show_default=True, help="Port of the proxy.")
@click.option(
    "--victims",
    default="replica-1,replica-2,replica-3",
    show_default=True,
    help="Services to kill, in turn; replica-1:zygotes are only what its processes are forked from.",
)
def main(*, seconds: float, every_s: float, clients: int, nuisances: int, port: int, victims: str) -> None:
    """Kill replicas of a cluster under load, and say whether anything was lost."""
    with cluster("gauntlet-chaos", port) as started:
        work = trouble(
            started, victims.split(","), seconds=seconds, every_s=every_s, clients=clients, nuisances=nuisances
        )
        tally = asyncio.run(work)
    waits = sorted(tally.waits_s)
    click.echo(
        json.dumps(
            {
                "grades": tally.grades,
                "episodes": tally.episodes,
                "lost": tally.lost,
                "wrong": tally.wrong,
                "rewarded_twice": tally.rewarded_twice,
                "asked_again": {str(status): count for status, count in sorted(tally.refusals.items())},
                "nuisances": dict(sorted(tally.nuisances.items())),
                "grade_s": {share: round(waits[int(share * (len(waits) - 1))], 3) for share in (0.5, 0.95, 1.0)},
            },
            indent=2,
        )
    )
    sys.exit(bool(tally.lost or tally.wrong or tally.rewarded_twice))


if __name__ == "__main__":
    main()
