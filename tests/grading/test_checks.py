"""The pure checks at their boundaries, and on whatever a submission's process can send."""

import math
from collections import deque
from dataclasses import replace
from decimal import Decimal
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.grading.answers import Answer, BrokenError
from service.grading.cases import HANDED_ON, Case, classic_cases, valid_range, valid_reading
from service.grading.checks import check_spread
from service.grading.judge import CaseJudge
from service.grading.scan import guardrail_words
from service.grading.score import Grade, rows_of, score_rows
from service.sandbox.inside.wire import Opaque

ROWS = ("tier1", "tier2_flat", "tier2_heavy_tail", "tier3", "validity", "guardrails")
CASES = {case.row: case for case in classic_cases()}
MISSING = object()


def rows(*readings: Any, tag: str = "core") -> list[dict[str, Any]]:
    return [{"ts": ts, "reading": reading, "tag": tag} for ts, reading in enumerate(readings)]


def buffer_of(count: int, maxlen: int | None = None) -> deque[Any]:
    return deque(rows(*[0.0] * count), maxlen)


def first_state(**changes: Any) -> dict[str, Any]:
    state = {"seen": 5, "limit": 200, "buffer": buffer_of(5), "z_cutoff": 3} | changes
    return {key: value for key, value in state.items() if value is not MISSING}


def answer(*, given_state: Any = None, **changes: Any) -> Answer:
    """A result that holds everywhere but for the changes; what is ``MISSING`` is taken out."""
    result = {"clean": [], "mean": 2.0, "std": 1.0, "alerts": [], "telemetry": {"kept": 5}, "state": first_state()}
    result |= changes
    returned = {key: value for key, value in result.items() if value is not MISSING}
    return Answer(returned, returned.get("state") if given_state is None else given_state)


def judged(case: Case, *answers: Answer) -> CaseJudge:
    """A judge that has heard the answers, as far as they can change its verdict; one stands for all of them."""
    judge = CaseJudge(case)
    given_answers = iter(answers if len(answers) > 1 else answers * len(case.calls))
    while judge.next_call is not None:
        judge.hear(next(given_answers))
    return judge


def broken(row: str, *answers: Answer, case: Case | None = None) -> str | None:
    """Why the row is lost, None when it holds."""
    return judged(case or CASES[row], *answers).row_broken


def spread_broken(events: list[dict[str, Any]], mean: Any, std: Any) -> str | None:
    try:
        check_spread(valid_range(events), answer(mean=mean, std=std))
    except BrokenError as reason:
        return str(reason)
    return None


# What a valid reading is


@pytest.mark.parametrize(
    ("reading", "number"),
    [
        (7, 7.0), (-0.0, 0.0), (5e-324, 5e-324), (10**308, 1e308), ("7.2", 7.2), (" 5.4\n", 5.4), ("-1e3", -1000.0),
        ("+.5", 0.5), ("1_000", 1000.0), ("١٢", 12.0), ("0x1F", None), ("1,5", None), ("", None), ("  ", None),
        ("bad", None), (" NaN", None), ("-inf", None), ("Infinity", None), ("1e999", None), ("9" * 5000, None),
        ("1\x00", None), ("\ud800", None), (math.nan, None), (math.inf, None), (-math.inf, None), (10**400, None),
        (True, None), (False, None), (None, None), ([1.0], None), ({"v": 1}, None), ((1.0,), None), (b"1", None),
        (Decimal(1), None), (1j, None), (Opaque("Decimal"), None),
    ],
)  # fmt: skip
def test_a_reading_is_valid_as_the_data_contract_says(reading: Any, number: float | None) -> None:
    assert valid_reading(reading) == number


# What a row of clean is, on the case whose check is the plainest


def flat_of(clean: Any) -> str | None:
    return broken("tier2_flat", answer(clean=clean, mean=9.0, std=0.0))


def test_clean_may_be_a_list_or_a_tuple() -> None:
    assert flat_of(rows(*[9.0] * 6)) is None
    assert flat_of(tuple(rows(*[9.0] * 6))) is None


