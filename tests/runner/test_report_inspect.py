from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, headline_metric, read_eval_log
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageTool,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    ModelUsage,
)

from runner.errors import RunnerError
from runner.records import SCRIPTED_NOTICE, Limits, Outcome, Usage
from runner.report.inspect_log import write_inspect_log
from runner.store import Run
from tests.runner.claude import python, text, thinking
from tests.runner.made import NOON, ROWS, record
from tests.runner.reported import CODE, PROMPT, call, infra_error, kept, played, result, said, summary_of, told

FORMATS = pytest.mark.parametrize("suffix", [".eval", ".json"])


def log_of(run: Run, suffix: str = ".eval", **changes: Any) -> EvalLog:
    file = run.path / f"log{suffix}"
    write_inspect_log(run, summary_of(run).model_copy(update=changes), file)
    return read_eval_log(file)


def samples_of(log: EvalLog) -> Any:
    assert log.samples is not None
    return {sample.id: sample for sample in log.samples}


@FORMATS
def test_every_episode_is_a_sample_with_its_scores(suffix: str, tmp_path: Path) -> None:
    limit = record(4, Outcome.LIMIT, 0.0, "No submission within 18 model calls", limit="steps", steps=18)
    run = kept(tmp_path, [played(1, "tier1", seed=40), played(2), infra_error(3), limit], suite="hardened", seed=40)
    samples = samples_of(log_of(run, suffix))
    assert [(number, sample.epoch) for number, sample in samples.items()] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    scores = {name: score.value for name, score in samples[1].scores.items()}
    assert scores == {"score": 0.8, **{row: "I" if row == "tier1" else "C" for row in ROWS}}
    assert samples[1].scores["score"].explanation == "✗ Tier1 cascade unresolved"
    assert samples[1].metadata["seed"] == 40
    assert (samples[1].metadata["outcome"], samples[1].metadata["suite"]) == ("failed", "classic")
    assert (samples[3].scores, samples[3].error.message) == (None, "529 overloaded_error")
    assert samples[3].metadata["error"]["request_id"] == "req_overloaded"
    assert {name: score.value for name, score in samples[4].scores.items()} == {"score": 0.0}
    assert (samples[4].limit.type, samples[4].limit.limit, samples[4].turn_count) == ("turn", 18, 18)
    assert samples[2].error is samples[2].limit is None
    assert (samples[2].total_time, samples[2].working_time) == (7.0, 6.5)


@FORMATS
def test_the_results_are_those_of_the_summary(suffix: str, tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1), *(played(n, "tier1") for n in range(2, 9)), infra_error(9)], episodes=9)
    log, summary = log_of(run, suffix), summary_of(run)
    assert log.status == "success"
    assert log.results is not None
    assert (log.results.total_samples, log.results.completed_samples) == (9, 8)
    assert {
        score.name: (score.scored_samples, score.unscored_samples) for score in log.results.scores
    } == dict.fromkeys(("score", *ROWS), (8, 1))
    metrics = log.results.scores[0].metrics
    assert (metrics["pass_rate"].value, metrics["mean"].value) == (summary.pass_rate, summary.mean_score)
    assert summary.pass_rate_interval is not None
    assert metrics["pass_rate"].metadata == {"confidence": 0.95, "interval": summary.pass_rate_interval.model_dump()}
    assert log.results.scores[1].metrics["accuracy"].value == 0.125
    headline = headline_metric(log)
    assert headline is not None
    assert (headline.name, headline.metric.value) == ("pass_rate", 0.125)


@FORMATS
def test_tokens_and_dollars_add_up(suffix: str, tmp_path: Path) -> None:
    calls = [call(1), call(2, model="claude-haiku-5-5", cost_usd=None)]
    run = kept(tmp_path, [played(1), played(2, calls=calls)])
    log = log_of(run, suffix)
    once = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 65}
    cached = {"input_tokens_cache_write": 20, "input_tokens_cache_read": 30}
    assert samples_of(log)[2].model_usage == {
        "claude-sonnet-5-5": ModelUsage(**once, **cached, total_cost=0.25),
        "claude-haiku-5-5": ModelUsage(**once, **cached, total_cost=None),
    }
    total = log.stats.model_usage["claude-sonnet-5-5"]
    assert (total.total_tokens, total.input_tokens_cache_read, total.total_cost) == (195, 90, 0.75)
    tokens = sum(usage.total_tokens for usage in log.stats.model_usage.values())
    assert tokens == Usage.total(episode.usage for episode in run.counted).tokens


@FORMATS
def test_the_conversation_is_all_there(suffix: str, tmp_path: Path) -> None:
    sample = samples_of(log_of(kept(tmp_path, [played(1)]), suffix))[1]
    assert sample.input == PROMPT
    asked, tried, answered, submitted, graded = sample.messages
    assert isinstance(asked, ChatMessageUser)
    assert (asked.text, asked.source) == (PROMPT, "input")
    assert isinstance(tried, ChatMessageAssistant)
    assert tried.content == [
        ContentReasoning(reasoning="It divides by zero.", signature="c2lnbmVk"),
        ContentText(text="I will try it."),
    ]
    [used] = tried.tool_calls or []
    assert (used.id, used.function, used.arguments) == ("toolu_1", "python_expression", {"expression": "1 / 0"})
    assert isinstance(answered, ChatMessageTool)
    assert (answered.tool_call_id, answered.function) == ("toolu_1", "python_expression")
    assert answered.error is not None
    assert answered.text == answered.error.message == "status: error\nerror:\nZeroDivisionError: division by zero"
    assert isinstance(submitted, ChatMessageAssistant)
    assert [given.arguments for given in submitted.tool_calls or []] == [{"code": CODE}]
    assert isinstance(graded, ChatMessageTool)
    assert (graded.text, graded.error, graded.function) == ("✓ All tiers stable", None, "submit_code")
    assert sample.output.message.id == submitted.id
    assert sample.output.stop_reason == "tool_calls"


