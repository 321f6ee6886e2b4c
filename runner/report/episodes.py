"""The episodes: a line of the table for each, and a section with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.report.conversation import Message, Shown, conversation, shown
from runner.report.overview import Fact
from runner.report.quantities import duration, moment, money, percent
from runner.report.rubric import Row, marks
from runner.wording import token_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.answers import Check, Json
    from runner.records import EpisodeRecord, ErrorRecord

__all__ = ["EpisodeLine", "EpisodeSection", "line", "section"]


@dataclass(frozen=True, slots=True)
class EpisodeLine:
    """An episode in the table; `outcome` is as the records have it, every other cell as it is written."""

    episode: int
    outcome: str
    score: str
    marks: Sequence[bool | None]
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class EpisodeSection:
    """An episode in full.

    Attributes:
        transcript: Where its conversation is, below the run's directory.
    """

    episode: int
    outcome: str
    score: str
    feedback: str
    facts: Sequence[Fact]
    checks: Sequence[Check]
    code: Shown | None
    error: ErrorRecord | None
    request_ids: Sequence[str]
    messages: Sequence[Message]
    transcript: str


def line(record: EpisodeRecord, rows: Sequence[Row], *, scripted: bool) -> EpisodeLine:
    """One episode in one line; a scripted model has no cost."""
    cells = [
        str(record.steps),
        token_count(record.usage.tokens),
        *([] if scripted else [money(record.cost_usd)]),
        duration(record.work_s),
        duration(record.wait_s),
        str(record.attempt),
        "–" if record.seed is None else str(record.seed),
    ]
    return EpisodeLine(record.episode, record.outcome.value, _score(record), marks(record, rows), cells)


def section(record: EpisodeRecord, transcript: Sequence[Json], *, prompt: str) -> EpisodeSection:
    """One episode with its conversation, but for the prompt."""
    return EpisodeSection(
        episode=record.episode,
        outcome=record.outcome.value,
        score=_score(record),
        feedback=record.feedback,
        facts=_facts(record),
        checks=record.checks,
        code=None if record.code is None else shown(record.code, is_code=True),
        error=record.error,
        request_ids=record.request_ids,
        messages=conversation(transcript, prompt=prompt, submission=record.code),
        transcript=record.transcript_name,
    )


def _score(record: EpisodeRecord) -> str:
    return "–" if record.score is None else percent(record.score, 0)


def _facts(record: EpisodeRecord) -> list[Fact]:
    usage = record.usage
    given = usage.input_tokens + usage.cache_creation_input_tokens
    tokens = f"{given} in, {usage.cache_read_input_tokens} from cache, {usage.output_tokens} out"
    facts = [
        Fact("Model", record.model or "no answer"),
        Fact("Steps", f"{record.steps}" + (f" ({', '.join(record.stop_reasons)})" if record.stop_reasons else "")),
        Fact("Tokens", tokens),
        *([] if record.scripted else [Fact("Cost", money(record.cost_usd))]),
        Fact("Time", f"{duration(record.work_s)} of work, {duration(record.wait_s)} of waiting"),
        Fact("Began", moment(record.started_at)),
        Fact("Attempt", str(record.attempt)),
    ]
    if record.seed is not None:
        facts.append(Fact("Seed", str(record.seed)))
    if record.limit is not None:
        facts.append(Fact("Limit", record.limit))
    return facts
