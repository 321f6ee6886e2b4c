"""What a run prints: a header, a line per episode, a summary; plain in a pipe, with a progress bar on a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from runner.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from runner.records import EpisodeRecord, Grade, RunConfig, RunSummary

__all__ = ["Reporter", "episode_line", "grade_lines", "header_lines", "neutralised", "summary_lines"]

_LINE_LIMIT = 400
_MARKS = {Outcome.PASSED: "✅", Outcome.INFRA_ERROR: "⚠️", Outcome.CANCELLED: "⚠️"}


def neutralised(text: str, *, keep: str = "") -> str:
    r"""Write out every control, format and surrogate character, so that foreign text cannot command a terminal.

    Args:
        text: From a model, a submission or a server.
        keep: Characters to leave alone, such as `"\n"` for a text of several lines.
    """
    return "".join(
        character if character in keep or not _commands(character) else ascii(character)[1:-1] for character in text
    )


def _commands(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def header_lines(config: RunConfig, path: Path) -> list[str]:
    """Say what is about to run, and where its records go."""
    lines = [
        f"Model:    {config.model}",
        f"Service:  {config.service}",
        f"Suite:    {config.suite}",
        f"Episodes: {config.episodes}, {config.concurrency} at a time, seed {config.seed}",
        f"Records:  {path}",
    ]
    return [*([config.notice] if config.notice else []), *lines, ""]


def episode_line(record: EpisodeRecord) -> str:
    """One episode in one line."""
    mark = _MARKS.get(record.outcome, "❌")
    score = "invalid" if record.score is None else f"{record.score:.0%}"
    if record.outcome is Outcome.CANCELLED:
        return f"{mark} Run {record.episode}: cancelled"
    feedback = record.feedback if len(record.feedback) <= _LINE_LIMIT else f"{record.feedback[:_LINE_LIMIT]}…"
    return f"{mark} Run {record.episode}: {score} - {feedback}"


def summary_lines(summary: RunSummary) -> list[str]:
    """The numbers of a run; the verdict on the pass band only for a real model."""
    rate = "no valid episode" if summary.pass_rate is None else f"{summary.pass_rate:.1%}"
    left_out = [f"{summary.invalid} invalid"] * (summary.invalid > 0)
    left_out += [f"{summary.cancelled} cancelled"] * (summary.cancelled > 0)
    lines = [f"Passed: {summary.passed}/{summary.valid} ({rate})" + "".join(f"; {words}" for words in left_out)]
    if summary.average_score is not None:
        lines.append(f"Avg Score: {summary.average_score:.1%}")
    if summary.target_met is not None:
        lines.append("✅ Target met" if summary.target_met else "❌ Target missed")
    return [*lines, *([summary.notice] if summary.notice else [])]


def grade_lines(grade: Grade) -> list[str]:
    """A grade as a table: a row per check with its points and what to do about it."""
    mark = "✅" if grade.passed else "❌"
    seed = "" if grade.seed is None else f", seed {grade.seed}"
    titles = max((len(check.title) for check in grade.checks), default=0)
    ids = max((len(check.id) for check in grade.checks), default=0)
    rows = [
        f"  {'✓' if check.passed else '✗'} {check.id:<{ids}}  {check.title:<{titles}}  "
        f"{check.points:>3g}/{check.max_points:<3g} {check.detail or ''}".rstrip()
        for check in grade.checks
    ]
    return [
        f"{mark} {grade.score:.0%} - {grade.feedback}",
        *rows,
        f"  {grade.points:g}/100 points; suite {grade.suite}{seed}, grader {grade.grader_version or 'unknown'}",
    ]


class Reporter:
    """Prints lines as they come; every one is neutralised, and none is read as markup.

    Args:
        stream: Where to print; the bar appears when it is a terminal.
        total: The number of episodes to expect.
    """

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream
        self._total = total
        self._console = Console(file=stream)
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_progress()

    def header(self, config: RunConfig, path: Path) -> None:
        """Print the header and start the bar."""
        self._print(header_lines(config, path))
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            columns = (TextColumn("Running"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.add_task("episodes", total=self._total)
            self._progress.start()

    def episode(self, record: EpisodeRecord) -> None:
        """Print one finished episode."""
        self._print([episode_line(record)])
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0])

    def summary(self, summary: RunSummary) -> None:
        """Take the bar away and print the summary."""
        self._end_progress()
        self._print(summary_lines(summary))

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _print(self, lines: list[str]) -> None:
        for line in map(neutralised, lines):
            if self._console.is_terminal:
                self._console.print(Text(line), soft_wrap=True)
            else:
                self._stream.write(f"{line}\n")
        self._stream.flush()
