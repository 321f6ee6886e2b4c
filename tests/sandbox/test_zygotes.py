"""Zygotes come and go, and nobody who asks for a process notices."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.sandbox import Sandbox, SandboxConfig, Status
from tests.conftest import running_service
from tests.sandbox.test_pool import running, until
from tests.sandbox.test_processes import belongings, children_of, forker_of, zygotes_of

pytestmark = pytest.mark.anyio


async def test_there_are_two_and_one_forks() -> None:
    async with running(pool_low=0, pool_high=0) as sandbox:
        assert sandbox._zygotes._pair is not None
        pair = await sandbox._zygotes._pair
        own = {pair.origin._pid, pair.forker._pid}
        assert len(own) == 2
        assert own <= zygotes_of(os.getpid())
        assert {await forker_of(sandbox) for _ in range(3)} == {pair.forker._pid}
    assert not own & zygotes_of(os.getpid())


async def test_one_that_forks_is_replaced_from_the_other_within_a_tenth_of_a_second() -> None:
    async with running(pool_low=0, pool_high=0) as sandbox:
        waits = []
        for _ in range(10):
            os.kill(await forker_of(sandbox), signal.SIGKILL)
            started = time.perf_counter()
            assert (await sandbox.execute("1")).status is Status.OK
            waits.append(time.perf_counter() - started)
    assert sorted(waits)[5] < 0.1


async def test_both_are_replaced_after_so_many_children() -> None:
    others = zygotes_of(os.getpid())
    async with running(pool_low=0, pool_high=0, zygote_children=10) as sandbox:
        first = zygotes_of(os.getpid()) - others
        before = belongings(sandbox)
        forkers = set()
        for _ in range(60):
            forkers.add(await forker_of(sandbox))
            await asyncio.sleep(0.01)
        assert len(forkers) >= 3
        await until(lambda: not sandbox._zygotes._renewing)
        await sandbox.execute("1")
        await until(lambda: not sandbox._zygotes._renewing)
        assert not zygotes_of(os.getpid()) & first
        assert belongings(sandbox) == before


async def test_an_origin_that_died_is_replaced_while_the_other_goes_on() -> None:
    others = zygotes_of(os.getpid())
    async with running(pool_low=0, pool_high=0) as sandbox:
        forker = await forker_of(sandbox)
        (origin,) = zygotes_of(os.getpid()) - others - {forker}
        os.kill(origin, signal.SIGKILL)
        await asyncio.sleep(0.05)
        assert (await sandbox.execute("1")).status is Status.OK
        await until(lambda: not {forker, origin} & zygotes_of(os.getpid()))
        assert (await sandbox.execute("1")).status is Status.OK
        assert len(zygotes_of(os.getpid()) - others) == 2


async def test_one_that_says_what_nobody_asked_is_ended_and_replaced() -> None:
    async with running(pool_low=0, pool_high=0) as sandbox:
        forker = await forker_of(sandbox)
        pair = await sandbox._zygotes._living()
        asked = asyncio.create_task(sandbox.execute("1"))
        while not pair.forker._orders:  # noqa: ASYNC110
            await asyncio.sleep(0)
        pair.forker._orders.clear()  # its answer will be one to a question that was never put
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(asked)
        assert not pair.forker.alive
        assert (await sandbox.execute("1")).status is Status.OK
        assert await forker_of(sandbox) != forker
        asked.cancel()


async def has_only_what_waits(service: int, client: httpx.AsyncClient) -> bool:
    """Whether all processes of a service are two zygotes and what they forked ahead."""
    capacity = (await client.get("/health")).json()["capacity"]
    return bool(capacity["processes"] == 0 and len(children_of(service)) == 2 + capacity["waiting"])


def open_in(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_a_zygote_inherits_nothing_of_the_service_and_of_those_that_wait() -> None:
    others = zygotes_of(os.getpid())
    async with running(pool_low=3, pool_high=3, zygote_children=5) as sandbox:
        first = zygotes_of(os.getpid()) - others
        most = max(map(open_in, first))
        while len(later := zygotes_of(os.getpid()) - others - first) < 2:
            await sandbox.execute("1")
        await until(lambda: sandbox.waiting == 3)
        assert max(map(open_in, (zygotes_of(os.getpid()) - others) & later)) <= most
        assert not any(os.get_inheritable(child._channel) for child in sandbox._pool._waiting)


@pytest.fixture
def ignoring_signals() -> Iterator[None]:
    """As under `nohup`, or behind a shell's `&`."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    yield
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("ignoring_signals")
async def test_signals_that_the_service_ignores_or_blocks_reach_code_as_ever() -> None:
    async with running() as sandbox:
        interrupted = await sandbox.execute("import os\nos.kill(os.getpid(), 2)")
        killed = [await sandbox.execute(f"import os\nos.kill(os.getpid(), {number})") for number in (1, 3, 10)]
    assert "KeyboardInterrupt" in (interrupted.error or "")
    assert [outcome.status for outcome in killed] == [Status.KILLED] * 3


@pytest.mark.timeout(90)
@pytest.mark.parametrize("victims", ["the one that forks", "all of them"])
async def test_killed_every_100_ms_under_load_no_request_is_lost_silently(victims: str) -> None:
    """Thirty seconds in all; each request is answered, and a 500 is the only answer that is no result."""
    answers: list[tuple[int, object]] = []
    with running_service(GAUNTLET_POOL_LOW="2") as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            await client.post("/execute", json={"expression": "1"})
            stop = time.monotonic() + 15

            async def load() -> None:
                while time.monotonic() < stop:
                    answer = await client.post("/execute", json={"expression": "'answered'"})
                    answers.append((answer.status_code, answer.json().get("result")))

            loads = [asyncio.create_task(load()) for _ in range(8)]
            while time.monotonic() < stop:
                await asyncio.sleep(0.1)
                zygotes = sorted(zygotes_of(service.pid))
                for pid in zygotes if victims == "all of them" else zygotes[-1:]:
                    os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*loads)
            last = await client.post("/execute", json={"expression": "'after'"})
            assert last.json()["result"] == "'after'"
            deadline = time.monotonic() + 10
            while not await has_only_what_waits(service.pid, client):
                assert time.monotonic() < deadline, "processes were left behind"
                await asyncio.sleep(0.1)
    assert set(answers) <= {(200, "'answered'"), (500, None)}
    assert len(answers) >= 8
    if victims == "the one that forks":
        assert sum(status == 200 for status, _ in answers) > 0.99 * len(answers)


async def test_a_sandbox_that_was_stopped_in_the_middle_of_a_renewal_leaves_nothing() -> None:
    others = zygotes_of(os.getpid())
    sandbox = Sandbox(SandboxConfig(zygote_children=1))
    await sandbox.start()
    await sandbox.execute("1")
    await sandbox.stop()
    assert zygotes_of(os.getpid()) <= others
