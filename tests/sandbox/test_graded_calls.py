"""A process that is loaded once and called many times, as the grader does."""

import asyncio
from collections import deque
from typing import Any

import pytest

from service.sandbox import Outcome, Sandbox, Status
from service.sandbox.inside.wire import Held, Opaque

pytestmark = pytest.mark.anyio


async def calls(sandbox: Sandbox, code: str, *, times: int = 1, state: Any = None) -> list[Outcome]:
    async with sandbox.process() as process:
        loaded = await process.load(code, "process_batch")
        assert (loaded.status, loaded.defined) == (Status.OK, True), loaded
        first = await process.call([{"ts": 1}], state)
        return [first, *[await process.call_again([{"ts": 1}]) for _ in range(times - 1)]]


async def test_what_is_returned_arrives_with_its_types(sandbox: Sandbox) -> None:
    code = """from collections import deque
def process_batch(e, s): return {'e': e, 's': s, 't': (1, 2.0), 'd': deque([1], 3)}"""
    (outcome,) = await calls(sandbox, code, state={"buffer": deque([{"ts": 0}], maxlen=5)})
    returned = outcome.returned
    assert returned["e"] == [{"ts": 1}]
    assert returned["t"] == (1, 2.0)
    assert (returned["d"], returned["d"].maxlen) == (deque([1]), 3)
    assert (returned["s"]["buffer"], returned["s"]["buffer"].maxlen) == (deque([{"ts": 0}]), 5)


async def test_the_state_is_handed_on_as_the_very_object(sandbox: Sandbox) -> None:
    code = """def process_batch(e, s):
    s = s or {'kept': object(), 'n': 0}
    s['n'] += 1
    return {'state': s, 'id': id(s['kept'])}"""
    outcomes = await calls(sandbox, code, times=4)
    assert [outcome.returned["state"]["n"] for outcome in outcomes] == [1, 2, 3, 4]
    assert len({outcome.returned["id"] for outcome in outcomes}) == 1
    assert outcomes[0].returned["state"]["kept"] == Opaque("object")


async def test_a_state_that_was_replaced_is_reported_as_the_call_left_it(sandbox: Sandbox) -> None:
    code = "def process_batch(e, s):\n    s['buffer'].append(1)\n    return {'state': {'buffer': []}}"
    (outcome,) = await calls(sandbox, code, state={"buffer": []})
    assert (outcome.returned, outcome.given_state) == ({"state": {"buffer": []}}, {"buffer": [1]})


async def test_a_state_is_measured_where_nobody_needs_it_whole(sandbox: Sandbox) -> None:
    code = """from collections import deque
def process_batch(e, s):
    if e:
        s['buffer'] = [*s['buffer'], *e]
        return {'state': s}
    s['buffer'].append(1)
    return {'state': {'buffer': deque(range(7)), 'seen': 1}}"""
    async with sandbox.process() as process:
        await process.load(code, "process_batch")
        first = await process.call([], {"buffer": []}, whole_state=False)
        second = await process.call_again([8, 9], whole_state=False)
        third = await process.call_again([10])
    assert (first.returned, first.given_state) == (
        {"state": {"buffer": Held("deque", 7), "seen": 1}},
        {"buffer": Held("list", 1)},
    )
    assert second.returned == {"state": {"buffer": Held("list", 9), "seen": 1}}
    assert third.returned == {"state": {"buffer": [*range(7), 8, 9, 10], "seen": 1}}


async def test_what_was_returned_is_never_only_measured(sandbox: Sandbox) -> None:
    code = "def process_batch(e, s):\n    s.update(clean=e, state={'buffer': e})\n    return s"
    async with sandbox.process() as process:
        await process.load(code, "process_batch")
        outcome = await process.call([1, 2], {}, whole_state=False)
    assert outcome.returned == {"clean": [1, 2], "state": {"buffer": Held("list", 2)}}


async def test_events_are_fresh_in_every_call(sandbox: Sandbox) -> None:
    code = "def process_batch(e, s):\n    e[0]['ts'] += 1\n    return {'ts': e[0]['ts'], 'state': s}"
    outcomes = await calls(sandbox, code, times=3)
    assert [outcome.returned["ts"] for outcome in outcomes] == [2, 2, 2]


