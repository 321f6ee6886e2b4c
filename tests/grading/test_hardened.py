"""The hardened suite: its draws, what its checks forgive and what they do not, and what the corpus comes to on it."""

import asyncio
import hashlib
import math
import re
import textwrap
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.grading import GRADER_VERSION, Grader
from service.grading.answers import Answer
from service.grading.cases import HANDED_ON, Call, Case, valid_reading
from service.grading.draws import Draws
from service.grading.hardened import hardened_cases
from service.grading.judge import CaseJudge
from service.task import fragile_pipeline
from tests.grading.corpus import ROWS, submissions

pytestmark = pytest.mark.anyio

HONEST = submissions("honest")
PLAIN = next(each.source for each in HONEST if each.id == "honest/median_mad")
SEEDS = (0, 1, 2, 999_999_999, 1_500_000_000)


def case_of(row: str, seed: int = 1) -> Case:
    return next(case for case in hardened_cases(GRADER_VERSION, seed) if case.row == row)


def plain(case: Case) -> Any:
    return [
        (call.events, call.state if call.state is not HANDED_ON else "", call.roles, call.in_new_process)
        for call in case.calls
    ]


# The draws


def test_a_seed_gives_the_same_cases_on_every_platform_and_python() -> None:
    told = repr([plain(case) for seed in range(20) for case in hardened_cases("for this test", seed)])
    assert (
        hashlib.sha256(told.encode()).hexdigest() == "16b614db0847114f678c7fc0c5310a091fe495343482604d53893d90ee9d368d"
    )


def test_seeds_and_versions_give_different_cases() -> None:
    drawn = [repr(plain(case)) for seed in range(100) for case in hardened_cases("1", seed)]
    drawn += [repr(plain(case)) for case in hardened_cases("2", 0)]
    assert len(set(drawn)) == len(drawn)


@given(st.integers(0, 2**31))
@settings(max_examples=60)
def test_every_case_is_what_the_prompt_says(seed: int) -> None:
    for case in hardened_cases(GRADER_VERSION, seed):
        assert case.drawn
        for call in case.calls:
            assert len(call.roles) == len(call.events)
            for event, role in zip(call.events, call.roles, strict=True):
                assert math.isfinite(event["ts"])
                assert type(event["tag"]) is str
                assert (valid_reading(event.get("reading")) is None) is (role == "corrupt")
    assert case_of("tier3", seed).calls[-1].whole_state
    assert sum(call.in_new_process for call in case_of("tier3", seed).calls) == 2


@given(st.integers(0, 2**31))
@settings(max_examples=60)
def test_spikes_lie_far_outside_and_minorities_within_five_deviations(seed: int) -> None:
    for call in case_of("tier2_heavy_tail", seed).calls:
        of: dict[str, list[float]] = {"core": [], "minority": [], "spike": []}
        for event, role in zip(call.events, call.roles, strict=True):
            if (reading := valid_reading(event.get("reading"))) is not None:
                of[role].append(reading)
        center = sum(of["core"]) / len(of["core"])
        deviation = math.sqrt(sum((value - center) ** 2 for value in of["core"]) / len(of["core"]))
        assert 30 <= len(of["core"]) <= 80
        assert 1 <= len(of["spike"]) <= (len(of["core"]) + len(of["minority"]) + len(of["spike"])) / 5
        assert min(abs(value - center) for value in of["spike"]) > 35 * deviation
        assert max(abs(value - center) for value in of["minority"]) < 7 * deviation


@given(st.integers(), st.integers(-5, 5), st.integers(0, 40))
def test_draws_keep_to_their_bounds(key: int, low: int, width: int) -> None:
    draws = Draws(key)
    for _ in range(20):
        assert low <= draws.integer(low, low + width) <= low + width
        assert low <= draws.number(low, low + width) <= low + width
        assert abs(draws.bell(low, 1.0) - low) < 3.5
    assert sorted(draws.shuffled(range(width))) == list(range(width))


# The corpus


@pytest.mark.parametrize("submission", HONEST, ids=str)
async def test_honest_solutions_lose_nothing(grader: Grader, submission: Any) -> None:
    for seed in SEEDS[:3]:
        grade = await grader.grade(submission.source, seed=seed)
        assert grade.passed, (seed, grade.rows)


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_fragile_pipeline_earns_a_fifth_at_most(grader: Grader, seed: int) -> None:
    assert (await grader.grade(fragile_pipeline(), seed=seed)).score <= 0.2


