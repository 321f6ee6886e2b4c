"""What a number of episodes says about the model, and how surely."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.records import Discarded, Interval, Outcome, RunSummary, Usage, Verdict, total_cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.answers import PassBand
    from runner.records import EpisodeRecord, RunConfig

__all__ = [
    "CONFIDENCE",
    "Comparison",
    "Looks",
    "compare",
    "confidence_of",
    "mean_interval",
    "pass_at_k",
    "pass_hat_k",
    "rate_interval",
    "settled_at",
    "summarise",
    "verdict",
]

# scipy.stats takes a second to import: each function that needs it imports it itself.

CONFIDENCE = 0.95
_MOST_EPISODES = 100_000


def rate_interval(passed: int, episodes: int, confidence: float = CONFIDENCE) -> Interval | None:
    """Wilson's score interval of a pass rate, as fractions; None without an episode."""
    from scipy.stats import binomtest  # noqa: PLC0415

    if episodes == 0:
        return None
    interval = binomtest(passed, episodes).proportion_ci(confidence, method="wilson")
    return Interval(low=float(interval.low), high=float(interval.high))


def mean_interval(scores: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval of a mean of scores, within 0 and 1.

    Returns:
        None for fewer than two scores, or when all are the same: they say nothing about their spread.
    """
    from scipy import stats  # noqa: PLC0415

    if len(set(scores)) < 2:
        return None
    mean = math.fsum(scores) / len(scores)
    low, high = stats.t.interval(confidence, len(scores) - 1, loc=mean, scale=stats.sem(scores))
    return Interval(low=max(0.0, float(low)), high=min(1.0, float(high)))


def pass_at_k(passed: int, episodes: int) -> dict[int, float]:
    """The chance that at least one of k episodes passes, without bias, for k = 1, 2, 4, … (Chen et al., 2021)."""
    return {k: 1 - math.comb(episodes - passed, k) / math.comb(episodes, k) for k in _powers_of_two(episodes)}


def pass_hat_k(passed: int, episodes: int) -> dict[int, float]:
    """The chance that all of k episodes pass, without bias, for k = 1, 2, 4, … (Yao et al., 2024)."""
    return {k: math.comb(passed, k) / math.comb(episodes, k) for k in _powers_of_two(episodes)}


def _powers_of_two(most: int) -> list[int]:
    return [2**exponent for exponent in range(most.bit_length())]


def verdict(passed: int, episodes: int, band: PassBand, confidence: float = CONFIDENCE) -> Verdict:
    """Whether the pass rate lies in the band: settled when the whole interval is on one side of both its ends."""
    interval = rate_interval(passed, episodes, confidence)
    if interval is None:
        return Verdict.INCONCLUSIVE
    if band.low <= interval.low and interval.high <= band.high:
        return Verdict.MET
    if interval.high < band.low or band.high < interval.low:
        return Verdict.MISSED
    return Verdict.INCONCLUSIVE


def settled_at(passed: int, episodes: int, band: PassBand, confidence: float = CONFIDENCE) -> int | None:
    """How many episodes, these included, would settle the verdict if their pass rate stayed what it is.

    Returns:
        None without an episode, and when a hundred thousand would not do: the rate lies on an end of the band.
    """

    def settles(count: int) -> bool:
        return verdict(round(passed / episodes * count), count, band, confidence) is not Verdict.INCONCLUSIVE

    if episodes == 0 or not settles(_MOST_EPISODES):
        return None
    low, high = episodes, episodes
    while not settles(high):
        low, high = high + 1, min(2 * high, _MOST_EPISODES)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle + 1, high)
    return high


@dataclass(frozen=True, slots=True)
class Looks:
    """When a run that ends on a settled verdict looks at it: rarely, and each time with its share of the doubt.

    Looking after every episode would find a settled verdict by chance far more often than one time in twenty. Here the
    doubt is divided evenly among few looks (Bonferroni), so that all together err no more often than one would.

    Attributes:
        counts: Valid episodes at each look, the last one the most the run may have.
    """

    counts: tuple[int, ...]

    @staticmethod
    def up_to(most: int, first: int = 40) -> Looks:
        """Looks at `first` episodes, twice as many, and so on, the last one at `most`."""
        counts = [most]
        while counts[0] >= 2 * first:
            counts.insert(0, counts[0] // 2)
        return Looks(tuple(counts))

    @property
    def confidence(self) -> float:
        """Of each single look."""
        return 1 - (1 - CONFIDENCE) / len(self.counts)


def confidence_of(config: RunConfig) -> float:
    """Of a run's intervals and its verdict: less of the doubt is left to each look when there are several."""
    return Looks.up_to(config.episodes).confidence if config.calibrate else CONFIDENCE


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, episode by episode.

    Attributes:
        pairs: Episodes that are valid in both.
        unpaired: Episodes that are valid in one of them alone.
        mean_difference: Of the scores, the second run's minus the first's.
        interval: Student's t interval of it; None for fewer than two pairs, or when all differ by the same.
        only_first, only_second: Pairs that only the one, or only the other run passed.
        p_value: That these two differ by chance (McNemar's exact test); 1.0 when there are none.
    """

    pairs: int
    unpaired: int
    mean_difference: float
    interval: Interval | None
    only_first: int
    only_second: int
    p_value: float


def compare(first: Sequence[EpisodeRecord], second: Sequence[EpisodeRecord]) -> Comparison:
    """Compare the counted episodes of two runs, paired by their numbers (Miller, arXiv 2411.00640)."""
    from scipy.stats import binomtest  # noqa: PLC0415

    left, right = ({r.episode: r for r in records if r.outcome.is_valid} for records in (first, second))
    pairs = [(left[episode], right[episode]) for episode in sorted(left.keys() & right.keys())]
    differences = [(b.score or 0.0) - (a.score or 0.0) for a, b in pairs]
    only_first = sum(a.passed is True and b.passed is False for a, b in pairs)
    only_second = sum(b.passed is True and a.passed is False for a, b in pairs)
    discordant = only_first + only_second
    return Comparison(
        pairs=len(pairs),
        unpaired=len(left.keys() ^ right.keys()),
        mean_difference=math.fsum(differences) / len(pairs) if pairs else 0.0,
        interval=_difference_interval(differences),
        only_first=only_first,
        only_second=only_second,
        p_value=float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
    )


def _difference_interval(differences: Sequence[float]) -> Interval | None:
    from scipy import stats  # noqa: PLC0415

    if len({round(difference, 9) for difference in differences}) < 2:
        return None
    found = stats.ttest_1samp(differences, 0).confidence_interval(CONFIDENCE)
    return Interval(low=float(found.low), high=float(found.high))


def summarise(
    config: RunConfig,
    records: Sequence[EpisodeRecord],
    *,
    discarded: Discarded | None = None,
    confidence: float = CONFIDENCE,
    error: str | None = None,
) -> RunSummary:
    """Aggregate a run; invalid and cancelled episodes are counted, and leave the denominator.

    Args:
        config: What was asked for.
        records: One for each episode that ended.
        discarded: What other attempts at the same episodes have used.
        confidence: Of the intervals and the verdict.
        error: Why the run ended early.
    """
    valid = sorted((record for record in records if record.outcome.is_valid), key=lambda record: record.episode)
    scores = [record.score or 0.0 for record in valid]
    passed = sum(record.passed is True for record in valid)
    band = config.target_pass_band
    outcomes = Counter(record.outcome for record in records)
    graded = [record for record in valid if record.grade is not None]
    calls = [call for record in records for call in record.calls]
    return RunSummary(
        run_id=config.run_id,
        scripted=config.scripted,
        notice=config.notice,
        planned=config.episodes,
        valid=len(valid),
        passed=passed,
        invalid=outcomes[Outcome.INFRA_ERROR],
        cancelled=outcomes[Outcome.CANCELLED],
        missing=config.episodes - len(records),
        outcomes={outcome: outcomes[outcome] for outcome in Outcome},
        confidence=confidence,
        pass_rate=passed / len(valid) if valid else None,
        pass_rate_interval=rate_interval(passed, len(valid), confidence),
        mean_score=math.fsum(scores) / len(scores) if scores else None,
        mean_score_interval=mean_interval(scores, confidence),
        band=band,
        verdict=None if config.scripted or not valid else verdict(passed, len(valid), band, confidence),
        settled_at=None if config.scripted else settled_at(passed, len(valid), band, confidence),
        pass_at_k=pass_at_k(passed, len(valid)),
        pass_hat_k=pass_hat_k(passed, len(valid)),
        graded=len(graded),
        row_failures=_row_failures(graded),
        models=sorted({record.model for record in records if record.model}),
        usage=Usage.total(record.usage for record in records),
        cost_usd=total_cost(record.cost_usd for record in records),
        discarded=discarded or Discarded(),
        calls=len(calls),
        retries=sum(call.attempts - 1 for call in calls),
        wait_s=math.fsum(record.wait_s for record in records),
        error=error,
    )


def _row_failures(graded: Sequence[EpisodeRecord]) -> dict[str, int]:
    failures: dict[str, int] = {}
    for record in graded:
        for check in record.checks:
            failures[check.id] = failures.get(check.id, 0) + (not check.passed)
    return failures
