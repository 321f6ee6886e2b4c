"""One run: every row in turn, over and over, so that whatever disturbs the machine disturbs all of them."""

import gc
import os
import platform
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import processes
from benchmarks.contenders import Load, Row, Tally, contenders
from benchmarks.figures import median, percentile
from benchmarks.results import Latency, Machine, Memory, Results, Throughput

__all__ = ["Plan", "measure"]

_PAUSE_S = 0.005
_WARM_UP_ROUNDS = 20
_SLOW_S = 0.05  # what took that long leaves more behind than a short pause clears
_SLOW_PAUSE_S = 0.1
_TAIL_SAMPLES = 100  # fewer know nothing of the slowest hundredth
_MOST_SETTLING_S = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: samples of each row with one client; slow rows are sampled in every so many.
        rounds_s: most seconds for all of them; on a slow machine there are fewer.
        seconds: of load, for each row, number of clients and repetition.
        repeats: repetitions.
        clients: numbers of clients.
    """

    rounds: int = 800
    rounds_s: float = 140.0
    seconds: float = 1.6
    repeats: int = 3
    clients: tuple[int, ...] = (1, 2, 16, 64)


def measure(plan: Plan, command: str, tell: Callable[[str], None]) -> Results:
    """Measures everything.

    Args:
        plan: how much.
        command: what was called, for the record.
        tell: is told what goes on.

    Raises:
        MeasureError: something answered wrongly with one client, or did not start.
    """
    machine = _machine()
    with contenders(machine.cores) as field:
        for name, reason in field.skipped.items():
            tell(f"skipped: {name}: {reason}")
        latency = _latencies(field.rows, plan, tell)
        memory = _memory(field.service.pid)
        throughput = _throughputs(field.loads, plan, tell)
    skipped = [Latency(row=name, skipped=reason) for name, reason in field.skipped.items()]
    date = datetime.now(UTC).date().isoformat()
    return Results(
        date=date, command=command, machine=machine, latency=latency + skipped, throughput=throughput, memory=memory
    )


def _machine() -> Machine:
    named = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Machine(
        cpu=named[1] if named else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release().partition("-")[0],
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
    )


def _latencies(rows: Sequence[Row], plan: Plan, tell: Callable[[str], None]) -> list[Latency]:
    """Samples all rows round robin, in another order each round, so that no row always follows the same one."""
    shuffle = random.Random(0).shuffle
    samples: dict[str, list[float]] = {row.name: [] for row in rows}
    deadline = time.perf_counter() + plan.rounds_s
    gc.freeze()
    gc.disable()
    for number in range(-min(_WARM_UP_ROUNDS, plan.rounds), plan.rounds):
        due = [row for row in rows if (row.every == 1 if number < 0 else number % row.every == 0)]
        shuffle(due)
        for row in due:
            seconds = row.sample()
            if number >= 0:
                samples[row.name].append(seconds)
            time.sleep(_SLOW_PAUSE_S if seconds > _SLOW_S else _PAUSE_S)
        if number >= 0 and number % 100 == 0:
            tell(f"latency: round {number} of {plan.rounds}")
        if time.perf_counter() > deadline:
            break
    gc.enable()
    return [_latency(name, seconds) for name, seconds in samples.items()]


def _latency(name: str, seconds: Sequence[float]) -> Latency:
    return Latency(
        row=name,
        samples=len(seconds),
        p50_ms=round(percentile(seconds, 50) * 1000, 3),
        p99_ms=round(percentile(seconds, 99) * 1000, 3) if len(seconds) >= _TAIL_SAMPLES else None,
    )


def _throughputs(loads: Sequence[Load], plan: Plan, tell: Callable[[str], None]) -> list[Throughput]:
    """Repeats everything rather than anything, so that the repetitions of one row lie far apart."""
    shuffle = random.Random(0).shuffle
    tallies: dict[tuple[str, int, str], list[Tally]] = defaultdict(list)
    for repetition in range(plan.repeats):
        for clients in plan.clients:
            tell(f"throughput: repetition {repetition + 1} of {plan.repeats}, clients: {clients}")
            due = [load for load in loads if clients >= load.at_least]
            shuffle(due)
            for load in due:
                tally = load.run(clients, plan.seconds / 4, plan.seconds)
                tallies[load.row, clients, load.variant].append(tally)
                if tally.errors:
                    tell(f"{load.row}: {tally.errors} wrong answers, the first: {tally.fault}")
                time.sleep(min(_MOST_SETTLING_S, plan.seconds / 4))
    return [_best(load_row, clients, tallies, plan) for load_row in _names(loads) for clients in plan.clients]


def _names(loads: Sequence[Load]) -> list[str]:
    return list(dict.fromkeys(load.row for load in loads))


def _best(row: str, clients: int, tallies: dict[tuple[str, int, str], list[Tally]], plan: Plan) -> Throughput:
    """The fastest way of driving a row: a baseline is not made slower than it is."""
    found = [
        _throughput(row, clients, variant, runs, plan.seconds)
        for (name, level, variant), runs in tallies.items()
        if (name, level) == (row, clients)
    ]
    return max(found, key=lambda throughput: throughput.per_s)


def _throughput(row: str, clients: int, variant: str, runs: Sequence[Tally], seconds: float) -> Throughput:
    latencies = [run.latencies_us for run in runs]
    return Throughput(
        row=row,
        clients=clients,
        variant=variant,
        per_s=round(median(run.done / seconds for run in runs), 1),
        p50_ms=round(median(_percentile_ms(values, 50) for values in latencies), 3),
        p99_ms=round(median(_percentile_ms(values, 99) for values in latencies), 3),
        errors=sum(run.errors for run in runs),
    )


def _percentile_ms(latencies_us: Sequence[int], percent: float) -> float:
    return percentile(latencies_us, percent) / 1000 if latencies_us else 0.0


def _memory(service: int) -> Memory:
    """Shares of memory at rest, when everything that is forked ahead waits."""
    processes.settle(service)
    waiting = processes.waiting(service)
    try:
        shares = [processes.pss_kib(pid) for pid in waiting]
        zygotes = [processes.pss_kib(pid) for pid in processes.zygotes(service)]
        own = processes.pss_kib(service)
    except PermissionError:
        return Memory(
            waiting=len(waiting), waiting_kib=None, zygote_kib=None, service_kib=None, note="only root may read it"
        )
    return Memory(
        waiting=len(waiting),
        waiting_kib=round(sum(shares) / len(shares), 1) if shares else None,
        zygote_kib=round(sum(zygotes) / len(zygotes), 1) if zygotes else None,
        service_kib=own,
        note=None if shares else "none",
    )