@pytest.mark.parametrize(
    "clean",
    [deque(rows(*[9.0] * 6)), {0: {"reading": 9.0}}, "999999", 6, None, True, MISSING, Opaque("list_iterator")],
)
def test_clean_may_be_nothing_else(clean: Any) -> None:
    reason = flat_of(clean)

    assert reason is not None
    assert reason.endswith(", not a list")


@pytest.mark.parametrize(
    "reading",
    [math.nan, math.inf, -math.inf, True, False, "9.0", None, [9.0], 10**309, -(10**400), Opaque("Decimal")],
)
@pytest.mark.parametrize("row", ["tier1", "tier2_flat", "tier2_heavy_tail", "validity"])
def test_one_row_with_a_corrupt_reading_spoils_clean(row: str, reading: Any) -> None:
    reason = broken(row, answer(clean=[*rows(*[9.0] * 6), {"ts": 9, "reading": reading, "tag": "minority"}]))

    assert reason is not None
    assert reason.startswith("row 6 of clean has the reading ")


@pytest.mark.parametrize("item", [9.0, [0, 9.0], (0, 9.0, "core"), None, "row", Opaque("UserDict"), deque([9.0])])
def test_every_row_is_a_dict(item: Any) -> None:
    reason = flat_of([item, *rows(*[9.0] * 6)])

    assert reason is not None
    assert reason.startswith("row 0 of clean is ")
    assert reason.endswith(", not a dict")


def test_a_row_needs_a_reading() -> None:
    assert flat_of([{"ts": 0, "tag": "core"}]) == "row 0 of clean has the reading None, not a finite number"


@pytest.mark.parametrize("returned", [None, [], (1, 2), "{}", 3, True, deque(), Opaque("coroutine"), Opaque("dict")])
@pytest.mark.parametrize("row", list(CASES))
def test_the_result_is_a_dict(row: str, returned: Any) -> None:
    reason = broken(row, Answer(returned, None))

    assert reason is not None
    assert reason.endswith(", not a dict")


# Tier 1


def stamped(*stamps: Any) -> str | None:
    readings = [5.4, 7.2, *[6.0] * len(stamps)]
    clean = [{"ts": ts, "reading": reading} for ts, reading in zip(stamps, readings, strict=False)]
    return broken("tier1", answer(clean=clean))


def test_rows_in_ts_order_hold_and_equal_stamps_are_in_order() -> None:
    assert stamped(2, 4) is None
    assert stamped(-1.5, -1.5, 0, 0.25) is None


@pytest.mark.parametrize("stamps", [(4, 2), (1, 2, 3, 2.999), (0, -1e-9)])
def test_a_step_back_in_ts_breaks_tier1(stamps: tuple[float, ...]) -> None:
    assert stamped(*stamps) == "clean is not in ts order"


@pytest.mark.parametrize("ts", [None, "2", math.nan, math.inf, True, 10**400, Opaque("datetime")])
def test_a_ts_that_is_no_number_breaks_tier1(ts: Any) -> None:
    reason = stamped(ts, 4)

    assert reason is not None
    assert reason.startswith("row 0 of clean has the ts ")


def test_valid_readings_survive_with_their_value() -> None:
    assert broken("tier1", answer(clean=rows(5.4, 7.2))) is None
    assert broken("tier1", answer(clean=rows(0, 5.4, 6.3, 7.2, -3))) is None
    assert broken("tier1", answer(clean=rows(5.4, 7.2000001))) == "the valid reading 7.2 is not in clean"
    assert broken("tier1", answer(clean=rows(5, 7.2))) == "the valid reading 5.4 is not in clean"
    assert broken("tier1", answer(clean=rows(5.4))) == "clean has 1 rows, 2 valid readings were given"
    assert broken("tier1", answer(clean=[])) == "clean has 0 rows, 2 valid readings were given"


# Tier 2


