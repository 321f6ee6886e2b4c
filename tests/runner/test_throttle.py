import asyncio
import time
from typing import Any

import pytest

from runner.throttle import Throttle

pytestmark = pytest.mark.anyio


async def use(throttle: Throttle, seconds: float, seen: list[int], running: Any) -> float:
    async with throttle.turn() as cooled_s:
        running[0] += 1
        seen.append(running[0])
        await asyncio.sleep(seconds)
        running[0] -= 1
    return cooled_s


async def most(throttle: Throttle, calls: int = 12) -> int:
    seen: list[int] = []
    running = [0]
    await asyncio.gather(*(use(throttle, 0.005, seen, running) for _ in range(calls)))
    return max(seen)


async def test_no_more_calls_are_on_their_way_than_allowed() -> None:
    assert await most(Throttle(3)) == 3


async def test_a_rate_limit_halves_them_once_for_all_calls_that_met_it_together() -> None:
    told: list[int] = []
    throttle = Throttle(8, told.append)
    began = time.monotonic()
    for _ in range(5):
        throttle.limited(0.01, began)
    assert (throttle.allowed, told) == (4, [4])
    throttle.limited(0.01, time.monotonic())
    assert told == [4, 2]
    assert await most(throttle) == 2


async def test_it_never_falls_below_one() -> None:
    throttle = Throttle(2)
    for _ in range(5):
        throttle.limited(0.0, time.monotonic())
    assert throttle.allowed == 1
    assert await most(throttle, 3) == 1


async def test_answered_calls_let_it_grow_back_by_one_a_round_and_no_further() -> None:
    told: list[int] = []
    throttle = Throttle(8, told.append)
    throttle.limited(0.0, time.monotonic())
    rounds = 0
    while throttle.allowed < 8:
        for _ in range(throttle.allowed):
            throttle.answered()
        rounds += 1
    assert 4 <= rounds <= 6
    for _ in range(100):
        throttle.answered()
    assert throttle.allowed == 8
    assert told == [4, 5, 6, 7, 8]


async def test_every_caller_waits_a_cooldown_out_and_is_told_how_long_that_took() -> None:
    throttle = Throttle(4)
    throttle.limited(0.2, time.monotonic())
    began = time.monotonic()
    cooled = await asyncio.gather(*(use(throttle, 0.0, [], [0]) for _ in range(3)))
    assert time.monotonic() - began >= 0.2
    assert all(0.2 <= seconds < 1 for seconds in cooled)
    assert len({round(seconds, 6) for seconds in cooled}) == 3  # jitter


async def test_waiting_in_the_queue_is_no_cooldown() -> None:
    throttle = Throttle(1)
    cooled = await asyncio.gather(*(use(throttle, 0.05, [], [0]) for _ in range(3)))
    assert max(cooled) < 0.01


async def test_a_limit_that_strikes_while_callers_queue_holds_them_back_too() -> None:
    throttle = Throttle(1)
    queued = asyncio.create_task(use(throttle, 0.0, [], [0]))
    async with throttle.turn():
        await asyncio.sleep(0)
        task = asyncio.create_task(use(throttle, 0.0, [], [0]))
        await asyncio.sleep(0.01)
        throttle.limited(0.2, time.monotonic())
    assert (await task) >= 0.15
    await queued


@pytest.mark.parametrize("when", [0.0, 0.005, 0.05])
async def test_cancelled_callers_leave_their_turn_to_others(when: float) -> None:
    throttle = Throttle(2)
    tasks = [asyncio.create_task(use(throttle, 0.02, [], [0])) for _ in range(6)]
    await asyncio.sleep(when)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await asyncio.wait_for(most(throttle), 5) == 2


async def test_a_new_share_holds_at_once_and_gives_back_nothing_that_a_rate_limit_took() -> None:
    throttle = Throttle(4)
    throttle.resize(6)
    assert await most(throttle) == 6
    throttle.limited(0.0, time.monotonic())
    throttle.resize(12)
    assert await most(throttle) == 3
    throttle.resize(2)
    assert await most(throttle) == 2
