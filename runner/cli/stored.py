"""`gauntlet report` and `gauntlet compare`: runs that are on disk."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.printing import print_text, told
from runner.errors import RunnerError
from runner.records import Usage
from runner.stats import confidence_of, summarise
from runner.store import RUN_FILES, Run, read_run
from runner.wording import percent_range

if TYPE_CHECKING:
    from runner.records import RunSummary

__all__ = ["compare", "report"]

_RUN = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("run", type=_RUN)
@click.option("--out", type=_FILE, metavar="FILE", help="Where the page goes; without it, to RUN/report.html.")
@click.option("--json", "as_json", is_flag=True, help="Print configuration, summary and episodes as JSON instead.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table instead, a line for each episode.")
@click.option(
    "--inspect",
    type=_FILE,
    metavar="FILE",
    help="Write a log for Inspect AI instead; FILE ends in .eval or .json. Needs the extra `inspect`.",
)
def report(*, run: Path, out: Path | None, as_json: bool, as_csv: bool, inspect: Path | None) -> int:
    """Write the run in the directory RUN as one HTML page.

    The page needs no network and runs no script. Runs that were killed can be reported, too.
    """
    if sum([out is not None, as_json, as_csv, inspect is not None]) > 1:
        raise click.UsageError("--out, --json, --csv and --inspect exclude each other")
    if inspect is not None and inspect.suffix not in {".eval", ".json"}:
        raise click.BadParameter("name a file that ends in .eval or .json", param_hint="--inspect")
    for name, file in (("--out", out), ("--inspect", inspect)):
        if file is not None and file.resolve() in {(run / own).resolve() for own in RUN_FILES}:
            raise click.BadParameter(f"{file} is the run's own: name another file", param_hint=name)
    found = told(lambda: read_run(run))
    if as_csv or as_json:
        print_text(told(lambda: _exported(found, as_csv=as_csv)))
        return 0
    file = inspect or out or run / "report.html"
    told(lambda: _written(found, file, as_log=inspect is not None))
    print_text(f"{'Log' if inspect else 'Report'}: {file}")
    return 0


def _exported(run: Run, *, as_csv: bool) -> str:
    from runner.report.exports import csv_text, json_text  # noqa: PLC0415 - only here

    return csv_text(run).rstrip("\n") if as_csv else json_text(run, _summary(run))


def _written(run: Run, file: Path, *, as_log: bool) -> None:
    # Each takes a while to import.
    if as_log:
        from runner.report.inspect_log import write_inspect_log  # noqa: PLC0415

        write_inspect_log(run, _summary(run), file)
    else:
        from runner.report.page import write_page  # noqa: PLC0415

        write_page(run, _summary(run), file)


def _summary(run: Run) -> RunSummary:
    """The summary on disk, or one made anew when it is missing, damaged, or older than the records."""
    stored = None
    with suppress(RunnerError):
        stored = run.summary
    if stored is not None and _fits(stored, run) and stored.discarded.attempts == run.discarded.attempts:
        return stored
    return summarise(run.config, run.counted, discarded=run.discarded, confidence=confidence_of(run.config))


def _fits(summary: RunSummary, run: Run) -> bool:
    outcomes = Counter(record.outcome for record in run.counted)
    return Counter(summary.outcomes) == outcomes and summary.usage == Usage.total(r.usage for r in run.counted)


@click.command()
@click.argument("first", type=_RUN)
@click.argument("second", type=_RUN)
def compare(*, first: Path, second: Path) -> int:
    """Compare the runs FIRST and SECOND, episode by episode.

    Both must have graded the same cases: the same suite, seed, task and grader.
    """
    from runner.stats import compare as compared  # noqa: PLC0415 - click's command has the name

    runs = told(lambda: _comparable(first, second))
    found = compared(*(each.counted for each in runs))
    spread = f", 95 % interval {percent_range(found.interval)}" if found.interval else ""
    test = f"p = {found.p_value:.3g} (McNemar, exact)"
    lines = [f"{name}: {each.config.model}, {each.path}" for name, each in zip(("A", "B"), runs, strict=True)]
    lines += [
        f"Episodes: {found.pairs} in both, {found.unpaired} in one alone",
        f"Score, B - A: {100 * found.mean_difference:+.1f} %{spread}",
        f"Passed: {found.only_first} by A alone, {found.only_second} by B alone; {test}",
    ]
    print_text("\n".join(lines))
    return 0


def _comparable(first: Path, second: Path) -> tuple[Run, Run]:
    runs = read_run(first), read_run(second)
    for name in ("suite", "seed", "task_id", "task_version", "prompt_sha256", "grader_version", "scripted"):
        a, b = (getattr(each.config, name) for each in runs)
        if a != b:
            raise RunnerError(f"{first} and {second} cannot be paired: {name} is {a!r} in the one, {b!r} in the other")
    return runs
