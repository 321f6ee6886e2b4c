"""Children forked ahead: as many as are needed, each for one job, and none that died waiting is ever heard of."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.errors import SandboxError, StartError
from service.sandbox import Sandbox, SandboxConfig, Status
from tests.sandbox.test_processes import at_rest, children_of, has_again, zygotes_of

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(**config: int) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(SandboxConfig(**config))  # type: ignore[arg-type]
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.stop()


def waiting_children(sandbox: Sandbox) -> list[int]:
    return [child.pid for child in sandbox._pool._waiting]


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.01)


async def own_pid(sandbox: Sandbox) -> int:
    return int((await sandbox.execute("import os; os.getpid()")).result or 0)


async def test_the_low_mark_waits_from_the_start_and_a_job_takes_one_of_them() -> None:
    async with running(pool_low=3, pool_high=3) as sandbox:
        ahead = waiting_children(sandbox)
        assert len(ahead) == 3
        assert await own_pid(sandbox) in ahead
        await until(lambda: sandbox.waiting == 3)
        assert len(set(waiting_children(sandbox)) & set(ahead)) == 2


async def test_the_pool_grows_with_the_load_and_shrinks_after_it() -> None:
    async with running(pool_low=1, pool_high=4, concurrency=8) as sandbox:
        before = await at_rest(sandbox)
        await asyncio.gather(*(sandbox.execute("import time; time.sleep(0.2)") for _ in range(8)))
        await until(lambda: sandbox.waiting == 4)
        for _ in range(8):
            sandbox._pool._watch()  # as it does every ten seconds
        assert sandbox.waiting == 1
        await has_again(sandbox, before)


async def test_without_a_pool_every_child_is_forked_on_demand() -> None:
    async with running(pool_low=0, pool_high=0) as sandbox:
        assert [(await sandbox.execute(str(number))).result for number in range(3)] == ["0", "1", "2"]
        assert sandbox.waiting == 0


async def test_under_pressure_none_is_forked_ahead() -> None:
    async with running(pool_low=2, pool_high=8, concurrency=8) as sandbox:
        busy = len(os.sched_getaffinity(0))
        runs = [asyncio.create_task(sandbox.execute("import time; time.sleep(0.5)")) for _ in range(busy + 3)]
        await asyncio.sleep(0.3)
        assert sandbox.waiting == 0
        assert {run.status for run in await asyncio.gather(*runs)} == {Status.OK}


async def test_what_died_waiting_is_passed_over_and_reaped() -> None:
    async with running(pool_low=3, pool_high=3) as sandbox:
        before = await at_rest(sandbox)
        dead = waiting_children(sandbox)
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.05)
        assert await own_pid(sandbox) not in dead
        await until(lambda: sandbox.waiting == 3)
        await has_again(sandbox, before)


async def test_what_died_waiting_is_found_without_a_job() -> None:
    async with running(pool_low=2, pool_high=2) as sandbox:
        dead = waiting_children(sandbox)
        os.kill(dead[0], signal.SIGKILL)
        await asyncio.sleep(0.05)
        sandbox._pool._watch()
        await until(lambda: sandbox.waiting == 2 and dead[0] not in waiting_children(sandbox))
        assert dead[0] not in children_of(os.getpid())


async def test_code_that_was_not_taken_is_given_to_another_child() -> None:
    """The first child is stopped before its code comes and killed after: it has read nothing."""
    async with running(pool_low=1, pool_high=1) as sandbox:
        (stopped,) = waiting_children(sandbox)
        os.kill(stopped, signal.SIGSTOP)
        run = asyncio.create_task(sandbox.execute("'answered'"))
        await asyncio.sleep(0.1)
        os.kill(stopped, signal.SIGKILL)
        assert (await run).result == "'answered'"
        assert stopped not in children_of(os.getpid())


async def test_code_that_two_children_did_not_take_is_the_services_fault() -> None:
    async with running(pool_low=2, pool_high=2) as sandbox:
        stopped = waiting_children(sandbox)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        run = asyncio.create_task(sandbox.execute("'answered'"))
        await asyncio.sleep(0.1)
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.1)
        with pytest.raises(SandboxError, match="died before they took their code"):
            await run
        assert not set(stopped) & children_of(os.getpid())


async def test_code_that_was_taken_is_never_given_to_another_child() -> None:
    """What dies between two calls, or with a call unread, died of the submission: there is no second try."""
    async with running(pool_low=1, pool_high=1) as sandbox, sandbox.process() as process:
        loaded = await process.load("def process_batch(events, state): return {'state': state}", "process_batch")
        assert loaded.ok
        os.kill(process._child.pid, signal.SIGSTOP)
        call = asyncio.create_task(process.call([], {}))
        await asyncio.sleep(0.1)
        os.kill(process._child.pid, signal.SIGKILL)
        assert (await call).status is Status.KILLED


async def test_a_waiting_child_answers_without_a_fork() -> None:
    """All zygotes are stopped, and still the ones forked ahead do their jobs."""
    async with running(pool_low=3, pool_high=3) as sandbox:
        others = zygotes_of(os.getpid())
        zygotes = {os.getsid(waiting_children(sandbox)[0])} & others
        assert zygotes
        for pid in zygotes:
            os.kill(pid, signal.SIGSTOP)
        try:
            results = [(await sandbox.execute(str(number))).result for number in range(3)]
        finally:
            for pid in zygotes:
                os.kill(pid, signal.SIGCONT)
        assert results == ["0", "1", "2"]


async def test_a_pool_that_cannot_be_filled_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox(SandboxConfig(pool_low=1))
    before = children_of(os.getpid())

    async def none(warm: bool) -> None:
        raise SandboxError("no process could be made")

    monkeypatch.setattr(sandbox._pool, "_fork", none)
    with pytest.raises(StartError, match="no process could be made"):
        await sandbox.start()
    assert children_of(os.getpid()) <= before


async def test_a_run_costs_only_its_own_processor_time() -> None:
    """A waiting child has spent some before it got its job."""
    async with running(pool_low=1, pool_high=1) as sandbox:
        quick = [(await sandbox.execute("1")).cpu_ms for _ in range(20)]
        slow = await sandbox.execute("import time\nwhile time.process_time() < 0.2: pass")
    assert 0 < sorted(quick)[10] < 50
    assert slow.cpu_ms > 100
