"""`gauntlet models`: what the API offers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from runner.cli.printing import awaited, print_text
from runner.wording import neutralised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.records import ListedModel

__all__ = ["models"]


@click.command()
@click.option("--live/--offline", default=False, help="--live asks the API, which is free; --offline the stand-in.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def models(*, live: bool, as_json: bool) -> int:
    """List the models, their prices, and when they retire."""
    # The SDK behind it takes a second to import.
    from runner.model import list_models, live_client, offline_client  # noqa: PLC0415
    from runner.offline.server import serve_offline  # noqa: PLC0415

    async def ask() -> Sequence[ListedModel]:
        if live:
            async with live_client() as client:
                return await list_models(client)
        async with serve_offline(0) as url, offline_client(url) as client:
            return await list_models(client)

    found = awaited(ask())
    print_text(
        json.dumps([model.model_dump(mode="json") for model in found], indent=2)
        if as_json
        else "\n".join(map(neutralised, _table(found)))
    )
    return 0


def _table(found: Sequence[ListedModel]) -> list[str]:
    rows = [("Model", "$/M in", "$/M out", "Lifecycle")]
    rows += [(model.name, *_prices(model.name), model.fate) for model in found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [f"{n:<{widths[0]}}  {i:>{widths[1]}}  {o:>{widths[2]}}  {fate}".rstrip() for n, i, o, fate in rows]


def _prices(name: str) -> tuple[str, str]:
    from runner.pricing import Pricing  # noqa: PLC0415
    from runner.records import Usage  # noqa: PLC0415

    # Of small calls: some models cost more per token in a long one.
    pricing = Pricing("anthropic")
    each = (pricing.cost_usd(name, Usage(input_tokens=1000)), pricing.cost_usd(name, Usage(output_tokens=1000)))
    prices = [f"{1000 * cost_usd:g}" if cost_usd is not None else "unknown" for cost_usd in each]
    return prices[0], prices[1]
