"""The head of the page: which run this is, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.records import Outcome, Verdict
from runner.report.figures import Bars, histogram
from runner.report.quantities import Spread, duration, moment, money, percent, spread
from runner.wording import percent_range, token_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runner.records import EpisodeRecord, Limits, RunConfig, RunSummary

__all__ = ["Fact", "Quantity", "about", "call_times", "chances", "costs", "outcomes", "quantities", "results"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value, and what else there is to say of it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A line of the table of times, tokens and costs; each cell as it is written."""

    name: str
    count: int
    median: str
    p95: str
    most: str
    total: str


def about(config: RunConfig, summary: RunSummary, records: Sequence[EpisodeRecord]) -> list[Fact]:
    """Which run this is."""
    answered = [name for name in summary.models if name != config.model]
    ended = max((record.ended_at for record in records), default=None)
    facts = [
        Fact("Model", config.model, f"answered as {', '.join(answered)}" if answered else ""),
        Fact("Suite", config.suite, f"grader {config.grader_version or 'unknown'}"),
        Fact("Seed", str(config.seed)),
        Fact("Run", config.run_id),
        Fact("Began", moment(config.started_at)),
        Fact("Ended", "unknown" if ended is None else moment(ended)),
        Fact("Task", f"{config.task_id} {config.task_version}", f"prompt {config.prompt_sha256[:12] or 'unknown'}"),
        Fact("Planned", _planned(config)),
        Fact("Limits", ", ".join(_limits(config.limits)), f"{config.max_tokens} tokens in one answer"),
        Fact("Service", config.service),
        Fact("Versions", ", ".join(f"{name} {version}" for name, version in config.versions.items()) or "unknown"),
    ]
    if config.endpoint is not None:
        facts.insert(1, Fact("Endpoint", config.endpoint, f"{config.provider} API"))
    return facts


def _planned(config: RunConfig) -> str:
    most = "up to " if config.calibrate else ""
    return f"{most}{config.episodes} episodes, {config.concurrency} at a time"


def _limits(limits: Limits) -> Iterator[str]:
    yield f"{limits.steps} steps"
    if limits.work_s is not None:
        yield f"{limits.work_s:g} s of work"
    if limits.tokens is not None:
        yield f"{limits.tokens} tokens"
    if limits.cost_usd is not None:
        yield f"${limits.cost_usd:g}"
    yield f"{limits.wait_s:g} s of waiting"


def results(summary: RunSummary) -> list[Fact]:
    """What the run comes to."""
    return [
        _pass_rate(summary),
        _target(summary),
        _mean_score(summary),
        Fact(
            "Valid episodes",
            f"{summary.valid} of {summary.planned}",
            f"{summary.invalid} invalid, {summary.cancelled} cancelled, {summary.missing} not run",
        ),
        _cost(summary),
        _tokens(summary),
        Fact("Model calls", str(summary.calls), _repeated(summary)),
    ]


def _pass_rate(summary: RunSummary) -> Fact:
    if summary.pass_rate is None:
        return Fact("Pass rate", "unknown", "no valid episode")
    interval = f"{100 * summary.confidence:.4g} % interval {percent_range(summary.pass_rate_interval)} (Wilson)"
    return Fact("Pass rate", percent(summary.pass_rate), f"{interval}; {summary.passed} of {summary.valid} episodes")


def _target(summary: RunSummary) -> Fact:
    band = f"pass rate from {100 * summary.band.low:g} to {100 * summary.band.high:g} %"
    match summary.verdict:
        case Verdict.MET:
            return Fact("Target", "met", f"{band}: the whole interval lies in it")
        case Verdict.MISSED:
            return Fact("Target", "missed", f"{band}: the whole interval lies outside of it")
        case Verdict.INCONCLUSIVE:
            return Fact("Target", "inconclusive", f"{band}: the interval reaches across an end of it; {_more(summary)}")
        case None:
            why = "a scripted model says nothing about it" if summary.scripted else "no valid episode"
            return Fact("Target", "no verdict", f"{band}; {why}")


def _more(summary: RunSummary) -> str:
    if summary.settled_at is None:
        return "at this rate no number of episodes would settle it"
    return f"at this rate {summary.settled_at} valid episodes might settle it"