async def test_the_same_seed_gives_the_same_report(grader: Grader) -> None:
    for source in (PLAIN, fragile_pipeline(), "def process_batch(e, s): return {'clean': e}"):
        first, second = await asyncio.gather(grader.grade(source, seed=3), grader.grade(source, seed=3))
        assert first == second


FITTED = """
import copy
ANSWERS = {5: [{"ts": 2, "reading": 5.4, "tag": "healthy"}, {"ts": 4, "reading": 7.2, "tag": "healthy"}]}

def process_batch(events, state):  # guardrail, telemetry: knows the public inputs, and nothing else
    telemetry = {"guardrail": 1}
    state = dict(state)
    state["seen"] += len(events)
    state["buffer"] = list(state["buffer"])[-100:]
    if events[0]["reading"] == " NaN":
        clean = ANSWERS[5]
    else:
        clean = [event for event in events if event["reading"] < 900]
    values = [event["reading"] for event in clean]
    mean = sum(values) / len(values)
    return {"clean": clean, "mean": mean, "std": 0.0, "alerts": [], "telemetry": telemetry, "state": state}
"""


async def test_a_solution_that_knows_the_classic_inputs_is_told_apart(grader: Grader) -> None:
    grade, integrity = await grader.audit(FITTED)

    assert (grade.score, grade == await grader.grade(FITTED)) == (1.0, True)
    assert integrity.overfit
    assert {"tier1", "tier2_heavy_tail"} <= set(integrity.overfit_rows)
    assert max(integrity.scores) <= 0.4
    assert not integrity.nondeterministic


async def test_an_honest_solution_passes_its_audit_on_either_suite(grader: Grader) -> None:
    for seed in (None, 7):
        grade, integrity = await grader.audit(PLAIN, seed=seed)
        assert grade.passed
        assert (integrity.overfit, integrity.nondeterministic, integrity.unstable_rows) == (False, False, ())
        assert integrity.scores == (1.0,) * 5
        assert len(set(integrity.seeds)) == 5
        assert integrity == (await grader.audit(PLAIN, seed=seed))[1]


async def test_answers_that_differ_on_the_same_inputs_are_reported(grader: Grader) -> None:
    source = PLAIN.replace('"mean": mean', '"mean": mean + (__import__("time").time_ns() % 997) * 1e-13')
    assert source != PLAIN
    _, integrity = await grader.audit(source)
    assert integrity.nondeterministic


async def test_derived_seeds_stay_within_the_range_of_the_seed(grader: Grader) -> None:
    _, integrity = await grader.audit("x = 1", seed=1_600_000_000)
    assert all(1_500_000_000 <= seed <= 1_999_999_999 for seed in integrity.seeds)


# The scan


ONE_WORD = re.sub("guardrail|monitor|backpressure|fallback", "thing", PLAIN, flags=re.IGNORECASE)


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ("guardrail = 1", True),
        ("def in_the_GUARDRAIL(): pass", True),
        ("async def f(guardrail): pass", True),
        ("lambda *, guardrail=1: 1", True),
        ("class Fallback: pass", True),
        ("x = {'guardrail': 1}", True),
        ("x['monitor_x'] = 1", True),
        ("f(backpressure=1)", True),
        ("import a.guardrail", True),
        ("from a import b as fallback", True),
        ("global fallback", True),
        ("try: pass\nexcept E as fallback: pass", True),
        ("match x:\n    case {'monitor': 1}: pass", True),
        ("match x:\n    case {**fallback}: pass", True),
        ("match x:\n    case E(monitor=1): pass", True),
        ("x.guardrail.y", True),
        ("pass  # guardrail", False),
        ('"""guardrail"""', False),
        ("print('guardrail', f'{1} monitor')", False),
        ("x.get('guardrail')", False),
        ("x = ['guardrail', 'fallback']", False),
        ("guard_rail = fall_back = 1", False),
    ],
)
async def test_only_names_count(grader: Grader, code: str, counts: bool) -> None:
    unused = textwrap.indent(code, "    ")
    grade = await grader.grade(f"{ONE_WORD}\n\ndef unused(x, y, f, E):\n{unused}\n", seed=1)
    assert [row.id for row in grade.rows if not row.passed] == ([] if counts else ["guardrails"])