@pytest.mark.parametrize(("count", "holds"), [(6, True), (5, True), (4, False), (0, False)])
def test_a_constant_segment_keeps_all_but_one_row(count: int, holds: bool) -> None:
    assert (flat_of(rows(*[9.0] * count)) is None) is holds


def test_only_rows_with_the_constant_count_as_kept() -> None:
    assert flat_of(rows(9, 9, 9, 9, 9, 0.0, 1e9)) is None
    assert flat_of(rows(9.0, 9.0, 9.0, 9.0, math.nextafter(9.0, 10.0), 8.0)) is not None


@pytest.mark.parametrize("std", [0.0, -0.0, 0, 1e-12, 1e300])
def test_the_deviation_of_a_constant_is_finite_and_not_negative(std: Any) -> None:
    assert broken("tier2_flat", answer(clean=rows(*[9.0] * 6), std=std)) is None


@pytest.mark.parametrize("std", [-5e-324, -1, math.nan, math.inf, None, False, "0.0", 10**309, MISSING, Opaque("x")])
def test_any_other_deviation_breaks_the_flat_half(std: Any) -> None:
    assert broken("tier2_flat", answer(clean=rows(*[9.0] * 6), std=std)) is not None


def heavy_tail_of(*readings: Any, minority: float | None = 9.5) -> str | None:
    extra = [] if minority is None else rows(minority, tag="minority")
    return broken("tier2_heavy_tail", answer(clean=[*rows(*readings), *extra]))


def test_a_reading_of_900_is_a_spike_and_less_is_none() -> None:
    assert heavy_tail_of(10.0, 10.1, 899.999) is None
    assert heavy_tail_of(10.0, 10.1, math.nextafter(900.0, 0.0)) is None
    assert heavy_tail_of(10.0, 10.1, 900.0) == "a spike of 900 remains in clean"
    assert heavy_tail_of(10.0, 10.1, 900) == "a spike of 900 remains in clean"


def test_four_rows_are_enough_and_three_are_not() -> None:
    assert heavy_tail_of(10.0, 10.1, 10.2) is None
    assert heavy_tail_of(10.0, 10.1) == "kept 3 rows, at least 4 are needed: most of the core must remain"


def test_a_minority_row_remains_by_its_tag() -> None:
    gone = "the minority rows were dropped, though they lie near the core"

    assert heavy_tail_of(10.0, 10.1, 10.2, 9.5, minority=None) == gone
    for tag in ["Minority", "minority ", True, None, ["minority"], Opaque("str")]:
        clean = [*rows(10.0, 10.1, 10.2), {"ts": 9, "reading": 9.5, "tag": tag}]
        assert broken("tier2_heavy_tail", answer(clean=clean)) == gone


# Tier 3


@pytest.mark.parametrize("kind", [list, deque])
def test_a_buffer_of_240_rows_holds_and_of_241_does_not(kind: Any) -> None:
    full, over = (answer(state=first_state(buffer=kind(range(count))), given_state={}) for count in (240, 241))

    assert broken("tier3", full) is None
    assert broken("tier3", over) == "call 1 of 12: the returned buffer holds 241 rows, at most 240 are allowed"


def test_the_first_call_that_breaks_tier3_is_named() -> None:
    fine, over = answer(), answer(state=first_state(buffer=buffer_of(300)))

    assert broken("tier3", *[fine] * 12) is None
    reason = broken("tier3", *[fine] * 6, over, fine, over, *[fine] * 3)
    assert reason == "call 7 of 12: the returned buffer holds 300 rows, at most 240 are allowed"
    assert broken("tier3", *[fine] * 11, over) is not None


@pytest.mark.parametrize("buffer", [MISSING, None, (), {}, "", 0, True, Opaque("UserList")])
def test_no_buffer_is_not_a_bounded_buffer(buffer: Any) -> None:
    reason = broken("tier3", answer(state=first_state(buffer=buffer)))

    assert reason == "call 1 of 12: state has no buffer that is a list or deque"


