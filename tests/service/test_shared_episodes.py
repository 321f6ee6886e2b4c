"""Episodes of several processes in one real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

from service.access import Access
from service.admission import Admission
from service.episodes import OUTCOMES, EpisodeRequest, Episodes, EpisodeStatus, EpisodeView, ToolResponse
from service.episodes.redis_store import RedisStore
from service.errors import CapacityError, EpisodeFinishedError, InputError, NoEpisodeError, StoreError
from service.gauntlet import Gauntlet
from service.logs import REQUEST_ID
from service.metrics import Metrics
from service.sandbox import Sandbox, SandboxConfig, Status
from service.settings import Settings
from service.task import Suite
from tests.conformance.clients import EXAMPLES
from tests.conftest import RedisServer, running_service
from tests.service.context import during

pytestmark = pytest.mark.anyio

ORACLE = (EXAMPLES / "solution.py").read_text()
SLOW = f"import time\ntime.sleep(0.4)\n{ORACLE}"
TRY = {"expression": "1 + 1"}
NAP = {"expression": "__import__('time').sleep(0.3)"}
PLACES = 256


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """What one process of several has: its own sandbox, its own counts, and the store they share."""

    def __init__(self, sandbox: Sandbox, clock: Clock, store: RedisStore) -> None:
        settings = Settings(episodes=4, episode_steps=4)
        self.metrics = Metrics(statuses=Status, outcomes=OUTCOMES)
        self.admission = Admission(PLACES, self.metrics.refused)
        gauntlet = Gauntlet(settings, sandbox, self.admission, self.metrics)
        self.episodes = Episodes(settings, gauntlet, Access(None), self.metrics, store, clock=clock)

    def ended(self, outcome: str) -> float:
        text = self.metrics.exposition()[0].decode()
        return float(text.split(f'gauntlet_episodes_total{{outcome="{outcome}"}} ')[1].split()[0])

    async def die(self) -> None:
        """As if killed: nothing that it does is heard of any more."""
        await self.episodes._store.close()
        self.episodes._changes._store = Unreachable()  # type: ignore[assignment]


class Unreachable:
    async def change(self, *_: object) -> None:
        raise StoreError("gone", retry_after_s=1)

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig())
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def pair(sandbox: Sandbox, clock: Clock, redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    redis_server.flush()
    processes = [Process(sandbox, clock, RedisStore.at(redis_server.url, 4, 900)) for _ in range(2)]
    yield processes[0], processes[1]
    for process in processes:
        await process.episodes.leave()


async def seen(process: Process, episode: str, condition: Callable[[EpisodeView], bool]) -> EpisodeView:
    """Asks until a condition holds, as a client would."""
    async with asyncio.timeout(20):
        while not condition(view := await process.episodes.view(episode)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return view


async def ended(process: Process, episode: str) -> EpisodeView:
    return await seen(process, episode, lambda view: view.done)


async def taken(process: Process, episode: str) -> None:
    """A submission has been taken."""
    await seen(process, episode, lambda view: view.status is not EpisodeStatus.RUNNING)


async def submitted(
    process: Process, beside: Process, code: str = SLOW
) -> tuple[EpisodeView, "asyncio.Task[ToolResponse]"]:
    """An episode whose submission one process has taken, as another one knows."""
    begun = await process.episodes.open(EpisodeRequest(suite=Suite.CLASSIC))
    submitting = asyncio.create_task(process.episodes.call(begun.id, "submit_code", {"code": code}))
    await taken(beside, begun.id)
    return begun, submitting


async def test_what_one_process_opens_another_plays(pair: tuple[Process, Process]) -> None:
    one, other = (process.episodes for process in pair)
    begun = await one.open(EpisodeRequest(suite=Suite.CLASSIC))
    assert (await other.call(begun.id, "python_expression", TRY)).steps == 1
    assert (await one.call(begun.id, "python_expression", TRY)).steps == 2
    graded = await other.call(begun.id, "submit_code", {"code": ORACLE})
    assert (graded.reward, graded.steps) == (1.0, 3)
    assert await one.view(begun.id) == await other.view(begun.id)
    with pytest.raises(EpisodeFinishedError):
        await one.call(begun.id, "submit_code", {"code": ""})
    await other.close(begun.id)
    with pytest.raises(NoEpisodeError):
        await one.view(begun.id)


async def test_of_submissions_to_two_processes_one_is_graded(pair: tuple[Process, Process]) -> None:
    for _ in range(10):
        begun = await pair[0].episodes.open(EpisodeRequest(suite=Suite.CLASSIC))
        calls = [
            process.episodes.call(begun.id, "submit_code", {"code": code}) for process in pair for code in ("", ORACLE)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        graded = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == [EpisodeFinishedError] * 3
        assert (await pair[1].episodes.view(begun.id)).reward == graded[0].reward
    assert sum(process.ended("submitted") for process in pair) == 10


async def test_steps_taken_on_two_processes_do_not_pass_the_limit(pair: tuple[Process, Process]) -> None:
    for _ in range(10):
        begun = await pair[0].episodes.open(EpisodeRequest(step_limit=2))
        calls = [process.episodes.call(begun.id, "python_expression", TRY) for process in pair for _ in range(3)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, EpisodeFinishedError) for answer in answers) == 4
        assert (await pair[0].episodes.view(begun.id)).steps == 2
        await pair[0].episodes.close(begun.id)


async def test_places_are_counted_over_all_processes(pair: tuple[Process, Process]) -> None:
    for turn in range(4):
        await pair[turn % 2].episodes.open(EpisodeRequest())
    for process in pair:
        assert await process.episodes.running() == 4
        with pytest.raises(CapacityError):
            await process.episodes.open(EpisodeRequest())


async def test_a_grade_whose_process_died_is_taken_over_by_whoever_is_asked(
    pair: tuple[Process, Process], clock: Clock
) -> None:
    one, other = pair
    begun, submitting = await submitted(one, other)
    await one.die()
    clock.now += 5
    assert (await other.episodes.view(begun.id)).status is EpisodeStatus.GRADING
    assert other.episodes._grading == {}  # it may still be alive
    clock.now += 2
    assert (await ended(other, begun.id)).reward == 1.0
    assert other.ended("submitted") == 1
    with pytest.raises(StoreError):
        await submitting


async def test_a_grade_that_is_taken_over_by_a_full_process_is_not_lost(
    pair: tuple[Process, Process], clock: Clock
) -> None:
    one, other = pair
    begun, submitting = await submitted(one, other)
    await one.die()
    clock.now += 7
    with ExitStack() as places:
        for _ in range(PLACES):
            places.enter_context(other.admission.enter())
        for _ in range(3):
            assert (await other.episodes.view(begun.id)).status is EpisodeStatus.GRADING
            await asyncio.gather(*other.episodes._grading.values(), return_exceptions=True)
        assert other.ended("submitted") == 0
    assert (await ended(other, begun.id)).reward == 1.0
    with pytest.raises(StoreError):
        await submitting


async def test_a_grade_that_another_process_has_taken_over_counts_alone(
    pair: tuple[Process, Process], clock: Clock
) -> None:
    """A process may be held up for so long that it is taken for dead; its grade is then told by nobody."""
    one, other = pair
    late = f"import time\nis_late = time.time() > {time.time() + 0.7}\ntime.sleep(1)\n"
    code = f"{late}{ORACLE}\nif is_late: process_batch = None"
    begun, submitting = await submitted(one, other, code)
    await asyncio.sleep(0.8)
    clock.now += 7
    assert (await ended(other, begun.id)).reward == 0.0
    told = await submitting
    assert (told.reward, told.grade) == (0.0, (await one.episodes.view(begun.id)).grade)
    assert (one.ended("submitted"), other.ended("submitted")) == (0, 1)


async def test_a_submission_that_is_made_again_under_its_requests_id_is_told_the_same(
    pair: tuple[Process, Process],
) -> None:
    one, other = pair
    with during(REQUEST_ID, "a"):
        begun, submitting = await submitted(one, other)
        again = await other.episodes.call(begun.id, "submit_code", {"code": SLOW})
    assert again.reward == 1.0
    assert again == await submitting
    with during(REQUEST_ID, "a"):
        assert await other.episodes.call(begun.id, "submit_code", {"code": SLOW}) == again
    for name, code in (("a", ORACLE), ("b", SLOW)):
        with during(REQUEST_ID, name), pytest.raises(EpisodeFinishedError):
            await other.episodes.call(begun.id, "submit_code", {"code": code})
    assert (one.ended("submitted"), other.ended("submitted")) == (1, 0)


async def test_a_submission_that_is_made_many_times_at_once_under_one_id_is_graded_once(
    pair: tuple[Process, Process],
) -> None:
    for turn in range(10):
        begun = await pair[0].episodes.open(EpisodeRequest(suite=Suite.CLASSIC))
        with during(REQUEST_ID, "a"):
            same = [process.episodes.call(begun.id, "submit_code", {"code": ORACLE}) for process in pair * 3]
            told = await asyncio.gather(*same)
        assert [each.grade for each in told] == [told[0].grade] * 6
        assert sum(process.ended("submitted") for process in pair) == turn + 1


async def test_arguments_that_are_no_code_are_no_submission_however_deep(pair: tuple[Process, Process]) -> None:
    begun = await pair[0].episodes.open(EpisodeRequest())
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for arguments in (nested, {"code": nested}, {"code": "", "more": nested}):
        with during(REQUEST_ID, "a"), pytest.raises(InputError):
            await pair[0].episodes.call(begun.id, "submit_code", arguments)


async def test_a_submission_that_is_made_again_is_none_to_the_episode_that_was_begun_in_its_place(
    pair: tuple[Process, Process],
) -> None:
    one, other = pair
    for _ in range(5):
        with during(REQUEST_ID, "a"):
            begun, submitting = await submitted(one, other)
            again = asyncio.create_task(other.episodes.call(begun.id, "submit_code", {"code": SLOW}))
            await asyncio.sleep(0.1)
        await submitting
        anew = await one.episodes.reset(begun.id, EpisodeRequest(suite=Suite.CLASSIC))
        with suppress(EpisodeFinishedError):  # or it was told its grade just in time
            assert (await again).reward == 1.0
        assert await other.episodes.view(begun.id) == anew
        await one.episodes.close(begun.id)


async def test_a_submission_whose_process_died_is_graded_for_whoever_makes_it_again(
    pair: tuple[Process, Process], clock: Clock
) -> None:
    one, other = pair
    with during(REQUEST_ID, "a"):
        begun, submitting = await submitted(one, other)
        await one.die()
        again = asyncio.create_task(other.episodes.call(begun.id, "submit_code", {"code": SLOW}))
        await asyncio.sleep(0.2)
        clock.now += 7
        assert (await again).reward == 1.0
    with pytest.raises(StoreError):
        await submitting


async def test_calls_that_are_given_up_at_any_moment_cost_no_step(pair: tuple[Process, Process]) -> None:
    one, _ = pair
    begun = await one.episodes.open(EpisodeRequest(step_limit=4))
    for number in range(40):
        calling = asyncio.create_task(one.episodes.call(begun.id, "python_expression", NAP))
        await asyncio.sleep(number / 10_000)
        calling.cancel()
        await asyncio.wait([calling])
        assert calling.cancelled()
    await seen(one, begun.id, lambda view: view.steps == 0)
    assert one.admission.requests == 0


async def test_a_last_step_that_is_lost_with_its_process_ends_its_episode(
    pair: tuple[Process, Process], clock: Clock
) -> None:
    one, other = pair
    begun = await one.episodes.open(EpisodeRequest(step_limit=1))
    calling = asyncio.create_task(one.episodes.call(begun.id, "python_expression", NAP))
    await seen(other, begun.id, lambda view: view.steps == 1)
    await one.die()
    with pytest.raises(StoreError):
        await calling
    clock.now += 59
    assert (await other.episodes.view(begun.id)).status is EpisodeStatus.RUNNING
    clock.now += 2
    assert await other.episodes.running() == 0
    view = await other.episodes.view(begun.id)
    assert (view.status, view.reward) == (EpisodeStatus.STEP_LIMIT, 0.0)


async def test_a_grade_that_takes_long_stays_with_its_process(
    pair: tuple[Process, Process], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.episodes.episodes._LEASE_S", 0.15)
    one, other = pair
    clock_runs = asyncio.create_task(_run(clock))
    begun = await one.episodes.open(EpisodeRequest(suite=Suite.CLASSIC))
    submitting = asyncio.create_task(one.episodes.call(begun.id, "submit_code", {"code": SLOW}))
    while not submitting.done():
        await other.episodes.view(begun.id)
        assert other.episodes._grading == {}
        await asyncio.sleep(0.02)
    clock_runs.cancel()
    assert (await submitting).reward == 1.0
    assert (one.ended("submitted"), other.ended("submitted")) == (1, 0)


async def _run(clock: Clock) -> None:
    started, loop = clock.now, asyncio.get_running_loop()
    first = loop.time()
    while True:
        clock.now = started + loop.time() - first
        await asyncio.sleep(0.005)


async def test_a_process_that_leaves_hands_its_grades_on(pair: tuple[Process, Process]) -> None:
    one, other = pair
    begun, submitting = await submitted(one, other)
    await one.episodes.leave()
    assert (await ended(other, begun.id)).reward == 1.0
    await asyncio.wait([submitting])
    assert submitting.cancelled() or submitting.exception() is not None


async def test_an_end_waits_for_a_grade_of_another_process(pair: tuple[Process, Process]) -> None:
    one, other = pair
    begun, submitting = await submitted(one, other)
    assert (await other.episodes.end(begun.id)).reward == 1.0
    await submitting


async def test_idle_episodes_are_forgotten_by_redis_itself(
    sandbox: Sandbox, clock: Clock, redis_server: RedisServer
) -> None:
    redis_server.flush()
    process = Process(sandbox, clock, RedisStore.at(redis_server.url, 1, 1))
    idle = await process.episodes.open(EpisodeRequest())
    await asyncio.sleep(1.2)
    clock.now += 1.2
    with pytest.raises(NoEpisodeError):
        await process.episodes.view(idle.id)
    assert await process.episodes.running() == 0
    await process.episodes.open(EpisodeRequest())  # in its place
    assert process.ended("abandoned") == 1
    await process.episodes.leave()


async def test_any_number_of_calls_at_a_time_finds_its_episodes(pair: tuple[Process, Process]) -> None:
    one, other = pair
    begun = await one.episodes.open(EpisodeRequest(step_limit=4))
    views = await asyncio.gather(*(process.episodes.view(begun.id) for process in (one, other) for _ in range(500)))
    assert {view.id for view in views} == {begun.id}


async def test_a_redis_that_is_restarted_costs_time_and_nothing_else(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    one, _ = pair
    begun = await one.episodes.open(EpisodeRequest(suite=Suite.CLASSIC))
    await one.episodes.call(begun.id, "python_expression", TRY)
    submitting = asyncio.create_task(one.episodes.call(begun.id, "submit_code", {"code": SLOW}))
    await taken(one, begun.id)
    redis_server.kill()
    await asyncio.sleep(0.5)
    redis_server.start()
    graded = await submitting
    assert (graded.reward, graded.steps) == (1.0, 2)
    assert (await one.episodes.view(begun.id)).reward == 1.0


@pytest.mark.timed
async def test_while_redis_hangs_probes_answer_and_grades_go_on(redis_server: RedisServer) -> None:
    with running_service(GAUNTLET_REDIS_URL=redis_server.url) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            episode = (await client.post("/episodes", json={})).json()["id"]
            redis_server.hang()
            try:
                opening = asyncio.create_task(client.post("/episodes", json={}))
                for _ in range(3):
                    for path in ("/health", "/ready", "/metrics"):
                        started = time.perf_counter()
                        answer = await client.get(path)
                        assert (answer.status_code, time.perf_counter() - started < 2) == (200, True), path
                assert (await client.get("/health")).json()["capacity"]["episodes"] is None
                assert (await client.post("/grade", json={"code": ORACLE})).json()["score"] == 1.0
                started = time.perf_counter()
                refused = await opening
                assert time.perf_counter() - started < 11
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["code"] == "store_unavailable"
            finally:
                redis_server.go_on()
            async with asyncio.timeout(10):
                while (await client.get("/health")).json()["capacity"]["episodes"] is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert (await client.get(f"/episodes/{episode}")).json()["status"] == "running"


async def test_a_redis_that_is_gone_is_said_as_such(sandbox: Sandbox, clock: Clock) -> None:
    process = Process(sandbox, clock, RedisStore.at("redis://127.0.0.1:9/0", 1, 1))
    with pytest.raises(StoreError, match="cannot be reached") as refused:
        await process.episodes.open(EpisodeRequest())
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    assert await process.episodes.running_if_known() is None
    await process.episodes.leave()