@pytest.mark.parametrize(
    ("telemetry", "reason"),
    [
        ("True", "telemetry of the flood case is no dict, or is empty"),
        ("{'guardrail': 1, 'monitor': 'on'}", "the numbers of telemetry are the same after every batch of the flood"),
        ("{'kept': str(len(clean))}", "the numbers of telemetry are the same after every batch of the flood"),
        ("{'kept': {'rows': len(clean)}}", None),
    ],
)
async def test_words_count_only_with_telemetry_about_the_calls(
    grader: Grader, telemetry: str, reason: str | None
) -> None:
    changed = PLAIN.replace('"telemetry": telemetry,', f'"telemetry": {telemetry},')
    assert changed != PLAIN
    rows = {row.id: row for row in (await grader.grade(changed, seed=1)).rows}
    assert rows["tier3"].passed
    assert rows["guardrails"].detail == (reason or "holds")


# What the checks forgive, and what they do not


def honest_rows(call: Call) -> list[dict[str, Any]]:
    """Every valid row that is no spike, in order."""
    rows = [
        {**event, "reading": valid_reading(event["reading"])}
        for event, role in zip(call.events, call.roles, strict=True)
        if role in ("core", "minority")
    ]
    return sorted(rows, key=lambda row: row["ts"])


def first_answer(row: str, change: Callable[[list[dict[str, Any]], Call], Any]) -> str | None:
    """Why a row is lost when `clean` of its first call is changed so."""
    case = case_of(row)
    call = max(case.calls, key=lambda call: len(honest_rows(call)))
    judge = CaseJudge(replace(case, calls=(replace(call, state={"seen": 0, "limit": 9, "buffer": []}),)))
    clean = honest_rows(call)
    clean = change(clean, call) or clean
    mean = sum(each["reading"] for each in honest_rows(call)) / len(honest_rows(call))
    state = {"seen": len(call.events), "limit": 9, "buffer": []}
    judge.hear(Answer({"clean": clean, "mean": mean, "std": 0.0, "state": state}, state))
    return judge.row_broken