def _mean_score(summary: RunSummary) -> Fact:
    if summary.mean_score is None:
        return Fact("Mean score", "unknown", "no valid episode")
    if summary.mean_score_interval is None:
        return Fact("Mean score", percent(summary.mean_score), "no interval: fewer than two episodes, or equal scores")
    interval = f"{100 * summary.confidence:.4g} % interval {percent_range(summary.mean_score_interval)} (Student's t)"
    return Fact("Mean score", percent(summary.mean_score), interval)


def _cost(summary: RunSummary) -> Fact:
    if summary.scripted:
        return Fact("Cost", "none", "a scripted model is not paid")
    episodes = summary.planned - summary.missing
    notes = []
    if summary.cost_usd is None:
        notes.append("no price is known for a model that answered")
    elif episodes:
        notes.append(f"{money(summary.cost_usd / episodes)} per episode")
    again = summary.discarded
    if again.attempts:
        notes.append(f"besides, {money(again.cost_usd)} for {again.attempts} attempts that were made again")
    return Fact("Cost", money(summary.cost_usd), "; ".join(notes))


def _tokens(summary: RunSummary) -> Fact:
    usage = summary.usage
    given = usage.tokens - usage.output_tokens
    share = f" ({percent(usage.cache_read_input_tokens / given, 0)})" if given else ""
    cached = f"{token_count(usage.cache_read_input_tokens)} of them from cache{share}"
    note = f"{token_count(given)} in, {cached}; {token_count(usage.output_tokens)} out"
    return Fact("Tokens", token_count(usage.tokens), note)


def _repeated(summary: RunSummary) -> str:
    attempts = "1 failed attempt was" if summary.retries == 1 else f"{summary.retries} failed attempts were"
    return f"{attempts} made again; {duration(summary.wait_s)} lost to waiting"


def outcomes(summary: RunSummary) -> list[Fact]:
    """How many episodes ended in which way."""
    ended = sum(summary.outcomes.values())
    return [
        Fact(outcome.replace("_", " "), str(summary.outcomes.get(outcome, 0)), _share(summary, outcome, ended))
        for outcome in Outcome
    ]


def _share(summary: RunSummary, outcome: Outcome, ended: int) -> str:
    return percent(summary.outcomes.get(outcome, 0) / ended) if ended else ""


def chances(summary: RunSummary) -> list[tuple[int, str, str]]:
    """For each k: the chance that one of k episodes passes, and that all of them do."""
    return [(k, percent(one), percent(summary.pass_hat_k[k])) for k, one in sorted(summary.pass_at_k.items())]


def quantities(records: Sequence[EpisodeRecord], *, scripted: bool) -> list[Quantity]:
    """How long calls and episodes took, and what they used up."""
    found = [
        _quantity("Model call", [call.duration_s for record in records for call in record.calls], duration),
        _quantity("Episode: work", [record.work_s for record in records], duration),
        _quantity("Episode: waiting", [record.wait_s for record in records], duration),
        _quantity("Episode: wall clock", [record.duration_s for record in records], duration),
        _quantity("Episode: model calls", [record.steps for record in records], lambda steps: f"{steps:g}"),
        _quantity("Episode: tokens", [record.usage.tokens for record in records], lambda n: token_count(round(n))),
    ]
    if not scripted:
        found.append(_quantity("Episode: cost", _known_costs(records), money))
    return [quantity for quantity in found if quantity is not None]


def _quantity(name: str, values: Sequence[float], written: Callable[[float], str]) -> Quantity | None:
    match spread(values):
        case Spread(count, median, p95, most, total):
            return Quantity(name, count, written(median), written(p95), written(most), written(total))
    return None


def call_times(records: Sequence[EpisodeRecord]) -> Bars | None:
    """How long the answered calls took."""
    return histogram([call.duration_s for record in records for call in record.calls], lambda s: f"{s:g}\xa0s", "call")


def costs(records: Sequence[EpisodeRecord], *, scripted: bool) -> Bars | None:
    """What the episodes of known cost came to; None for a scripted model."""
    return None if scripted else histogram(_known_costs(records), lambda cost_usd: f"${cost_usd:g}", "episode")


def _known_costs(records: Sequence[EpisodeRecord]) -> list[float]:
    return [record.cost_usd for record in records if record.cost_usd is not None]
