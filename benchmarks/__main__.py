"""Measures the service beside its rivals and holds it to its bars: ``make bench``."""

import sys
from dataclasses import replace
from pathlib import Path
from shlex import join
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.bars import judge
from benchmarks.measure import Plan, measure
from benchmarks.report import RESULTS, publish
from benchmarks.results import Results
from benchmarks.tables import Table, tables
from benchmarks.worker import MeasureError

__all__ = ["main"]

_PLAIN_WIDTH = 160
_QUICK = Plan(rounds=100, rounds_s=25.0, seconds=0.6, repeats=1)
_LOADED = 0.5


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="About a minute instead of five; noisier.")
@click.option("--rounds", type=click.IntRange(1), help="Samples of each row with one client.")
@click.option("--seconds", type=click.FloatRange(0.05), help="Seconds of each load.")
@click.option("--repeats", type=click.IntRange(1), help="Repetitions of each load.")
@click.option("--clients", type=click.IntRange(1), multiple=True, help="Numbers of clients; may be repeated.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=RESULTS,
    help="Where results go; by default to benchmarks/results.json, and into docs/performance.md and .svg.",
)
@click.option("--no-bars", is_flag=True, help="Exit with 0 even where a bar is not met.")
def main(quick: bool, out: Path, no_bars: bool, **amounts: Any) -> None:
    """Measure the service's speed beside what it is compared with."""
    plan = replace(_QUICK if quick else Plan(), **{name: amount for name, amount in amounts.items() if amount})
    results = _measured(plan)
    out.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if out == RESULTS:
        publish(results)
    _show(results)
    failed = any(verdict.met is False for verdict in judge(results))
    sys.exit(1 if failed and not no_bars else 0)


def _measured(plan: Plan) -> Results:
    command = join(["python", "-m", "benchmarks", *sys.argv[1:]])
    try:
        results = measure(plan, command, lambda text: click.echo(text, err=True))
    except MeasureError as error:
        raise click.ClickException(str(error)) from None
    if results.machine.load > _LOADED:
        click.echo(f"The machine was not idle (load {results.machine.load}): distrust the figures.", err=True)
    return results


def _show(results: Results) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    for table in tables(results):
        console.print(_rich(table))


def _rich(table: Table) -> RichTable:
    shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE)
    for place, name in enumerate(table.head):
        shown.add_column(name, justify="right" if table.figures and place else "left")
    for cells in table.rows:
        shown.add_row(*cells)
    return shown


if __name__ == "__main__":
    main()
