"""What calls cost in processor time, and what cores and workers can do of them: ``python -m benchmarks.capacity``."""

import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
from redis import Redis

from benchmarks.clients import EXECUTE, GRADE_CLASSIC, GRADE_HARDENED, SOLUTION, Call, ask, processor_s
from benchmarks.server import Server, running
from benchmarks.worker import MeasureError

__all__ = ["main"]

_CALLS = (EXECUTE, GRADE_CLASSIC, GRADE_HARDENED)
_SLOTS_PER_CORE = 4
_CALLS_OF_EPISODE = 10


@dataclass(frozen=True)
class _Shape:
    """Cores, workers, and whether the clients have a core of their own."""

    cores: int
    workers: int

    def __str__(self) -> str:
        return f"{self.cores} {'core' if self.cores == 1 else 'cores'}, {self.workers} worker{'s'[: self.workers - 1]}"


@dataclass(frozen=True)
class _Sample:
    """Of one window: calls a second, and milliseconds of the service's processor time and the sandbox's for each."""

    rate: float
    service_ms: float
    sandbox_ms: float


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1), help="Windows of each row, in turns.")
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.2), help="Length of a window.")
@click.option("--episodes", default=200, show_default=True, type=click.IntRange(8), help="Played for Redis' part.")
def main(rounds: int, seconds: float, episodes: int) -> None:
    """Measure on one core beside the clients' own, then on two that the clients share, with one worker and two."""
    shapes = [_Shape(1, 1), _Shape(2, 1), _Shape(2, 2)]
    samples: dict[tuple[_Shape, Call], list[_Sample]] = defaultdict(list)
    with ExitStack() as stack:
        redis = stack.enter_context(_redis())
        servers = {shape: stack.enter_context(_serving(shape, redis)) for shape in shapes}
        for _ in range(rounds):
            for call in _CALLS:
                for shape, server in servers.items():
                    samples[shape, call].append(_sample(server, shape, call, seconds))
        share = _share_of_redis(servers[shapes[1]], redis, episodes)
    click.echo("| | calls/s | service, ms | sandbox, ms | 1000 / sum, times cores | cores for one worker |")
    click.echo("| --- | ---: | ---: | ---: | ---: | ---: |")
    for (shape, call), found in samples.items():
        click.echo(_row(shape, call, found))
    click.echo(f"\nan episode of {_CALLS_OF_EPISODE} calls and a submission: {share}")


def _sample(server: Server, shape: _Shape, call: Call, seconds: float) -> _Sample:
    os.sched_setaffinity(0, {1} if shape.cores == 1 else {0, 1})
    before = processor_s(server.pid)
    count, took_s = ask(server.port, call, clients=_SLOTS_PER_CORE * shape.cores, seconds=seconds)
    after = processor_s(server.pid)
    service, sandbox = ((end - begin) / count * 1000 for begin, end in zip(before, after, strict=True))
    return _Sample(count / took_s, service, sandbox)


def _row(shape: _Shape, call: Call, found: list[_Sample]) -> str:
    rate = statistics.median(sample.rate for sample in found)
    service = statistics.median(sample.service_ms for sample in found)
    sandbox = statistics.median(sample.sandbox_ms for sample in found)
    both = service + sandbox
    numbers = f"{rate:.0f} | {service:.2f} | {sandbox:.2f} | {1000 / both * shape.cores:.0f} | {both / service:.1f}"
    return f"| {call.name}: {shape} | {numbers} |"


def _share_of_redis(server: Server, redis: str, episodes: int) -> str:
    """What episodes of the suite `hardened` cost Redis."""
    with Redis.from_url(redis) as client, httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        before: dict[str, float] = client.info()
        with ThreadPoolExecutor(_SLOTS_PER_CORE) as threads:
            list(threads.map(lambda _: _play(http), range(episodes)))
        after: dict[str, float] = client.info()

    def each(*names: str) -> float:
        return sum(after[name] - before[name] for name in names) / episodes

    own, all_commands = each("used_cpu_user", "used_cpu_sys") * 1000, each("total_commands_processed")
    return f"{own:.2f} ms of Redis' processor time, {all_commands:.0f} commands, {each('used_memory') / 1024:.1f} KiB"


def _play(http: httpx.Client) -> None:
    path = f"/episodes/{http.post('/episodes', json={'suite': 'hardened'}).json()['id']}/tools"
    for _ in range(_CALLS_OF_EPISODE):
        http.post(f"{path}/python_expression", json=EXECUTE.body).raise_for_status()
    told = http.post(f"{path}/submit_code", json={"code": SOLUTION})
    if told.json()["reward"] != 1.0:
        raise MeasureError(told.text)


@contextmanager
def _serving(shape: _Shape, redis: str) -> Iterator[Server]:
    pinned = ["taskset", "--cpu-list", ",".join(map(str, range(shape.cores)))]
    settings = {"GAUNTLET_CONCURRENCY": str(_SLOTS_PER_CORE * shape.cores), "GAUNTLET_REDIS_URL": redis}
    with running("service", "--port", "0", "--workers", str(shape.workers), before=pinned, **settings) as server:
        yield server


@contextmanager
def _redis() -> Iterator[str]:
    """A redis-server for what workers share; nothing that is measured here asks it."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", "0", "--unixsocket", "redis.sock", "--save", ""]
        command = ["redis-server", *options]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            while not Path(folder, "redis.sock").exists():
                time.sleep(0.01)
            yield f"unix://{folder}/redis.sock"
        finally:
            process.terminate()
            process.wait(timeout=10)


if __name__ == "__main__":
    main()
