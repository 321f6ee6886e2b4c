"""A run as a log of Inspect AI, whose viewer and data frames then read it; the only file that imports that extra."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

from runner.errors import RunnerError
from runner.records import Outcome, Usage, Verdict, total_cost
from runner.report.conversation import blocks_of
from runner.report.rubric import rows_of

try:
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalError,
        EvalLog,
        EvalMetric,
        EvalResults,
        EvalSample,
        EvalSampleLimit,
        EvalScore,
        EvalSpec,
        EvalStats,
        HeadlineMetric,
        write_eval_log,
    )
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ChatMessageTool,
        ChatMessageUser,
        ContentReasoning,
        ContentText,
        GenerateConfig,
        ModelOutput,
        ModelUsage,
    )
    from inspect_ai.scorer import CORRECT, INCORRECT, Score
    from inspect_ai.tool import ToolCall, ToolCallError
except ImportError as missing:  # pragma: no cover - the tests have the extra
    raise RunnerError("--inspect needs an extra: pip install 'resilience-gauntlet[inspect]'") from missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from inspect_ai.model import ChatMessage, Content, StopReason

    from runner.answers import Json
    from runner.records import CallRecord, EpisodeRecord, RunConfig, RunSummary
    from runner.store import Run

    _LimitType = Literal["turn", "working", "token", "cost", "context", "custom"]

__all__ = ["write_inspect_log"]

_SCORE = "score"
_STOP_REASONS: Mapping[str, StopReason] = {
    "tool_use": "tool_calls",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "max_tokens",
    "refusal": "content_filter",
    "model_context_window_exceeded": "model_length",
}
_LIMITS: Mapping[str, _LimitType] = {
    "steps": "turn",
    "work_s": "working",
    "tokens": "token",
    "cost_usd": "cost",
    "context": "context",
}


def write_inspect_log(run: Run, summary: RunSummary, path: Path) -> None:
    """Write a run's counted episodes as the samples of one log.

    Args:
        run: As it is on disk.
        summary: Of its counted episodes.
        path: The file; its suffix, `.eval` or `.json`, says in which of Inspect's two formats.

    Raises:
        RunnerError: It cannot be written.
    """
    log = _log(run, summary)
    try:
        path.open("ab").close()  # Inspect would make missing directories
        write_eval_log(log, path)
    except OSError as error:
        raise RunnerError(f"--inspect {path}: cannot be written ({error.strerror}); name another file") from error
    except (ValueError, RecursionError) as error:
        raise RunnerError(f"--inspect {path}: Inspect's format cannot hold this run: {error}") from error


def _log(run: Run, summary: RunSummary) -> EvalLog:
    records = run.counted
    return EvalLog(
        status=_status(run.config, summary),
        eval=_spec(run.config, records),
        results=_results(summary, records),
        stats=EvalStats(
            started_at=run.config.started_at.isoformat(),
            completed_at=max((record.ended_at for record in records), default=run.config.started_at).isoformat(),
            model_usage=_model_usage(records),
        ),
        error=None if summary.error is None else _error(summary.error),
        samples=[_Sample(record, run.config, run.transcript(record)).sample() for record in records],
    )


def _status(config: RunConfig, summary: RunSummary) -> Literal["success", "error", "cancelled"]:
    if summary.error is not None:
        return "error"
    is_settled = config.calibrate and summary.verdict in {Verdict.MET, Verdict.MISSED}
    return "cancelled" if (summary.missing and not is_settled) or summary.cancelled else "success"


def _spec(config: RunConfig, records: Sequence[EpisodeRecord]) -> EvalSpec:
    limits = config.limits
    return EvalSpec(
        eval_id=config.run_id,
        run_id=config.run_id,
        created=config.started_at.isoformat(),
        task=config.task_id,
        task_version=config.task_version,
        task_args={"suite": config.suite, "seed": config.seed},
        tags=["scripted"] if config.scripted else None,
        dataset=EvalDataset(
            name=config.suite, samples=config.episodes, sample_ids=[record.episode for record in records]
        ),
        model=_model_name(config, config.model),
        model_base_url=config.endpoint,
        model_generate_config=GenerateConfig(max_tokens=config.max_tokens),
        config=EvalConfig(
            epochs=1,
            max_samples=config.concurrency,
            turn_limit=limits.steps,
            token_limit=limits.tokens,
            cost_limit=limits.cost_usd,
            working_limit=None if limits.work_s is None else round(limits.work_s),
        ),
        packages=config.versions,
        metadata={"notice": config.notice, "config": config.model_dump(mode="json")},
    )


def _model_name(config: RunConfig, model: str) -> str:
    return f"{'scripted' if config.scripted else config.provider}/{model}"


def _results(summary: RunSummary, records: Sequence[EpisodeRecord]) -> EvalResults:
    scores = [_score_metrics(summary)] if summary.valid else []
    return EvalResults(
        total_samples=summary.planned,
        completed_samples=summary.valid,
        logged_samples=len(records),
        scores=[*scores, *_row_metrics(records)],
        headline=HeadlineMetric(scorer=_SCORE, score=_SCORE, metric="pass_rate") if scores else None,
        metadata={"summary": summary.model_dump(mode="json")},
    )


def _score_metrics(summary: RunSummary) -> EvalScore:
    values = {"pass_rate": summary.pass_rate, "mean": summary.mean_score}
    intervals = {"pass_rate": summary.pass_rate_interval, "mean": summary.mean_score_interval}
    return EvalScore(
        name=_SCORE,
        scorer=_SCORE,
        scored_samples=summary.valid,
        unscored_samples=summary.invalid + summary.cancelled,
        metrics={
            name: EvalMetric(
                name=name,
                value=value,
                metadata={"confidence": summary.confidence, "interval": interval and interval.model_dump()},
            )
            for (name, value), interval in zip(values.items(), intervals.values(), strict=True)
            if value is not None
        },
    )


def _row_metrics(records: Sequence[EpisodeRecord]) -> Iterator[EvalScore]:
    for row in rows_of(records):
        held = [check.passed for record in records for check in record.checks if check.id == row.id]
        yield EvalScore(
            name=row.id,
            scorer=row.id,
            scored_samples=len(held),
            unscored_samples=len(records) - len(held),
            metrics={"accuracy": EvalMetric(name="accuracy", value=sum(held) / len(held))},
            metadata={"title": row.title},
        )


def _error(message: str) -> EvalError:
    return EvalError(message=message, traceback="", traceback_ansi="")


def _model_usage(records: Iterable[EpisodeRecord]) -> dict[str, ModelUsage]:
    """What each model has used, under the name by which it answered; a scripted one costs nothing."""
    calls: defaultdict[str, list[CallRecord]] = defaultdict(list)
    scripted = False
    for record in records:
        scripted = record.scripted
        for call in record.calls:
            calls[call.model].append(call)
    return {model: _usage(made, scripted=scripted) for model, made in calls.items()}


def _usage(calls: Sequence[CallRecord], *, scripted: bool) -> ModelUsage:
    usage = Usage.total(call.usage for call in calls)
    return ModelUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.tokens,
        input_tokens_cache_write=usage.cache_creation_input_tokens,
        input_tokens_cache_read=usage.cache_read_input_tokens,
        total_cost=0.0 if scripted else total_cost(call.cost_usd for call in calls),
    )


class _Sample:
    """One episode as a sample.

    Args:
        record: The episode.
        config: Of its run.
        transcript: Its conversation.
    """

    def __init__(self, record: EpisodeRecord, config: RunConfig, transcript: Sequence[Json]) -> None:
        self._record = record
        self._config = config
        self._transcript = transcript
        self._tools: dict[str, str] = {}
        self._count = 0

    def sample(self) -> EvalSample:
        record = self._record
        messages = [message for entry in self._transcript for message in self._messages(entry)]
        return EvalSample(
            id=record.episode,
            epoch=1,
            input=messages[0].text if messages else "",
            target="",
            messages=messages,
            output=self._output(messages),
            scores=self._scores(),
            metadata=self._metadata(),
            model_usage=_model_usage([record]),
            started_at=record.started_at.isoformat(),
            completed_at=record.ended_at.isoformat(),
            total_time=record.duration_s,
            working_time=record.work_s,
            turn_count=record.steps,
            uuid=f"{record.run_id}-{record.episode}-{record.attempt}",
            error=None if record.outcome.is_valid else _error(record.feedback),
            limit=self._limit(),
        )

    def _scores(self) -> dict[str, Score] | None:
        record = self._record
        if record.score is None:
            return None
        reason = "refusal" if record.outcome is Outcome.REFUSED else None
        rows = {
            check.id: Score(value=CORRECT if check.passed else INCORRECT, explanation=check.detail)
            for check in record.checks
        }
        return {_SCORE: Score(value=record.score, explanation=record.feedback, reason=reason), **rows}

    def _metadata(self) -> Json:
        kept = {"notice", "outcome", "passed", "points", "suite", "seed", "attempt", "wait_s", "request_ids", "error"}
        grade = self._record.grade
        return {
            **self._record.model_dump(mode="json", include=kept),
            "code_sha256": grade and grade.code_sha256,
            "grader_version": grade and grade.grader_version,
        }

    def _limit(self) -> EvalSampleLimit | None:
        reached = self._record.limit
        if reached is None:
            return None
        allowed = getattr(self._config.limits, reached, None)
        kind = _LIMITS.get(reached, "custom")
        return EvalSampleLimit(type=kind, limit=float(allowed or 0), reason=self._record.feedback)

    def _output(self, messages: Sequence[ChatMessage]) -> ModelOutput:
        record = self._record
        said = [message for message in messages if isinstance(message, ChatMessageAssistant)]
        stop_reason = _STOP_REASONS.get(record.stop_reasons[-1], "unknown") if record.stop_reasons else "unknown"
        return ModelOutput(
            model=record.model or "",
            choices=[ChatCompletionChoice(message=said[-1], stop_reason=stop_reason)] if said else [],
            usage=_usage(record.calls, scripted=record.scripted),
        )

    def _messages(self, entry: Json) -> Iterator[ChatMessage]:
        """One message of the Messages API; each tool result is a message of its own here."""
        blocks = blocks_of(entry)
        if entry["role"] == "assistant":
            yield self._said(blocks)
            return
        for block in blocks:
            if block["type"] == "tool_result":
                yield self._answered(block)
        texts = [ContentText(text=block["text"]) for block in blocks if block["type"] == "text"]
        if texts:
            yield ChatMessageUser(id=self._next_id(), content=list(texts), source=None if self._tools else "input")

    def _said(self, blocks: Sequence[Json]) -> ChatMessageAssistant:
        calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
        self._tools |= {call.id: call.function for call in calls}
        return ChatMessageAssistant(
            id=self._next_id(),
            content=[_content(block) for block in blocks if block["type"] != "tool_use"],
            tool_calls=calls or None,
            model=self._record.model,
            source="generate",
        )

    def _answered(self, block: Json) -> ChatMessageTool:
        content = _text(block["content"])
        return ChatMessageTool(
            id=self._next_id(),
            content=content,
            tool_call_id=block["tool_use_id"],
            function=self._tools.get(block["tool_use_id"]),
            error=ToolCallError("unknown", content) if block.get("is_error") else None,
        )

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._record.run_id}-{self._record.episode}-{self._record.attempt}-{self._count}"


def _content(block: Json) -> Content:
    match block["type"]:
        case "text":
            return ContentText(text=block["text"])
        case "thinking":
            return ContentReasoning(reasoning=block["thinking"], signature=block.get("signature"))
        case "redacted_thinking":
            return ContentReasoning(reasoning=block["data"], redacted=True)
        case _:
            return ContentText(text=_text(block))


def _call(block: Json) -> ToolCall:
    given = _writable(block["input"])
    if isinstance(given, dict):
        return ToolCall(id=block["id"], function=block["name"], arguments=given)
    wrong = "the arguments are no object"
    return ToolCall(id=block["id"], function=block["name"], arguments={"input": given}, parse_error=wrong)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _writable(value: Any) -> Any:
    """Write out lone surrogates, in keys too: the log is UTF-8, which cannot carry them."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_writable(key): _writable(item) for key, item in value.items()}
        case list():
            return [_writable(item) for item in value]
    return value
