"""What a trace shows of the public cases, with real submissions in the real sandbox, and of answers made by hand."""

import weakref
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.errors import SandboxError
from service.grading import CaseTrace, CodeProcess, Fate, Grader, Row, Tracer
from service.grading.answers import Answer
from service.grading.cases import classic_cases
from service.grading.trace import trace_call, trace_events
from service.sandbox import Sandbox, Status
from service.sandbox.inside.wire import Held
from service.sandbox.outcome import Outcome
from service.task import fragile_pipeline
from tests.grading.corpus import HONEST, submissions

pytestmark = pytest.mark.anyio

EVENTS: list[dict[str, Any]] = [
    {"ts": 3, "reading": 1.5, "tag": "a"},
    {"ts": 1, "reading": "2", "tag": "b"},
    {"ts": 2, "reading": None, "tag": "c"},
]


async def traced(sandbox: Sandbox, code: str) -> dict[str, CaseTrace]:
    return {case.id: case for case in await Tracer(sandbox).trace(code)}


def fates(case: CaseTrace) -> Counter[Fate]:
    return Counter(event.fate for event in case.events)


async def test_the_fragile_pipeline_falls_where_its_story_says(sandbox: Sandbox) -> None:
    cases = await traced(sandbox, fragile_pipeline())
    assert fates(cases["dirty"]) == {Fate.LOST: 5}
    assert "NoneType" in (cases["dirty"].broken or "")
    assert "ZeroDivisionError" in (cases["flat"].calls[0].error or "")
    assert fates(cases["heavy_tail"]) == {Fate.KEPT: 10}
    assert cases["heavy_tail"].broken == "a spike of 1000 remains in clean"
    assert cases["sanity"].broken is None


async def test_the_buffers_growth_is_shown_over_all_calls_though_the_first_has_lost_the_row(sandbox: Sandbox) -> None:
    flood = (await traced(sandbox, fragile_pipeline()))["flood"]
    assert flood.broken == "call 1 of 12: telemetry is missing"
    assert [call.buffer for call in flood.calls] == [210 + 60 * each for each in range(12)]
    assert not any(call.telemetry for call in flood.calls)


async def test_a_hardened_pipeline_is_seen_to_drop_coerce_and_bound(sandbox: Sandbox) -> None:
    cases = await traced(sandbox, HONEST)
    assert all(case.broken is None and case.spread_broken is None for case in cases.values())
    assert fates(cases["dirty"]) == {Fate.DROPPED: 3, Fate.COERCED: 2}
    assert fates(cases["heavy_tail"]) == {Fate.KEPT: 8, Fate.DROPPED: 2}
    dropped = [event.tag for event in cases["heavy_tail"].events if event.fate is Fate.DROPPED]
    assert dropped == ["spike", "spike"]
    assert max(call.buffer or 0 for call in cases["flood"].calls) == 240
    assert all(call.telemetry for call in cases["flood"].calls)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def process_batch(", "Syntax error on line 1"),
        ("process_batch = None", "process_batch missing"),
        ("raise ValueError('no')", "Import failed: ValueError: no (line 1)"),
    ],
)
async def test_code_that_cannot_be_loaded_says_so_in_every_case(sandbox: Sandbox, code: str, reason: str) -> None:
    cases = await traced(sandbox, code)
    assert len(cases) == 5
    for case in cases.values():
        assert (case.broken or "").startswith(reason)
        assert case.calls == ()
        assert set(fates(case)) == {Fate.LOST}


@pytest.mark.parametrize(
    "source", ["raise KeyError(events)", "import os; os._exit(3)", "return None", "return {'clean': 7}"]
)
async def test_whatever_a_call_does_there_is_a_trace(sandbox: Sandbox, source: str) -> None:
    cases = await traced(sandbox, f"def process_batch(events, state): {source}")
    assert all(case.broken for case in cases.values())
    assert all(set(fates(case)) == {Fate.LOST} for case in cases.values())


async def test_a_trace_agrees_with_the_grade(sandbox: Sandbox) -> None:
    for submission in submissions("wrong")[::6]:
        grade = await Grader(sandbox).grade(submission.source)
        lost = {row.id for row in grade.rows if not row.passed} - {"validity", "guardrails"}
        cases = (await traced(sandbox, submission.source)).values()
        assert {case.row for case in cases if case.broken is not None} - {"validity"} == lost, submission.id


async def test_no_answer_is_kept_while_the_next_is_made() -> None:
    answers: list[weakref.ref[deque[int]]] = []
    alive: list[int] = []

    class Answering:
        @asynccontextmanager
        async def process(self) -> AsyncIterator[CodeProcess]:
            yield self  # type: ignore[misc]

        async def load(self, *_: object) -> Outcome:
            return Outcome(Status.OK, answer={"defined": True})

        async def call(self, *_: object, **__: object) -> Outcome:
            alive.append(sum(answer() is not None for answer in answers))
            buffer = deque([1])
            answers.append(weakref.ref(buffer))
            state = {"seen": 0, "limit": 200, "buffer": buffer}
            return Outcome(Status.OK, answer={"returned": {"clean": [], "state": state, "telemetry": True}})

        call_again = call

    flood, *_ = await Tracer(Answering()).trace("")
    assert len(flood.calls) == 12
    assert len(answers) == 16
    assert max(alive) <= 6  # the last of each case, and the one before where it is being judged


