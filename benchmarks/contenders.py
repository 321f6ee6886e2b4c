"""Who is measured: every row's processes, and how to have it do one job or many."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import commands
from benchmarks.http import Client, Request, post
from benchmarks.job import EXPRESSION, RESULT
from benchmarks.results import ASK, BARE_FORK, DOCKER, EMPTY_POST, EXECUTE, GRADE, IDLE_FORK, SANDBOX
from benchmarks.server import Server, running
from benchmarks.worker import ROOT, MeasureError, Worker
from service.sandbox.inside.zygote import PRELOADED

__all__ = ["Contenders", "Load", "Row", "Tally", "contenders", "execute_request", "load_generator", "offer"]

_HONEST = Path("tests/submissions/honest/median_mad.py")
_FORKER = "import sys; sys.path.insert(0, sys.argv[1]); from benchmarks.bare_fork import main; main(sys.argv[2:])"
_SLOW_EVERY = {DOCKER: 25}
_COMMAND_EVERY = 4
_START_IN_S = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """One client's view.

    Attributes:
        sample: does one job and answers its seconds.
        every: rounds from one sample to the next.
    """

    name: str
    sample: Callable[[], float]
    every: int = 1


@dataclass(frozen=True, slots=True)
class Tally:
    """What many jobs came to.

    Attributes:
        done: in the time that counts.
        latencies_us: microseconds.
        errors: wrong answers.
        fault: the first of them.
    """

    done: int
    latencies_us: list[int]
    errors: int
    fault: str


@dataclass(frozen=True, slots=True)
class Load:
    """Many clients' view.

    Attributes:
        variant: how it is driven, where there is a choice.
        run: clients, ramp and duration in seconds → what came of it.
        at_least: clients that it takes to differ from the variant before.
    """

    row: str
    run: Callable[[int, float, float], Tally]
    variant: str = ""
    at_least: int = 1


@dataclass
class Contenders:
    """All of them, running.

    Attributes:
        skipped: rows that cannot be measured here, and why.
    """

    service: Server
    rows: list[Row] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


@contextmanager
def contenders(cores: int) -> Iterator[Contenders]:
    """Starts everything that is measured, and ends it with the block."""
    with ExitStack() as stack:
        empty = stack.enter_context(running("benchmarks.empty"))
        service = stack.enter_context(running("service", "--port", "0"))
        all_of_them = Contenders(service)
        _add_http(all_of_them, _requests(empty, service), stack)
        _add_forks(all_of_them, [stack.enter_context(_forker()) for _ in range(cores)])
        _add_pool(all_of_them, stack.enter_context(Worker([sys.executable, "-m", "benchmarks.pool"])))
        _add_commands(all_of_them)
        yield all_of_them


def load_generator() -> Worker:
    """A load generator in a process of its own."""
    return Worker([sys.executable, "-m", "benchmarks.load"])


def execute_request(port: int) -> Request:
    """The job as ``POST /execute``."""
    return post(port, "/execute", {"expression": EXPRESSION}, f'"result":"{RESULT}"')


def offer(worker: Worker, request: Request, clients: int, ramp_s: float, seconds: float) -> Tally:
    """Has a load generator send one request over and over."""
    return _load([worker], {"request": asdict(request)}, [clients], ramp_s, seconds)


def _requests(empty: Server, service: Server) -> dict[str, Request]:
    code = (ROOT / _HONEST).read_text(encoding="utf-8")
    return {
        EMPTY_POST: post(empty.port, "/", {"expression": EXPRESSION}, '"status":"ok"'),
        EXECUTE: execute_request(service.port),
        GRADE: post(service.port, "/grade", {"code": code}, '"passed":true'),
    }


def _add_http(to: Contenders, requests: dict[str, Request], stack: ExitStack) -> None:
    generator = stack.enter_context(load_generator())
    for name, request in requests.items():
        client = Client(request)
        stack.callback(client.close)
        to.rows.append(Row(name, client.sample))
        to.loads.append(Load(name, partial(offer, generator, request)))


def _forker() -> Worker:
    """In an interpreter like the zygote's, with the same modules."""
    return Worker([sys.executable, "-P", "-s", "-S", "-B", "-c", _FORKER, str(ROOT), *PRELOADED])


def _add_forks(to: Contenders, forkers: Sequence[Worker]) -> None:
    for name, job in ((BARE_FORK, True), (IDLE_FORK, False)):
        to.rows.append(Row(name, partial(_sample, forkers[0], {"op": "fork", "job": job})))
        to.loads.append(Load(name, partial(_fork, forkers[:1], job), "one forker"))
        if len(forkers) > 1:
            to.loads.append(Load(name, partial(_fork, forkers, job), "a forker per core", len(forkers)))


def _add_pool(to: Contenders, pool: Worker) -> None:
    to.rows.append(Row(ASK, partial(_sample, pool, {"op": "ask"})))
    to.rows.append(Row(SANDBOX, partial(_sample, pool, {"op": "execute"})))
    to.loads.append(Load(SANDBOX, lambda clients, ramp_s, seconds: _load([pool], {}, [clients], ramp_s, seconds)))


def _add_commands(to: Contenders) -> None:
    for name, command in commands.COMMANDS.items():
        fault = commands.probe(command)
        if fault is None:
            to.rows.append(Row(name, commands.sampler(command), _SLOW_EVERY.get(name, _COMMAND_EVERY)))
        else:
            to.skipped[name] = fault


def _sample(worker: Worker, message: dict[str, Any]) -> float:
    answer = worker.ask(message)
    if not answer["right"]:
        raise MeasureError(f"a wrong answer to {message}")
    return float(answer["seconds"])


def _fork(forkers: Sequence[Worker], job: bool, clients: int, ramp_s: float, seconds: float) -> Tally:
    share, rest = divmod(clients, len(forkers))
    shares = [share + (place < rest) for place in range(len(forkers))]
    return _load(forkers, {"job": job}, shares, ramp_s, seconds)


def _load(
    workers: Sequence[Worker], message: dict[str, Any], shares: Sequence[int], ramp_s: float, seconds: float
) -> Tally:
    """Has several workers work at once, each with its share of the clients."""
    window = {"at": time.perf_counter() + _START_IN_S, "ramp_s": ramp_s, "seconds": seconds}
    for worker, clients in zip(workers, shares, strict=True):
        worker.tell({"op": "load", "clients": clients, "window": window, **message})
    answers = [worker.hear() for worker in workers]
    latencies = [latency for answer in answers for latency in answer["latencies_us"]]
    return Tally(
        done=sum(answer["done"] for answer in answers),
        latencies_us=latencies,
        errors=sum(answer["errors"] for answer in answers),
        fault=next((answer["fault"] for answer in answers if answer["fault"]), ""),
    )