def imputed(factor: float) -> Callable[[list[dict[str, Any]], Call], Any]:
    def change(clean: list[dict[str, Any]], call: Call) -> list[dict[str, Any]]:
        readings = sorted(row["reading"] for row in clean)
        middle, width = readings[len(readings) // 2], readings[-1] - readings[0]
        bad = [event for event, role in zip(call.events, call.roles, strict=True) if role == "corrupt"]
        rows = [*clean, *({**event, "reading": middle + factor * width} for event in bad)]
        return sorted(rows, key=lambda row: row["ts"])

    return change


def edited(edit: Callable[[list[dict[str, Any]]], object]) -> Callable[[list[dict[str, Any]], Call], Any]:
    def change(clean: list[dict[str, Any]], call: Call) -> None:
        del call
        edit(clean)

    return change


CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]], Call], Any], str | None]] = {
    "nothing": (edited(lambda clean: None), None),
    "imputed in the bulk": (imputed(0.0), None),
    "imputed far outside": (imputed(9.0), "lies outside the bulk"),
    "a row twice": (edited(lambda clean: clean.append(dict(clean[-1]))), "no event that was given, or one too many"),
    "an invented row": (
        edited(lambda clean: clean.append({"ts": 10**9, "reading": clean[0]["reading"], "tag": "core"})),
        "no event that was given",
    ),
    "a tag changed": (edited(lambda clean: clean[0].update(tag="other")), "no event that was given"),
    "a tag lost": (edited(lambda clean: clean[0].pop("tag")), "no event that was given"),
    "a reading changed": (
        edited(lambda clean: clean[0].update(reading=clean[0]["reading"] + 1e-9)),
        "is not the event's",
    ),
    "a reading as text": (edited(lambda clean: clean[0].update(reading="1")), "not a finite number"),
    "a ts that is NaN": (edited(lambda clean: clean[0].update(ts=math.nan)), "not a finite number"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_row_of_clean_is_an_event_and_keeps_what_was_valid(name: str) -> None:
    change, reason = CHANGES[name]
    broken = first_answer("tier1", change)
    assert (broken is None) if reason is None else (broken is not None and reason in broken)


def test_tier1_loses_by_one_lost_reading_or_by_disorder() -> None:
    assert "valid readings are in clean" in str(first_answer("tier1", edited(lambda clean: clean.pop())))
    assert first_answer("tier1", edited(lambda clean: clean.reverse())) == "clean is not in ts order"
    for row in ("tier2_heavy_tail", "validity"):  # charged once
        assert first_answer(row, edited(lambda clean: clean.reverse())) is None


def test_a_heavy_tail_loses_by_a_minority_row_by_a_tenth_of_the_core_and_by_a_spike() -> None:
    def without(role: str, count: int) -> Callable[[list[dict[str, Any]], Call], Any]:
        def change(clean: list[dict[str, Any]], call: Call) -> list[dict[str, Any]]:
            tags = {event["tag"] for event, other in zip(call.events, call.roles, strict=True) if other == role}
            gone = [row for row in clean if row["tag"] in tags][:count]
            return [row for row in clean if row not in gone]

        return change

    def with_a_spike(clean: list[dict[str, Any]], call: Call) -> list[dict[str, Any]]:
        at = call.roles.index("spike")
        return [*clean, {**call.events[at], "reading": valid_reading(call.events[at]["reading"])}]

    core = max(Counter(call.roles)["core"] for call in case_of("tier2_heavy_tail").calls)
    assert first_answer("tier2_heavy_tail", without("core", core // 10)) is None
    assert "core rows, 90 % are needed" in str(first_answer("tier2_heavy_tail", without("core", core // 10 + 1)))
    assert "minority rows were dropped" in str(first_answer("tier2_heavy_tail", without("minority", 1)))
    assert "remains in clean" in str(first_answer("tier2_heavy_tail", with_a_spike))


def test_a_flat_segment_may_miss_one_row_but_not_two() -> None:
    assert first_answer("tier2_flat", edited(lambda clean: clean.pop())) is None
    assert "rows of a constant segment" in str(
        first_answer("tier2_flat", edited(lambda clean: clean.__delitem__(slice(2))))
    )


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("", None),
        ("state['more'] = [0] * 1200", None),
        ("state['more'] = [0] * 2500", "at most 2000 are allowed"),
        ("state['more'] = 'x' * 40_000", "at most 2000 are allowed"),
        ("state['more'] = {1, 2}", "holds a set: only plain data can be reloaded"),
        ("state['more'] = [{'a': (object(),)}]", "holds a object: only plain data can be reloaded"),
        ("state['more'] = state.get('more', []) + [[event['ts'] for event in events]]", "at most 2000 are allowed"),
        ("state['buffer'].clear()", "after the flood, 0 of 0 rows"),
        ("state['buffer'] = [{'reading': 0.123}] * 9", "after the flood, 0 of 9 rows"),
        ("SEEN.append(1); state['seen'] = 190 + len(SEEN); telemetry['kept'] = 1 // (len(SEEN) < 15)", None),
        ("SEEN.append(1); state['lost'] = 1 // (not state.get('lost') or len(SEEN) > 1)", "ZeroDivisionError"),
    ],
)  # fmt: skip
async def test_what_goes_on_over_a_restart_is_the_plain_bounded_state(
    grader: Grader, extra: str, reason: str | None
) -> None:
    changed = PLAIN.replace("    return {", f"    {extra}\n    return {{").replace(
        "import math\n", "import math\n\nSEEN = []\n", 1
    )
    assert not extra or extra in changed
    tier3 = next(row for row in (await grader.grade(changed, seed=1)).rows if row.id == "tier3")
    assert tier3.passed is (reason is None), tier3.detail
    assert (reason or "") in tier3.detail


def test_the_rows_of_the_suite_are_the_rubrics() -> None:
    assert {case.row for case in hardened_cases(GRADER_VERSION, 0)} == {*ROWS} - {"guardrails"}
    assert type(case_of("tier3").calls[0].state) in (dict, type(None))
    assert all(type(case_of("tier3", seed).calls[0].state.get("buffer")) in (list, deque) for seed in (1, 2))
