"""`gauntlet report` and `gauntlet compare`: runs that are on disk."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.printing import print_text, told
from runner.errors import RunnerError
from runner.store import Run, read_run
from runner.wording import percent_range

__all__ = ["compare", "report"]

_RUN = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("run", type=_RUN)
def report(*, run: Path) -> int:
    """Write RUN's report."""
    told(lambda: read_run(run))
    return 0


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
