"""The figures that everything is told in."""

import time

import pytest

from benchmarks.figures import percentile, ratio
from benchmarks.window import Window


def test_percentiles_lie_between_the_nearest_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile(range(101), 99) == 99
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0], 100) == 2.0


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_ratio_to_what_was_not_measured_is_none() -> None:
    assert ratio(6.0, 2.0) == 3.0
    assert ratio(None, 2.0) is None
    assert ratio(6.0, None) is None
    assert ratio(6.0, 0.0) is None


def test_a_job_is_done_where_it_ends_and_has_a_latency_where_it_begins() -> None:
    window = Window(at=100.0, ramp_s=1.0, seconds=2.0)
    window.note(100.2, 100.7, right=True)  # within the ramp
    window.note(100.8, 101.5, right=True)  # begun in the ramp
    window.note(102.0, 102.5, right=True)
    window.note(102.5, 104.5, right=True)  # ended late: a latency that must not be missing
    window.note(102.0, 102.1, right=False)
    assert window.answer() == {"done": 2, "latencies_us": [500_000, 2_000_000], "errors": 1, "fault": ""}


def test_no_job_begins_after_the_deadline_or_over_the_limit() -> None:
    now = time.perf_counter()
    assert not Window(at=now - 10, ramp_s=1.0, seconds=2.0).begin()
    limited = Window(at=now, ramp_s=0.0, seconds=60.0, limit=2)
    assert [limited.begin() for _ in range(3)] == [True, True, False]