@FORMATS
def test_whatever_was_said_can_be_read_back(suffix: str, tmp_path: Path) -> None:
    half = "\ud800 \x00"
    blocks = [
        thinking(half),
        {"type": "redacted_thinking", "data": "b64"},
        {"type": "tool_use", "id": "toolu_2", "name": "sing", "input": {half: [half, {"deep": half}]}},
        {"type": "tool_use", "id": "toolu_3", "name": "sing", "input": "no JSON"},
        {"type": "server_tool_use", "id": "x"},
        text(half),
    ]
    messages = [told(text(PROMPT)), said(*blocks), told(result(half, "toolu_2"), text("Go on.")), said(python(half))]
    sample = samples_of(log_of(kept(tmp_path, [played(1, feedback=half, transcript=messages)]), suffix))[1]
    said_back = sample.messages[1]
    assert isinstance(said_back, ChatMessageAssistant)
    written = r"\ud800" + " \x00"
    first, second = said_back.tool_calls or []
    assert first.arguments == {written: [written, {"deep": written}]}
    assert (second.arguments, second.parse_error) == ({"input": "no JSON"}, "the arguments are no object")
    assert said_back.content[1] == ContentReasoning(reasoning="b64", redacted=True)
    assert [message.role for message in sample.messages] == ["user", "assistant", "tool", "user", "assistant"]
    assert sample.scores["score"].explanation == written


def test_the_log_says_what_was_run(tmp_path: Path) -> None:
    limits = Limits(steps=7, work_s=90.5, tokens=1000, cost_usd=2.5)
    log = log_of(kept(tmp_path, [played(1)], limits=limits, endpoint="https://api.example", versions={"runner": "1"}))
    spec = log.eval
    assert (spec.task, spec.task_version, spec.run_id, spec.model) == ("t", "1", "run", "anthropic/claude-sonnet-5-5")
    assert (spec.task_args, spec.model_base_url) == ({"suite": "classic", "seed": 0}, "https://api.example")
    asked = (spec.config.turn_limit, spec.config.token_limit, spec.config.cost_limit, spec.config.working_limit)
    assert asked == (7, 1000, 2.5, 90)
    assert spec.model_generate_config.max_tokens == 8192
    assert spec.packages == {"runner": "1"}
    assert datetime.fromisoformat(spec.created) == NOON


def test_a_scripted_run_cannot_pass_for_a_models(tmp_path: Path) -> None:
    scripted: Any = {"scripted": True, "notice": SCRIPTED_NOTICE}
    log = log_of(kept(tmp_path, [played(1, **scripted)], **scripted))
    assert (log.eval.model, log.tags) == ("scripted/claude-sonnet-5-5", ["scripted"])
    assert log.metadata["notice"] == SCRIPTED_NOTICE
    assert samples_of(log)[1].metadata["notice"] == SCRIPTED_NOTICE
    assert log.stats.model_usage["claude-sonnet-5-5"].total_cost == 0.0


@pytest.mark.parametrize(
    ("changes", "status"), [({}, "success"), ({"missing": 3}, "cancelled"), ({"error": "the key is wrong"}, "error")]
)
def test_how_the_run_ended_is_the_logs_status(changes: Any, status: str, tmp_path: Path) -> None:
    log = log_of(kept(tmp_path, [played(1)]), **changes)
    assert log.status == status
    assert (log.error and log.error.message) == changes.get("error")


def test_a_calibration_that_is_settled_is_no_cancelled_one(tmp_path: Path) -> None:
    records = [played(n, transcript=[]) for n in range(1, 41)]
    run = kept(tmp_path, records, episodes=320, calibrate=True)
    assert log_of(run).status == "success"


def test_a_run_without_an_episode_and_one_without_a_valid_one_are_logs(tmp_path: Path) -> None:
    empty = log_of(kept(tmp_path / "empty", [], finished=False))
    assert (empty.status, samples_of(empty)) == ("cancelled", {})
    invalid = log_of(kept(tmp_path / "invalid", [infra_error(1)]))
    assert invalid.results is not None
    assert (invalid.results.scores, invalid.results.completed_samples) == ([], 0)


@FORMATS
def test_a_log_is_replaced_by_the_same_log(suffix: str, tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1), infra_error(2)])
    assert log_of(run, suffix) == log_of(run, suffix)


def test_a_log_that_cannot_be_written_names_the_option(tmp_path: Path) -> None:
    run = kept(tmp_path, [played(1)])
    with pytest.raises(RunnerError, match=r"--inspect .*x\.eval: cannot be written \(No such file or directory\)"):
        write_inspect_log(run, summary_of(run), tmp_path / "missing" / "x.eval")