async def test_a_failing_call_tells_the_line_and_the_next_one_still_works(sandbox: Sandbox) -> None:
    code = """def process_batch(e, s):
    if s is None: return {'state': {}}
    if s == {}:
        raise ValueError('no')"""
    first, second = await calls(sandbox, code, times=2)
    assert first.ok
    assert (second.status, second.summary, second.line) == (Status.ERROR, "ValueError: no (line 4)", 4)


async def test_the_wall_clock_covers_all_calls_together(sandbox: Sandbox) -> None:
    code = "import time\ndef process_batch(e, s):\n    time.sleep(0.6)\n    return {'state': {}}"
    outcomes = await calls(sandbox, code, times=3)
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.OK, Status.TIMEOUT]


FORGED = {
    "surplus bytes": "os.write(3, b'abc')",
    "a whole frame ahead": "os.write(3, b'\\0\\0\\0\\x1f' + bytes(16) + b'{\"status\":\"ok\"}')",
}


@pytest.mark.parametrize("name", FORGED)
async def test_nothing_is_answered_before_it_was_asked(sandbox: Sandbox, name: str) -> None:
    code = f"import os\ndef process_batch(e, s):\n    {FORGED[name]}\n    return {{'state': {{}}}}"
    async with sandbox.process() as process:
        await process.load(code, "process_batch")
        first = await process.call([], None)
        assert first.status is Status.ERROR
        assert "no answer to what it was asked" in first.error


async def test_bytes_left_behind_an_answer_fail_the_next_call_at_once(sandbox: Sandbox) -> None:
    code = """import os, threading, time
def late():
    time.sleep(0.2)
    os.write(3, b'\\0\\x0f\\xff\\xff')  # as if a megabyte were to follow
def process_batch(e, s):
    threading.Thread(target=late).start()
    return {'state': {}}"""
    async with sandbox.process() as process:
        await process.load(code, "process_batch")
        assert (await process.call([], None)).ok
        await asyncio.sleep(0.4)
        second = await process.call_again([])
        assert (second.status, second.error) == (
            Status.ERROR,
            "the process sent something that is no answer to what it was asked",
        )


@pytest.mark.parametrize(
    ("code", "status", "defined"),
    [
        ("x = 1", Status.OK, False),
        ("process_batch = 7", Status.OK, False),
        ("process_batch = print", Status.OK, True),
        ("def process_batch(", Status.SYNTAX_ERROR, False),
        ("raise SystemExit", Status.ERROR, False),
        ("bytearray(10**10)", Status.MEMORY_LIMIT, False),
        ("while True: pass", Status.TIMEOUT, False),
        ("import os; os._exit(0)", Status.ERROR, False),
    ],
)
async def test_loading(sandbox: Sandbox, code: str, status: Status, defined: bool) -> None:
    async with sandbox.process() as process:
        loaded = await process.load(code, "process_batch")
    assert (loaded.status, loaded.defined) == (status, defined)


async def test_an_answer_over_the_limit_is_output_limit(sandbox: Sandbox) -> None:
    (outcome,) = await calls(sandbox, "def process_batch(e, s): return {'clean': [1.5] * 10**6}")
    assert outcome.status is Status.OUTPUT_LIMIT


async def test_a_claimed_status_that_only_the_supervisor_gives_is_no_answer(sandbox: Sandbox) -> None:
    """With the nonce, which lies in its own frames, a submission can answer as it likes, but not anything."""
    code = """import os, sys
def process_batch(e, s):
    frame = sys._getframe()
    while 'nonce' not in frame.f_locals: frame = frame.f_back
    nonce = frame.f_locals['nonce']
    body = b'[{"status":"STATUS","returned":{"state":{}}},[]]'
    os.write(3, (16 + len(body)).to_bytes(4, 'big') + nonce + body)
    os._exit(0)"""
    claims = {"ok": Status.OK, "killed": Status.ERROR, "timeout": Status.ERROR, "fine": Status.ERROR}
    for claimed, status in claims.items():
        (outcome,) = await calls(sandbox, code.replace("STATUS", claimed))
        assert outcome.status is status