@pytest.mark.parametrize("state", [MISSING, None, [], Opaque("mappingproxy")])
def test_no_state_is_not_a_bounded_state(state: Any) -> None:
    assert broken("tier3", answer(state=state, given_state={})) is not None


@pytest.mark.parametrize(("came_with", "left_with", "holds"), [
    (150, 240, True), (150, 241, False), (240, 240, True), (300, 300, True), (300, 301, False), (300, 0, True),
])  # fmt: skip
def test_the_given_buffer_does_not_grow_past_240_unless_it_came_with_more(
    came_with: int, left_with: int, holds: bool
) -> None:
    flood = CASES["tier3"]
    case = replace(flood, calls=(replace(flood.calls[0], state=first_state(buffer=buffer_of(came_with))),))
    reason = broken("tier3", answer(given_state=first_state(buffer=buffer_of(left_with))), case=case)

    assert reason == (None if holds else f"the buffer that was passed in has grown to {left_with} rows")


def test_a_buffer_that_came_with_more_may_not_lend_its_room_to_the_next_call() -> None:
    flood = CASES["tier3"]
    first = replace(flood.calls[0], state=first_state(buffer=buffer_of(300)))
    case = replace(flood, calls=(first, flood.calls[1]))
    as_it_came = answer(given_state=first_state(buffer=buffer_of(300)))

    reason = broken("tier3", as_it_came, as_it_came, case=case)
    assert reason == "call 2 of 2: the buffer that was passed in has grown to 300 rows"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Opaque("coroutine"), "process_batch returned a coroutine, not a dict"),
        (Opaque("cycle of lies"), "process_batch returned no plain data, not a dict"),
        ([], "process_batch returned a list, not a dict"),
        ("x" * 99, f"process_batch returned '{'x' * 39}…, not a dict"),
    ],
)
def test_a_value_is_named_as_its_author_knows_it(value: Any, shown: str) -> None:
    with pytest.raises(BrokenError) as reason:
        check_spread((0.0, 0.0), Answer(value, None))
    assert str(reason.value) == shown


@pytest.mark.parametrize("telemetry", [True, {}, {"kept": 1}, {0: None}])
def test_telemetry_is_a_dict_or_exactly_true(telemetry: Any) -> None:
    assert broken("tier3", answer(telemetry=telemetry)) is None


@pytest.mark.parametrize("telemetry", [MISSING, None, False, 1, 1.0, "True", "{}", [], (), Opaque("Telemetry")])
def test_nothing_else_is_telemetry(telemetry: Any) -> None:
    reason = broken("tier3", answer(telemetry=telemetry))

    assert reason is not None
    assert reason.startswith("call 1 of 12: telemetry is ")


# Validity


def sanity(*, kept: int = 5, **changes: Any) -> str | None:
    return broken("validity", answer(clean=rows(*[2.0] * kept), **changes))


def test_an_empty_clean_is_not_valid() -> None:
    assert sanity() is None
    assert sanity(kept=0) == "clean is empty"


@pytest.mark.parametrize("mean", [0.0, 4.0, 4, -3e-9, 4 + 3e-9])
def test_the_mean_may_lie_anywhere_in_the_range_and_be_off_by_rounding(mean: float) -> None:
    assert sanity(mean=mean) is None


@pytest.mark.parametrize("mean", [-1e-8, 4 + 1e-8, math.nan, math.inf, True, "2.0", None, MISSING, Opaque("Fraction")])
def test_any_other_mean_is_not_valid(mean: Any) -> None:
    reason = sanity(mean=mean)

    assert reason is not None
    assert reason.startswith("mean ")


@pytest.mark.parametrize("std", [0.0, -0.0, 0, 4.0, 4 + 3e-9])
def test_the_deviation_may_be_as_wide_as_the_range(std: float) -> None:
    assert sanity(std=std) is None


