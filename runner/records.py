"""What a run leaves behind: frozen records, the same in memory and on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence  # noqa: TC003  pydantic reads them
from datetime import datetime  # noqa: TC003  pydantic reads it
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "SCHEMA_VERSION",
    "SCRIPTED_NOTICE",
    "CallRecord",
    "Check",
    "EpisodePlan",
    "EpisodeRecord",
    "ErrorRecord",
    "Execution",
    "Grade",
    "Json",
    "Outcome",
    "PassBand",
    "RunConfig",
    "RunSummary",
    "TaskSpec",
    "Turn",
    "Usage",
    "summarise",
]

SCHEMA_VERSION = 1
"""Of a line in `episodes.jsonl` and of `config.json`; raised when a field changes its meaning."""

SCRIPTED_NOTICE = "SCRIPTED MODEL, not a Claude result"

Json = dict[str, Any]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Outcome(StrEnum):
    """How an episode ended."""

    PASSED = "passed"
    FAILED = "failed"
    LIMIT = "limit"
    REFUSED = "refused"
    INFRA_ERROR = "infra_error"
    CANCELLED = "cancelled"

    @property
    def is_valid(self) -> bool:
        """Whether the episode says something about the model, and so belongs in the denominator."""
        return self not in {Outcome.INFRA_ERROR, Outcome.CANCELLED}


class PassBand(_Frozen):
    """The pass rates the task aims at, as fractions, both ends included."""

    low: float
    high: float

    def holds(self, rate: float) -> bool:
        """Whether a pass rate lies in the band."""
        return self.low <= rate <= self.high


class TaskSpec(_Frozen):
    """What the service hands to the agent; `tools` are in the shape the Messages API takes."""

    id: str
    version: str
    prompt: str
    tools: Sequence[Json]
    target_pass_band: PassBand


class Execution(_Frozen):
    """What the sandbox answered to one expression."""

    status: str
    stdout: str = ""
    stderr: str = ""
    result: Any = None
    error: str | None = None
    truncated: bool = False


class Check(_Frozen):
    """One row of the rubric, in points of 100."""

    id: str
    title: str
    passed: bool
    points: float
    max_points: float
    detail: str | None = ""


class Grade(_Frozen):
    """The service's verdict on a submission; `score` is a fraction, `points` are of 100."""

    passed: bool
    score: float
    points: float
    feedback: str
    checks: Sequence[Check] = ()
    suite: str
    seed: int | None = None
    grader_version: str | None = None
    code_sha256: str | None = None


class Usage(_Frozen):
    """Tokens as billed; `input_tokens` leaves out both cache counts."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0

    @staticmethod
    def total(usages: Iterable[Usage]) -> Usage:
        """Sum field by field."""
        rows = list(usages)
        return Usage(**{name: sum(getattr(row, name) for row in rows) for name in Usage.model_fields})


class Turn(_Frozen):
    """One answer of the model, its content blocks as they came."""

    message_id: str
    model: str
    stop_reason: str
    content: Sequence[Json]
    usage: Usage
    request_id: str | None = None
    refusal: str | None = None
    attempts: int = 1
    duration_s: float = 0.0


class CallRecord(_Frozen):
    """What one model call cost and how it ended; `duration_s` includes retries and their waits."""

    message_id: str
    request_id: str | None
    model: str
    stop_reason: str
    usage: Usage
    attempts: int
    duration_s: float


class ErrorRecord(_Frozen):
    """Why an episode is invalid; `fatal` when it ended the run."""

    kind: str
    message: str
    status: int | None = None
    request_id: str | None = None
    fatal: bool = False


class EpisodePlan(_Frozen):
    """One episode to run; `episode` counts from 1, `seed` draws the cases of a seeded suite."""

    run_id: str
    episode: int
    suite: str
    seed: int | None
    max_steps: int
    scripted: bool

    @property
    def user_id(self) -> str:
        """The opaque id sent as `metadata.user_id`."""
        return f"{self.run_id}-{self.episode}"


class EpisodeRecord(_Frozen):
    """One line of `episodes.jsonl`; `score` and `passed` are None when the episode is invalid."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    episode: int
    scripted: bool
    notice: str | None
    outcome: Outcome
    score: float | None
    passed: bool | None
    points: float | None
    feedback: str
    checks: Sequence[Check] = ()
    grade: Grade | None = None
    suite: str
    seed: int | None
    code: str | None = None
    model: str | None = None
    steps: int
    stop_reasons: Sequence[str] = ()
    usage: Usage = Field(default_factory=Usage)
    calls: Sequence[CallRecord] = ()
    request_ids: Sequence[str] = ()
    started_at: datetime
    ended_at: datetime
    duration_s: float
    transcript: Sequence[Json] = ()
    error: ErrorRecord | None = None


class RunConfig(_Frozen):
    """`config.json`: what it takes to make the same run again."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_at: datetime
    scripted: bool
    notice: str | None
    model: str
    service: str
    suite: str
    seed: int
    episodes: int
    concurrency: int
    max_steps: int
    max_tokens: int
    task_id: str
    task_version: str
    target_pass_band: PassBand
    versions: dict[str, str] = Field(default_factory=dict)


class RunSummary(_Frozen):
    """`summary.json`: the run in numbers; rates are fractions over the valid episodes."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    scripted: bool
    notice: str | None
    planned: int
    valid: int
    passed: int
    invalid: int
    cancelled: int
    pass_rate: float | None
    average_score: float | None
    target_met: bool | None
    usage: Usage
    error: str | None = None


def summarise(config: RunConfig, records: Sequence[EpisodeRecord], error: str | None = None) -> RunSummary:
    """Aggregate a run; invalid and cancelled episodes are counted, and leave the denominator."""
    valid = [record for record in records if record.outcome.is_valid]
    passed = sum(record.passed is True for record in valid)
    rate = passed / len(valid) if valid else None
    return RunSummary(
        run_id=config.run_id,
        scripted=config.scripted,
        notice=config.notice,
        planned=config.episodes,
        valid=len(valid),
        passed=passed,
        invalid=sum(record.outcome is Outcome.INFRA_ERROR for record in records),
        cancelled=sum(record.outcome is Outcome.CANCELLED for record in records),
        pass_rate=rate,
        average_score=sum(record.score or 0.0 for record in valid) / len(valid) if valid else None,
        target_met=None if rate is None or config.scripted else config.target_pass_band.holds(rate),
        usage=Usage.total(record.usage for record in records),
        error=error,
    )
