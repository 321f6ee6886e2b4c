"""Puts a run's results into the documentation: ``python -m benchmarks.report``."""

import re
from importlib.util import find_spec
from pathlib import Path

import click

from benchmarks.results import Results, read
from benchmarks.tables import markdown, tables
from benchmarks.worker import ROOT

__all__ = ["DOCUMENT", "PLOT", "RESULTS", "block", "publish"]

RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
BLOCK = re.compile(r"(?<=<!-- results: python -m benchmarks.report -->\n).*?(?=<!-- end of results -->)", re.DOTALL)


def block(results: Results) -> str:
    """The part of the document that is a run's."""
    machine = results.machine
    where = (
        f"Measured on {results.date} with `{results.command}`: {machine.cpu}, {machine.cores} cores, Linux"
        f" {machine.kernel}, Python {machine.python}, load {machine.load:.2f} before it began."
    )
    parts = [f"**{table.title}**\n\n{markdown(table)}" for table in tables(results)]
    return "\n\n".join(["", where, *parts, ""]) + "\n"


def publish(results: Results, document: Path = DOCUMENT, plot: Path = PLOT) -> None:
    """Writes a run's block into the document, and draws its plot where matplotlib is installed."""
    text = document.read_text(encoding="utf-8")
    document.write_text(BLOCK.sub(lambda _: block(results), text), encoding="utf-8")
    if find_spec("matplotlib") is None:
        click.echo("No plot: matplotlib is not installed; `make bench` installs it.", err=True)
        return
    from benchmarks.plot import draw  # noqa: PLC0415 - matplotlib is optional

    draw(results, plot)


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=RESULTS)
def main(results: Path) -> None:
    """Write a run's results into docs/performance.md, and draw docs/performance.svg."""
    publish(read(results))


if __name__ == "__main__":
    main()
