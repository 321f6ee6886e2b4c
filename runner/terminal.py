"""What a run prints: a header, a line per episode, a summary; on a terminal, with a table of what is under way."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from runner.records import Outcome, Usage, Verdict
from runner.wording import dollars, neutralised, percent_range, token_count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from rich.console import RenderableType

    from runner.answers import Grade
    from runner.records import EpisodeRecord, RunConfig, RunSummary

__all__ = ["Reporter", "episode_line", "grade_lines", "header_lines", "summary_lines", "verdict_line"]

_LINE_LIMIT = 400
_MARKS = {Outcome.PASSED: "✅", Outcome.INFRA_ERROR: "⚠️", Outcome.CANCELLED: "⚠️"}


def header_lines(config: RunConfig, path: Path) -> list[str]:
    """Say what is about to run, and where its records go."""
    episodes = f"{'up to ' if config.calibrate else ''}{config.episodes}"
    lines = [
        f"Model:    {config.model}" + (f" at {config.endpoint}" if config.endpoint else ""),
        f"Service:  {config.service}",
        f"Suite:    {config.suite}",
        f"Episodes: {episodes}, {config.concurrency} at a time, seed {config.seed}",
        *([f"Engine:   {config.engine}"] if config.engine != "local" else []),
        *([f"Budget:   {dollars(config.max_cost_usd)}"] if config.max_cost_usd is not None else []),
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
    """The numbers of a run; intervals, cost and the verdict on the pass band only for a real model."""
    rate = "no valid episode" if summary.pass_rate is None else f"{summary.pass_rate:.1%}"
    left_out = [f"{summary.invalid} invalid"] * (summary.invalid > 0)
    left_out += [f"{summary.cancelled} cancelled"] * (summary.cancelled > 0)
    left_out += [f"{summary.missing} not run"] * (summary.missing > 0)
    lines = [f"Passed: {summary.passed}/{summary.valid} ({rate})" + "".join(f"; {words}" for words in left_out)]
    if summary.mean_score is not None:
        lines.append(f"Avg Score: {summary.mean_score:.1%}")
    if not summary.scripted:
        lines += _live_lines(summary)
    return [*lines, *([summary.notice] if summary.notice else [])]


def _live_lines(summary: RunSummary) -> list[str]:
    usage = summary.usage
    lines = []
    if summary.mean_score_interval is not None:
        lines.append(f"Score interval: {percent_range(summary.mean_score_interval)} (t, {summary.confidence:.0%})")
    fresh = usage.input_tokens + usage.cache_creation_input_tokens
    lines.append(
        f"Cost: {dollars(summary.cost_usd)}, {token_count(fresh)} tokens in, "
        f"{token_count(usage.cache_read_input_tokens)} from cache, {token_count(usage.output_tokens)} out"
    )
    if summary.discarded.attempts:
        again = summary.discarded
        lines.append(f"Spent besides on {again.attempts} attempts that were made again: {dollars(again.cost_usd)}")
    return [*lines, *([verdict_line(summary)] if summary.verdict is not None else [])]


def verdict_line(summary: RunSummary) -> str:
    """Whether the pass rate lies in the band, and how sure that is."""
    band = f"{100 * summary.band.low:g}–{100 * summary.band.high:g} %"
    seen = f"{percent_range(summary.pass_rate_interval)} (Wilson, {100 * summary.confidence:g} %), band {band}"
    match summary.verdict:
        case Verdict.MET:
            return f"✅ Target met: {seen}"
        case Verdict.MISSED:
            return f"❌ Target missed: {seen}"
        case _:
            more = (
                "no number would settle it"
                if summary.settled_at is None
                else f"about {summary.settled_at} might settle it"
            )
            return f"❔ Target inconclusive at n={summary.valid}: {seen}; at this rate, {more}"


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


class _Nowhere(io.StringIO):
    """Takes everything and keeps nothing."""

    def write(self, text: str) -> int:
        """Take a text."""
        return len(text)


_NOWHERE = _Nowhere()


@dataclass(slots=True)
class _UnderWay:
    """An episode that has not ended."""

    began: float = field(default_factory=time.monotonic)
    steps: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0
    doing: str = ""


class Reporter:
    """Prints lines as they come; every one is neutralised, and none is read as markup.

    Args:
        stream: Where to print; the table of episodes under way appears when it is a terminal.
        total: The number of episodes to expect.
        done: Of them, those that earlier sessions have completed.
    """

    def __init__(self, stream: TextIO, total: int, done: int = 0) -> None:
        self._stream = stream
        self._total = total
        self._done = done
        self._passed = 0
        self._spent: float | None = 0.0
        self._allowed: int | None = None
        self._scripted = False
        self._under_way: dict[int, _UnderWay] = {}
        self._console = Console(file=stream)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_live()

    def header(self, config: RunConfig, path: Path) -> None:
        """Print the header and start the table, which tells no cost where there is none."""
        self._scripted = config.scripted
        self.lines(header_lines(config, path))
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, transient=True, refresh_per_second=4)
            self._live.start()

    def event(self, kind: str, /, **fields: Any) -> None:
        """Follow what happens in the episodes; takes what `RunStore.event` takes."""
        episode = self._under_way.get(fields.get("episode", 0))
        if kind == "begun":
            self._under_way[fields["episode"]] = _UnderWay()
        elif kind == "concurrency":
            self._allowed = fields["allowed"]
        elif kind == "worker":
            self._worker(**fields)
        elif episode is not None and kind == "call":
            cost_usd = fields["cost_usd"]
            episode.steps += 1
            episode.tokens += Usage.model_validate(fields["usage"]).tokens
            episode.cost_usd = None if cost_usd is None or episode.cost_usd is None else episode.cost_usd + cost_usd
            episode.doing = ""
            self._spent = None if cost_usd is None or self._spent is None else self._spent + cost_usd
        elif episode is not None and kind == "retry":
            episode.doing = f"waits {fields['delay_s']:.0f} s: {fields['status'] or 'no answer'}"

    def _worker(self, node: str, state: str, reason: str = "", episodes: int = 0) -> None:
        besides = f"; {episodes} episodes were under way" if episodes else ""
        if state != "ready":
            self.lines([f"⚠️ Node {node} {state}: {reason}{besides}"])

    def episode(self, record: EpisodeRecord) -> None:
        """Print one finished episode."""
        self._under_way.pop(record.episode, None)
        self._done += 1
        self._passed += record.passed is True
        self.lines([episode_line(record)])

    def summary(self, summary: RunSummary) -> None:
        """Take the table away and print the summary."""
        self._end_live()
        self.lines(summary_lines(summary))

    def lines(self, lines: Sequence[str]) -> None:
        """Print lines above the table."""
        try:
            for line in map(neutralised, lines):
                if self._console.is_terminal:
                    self._console.print(Text(line), soft_wrap=True)
                else:
                    self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more: the records matter, the lines do not
            self._stream = self._console.file = _NOWHERE

    def _table(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("Run", "Step", "Tokens", "Time", "" if self._scripted else "Cost", ""):
            table.add_column(name, justify="right")
        now = time.monotonic()
        for number, episode in sorted(self._under_way.items()):
            table.add_row(
                str(number),
                str(episode.steps),
                token_count(episode.tokens),
                f"{now - episode.began:.0f} s",
                "" if self._scripted else dollars(episode.cost_usd),
                Text(neutralised(episode.doing), style="yellow"),
            )
        slow = "" if self._allowed is None else f", {self._allowed} calls at a time after a rate limit"
        spent = "" if self._scripted else f", spent {dollars(self._spent)}"
        state = f"{self._done}/{self._total} done, {self._passed} passed{spent}{slow}"
        return Group(Text(state, style="bold"), table)  # a table that is too long is cut at its end

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
