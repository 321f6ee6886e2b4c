"""What a run leaves behind: frozen records, the same in memory and on disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence  # noqa: TC003  pydantic reads them
from datetime import datetime  # noqa: TC003  pydantic reads it
from enum import StrEnum

from pydantic import Field, NonNegativeInt, field_validator

from runner.answers import Check, Frozen, Grade, Json, PassBand

__all__ = [
    "SCHEMA_VERSION",
    "SCRIPTED_NOTICE",
    "CallRecord",
    "Discarded",
    "EpisodePlan",
    "EpisodeRecord",
    "ErrorRecord",
    "Interval",
    "Limits",
    "ListedModel",
    "Outcome",
    "RunConfig",
    "RunSummary",
    "Turn",
    "Usage",
    "Verdict",
    "total_cost",
]

SCHEMA_VERSION = 2
"""Of every file in a run's directory; raised when a field changes its meaning."""

SCRIPTED_NOTICE = "SCRIPTED MODEL, not a Claude result"


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


class Usage(Frozen):
    """Tokens as billed; `input_tokens` leaves out both cache counts."""

    input_tokens: NonNegativeInt = 0
    output_tokens: NonNegativeInt = 0
    cache_read_input_tokens: NonNegativeInt = 0
    cache_creation_input_tokens: NonNegativeInt = 0

    @property
    def tokens(self) -> int:
        """All of them together."""
        return self.input_tokens + self.output_tokens + self.cache_read_input_tokens + self.cache_creation_input_tokens

    @staticmethod
    def total(usages: Iterable[Usage]) -> Usage:
        """Sum field by field."""
        rows = list(usages)
        return Usage(**{name: sum(getattr(row, name) for row in rows) for name in Usage.model_fields})


def total_cost(costs: Iterable[float | None]) -> float | None:
    """Sum US dollars to the same float in any order; None when one of them is unknown."""
    known: list[float] = []
    for cost in costs:
        if cost is None:
            return None
        known.append(cost)
    return math.fsum(known)


class Limits(Frozen):
    """What one episode may use up; None is no limit.

    Attributes:
        steps: Model calls.
        work_s: Seconds of answered calls and of the sandbox. Queues, waits and failed attempts are not the model's.
        tokens: Of input, output and caches together, as billed, summed over the calls.
        cost_usd: US dollars.
        wait_s: Seconds of failed attempts and waits together; an episode that needs more is invalid.
    """

    steps: int = 18
    work_s: float | None = 1800.0
    tokens: int | None = None
    cost_usd: float | None = None
    wait_s: float = 1800.0


class Turn(Frozen):
    """One answer of the model, its content blocks as they came.

    Attributes:
        cost_usd: US dollars; None when the model's price is unknown.
        attempts: How often the call was made until it was answered.
        duration_s: Of the attempt that was answered.
        wait_s: Of the failed attempts, and of the waits around them.
    """

    message_id: str
    model: str
    stop_reason: str
    content: Sequence[Json]
    usage: Usage
    cost_usd: float | None = None
    request_id: str | None = None
    refusal: str | None = None
    attempts: int = 1
    duration_s: float = 0.0
    wait_s: float = 0.0

    @field_validator("content")
    @classmethod
    def _of_whole_blocks(cls, content: Sequence[Json]) -> Sequence[Json]:
        for block in content:
            texts = ("type", "id", "name") if block.get("type") == "tool_use" else ("type",)
            if not all(isinstance(block.get(name), str) for name in texts):
                raise ValueError(f"a content block lacks one of: {', '.join(texts)}")
            if block["type"] == "tool_use" and "input" not in block:
                raise ValueError("a tool_use block lacks its input")
        return content


class CallRecord(Frozen):
    """What one model call cost and how it ended; the fields are those of `Turn`."""

    message_id: str
    request_id: str | None
    model: str
    stop_reason: str
    usage: Usage
    cost_usd: float | None
    attempts: int
    duration_s: float
    wait_s: float


class ErrorRecord(Frozen):
    """Why an episode is invalid; `fatal` when it ended the run."""

    kind: str
    message: str
    status: int | None = None
    request_id: str | None = None
    fatal: bool = False


class EpisodePlan(Frozen):
    """One episode to run.

    Attributes:
        episode: Its number, from 1.
        attempt: How often it has been begun, this time included; more than 1 in a resumed run, or after a lost worker.
        seed: Draws the cases of a seeded suite.
    """

    run_id: str
    episode: int
    attempt: int = 1
    suite: str
    seed: int | None
    limits: Limits
    scripted: bool

    @property
    def user_id(self) -> str:
        """The opaque id sent as `metadata.user_id`."""
        return f"{self.run_id}-{self.episode}"


