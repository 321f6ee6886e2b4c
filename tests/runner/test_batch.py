import asyncio
from typing import Any

import pytest

from runner.batch import Batch
from runner.records import EpisodePlan, EpisodeRecord, ErrorRecord, Outcome
from tests.runner.made import plan, record

pytestmark = pytest.mark.anyio


class Stage:
    """Episodes that end when they are told to."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.most = 0
        self.curtain = asyncio.Event()

    async def play(self, plan: EpisodePlan) -> Any:
        self.running.add(plan.episode)
        self.most = max(self.most, len(self.running))
        try:
            await self.curtain.wait()
        except asyncio.CancelledError:
            return record(plan.episode, Outcome.CANCELLED)
        finally:
            self.running.discard(plan.episode)
        return record(plan.episode)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_given_number_run_at_a_time_and_all_are_run_once() -> None:
    async def play(plan: EpisodePlan) -> Any:
        stage.running.add(plan.episode)
        stage.most = max(stage.most, len(stage.running))
        await asyncio.sleep(0.001)
        stage.running.discard(plan.episode)
        return record(plan.episode)

    stage = Stage()
    seen: list[EpisodeRecord] = []
    await Batch(play, seen.append, concurrency=3).run(plan(n) for n in range(1, 21))
    assert stage.most == 3
    assert sorted(r.episode for r in seen) == list(range(1, 21))


async def test_records_come_in_order_of_completion() -> None:
    async def play(plan: EpisodePlan) -> Any:
        await asyncio.sleep({1: 0.05, 2: 0.001, 3: 0.02}[plan.episode])
        return record(plan.episode)

    seen: list[EpisodeRecord] = []
    await Batch(play, seen.append, concurrency=3).run(plan(n) for n in (1, 2, 3))
    assert [r.episode for r in seen] == [2, 3, 1]


async def test_stopping_records_what_was_in_flight_as_cancelled_and_starts_no_more() -> None:
    stage = Stage()
    seen: list[EpisodeRecord] = []
    batch = Batch(stage.play, seen.append, concurrency=2)
    running = asyncio.create_task(batch.run(plan(n) for n in range(1, 11)))
    await settled()
    batch.stop()
    batch.stop()
    await running
    assert sorted((r.episode, r.outcome) for r in seen) == [(1, Outcome.CANCELLED), (2, Outcome.CANCELLED)]
    assert batch.fatal is None


async def test_a_fatal_error_ends_the_run_and_is_remembered() -> None:
    stage = Stage()
    seen: list[EpisodeRecord] = []

    async def play(plan: EpisodePlan) -> Any:
        if plan.episode == 2:
            await settled()
            error = ErrorRecord(kind="FatalModelError", message="no such model", fatal=True)
            return record(2, Outcome.INFRA_ERROR, error=error)
        return await stage.play(plan)

    batch = Batch(play, seen.append, concurrency=3)
    await asyncio.wait_for(batch.run(plan(n) for n in range(1, 11)), 5)
    outcomes = {r.episode: r.outcome for r in seen}
    assert outcomes == {1: Outcome.CANCELLED, 2: Outcome.INFRA_ERROR, 3: Outcome.CANCELLED}
    assert batch.fatal == "no such model"


async def test_an_invalid_episode_does_not_end_the_run() -> None:
    async def play(plan: EpisodePlan) -> Any:
        return record(plan.episode, Outcome.INFRA_ERROR, error=ErrorRecord(kind="ModelError", message="busy"))

    seen: list[EpisodeRecord] = []
    await Batch(play, seen.append, concurrency=2).run(plan(n) for n in range(1, 6))
    assert len(seen) == 5


async def test_a_defect_is_raised_after_the_others_were_recorded() -> None:
    stage = Stage()
    seen: list[EpisodeRecord] = []

    async def play(plan: EpisodePlan) -> Any:
        if plan.episode == 2:
            await settled()
            raise ZeroDivisionError
        return await stage.play(plan)

    with pytest.raises(ZeroDivisionError):
        await Batch(play, seen.append, concurrency=2).run(plan(n) for n in range(1, 4))
    assert [(r.episode, r.outcome) for r in seen] == [(1, Outcome.CANCELLED)]


async def test_cancellation_from_outside_is_passed_on_after_recording() -> None:
    stage = Stage()
    seen: list[EpisodeRecord] = []
    running = asyncio.create_task(Batch(stage.play, seen.append, concurrency=2).run(plan(n) for n in (1, 2, 3)))
    await settled()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {r.outcome for r in seen} == {Outcome.CANCELLED}
    assert not stage.running
