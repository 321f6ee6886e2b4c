"""Runs the real service for long and looks for what it leaves behind: ``make soak``."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click

from benchmarks import processes
from benchmarks.contenders import execute_request, load_generator
from benchmarks.http import Request
from benchmarks.server import Server, running
from benchmarks.worker import ROOT, MeasureError, Worker

__all__ = ["Snapshot", "leaks", "main"]

_REPORTS = 20
_GROWTH = 1.05
_MOST_WARM_UP = 4000
_FOREVER_S = 1e9
_TEMPORARY = Path("/tmp")  # noqa: S108 - nothing is made there
_PRIVATE = 'mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && exec "$@"'


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a service holds at rest.

    Attributes:
        processes: in its tree, itself included.
        zombies: of them ended and not reaped.
        descriptors: open ones of the processes that live on, the service and its zygotes.
        files: in the folders that it may write to.
        service_kib, zygotes_kib: resident memory.
    """

    processes: int
    zombies: int
    descriptors: int
    files: int
    service_kib: int
    zygotes_kib: int


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-n", "calls", default=100_000, show_default=True, type=click.IntRange(1), help="Calls of /execute.")
@click.option("--clients", default=16, show_default=True, type=click.IntRange(1), help="Clients at a time.")
def main(calls: int, clients: int) -> None:
    """Call /execute very often and compare what the service holds before and after."""
    try:
        with _watched_service() as (service, folders), load_generator() as generator:
            found = _soak(service, folders, generator, calls, clients)
    except MeasureError as error:
        raise click.ClickException(str(error)) from None
    for line in found:
        click.echo(f"LEAK: {line}")
    click.echo("Something is left behind." if found else "Nothing is left behind.")
    sys.exit(1 if found else 0)


def _soak(service: Server, folders: list[Path], generator: Worker, calls: int, clients: int) -> list[str]:
    request = execute_request(service.port)
    warm_up = min(calls, _MOST_WARM_UP)
    click.echo(f"Warming up: {warm_up} calls.")
    errors = _call(generator, request, warm_up, clients)
    before = _snapshot(service.pid, folders)
    errors += _run(service, generator, request, calls, clients)
    after = _snapshot(service.pid, folders)
    _show(before, after)
    return leaks(before, after) + ([f"{errors} wrong answers"] if errors else [])


def _run(service: Server, generator: Worker, request: Request, calls: int, clients: int) -> int:
    """Makes the calls in portions, telling how it goes, and counts wrong answers."""
    errors, done = 0, 0
    for number in range(1, _REPORTS + 1):
        portion = calls * number // _REPORTS - done
        if not portion:
            continue
        started = time.perf_counter()
        errors += _call(generator, request, portion, clients)
        done += portion
        rate = portion / (time.perf_counter() - started)
        memory = processes.memory_kib(service.pid)
        click.echo(f"{done:>9,} of {calls:,} calls, {rate:,.0f}/s, {errors} wrong, service {memory:,} KiB")
    return errors


def _call(generator: Worker, request: Request, calls: int, clients: int) -> int:
    window = {"at": time.perf_counter(), "ramp_s": 0.0, "seconds": _FOREVER_S, "limit": calls}
    answer = generator.ask({"request": asdict(request), "clients": min(clients, calls), "window": window})
    if answer["fault"]:
        click.echo(f"A wrong answer: {answer['fault']}")
    return calls - len(answer["latencies_us"])


def _snapshot(service: int, folders: list[Path]) -> Snapshot:
    processes.settle(service)
    zygotes = processes.zygotes(service)
    return Snapshot(
        processes=len(processes.tree(service)),
        zombies=len(processes.zombies(service)),
        descriptors=sum(processes.descriptors(pid) for pid in [service, *zygotes]),
        files=sum(1 for folder in folders for _ in processes.files(folder)),
        service_kib=processes.memory_kib(service),
        zygotes_kib=sum(processes.memory_kib(pid) for pid in zygotes),
    )


def _show(before: Snapshot, after: Snapshot) -> None:
    click.echo(f"{'':<12} {'before':>9} {'after':>9}")
    for field in fields(Snapshot):
        click.echo(f"{field.name:<12} {getattr(before, field.name):>9,} {getattr(after, field.name):>9,}")


def leaks(before: Snapshot, after: Snapshot) -> list[str]:
    """What there is more of, or less, than before; memory may grow by 5 %."""
    counted = ("processes", "zombies", "descriptors", "files")
    found = [
        f"{name}: {getattr(before, name)} before, {getattr(after, name)} after"
        for name in counted
        if getattr(before, name) != getattr(after, name)
    ]
    return found + [
        f"{name}: {getattr(before, name):,} KiB before, {getattr(after, name):,} KiB after"
        for name in ("service_kib", "zygotes_kib")
        if getattr(after, name) > getattr(before, name) * _GROWTH
    ]


@contextmanager
def _watched_service() -> Iterator[tuple[Server, list[Path]]]:
    """A service, and the folders where whatever it leaves behind would lie.

    Root gives it a /tmp and a /dev/shm of its own, for others write to the machine's. Elsewhere it gets a temporary
    folder of its own, and only that is watched.
    """
    if _may_mount():
        before = ["unshare", "--mount", "sh", "-c", _PRIVATE, "sh"]
        with running("service", "--port", "0", before=before) as service:
            root = Path(f"/proc/{service.pid}/root")
            yield service, [root / "tmp", root / "dev/shm"]
        return
    with tempfile.TemporaryDirectory() as folder, running("service", "--port", "0", TMPDIR=folder) as service:
        click.echo("Watching the service's own temporary folder only: /tmp and /dev/shm are not its alone here.")
        yield service, [Path(folder)]


def _may_mount() -> bool:
    """Whether /tmp can be hidden from the service: not where it is started from there."""
    if shutil.which("unshare") is None or any(_TEMPORARY in path.parents for path in (ROOT, Path(sys.prefix))):
        return False
    trial = ["unshare", "--mount", "sh", "-c", _PRIVATE, "sh", "true"]
    return os.geteuid() == 0 and subprocess.run(trial, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