class EpisodeRecord(Frozen):
    """One line of `episodes.jsonl`; `score` and `passed` are None when the episode is invalid.

    Attributes:
        points: Of 100.
        limit: The field of `Limits` that ended it, or `context`.
        cost_usd: Of all its answered calls; None when a price is unknown.
        work_s, wait_s: As in `Limits`.
        transcript: The conversation; kept in a file of its own, `transcripts/<episode>-<attempt>.json`.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    episode: int
    attempt: int = 1
    scripted: bool
    notice: str | None
    outcome: Outcome
    score: float | None
    passed: bool | None
    points: float | None
    feedback: str
    limit: str | None = None
    checks: Sequence[Check] = ()
    grade: Grade | None = None
    suite: str
    seed: int | None
    code: str | None = None
    model: str | None = None
    steps: int
    stop_reasons: Sequence[str] = ()
    usage: Usage = Field(default_factory=Usage)
    cost_usd: float | None = 0.0
    calls: Sequence[CallRecord] = ()
    request_ids: Sequence[str] = ()
    started_at: datetime
    ended_at: datetime
    duration_s: float
    work_s: float = 0.0
    wait_s: float = 0.0
    transcript: Sequence[Json] = Field(default=(), exclude=True)
    error: ErrorRecord | None = None

    @property
    def transcript_name(self) -> str:
        """The file of its conversation, below the run's directory."""
        return f"transcripts/{self.episode:04}-{self.attempt}.json"


class RunConfig(Frozen):
    """`config.json`: what it takes to make the same run again.

    Attributes:
        provider: Whose API is spoken: `anthropic` or `openai`.
        endpoint: The API's base URL; None for a scripted model.
        engine: Where the episodes are played: `local` or `ray`.
        calibrate: Whether the run ends as soon as the verdict on the band is settled.
        faults: The share of offline calls that are answered with a fault.
        max_cost_usd: What the whole run may cost.
        prompt_sha256: Of the prompt and the tools, as the model gets them.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_at: datetime
    scripted: bool
    notice: str | None
    provider: str = "anthropic"
    endpoint: str | None = None
    model: str
    service: str
    suite: str
    seed: int
    episodes: int
    calibrate: bool = False
    concurrency: int
    engine: str = "local"
    limits: Limits = Limits()
    max_tokens: int
    max_cost_usd: float | None = None
    faults: float = 0.0
    task_id: str
    task_version: str
    prompt_sha256: str = ""
    grader_version: str | None = None
    target_pass_band: PassBand
    versions: dict[str, str] = Field(default_factory=dict)


class ListedModel(Frozen):
    """A model as its API lists it; `lifecycle` is `active`, `deprecated` or `retired`."""

    name: str
    title: str
    lifecycle: str
    retires_at: datetime | None

    @property
    def fate(self) -> str:
        """Its lifecycle in words."""
        when = "" if self.retires_at is None else f", retires on {self.retires_at:%Y-%m-%d}"
        return self.lifecycle + (when if self.lifecycle == "deprecated" else "")


class Interval(Frozen):
    """A confidence interval, both ends included."""

    low: float
    high: float


class Verdict(StrEnum):
    """Whether the pass rate lies in the task's band."""

    MET = "met"
    MISSED = "missed"
    INCONCLUSIVE = "inconclusive"


class Discarded(Frozen):
    """What was paid for and counts for nothing: attempts that ended invalid or were lost, and were made again.

    Attributes:
        cost_usd: None where a price is unknown, or whether a call that was lost was ever answered.
    """

    attempts: int = 0
    usage: Usage = Usage()
    cost_usd: float | None = 0.0


class RunSummary(Frozen):
    """`summary.json`: the run in numbers.

    Attributes:
        planned, valid, passed, invalid, cancelled, missing: Episodes; the last were never run.
        outcomes: Episodes by how they ended.
        pass_rate, mean_score: Fractions over the valid episodes.
        pass_rate_interval: Wilson's, at `confidence`.
        mean_score_interval: Student's t, at `confidence`; None for fewer than two episodes, or equal scores.
        verdict: On the band, by the interval; None for a scripted model.
        settled_at: At which number of valid episodes a pass rate like this one would settle the verdict.
        pass_at_k: The chance that one of k episodes passes, by k.
        pass_hat_k: The chance that all of k episodes pass, by k.
        row_failures: How many of the graded episodes lost a row, by its id.
        models: Those that answered.
        usage, cost_usd: Of the counted episodes and the invalid ones; what was made again is in `discarded`.
        retries: Failed attempts of calls that were made again.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    scripted: bool
    notice: str | None
    planned: int
    valid: int
    passed: int
    invalid: int
    cancelled: int
    missing: int
    outcomes: dict[Outcome, int]
    confidence: float
    pass_rate: float | None
    pass_rate_interval: Interval | None
    mean_score: float | None
    mean_score_interval: Interval | None
    band: PassBand
    verdict: Verdict | None
    settled_at: int | None
    pass_at_k: Mapping[int, float]
    pass_hat_k: Mapping[int, float]
    graded: int
    row_failures: dict[str, int]
    models: Sequence[str]
    usage: Usage
    cost_usd: float | None
    discarded: Discarded = Discarded()
    calls: int
    retries: int
    wait_s: float
    error: str | None = None
