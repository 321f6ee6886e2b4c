import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.answers import PassBand
from runner.records import Outcome, Verdict
from runner.stats import (
    Looks,
    compare,
    mean_interval,
    pass_at_k,
    pass_hat_k,
    rate_interval,
    settled_at,
    summarise,
    verdict,
)
from tests.runner.made import config, grade, record

BAND = PassBand(low=0.1, high=0.4)


@pytest.mark.parametrize(
    ("passed", "episodes", "low", "high"), [(1, 10, 0.018, 0.404), (10, 40, 0.142, 0.402), (8, 34, 0.124, 0.400)]
)
def test_wilsons_interval(passed: int, episodes: int, low: float, high: float) -> None:
    interval = rate_interval(passed, episodes)
    assert interval is not None
    assert (round(interval.low, 3), round(interval.high, 3)) == (low, high)


def test_without_an_episode_there_is_no_interval_and_no_verdict() -> None:
    assert rate_interval(0, 0) is None
    assert verdict(0, 0, BAND) is Verdict.INCONCLUSIVE
    assert settled_at(0, 0, BAND) is None


def test_the_mean_has_students_t_interval_within_0_and_1() -> None:
    interval = mean_interval([0.6, 0.8, 0.8, 1.0])  # mean 0.8, s 0.16330, t(3) 3.18245
    assert interval is not None
    assert (round(interval.low, 4), interval.high) == (0.5402, 1.0)
    assert mean_interval([0.8]) is None
    assert mean_interval([0.8] * 5) is None


def test_one_of_ten_says_nothing_about_the_band() -> None:
    assert verdict(1, 10, BAND) is Verdict.INCONCLUSIVE


def test_34_is_the_least_that_can_put_a_quarter_inside_the_band() -> None:
    least = next(n for n in range(1, 100) if verdict(round(n / 4), n, BAND) is Verdict.MET)
    assert least == 34
    assert verdict(8, 34, BAND) is Verdict.MET


@given(passed=st.integers(0, 60), more=st.integers(0, 60))
def test_settled_at_settles_and_is_never_less_than_there_is(passed: int, more: int) -> None:
    episodes = passed + more
    found = settled_at(passed, episodes, BAND)
    if found is not None:
        assert found >= episodes
        assert verdict(round(passed / episodes * found), found, BAND) is not Verdict.INCONCLUSIVE
        assert (found == episodes) == (verdict(passed, episodes, BAND) is not Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("passed", [1, 4])
def test_a_rate_on_an_end_of_the_band_is_settled_by_no_number(passed: int) -> None:
    assert settled_at(passed, 10, BAND) is None


def test_pass_at_k_and_pass_hat_k_are_the_shares_of_all_draws() -> None:
    passed = [True] * 3 + [False] * 5
    draws = [random.Random(seed).sample(passed, 4) for seed in range(20_000)]
    assert pass_at_k(3, 8)[4] == pytest.approx(sum(map(any, draws)) / len(draws), abs=0.01)
    assert pass_hat_k(6, 8)[4] == pytest.approx(15 / 70)
    assert list(pass_at_k(3, 8)) == [1, 2, 4, 8]
    assert pass_at_k(3, 8)[1] == pass_hat_k(3, 8)[1] == 3 / 8
    assert pass_at_k(0, 0) == {}


def test_looks_double_up_to_the_most() -> None:
    assert Looks.up_to(320).counts == (40, 80, 160, 320)
    assert Looks.up_to(320).confidence == pytest.approx(0.9875)
    assert Looks.up_to(30).counts == (30,)
    assert Looks.up_to(100).counts == (50, 100)


@pytest.mark.parametrize(("rate", "wrong"), [(0.401, Verdict.MET), (0.099, Verdict.MET), (0.1, Verdict.MISSED)])
def test_a_run_that_ends_on_a_settled_verdict_is_wrong_less_than_one_time_in_twenty(
    rate: float, wrong: Verdict
) -> None:
    looks, draw = Looks.up_to(320), random.Random(1)
    known: dict[tuple[int, int], Verdict] = {}

    def settled() -> Verdict:
        passed = [draw.random() < rate for _ in range(looks.counts[-1])]
        for count in looks.counts:
            at = (sum(passed[:count]), count)
            if at not in known:
                known[at] = verdict(*at, BAND, looks.confidence)
            if known[at] is not Verdict.INCONCLUSIVE:
                break
        return known[at]

    assert sum(settled() is wrong for _ in range(1500)) / 1500 <= 0.05


def scored(*scores: float) -> Any:
    return [
        record(n, Outcome.PASSED if score == 1 else Outcome.FAILED, score) for n, score in enumerate(scores, start=1)
    ]


def test_two_runs_are_compared_episode_by_episode() -> None:
    found = compare(scored(0.6, 0.8, 1.0, 0.2), scored(0.8, 0.8, 0.8, 1.0))
    assert (found.pairs, found.unpaired) == (4, 0)
    assert found.mean_difference == pytest.approx(0.2)
    assert found.interval is not None  # differences 0.2, 0, -0.2, 0.8: s 0.43205, t(3) 3.18245
    assert found.interval.low == pytest.approx(-0.4875, abs=1e-4)
    assert found.interval.high == pytest.approx(0.8875, abs=1e-4)
    assert (found.only_first, found.only_second, found.p_value) == (1, 1, 1.0)


def test_what_is_invalid_in_one_run_is_no_pair() -> None:
    found = compare([*scored(1.0, 1.0), record(3, Outcome.INFRA_ERROR)], scored(1.0, 0.4, 0.4, 0.4))
    assert (found.pairs, found.unpaired) == (2, 2)
    assert (found.only_first, found.only_second) == (1, 0)


def test_mcnemars_test_counts_what_only_one_run_passed() -> None:
    found = compare(scored(*[0.0] * 10), scored(*[1.0] * 10))
    assert found.p_value == pytest.approx(2 / 2**10)
    assert found.interval is None  # all differ by the same


def test_runs_without_a_common_episode_differ_by_nothing() -> None:
    found = compare(scored(1.0), [record(2)])
    assert (found.pairs, found.mean_difference, found.interval, found.p_value) == (0, 0.0, None, 1.0)


def test_a_summary_counts_outcomes_rows_calls_and_cost_in_any_order() -> None:
    records = [
        record(1, Outcome.PASSED, 1.0, cost_usd=0.1, grade=grade(), checks=grade().checks),
        record(2, Outcome.FAILED, 0.8, cost_usd=0.2, grade=grade("tier1"), checks=grade("tier1").checks),
        record(3, Outcome.LIMIT, 0.0, cost_usd=0.3),
        record(4, Outcome.INFRA_ERROR, cost_usd=0.7),
    ]
    summary = summarise(config(episodes=6), records)
    assert summary == summarise(config(episodes=6), records[::-1])
    assert summary.outcomes == {
        "passed": 1, "failed": 1, "limit": 1, "refused": 0, "infra_error": 1, "cancelled": 0,
    }  # fmt: skip
    assert (summary.valid, summary.passed, summary.invalid, summary.missing, summary.graded) == (3, 1, 1, 2, 2)
    assert summary.row_failures["tier1"] == 1
    assert summary.row_failures["tier3"] == 0
    assert summary.cost_usd == math.fsum([0.1, 0.2, 0.3, 0.7])


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    assert summarise(config(), [record(1, cost_usd=0.5), record(2, cost_usd=None)]).cost_usd is None