@pytest.mark.parametrize("std", [-5e-324, 4 + 1e-8, math.nan, math.inf, False, None, MISSING, Opaque("Decimal")])
def test_any_other_deviation_is_not_valid(std: Any) -> None:
    reason = sanity(std=std)

    assert reason is not None
    assert reason.startswith("std ")


@pytest.mark.parametrize("key", ["seen", "limit", "buffer"])
def test_the_state_keeps_its_keys(key: str) -> None:
    assert sanity(state=first_state(**{key: MISSING})) == f"state lost its {key}"


def test_the_state_may_lose_its_cutoff() -> None:
    assert sanity(state=first_state(z_cutoff=MISSING)) is None


@pytest.mark.parametrize(("kept", "seen", "holds"), [
    (5, 5, True), (3, 3, True), (3, 5, True), (3, 2, False), (5, 6, False), (5, 0, False), (1, -1, False),
    (6, 5, False), (6, 6, False), (5, 10**400, False),
])  # fmt: skip
def test_seen_grows_by_the_rows_kept_up_to_the_events_given(kept: int, seen: int, holds: bool) -> None:
    assert (sanity(kept=kept, state=first_state(seen=seen)) is None) is holds


@pytest.mark.parametrize("seen", [5.0, "5", None, True, math.nan, Opaque("int of 2000 bits")])
def test_seen_is_an_int(seen: Any) -> None:
    reason = sanity(kept=1, state=first_state(seen=seen))

    assert reason is not None
    assert reason.endswith(", not an int")


# Mean and deviation of every case


def test_mean_and_deviation_of_a_constant_may_be_off_by_rounding_only() -> None:
    events = rows(*[0.1] * 3)

    assert spread_broken(events, (0.1 + 0.1 + 0.1) / 3, 1.4e-17) is None
    assert spread_broken(events, 0.1, 1.0) is not None
    assert spread_broken(events, 0.1, 1e-8) is not None
    assert spread_broken(events, 0.1 + 1e-8, 0.0) is not None


def test_the_tolerance_grows_with_the_readings() -> None:
    events = rows(*[1e15] * 3)

    assert spread_broken(events, 1e15 + 1, 1.0) is None
    assert spread_broken(events, 1e15 + 1e7, 0.0) is not None
    assert spread_broken(rows(1e308, -1e308), 0.0, 1e308) is None


def test_only_valid_readings_make_the_range() -> None:
    events = rows("5.4", None, "1e999", True, [99.0], "7.2", math.nan)

    assert spread_broken(events, 5.4, 1.8) is None
    assert spread_broken(events, 5.3, 0.0) == "mean 5.3 lies outside the range 5.4 to 7.2 of the valid readings"
    assert spread_broken(events, 6.0, 1.9) == "std 1.9 lies outside 0 to 1.8, the range of the valid readings"


@pytest.mark.parametrize("events", [[], rows("bad", None), [{"ts": 0, "tag": "no reading"}]])
def test_without_a_valid_reading_both_are_zero(events: list[dict[str, Any]]) -> None:
    assert spread_broken(events, 0.0, 0.0) is None
    assert spread_broken(events, 1.0, 0.0) is not None
    assert spread_broken(events, 0.0, 1.0) is not None


def test_every_call_of_a_case_is_looked_at() -> None:
    fine, off = answer(mean=3.0), answer(mean=7.0)

    assert judged(CASES["tier3"], *[fine] * 12).spread_broken is None
    reason = judged(CASES["tier3"], *[fine] * 11, off).spread_broken
    assert reason == "mean 7 lies outside the range 0 to 6 of the valid readings"
    assert judged(CASES["tier3"], off, *[fine] * 11).spread_broken == reason


# The cases


