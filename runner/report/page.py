"""A run as one HTML file that needs no network and runs no script.

All that a model, a submission or a server wrote is foreign text: the template escapes every value, and writes out what
could command a reader's screen.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from runner.errors import RunnerError
from runner.report import episodes, overview, rubric
from runner.report.conversation import shown
from runner.report.figures import interval_plot, score_bars
from runner.report.quantities import percent
from runner.wording import neutralised

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runner.answers import Json
    from runner.records import EpisodeRecord, RunSummary
    from runner.report.episodes import EpisodeSection
    from runner.store import Run

__all__ = ["write_page"]


def write_page(run: Run, summary: RunSummary, path: Path) -> None:
    """Write the page of a run.

    Args:
        run: As it is on disk.
        summary: Of its counted episodes.
        path: The file, which is overwritten.

    Raises:
        RunnerError: It cannot be written.
    """
    html = _template().render(_values(run, summary))  # whole, so that no half a page replaces an earlier one
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise RunnerError(f"{path} cannot be written ({error.strerror}); name another file with --out") from error


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("runner.report", "."),
        autoescape=True,
        finalize=_foreign,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template("page.html")


def _foreign(value: Any) -> Any:
    """Make any text harmless to a screen; escaping makes it harmless to HTML."""
    return neutralised(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def _values(run: Run, summary: RunSummary) -> dict[str, Any]:
    records = run.counted
    rows = rubric.rows_of(records)
    graded = [record for record in records if record.outcome.is_valid]
    found, rarer = rubric.patterns(graded, rows)
    prompt = _prompt(run)
    return {
        "style": Markup((files(__package__) / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own
        "config": run.config,
        "summary": summary,
        "about": overview.about(run.config, summary, records),
        "results": overview.results(summary),
        "interval_plot": interval_plot(summary),
        "chances": overview.chances(summary),
        "outcomes": overview.outcomes(summary),
        "scores": score_bars([record.score for record in graded if record.score is not None]),
        "rows": rows,
        "strips": rubric.strips(graded, rows),
        "patterns": found,
        "rarer": rarer,
        "quantities": overview.quantities(records, scripted=summary.scripted),
        "call_times": overview.call_times(records),
        "costs": overview.costs(records, scripted=summary.scripted),
        "lines": [episodes.line(record, rows, scripted=summary.scripted) for record in records],
        "prompt": shown(prompt) if prompt else None,
        "sections": _sections(run, records, prompt),
    }


def _sections(run: Run, records: Sequence[EpisodeRecord], prompt: str) -> Iterator[EpisodeSection]:
    # One after the other: all conversations of a long run would fill the memory.
    for record in records:
        yield episodes.section(record, run.transcript(record), prompt=prompt)


def _prompt(run: Run) -> str:
    """What every episode of the run begins with; empty when no conversation is left."""
    for record in run.counted:
        if text := _first_text(run.transcript(record)):
            return text
    return ""


def _first_text(messages: Sequence[Json]) -> str:
    match messages:
        case [{"role": "user", "content": [{"type": "text", "text": str(text)}, *_]}, *_]:
            return text
    return ""
