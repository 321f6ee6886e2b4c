"""`python -m runner.offline`: the stand-in as a program of its own, to try any client of the Messages API against."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, TextIO

import click
import uvloop

from runner.offline.server import serve_offline

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.answers import Json

__all__ = ["main"]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="On 127.0.0.1; 0 picks a free one.")
@click.option("--seed", default=0, help="Which policy plays which episode, and which faults it meets.")
@click.option(
    "--faults", default=0.0, type=click.FloatRange(0, 1), help="The share of calls and episodes that meet one."
)
@click.option("--hang-s", default=600.0, type=click.FloatRange(0), help="How long a call that hangs does so, seconds.")
@click.option("--log", type=click.File("a", "utf-8", lazy=False), help="Gets a JSON line for every call.")
def main(port: int, seed: int, faults: float, hang_s: float, log: TextIO | None) -> None:
    """Serve a stand-in for the Messages API until SIGTERM or Ctrl-C; the first line printed is its base URL.

    The key to send is `offline`, and metadata.user_id must end in an episode's number, as in run-1.
    """
    uvloop.run(_serve(port, seed, faults, hang_s, _writer(log) if log else None))


async def _serve(port: int, seed: int, faults: float, hang_s: float, log: Callable[[Json], None] | None) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        async with serve_offline(seed, faults=faults, hang_s=hang_s, log=log, port=port) as url:
            click.echo(url)
            await stopped.wait()
    except OSError:
        raise click.ClickException(f"cannot listen on port {port}: choose another with --port") from None


def _writer(file: TextIO) -> Callable[[Json], None]:
    def write(line: Json) -> None:
        file.write(json.dumps(line) + "\n")
        file.flush()

    return write


if __name__ == "__main__":
    main()
