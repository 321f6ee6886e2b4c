"""Both places that episodes are kept in do the same, whatever is done to them: memory is the model of Redis."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from service.episodes import EpisodeRequest, EpisodeStatus, MemoryStore
from service.episodes.redis_store import RedisStore
from service.episodes.state import EpisodeState, Grading
from service.episodes.store import Added, Change, NoPlaceError, NoShareError, TakenError
from service.task import Suite
from tests.conftest import RedisServer

pytestmark = pytest.mark.anyio

IDLE_S = 100
NAMES = "abcdefgh"
GRADING = Grading(code="", owner="somebody", until=1e9)


def stepped(state: EpisodeState) -> EpisodeState:
    return state.stepping(0.0) if state.status is EpisodeStatus.RUNNING and not state.steps else state


def submitted(state: EpisodeState) -> EpisodeState:
    return state.submitting(GRADING, None, state.birth) if state.status is EpisodeStatus.RUNNING else state


CHANGES: dict[str, Change] = {
    "look": lambda state: state,
    "end": EpisodeState.abandoned,
    "step": stepped,
    "submit": lambda state: submitted(state) if not state.steps else state,
    "refuse": lambda state: state.refused() if state.grading else state,
    "grade": lambda state: state.graded(None) if state.grading else state,
}
adds = st.tuples(
    st.just("add"),
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {"caller": st.sampled_from("xyz"), "seconds": st.sampled_from([5, 40, 10_000]), "replace": st.booleans()}
    ),
)
nothing: dict[str, Any] = {}
others = st.tuples(st.sampled_from([*CHANGES, "remove"]), st.sampled_from(NAMES), st.just(nothing))
waits = st.sampled_from([0.5, 1.0, 20.0, 120.0])
histories = st.lists(st.tuples(waits, st.one_of(adds, others)), min_size=10, max_size=80)


def begun(key: str, caller: str, number: int, *, deadline: float = 1e9) -> EpisodeState:
    request = EpisodeRequest(suite=Suite.CLASSIC)
    return EpisodeState(
        id=key, key=key, caller=caller, birth=str(number), request=request, step_limit=1, deadline=deadline
    )


class Kept:
    """The two, and what they have told."""

    def __init__(self, redis: Redis, limit: int, share: int | None) -> None:
        self.redis = redis
        self.memory = MemoryStore(limit, IDLE_S, share=share)
        self.shared = RedisStore(redis, limit, IDLE_S, share=share)
        self.used: dict[str, float] = {}

    async def both(self, call: str, *given: Any, **named: Any) -> Any:
        answers = []
        for store in (self.memory, self.shared):
            try:
                answers.append(await getattr(store, call)(*given, **named))
            except (TakenError, NoPlaceError) as refusal:
                answers.append((type(refusal), refusal.args))
        assert answers[0] == answers[1]
        return answers[0]

    async def expire(self, now: float) -> None:
        """What Redis does by its own clock."""
        for key, at in list(self.used.items()):
            if now - at >= IDLE_S:
                del self.used[key]
                await self.redis.delete(f"{{gauntlet}}:episode:{key}")

    async def keys(self, now: float) -> set[str]:
        found: Any = await self.redis.keys("{gauntlet}:episode:*")
        in_redis = {key.decode().rpartition(":")[2] for key in found}
        assert in_redis == {key for key, (at, _) in self.memory._kept.items() if now - at < IDLE_S}
        return in_redis


@pytest.fixture(scope="module")
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        yield client


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.integers(1, 5), st.sampled_from([None, 1, 2, 3, 10]))
async def test_memory_and_redis_keep_and_refuse_the_same(
    redis: Redis, history: list[tuple[float, tuple[str, str, dict[str, Any]]]], limit: int, share: int | None
) -> None:
    await redis.flushdb()
    kept, now = Kept(redis, limit, share), 1000.0
    for number, (seconds, (act, key, named)) in enumerate(history):
        now += seconds
        await kept.expire(now)
        if act == "add":
            state = begun(key, named["caller"], number, deadline=now + named["seconds"])
            answer = await kept.both("add", state, now, replace=named["replace"])
            event(str(answer[0] if isinstance(answer, tuple) else "added"))
        elif act == "remove":
            answer = await kept.both("remove", key, now)
            kept.used.pop(key, None)
        else:
            answer = await kept.both("change", key, now, lambda state: CHANGES[act](state.settled(now)))  # noqa: B023
        if isinstance(answer, Added) or (act in CHANGES and answer is not None):
            kept.used[key] = now
        held = await kept.keys(now)
        assert len(held) <= limit
        of_callers = [kept.memory._kept[key][1].caller for key in held]
        assert share is None or all(of_callers.count(caller) <= share for caller in set(of_callers))
        kept.used = {key: at for key, at in kept.used.items() if key in held}


async def test_what_is_refused_drops_nothing_where_a_share_has_become_smaller(redis: Redis) -> None:
    await redis.flushdb()
    before, after = (RedisStore(redis, 10, IDLE_S, share=share) for share in (6, 3))
    for number, key in enumerate(NAMES[:6]):
        await before.add(begun(key, "x", number), 1000.0 + number, replace=False)
    for key in NAMES[:3]:
        await before.change(key, 1010.0, EpisodeState.abandoned)
    with pytest.raises(NoShareError):
        await after.add(begun("g", "x", 6), 1020.0, replace=False)
    assert [await after.change(key, 1030.0, CHANGES["look"]) is not None for key in NAMES[:6]] == [True] * 6
    await after.remove("f", 1040.0)
    await after.add(begun("g", "x", 6), 1050.0, replace=False)
    assert [await after.change(key, 1060.0, CHANGES["look"]) is not None for key in "abcde"] == [False] * 3 + [True] * 2
