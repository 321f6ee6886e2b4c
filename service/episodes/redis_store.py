"""Episodes in Redis, for several workers or replicas of the service."""

import asyncio
import functools
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

from opentelemetry.trace import SpanKind
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.episodes.models import EpisodeStatus
from service.episodes.redis_scripts import ADD, MARK_BYTES, REMOVE, SWAP
from service.episodes.state import EpisodeState
from service.episodes.store import SECRET_BYTES, Added, Change, NoPlaceError, NoShareError, TakenError
from service.errors import StoreError
from service.spans import span

__all__ = ["RedisStore"]

P = ParamSpec("P")
T = TypeVar("T")

_PREFIX = "{gauntlet}:"
_RUNNING, _DEADLINES = f"{_PREFIX}running", f"{_PREFIX}deadlines"
_SECRET = f"{_PREFIX}secret"
_CONNECTIONS = 32  # of one process
_PATIENCE_S = 10.0  # for one call, with all of its repetitions
_log = logging.getLogger("gauntlet.service")


def _reported(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Has what Redis gets wrong reported in the service's own words."""
    name, told = f"redis.{call.__name__}", {"db.system.name": "redis", "db.operation.name": call.__name__}

    @functools.wraps(call)
    async def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with span(name, told, SpanKind.CLIENT):
                async with asyncio.timeout(_PATIENCE_S):
                    return await call(*args, **kwargs)
        except (RedisError, OSError) as error:  # OSError: TimeoutError is one
            _log.error("redis: %s", _words_of(error))
            raise StoreError("Episodes cannot be reached now.", retry_after_s=1) from None

    return called


class RedisStore:
    """Keeps episodes in a Redis that several processes share; their clocks should agree to about a second.

    Every method raises `StoreError` where Redis does not answer for ten seconds. A call that was lost on the way is
    made again: a change that has been made already is known by what it left.
    """

    def __init__(self, redis: Redis, limit: int, idle_s: int, *, share: int | None = None) -> None:
        """Connects when it is first used.

        Args:
            redis: a client that answers bytes.
            limit: most episodes at a time.
            idle_s: seconds without a use after which one is forgotten.
            share: most of one caller at a time; as many as of all where it is None.
        """
        self._redis = redis
        self._limit = limit
        self._share = "" if share is None else share
        self._idle_s = idle_s
        self._add = redis.register_script(ADD)
        self._swap = redis.register_script(SWAP)
        self._remove = redis.register_script(REMOVE)

    @classmethod
    def at(cls, url: str, limit: int, idle_s: int, *, share: int | None = None) -> "RedisStore":
        """A store at an address such as ``redis://:password@host:6379/0``."""
        retry = Retry(ExponentialBackoff(cap=0.5, base=0.02), retries=10)
        errors: list[type[Exception]] = [RedisConnectionError, RedisTimeoutError]
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=None,  # a call waits for one until its patience ends
            retry=retry,
            retry_on_error=errors,
            socket_timeout=None,  # it would lose cancellations, by the wait_for of Python 3.11
            socket_connect_timeout=2,
            **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        )
        return cls(Redis.from_pool(pool), limit, idle_s, share=share)

    @_reported
    async def add(self, state: EpisodeState, now: float, *, replace: bool) -> Added:
        """Keeps one more."""
        text = _packed(state)
        what = (state.caller, text, now, state.ends_at)
        answer: Sequence[Any] = await self._run(self._add, state.key, self._limit, *what, self._idle_s, int(replace))
        match answer:
            case [b"taken"]:
                raise TakenError
            case [b"no share", forgotten]:
                raise NoShareError(forgotten)
            case [b"no place", forgotten]:
                raise NoPlaceError(forgotten)
        old, forgotten = answer
        replaced = _unpacked(old) if old and old != text else None
        return Added(replaced, forgotten)

    @_reported
    async def change(self, key: str, now: float, change: Change) -> tuple[EpisodeState, EpisodeState] | None:
        """Changes an episode."""
        while (old := await self._redis.get(_episode(key))) is not None:
            before = _unpacked(old)
            after = change(before)
            new = old if after is before else _packed(after)
            what = (after.caller, old, new, now, self._idle_s, _index_of(after), after.ends_at)
            if await self._run(self._swap, key, *what):
                return before, after
        return None

    @_reported
    async def remove(self, key: str, now: float) -> EpisodeState | None:
        """Forgets an episode."""
        del now
        old: bytes | None = await self._run(self._remove, key)
        return _unpacked(old) if old else None

    @_reported
    async def running(self, now: float) -> int:
        """Counts those that have not ended."""
        async with self._redis.pipeline() as pipeline:
            pipeline.zcount(_RUNNING, f"({now - self._idle_s}", "+inf")
            pipeline.zcount(_DEADLINES, "-inf", now)
            used, overdue = await pipeline.execute()
        return max(0, int(used) - int(overdue))

    @_reported
    async def overdue(self, now: float) -> list[str]:
        """Finds up to a hundred."""
        found: list[Any] = await self._redis.zrangebyscore(_DEADLINES, "-inf", now, start=0, num=100)
        return [key.decode() for key in found]

    @_reported
    async def secret(self) -> bytes:
        """Answers that of whoever came first."""
        async with self._redis.pipeline() as pipeline:
            pipeline.set(_SECRET, secrets.token_bytes(SECRET_BYTES), nx=True)
            pipeline.get(_SECRET)
            _, secret = await pipeline.execute()
        return bytes(secret)

    async def _run(self, script: AsyncScript, key: str, *given: str | bytes | float) -> Any:
        return await script(keys=[_episode(key)], args=[_PREFIX, key, self._share, *given])

    async def close(self) -> None:
        """Closes its connections."""
        await self._redis.aclose()


def _words_of(error: Exception) -> str:
    """What Redis says, without the command that it says it of."""
    return str(error).rpartition("caused error: ")[2] or f"no answer within {_PATIENCE_S:g} s"


def _packed(state: EpisodeState) -> bytes:
    """A state as it is kept: behind random bytes, by which a writer knows its own writing."""
    return secrets.token_bytes(MARK_BYTES) + state.model_dump_json().encode()


def _unpacked(kept: bytes | str) -> EpisodeState:
    if isinstance(kept, str):
        raise TypeError("the client decodes answers: it was not made to answer bytes")
    return EpisodeState.model_validate_json(kept[MARK_BYTES:])


def _episode(key: str) -> str:
    return f"{_PREFIX}episode:{key}"


def _index_of(state: EpisodeState) -> str:
    if state.outcome is not None:
        return "ended"
    return "running" if state.status is EpisodeStatus.RUNNING else "grading"
