"""What Ray Serve's proxy adds to a call: ``python -m benchmarks.ray_serve --port PORT``, beside a Serve that runs.

It starts a service of its own on uvicorn, and asks the two in turn.
"""

import json
import random
import statistics
import time

import click

from benchmarks.contenders import execute_request
from benchmarks.http import Client, Request, post
from benchmarks.server import running
from benchmarks.worker import ROOT

__all__: list[str] = []

_REST_S = 0.005
_WARM_UP = 20


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", required=True, type=int, help="Port of Serve's proxy.")
@click.option("--rounds", default=300, show_default=True, help="Samples of each row.")
@click.option("--concurrency", default="4", show_default=True, help="GAUNTLET_CONCURRENCY of the service on uvicorn.")
def main(port: int, rounds: int, concurrency: str) -> None:
    """Print medians in ms, and the median of the ratios of calls that followed each other."""
    calls = {"POST /execute": execute_request, "POST /grade": _grade_request}
    with running("service", GAUNTLET_CONCURRENCY=concurrency) as service:
        for name, request in calls.items():
            pairs = _pairs(Client(request(service.port)), Client(request(port)), rounds)
            click.echo(json.dumps({"call": name, **_told(pairs)}))


def _pairs(uvicorn: Client, serve: Client, rounds: int) -> list[tuple[float, float]]:
    """Seconds of each, by turns; who comes first is drawn."""
    pairs = []
    for _ in range(rounds + _WARM_UP):
        seconds = {}
        for client in random.sample((uvicorn, serve), 2):
            time.sleep(_REST_S)
            seconds[client] = client.sample()
        pairs.append((seconds[uvicorn], seconds[serve]))
    return pairs[_WARM_UP:]


def _told(pairs: list[tuple[float, float]]) -> dict[str, float | int]:
    uvicorn, serve = zip(*pairs, strict=True)
    ratios = statistics.quantiles((after / before for before, after in pairs), n=4)
    return {
        "uvicorn_ms": round(statistics.median(uvicorn) * 1000, 2),
        "serve_ms": round(statistics.median(serve) * 1000, 2),
        "ratio": round(ratios[1], 2),
        "ratio_25": round(ratios[0], 2),
        "ratio_75": round(ratios[2], 2),
        "pairs": len(pairs),
    }


def _grade_request(port: int) -> Request:
    code = (ROOT / "examples" / "solution.py").read_text()
    return post(port, "/grade", {"code": code}, '"passed":true')


if __name__ == "__main__":
    main()