async def test_a_fault_of_the_sandbox_is_no_trace(sandbox: Sandbox) -> None:
    class Failing:
        @asynccontextmanager
        async def process(self) -> AsyncIterator[CodeProcess]:
            raise SandboxError("no process could be had")
            yield

    with pytest.raises(SandboxError, match="no process"):
        await Tracer(Failing()).trace(HONEST)


def clean_of(*readings: Any) -> dict[str, Any]:
    return {"clean": [{"ts": ts, "reading": reading} for ts, reading in readings]}


@pytest.mark.parametrize(
    ("returned", "expected", "strangers"),
    [
        (clean_of((3, 1.5), (1, 2.0), (2, 9.9)), (Fate.KEPT, Fate.COERCED, Fate.IMPUTED), 0),
        (clean_of((3, 1.4), (1, "2"), (2, float("nan"))), (Fate.CHANGED, Fate.LEAKED, Fate.LEAKED), 0),
        (clean_of((3, 1.5), (3, 1.5), (7, 1.0)), (Fate.KEPT, Fate.DROPPED, Fate.DROPPED), 2),
        ({"clean": [None, 5, {"ts": "3"}, {"ts": True}]}, (Fate.DROPPED,) * 3, 4),
        ({"clean": {"ts": 3}}, (Fate.LOST,) * 3, 0),
        (None, (Fate.LOST,) * 3, 0),
        ([], (Fate.LOST,) * 3, 0),
    ],
)
def test_each_event_is_found_by_its_ts(returned: Any, expected: tuple[Fate, ...], strangers: int) -> None:
    events, unknown = trace_events(EVENTS, returned)
    assert tuple(event.fate for event in events) == expected
    assert unknown == strangers


def test_a_trace_keeps_the_order_given_and_the_place_in_clean() -> None:
    events, _ = trace_events(EVENTS, clean_of((1, 2.0), (3, 1.5)))
    assert [(event.ts, event.position, event.became) for event in events] == [(3, 1, 1.5), (1, 0, 2.0), (2, None, None)]
    assert [event.given for event in events] == ["1.5", "'2'", "None"]


def test_no_ts_stands_twice_in_a_public_case() -> None:
    for case in classic_cases():
        stamps = [event["ts"] for event in case.calls[0].events]
        assert len(stamps) == len(set(stamps))
        assert all(call.events is case.calls[0].events for call in case.calls)


@pytest.mark.parametrize("state", [None, [], {"buffer": "x", "seen": True}, {"seen": 10**400}, {"buffer": deque([1])}])
def test_an_odd_state_is_read_as_far_as_it_goes(state: Any) -> None:
    call = trace_call(Answer({"state": state, "mean": float("inf"), "telemetry": 1}, None))
    assert call.buffer == (1 if state == {"buffer": deque([1])} else None)
    assert (call.seen, call.mean, call.rows, call.telemetry) == (None, None, None, False)


def test_a_buffer_that_is_only_said_to_be_endless_is_a_number_that_every_reader_of_json_takes() -> None:
    claimed = {"buffer": Held("list", 2**1024 - 1)}
    call = trace_call(Answer({"state": claimed}, claimed))
    assert call.buffer == call.given_buffer == 2**53


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("code", [HONEST, fragile_pipeline()])
async def test_rows_are_heard_as_the_grade_has_them(sandbox: Sandbox, code: str, seed: int | None) -> None:
    heard: list[Row] = []
    grade = await Grader(sandbox).grade(code, seed=seed, heard=heard.append)
    assert len({row.id for row in heard}) == len(heard) >= 5
    assert all(row in grade.rows for row in heard)


async def test_no_row_is_heard_of_code_that_cannot_be_loaded(sandbox: Sandbox) -> None:
    heard: list[Row] = []
    await Grader(sandbox).grade("raise ValueError", heard=heard.append)
    assert heard == []


async def test_a_validity_that_holds_in_its_own_case_is_not_heard_before_all_cases_have_ended(sandbox: Sandbox) -> None:
    heard: list[Row] = []
    mean_off = HONEST.replace("def process_batch(", "def inner(") + (
        "\n\ndef process_batch(events, state):\n    result = inner(events, state)\n"
        "    if len(events) == 6:\n        result['mean'] = 1e9\n    return result\n"
    )
    grade = await Grader(sandbox).grade(mean_off, heard=heard.append)
    assert [row.id for row in grade.rows if not row.passed] == ["validity"]
    assert "validity" not in {row.id for row in heard}
