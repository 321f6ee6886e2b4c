"""What tokens, shares, ids, metrics and logs cost together: ``python -m benchmarks.overhead``.

Two services are asked in turns: one as an operator would run it, with tokens, a share for each caller and a line of
JSON for each request; and one that knows nothing of all that. The second is there twice: what two equal ones differ by
is what such a run cannot tell.
"""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import click

from benchmarks.clients import EXECUTE, GRADE_CLASSIC, Call, ask, processor_s
from benchmarks.server import Server, running

__all__ = ["main"]

_TOKEN = "a-token-of-a-trainer"  # noqa: S105 - of nobody
_WATCHED = {
    "GAUNTLET_API_TOKENS": f"{_TOKEN},another-token-of-another,{_TOKEN}-old@2020-01-01",
    "GAUNTLET_CLIENT_REQUESTS": "64",
    "GAUNTLET_LOG_FORMAT": "json",
}
_CLIENTS = 8


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(2), help="Windows of each, in turns.")
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0.2), help="Length of a window.")
def main(rounds: int, seconds: float) -> None:
    """Compare the throughput and the processor time of a service with those of a bare one."""
    with (
        _running("service", **_WATCHED) as watched,
        _running("benchmarks.bare_service") as bare,
        _running("benchmarks.bare_service") as other,
    ):
        for call in (EXECUTE, GRADE_CLASSIC):
            windows = [_windows([watched, bare, other], number, call, seconds) for number in range(rounds)]
            for name, one in (("watched", 0), ("another bare one", 2)):
                click.echo(f"{call.name}: {name} beside a bare one: {_compared(windows, one)}")


def _windows(servers: list[Server], number: int, call: Call, seconds: float) -> list[tuple[float, float]]:
    """A window of each, in an order that changes from round to round."""
    found = {}
    for place in range(len(servers)):
        one = (number + place) % len(servers)
        found[one] = _window(servers[one], call, seconds)
    return [found[one] for one in range(len(servers))]


def _window(server: Server, call: Call, seconds: float) -> tuple[float, float]:
    """Calls a second, and processor time of one of them, seconds."""
    before = sum(processor_s(server.pid))
    count, took_s = ask(server.port, call, clients=_CLIENTS, seconds=seconds, token=_TOKEN)
    return count / took_s, (sum(processor_s(server.pid)) - before) / count


def _compared(windows: list[list[tuple[float, float]]], one: int) -> str:
    rates = statistics.median(row[one][0] / row[1][0] for row in windows)
    processor = sum(row[one][1] for row in windows) / sum(row[1][1] for row in windows)
    return f"{rates:.3f} of its calls a second (median), {processor:.3f} of its processor time"


@contextmanager
def _running(module: str, **settings: str) -> Iterator[Server]:
    """A service that writes its log to a file."""
    with tempfile.TemporaryDirectory() as folder:
        logged = ["sh", "-c", 'exec "$@" 2> "$0"', f"{folder}/log"]
        with running(module, "--port", "0", before=logged, **settings) as server:
            yield server


if __name__ == "__main__":
    main()