def test_the_cases_are_those_of_the_contract() -> None:
    flood, dirty, flat, heavy_tail, sanity_case = classic_cases()
    state = flood.calls[0].state

    known = [event for event in dirty.calls[0].events if event["reading"] is not None]
    assert sorted((event["ts"], event["reading"]) for event in known) == [
        (2, "5.4"), (3, " NaN"), (4, "7.2"), (5, "bad"),
    ]  # fmt: skip
    assert flat.calls[0].events == rows(*[9.0] * 6)
    assert [(event["ts"], event["tag"]) for event in heavy_tail.calls[0].events][6:] == [
        (100, "spike"), (101, "spike"), (200, "minority"), (201, "minority"),
    ]  # fmt: skip
    assert [event["reading"] for event in heavy_tail.calls[0].events] == pytest.approx(
        [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 1000.0, 1000.0, 9.5, 9.5]
    )
    assert len(flood.calls) == 12
    assert all(call.state is HANDED_ON and not call.in_new_process for call in flood.calls[1:])
    assert [event["reading"] for event in flood.calls[0].events] == [ts % 7 for ts in range(60)]
    assert (state["seen"], len(state["buffer"]), state["buffer"].maxlen) == (190, 150, 260)
    assert [(event["ts"], event["reading"]) for event in sanity_case.calls[0].events] == [
        (ts, float(ts)) for ts in range(5)
    ]
    for case in (dirty, flat, heavy_tail, sanity_case):
        assert len(case.calls) == 1
        state = case.calls[0].state
        assert state == {"seen": 0, "limit": 200, "buffer": deque(), "z_cutoff": 3}
        assert state["buffer"].maxlen == 240


def test_cases_are_fresh_so_that_no_grade_can_spoil_the_next() -> None:
    for case in classic_cases():
        case.calls[0].events.clear()
        case.calls[0].state.clear()

    assert all(case.calls[0].events and case.calls[0].state for case in classic_cases())


# The scan

WORDS = ("guardrail", "telemetry", "monitor", "backpressure", "fallback")


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_found_whatever_its_case_and_wherever_it_stands(word: str) -> None:
    for code in [word, f"# {word.upper()}", f'"""{word.title()}s"""', f"un{word}ed = 1", f"x.{word}()\n" * 9]:
        assert guardrail_words(code) == [word]


@pytest.mark.parametrize("code", ["", "guard_rail back-pressure fall back tele\nmetry monit0r", "f\u0430llback"])
def test_what_only_looks_like_a_word_is_none(code: str) -> None:
    assert guardrail_words(code) == []


@pytest.mark.parametrize("count", range(6))
def test_each_word_counts_once(count: int) -> None:
    assert guardrail_words(" ".join(WORDS[:count] * 3)) == list(WORDS[:count])


# The score


def grade_without(*lost: str) -> Grade:
    return score_rows(rows_of(dict.fromkeys(lost, "lost for a test")))


def test_one_broken_half_of_tier_2_costs_the_check_and_half_its_points() -> None:
    flat, heavy_tail = grade_without("tier2_flat"), grade_without("tier2_heavy_tail")

    assert flat.feedback == heavy_tail.feedback == "✗ Tier2 balance broken"
    assert (flat.score, flat.points) == (heavy_tail.score, heavy_tail.points) == (0.8, 90)


def test_both_halves_cost_one_check() -> None:
    grade = grade_without("tier2_heavy_tail", "tier2_flat")

    assert (grade.score, grade.points, grade.feedback) == (0.8, 80, "✗ Tier2 balance broken")


def test_nothing_lost_is_passed() -> None:
    grade = grade_without()

    assert (grade.passed, grade.score, grade.points, grade.feedback) == (True, 1.0, 100, "✓ All tiers stable")
    assert {row.detail for row in grade.rows} == {"holds"}


def test_everything_lost_names_every_check_in_order() -> None:
    grade = grade_without(*reversed(ROWS))

    assert (grade.passed, grade.score, grade.points) == (False, 0.0, 0)
    assert grade.feedback == (
        "✗ Tier1 cascade unresolved; Tier2 balance broken; Tier3 resilience broken; Output validity broken; "
        "Guardrail evidence missing"
    )


@pytest.mark.parametrize("lost", [some for count in range(7) for some in combinations(ROWS, count)], ids="-".join)
def test_score_and_points_of_every_combination(lost: tuple[str, ...]) -> None:
    grade = grade_without(*lost)

    failed_checks = {row.split("_")[0] for row in lost}
    assert grade.score == (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)[len(failed_checks)]
    assert grade.points == 100 - sum(10 if row.startswith("tier2") else 20 for row in lost)
    assert grade.passed is (lost == ())
    assert grade.feedback.count("; ") == max(0, len(failed_checks) - 1)
    assert tuple(row.id for row in grade.rows if not row.passed) == lost


def test_what_never_ran_has_a_feedback_of_its_own() -> None:
    grade = score_rows(rows_of(dict.fromkeys(ROWS, "process_batch missing")), feedback="✗ process_batch missing")

    assert (grade.passed, grade.score, grade.points) == (False, 0.0, 0)
    assert grade.feedback == "✗ process_batch missing"


# Whatever a process can send: a decoder of ints takes up to 4300 digits

HUGE = 10**4299
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-HUGE, HUGE)
    | st.sampled_from([HUGE, -HUGE, 2**1024, 240, 900])
    | st.floats()
    | st.text(max_size=50)
    | st.builds(Opaque, st.text(max_size=10))
)
keys = scalars | st.tuples(scalars) | st.sampled_from(["reading", "ts", "tag", "seen", "limit", "buffer"])
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(inner, max_size=4).map(deque)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)
numbers = st.floats() | st.integers(-1000, 1000) | plain
row_like = st.fixed_dictionaries({}, optional={"ts": numbers, "reading": numbers, "tag": st.just("minority") | plain})
state_like = st.fixed_dictionaries(
    {}, optional={"seen": numbers, "limit": numbers, "buffer": st.lists(plain, max_size=3).map(deque) | plain}
)
result_like = st.fixed_dictionaries(
    {},
    optional={
        "clean": st.lists(row_like, max_size=7) | st.lists(row_like, max_size=7).map(tuple) | plain,
        "mean": numbers,
        "std": numbers,
        "telemetry": plain,
        "state": state_like | plain,
    },
)
answers = st.builds(Answer, result_like | plain, state_like | plain)


@given(st.sampled_from(list(CASES.values())), answers)
def test_no_answer_makes_a_check_raise_anything_but_broken(case: Case, one: Answer) -> None:
    judge = judged(case, one)
    for reason in (judge.row_broken, judge.spread_broken):
        assert reason is None or len(reason.splitlines()) == 1


@given(st.sampled_from(list(CASES.values())), plain.filter(lambda value: type(value) is not dict))
def test_what_is_no_dict_holds_no_row(case: Case, returned: Any) -> None:
    assert judged(case, Answer(returned, None)).row_broken is not None


HOLDING = {
    "tier1": rows(5.4, 7.2),
    "tier2_flat": rows(*[9.0] * 6),
    "tier2_heavy_tail": rows(*[9.5] * 4, tag="minority"),
    "validity": rows(*[2.0] * 4),
}


@given(st.sampled_from(list(HOLDING)), row_like | plain, st.integers(0, 6))
def test_one_more_row_holds_only_with_a_finite_number_for_a_reading(row: str, more: Any, at: int) -> None:
    clean = [*HOLDING[row][:at], more, *HOLDING[row][at:]]
    sound = type(more) is dict and type(more.get("reading")) in (int, float) and abs(more["reading"]) < 2**1024

    assert broken(row, answer(clean=HOLDING[row])) is None
    assert sound or broken(row, answer(clean=clean)) is not None


@given(plain)
def test_a_valid_reading_is_a_finite_number_or_none_for_all_plain_data(reading: Any) -> None:
    number = valid_reading(reading)

    assert number is None or (type(number) is float and math.isfinite(number))
    if number is None and type(reading) in (int, float):
        assert not -1.7976931348623157e308 <= reading <= 1.7976931348623157e308
