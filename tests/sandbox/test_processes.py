"""Processes come and go as promised, whatever dies on the way."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from service.errors import SandboxError, StartError
from service.machine import MemoryKills
from service.sandbox import Sandbox, SandboxConfig, Status
from service.sandbox.inside import lockdown, probes

pytestmark = pytest.mark.anyio


def children_of(pid: int) -> set[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return {int(child) for thread in threads for child in (thread / "children").read_text().split()}
    except OSError:  # it has ended meanwhile
        return set()


def descendants_of(pid: int) -> set[int]:
    direct = children_of(pid)
    return direct.union(*(descendants_of(child) for child in direct)) if direct else set()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def zygotes_of(pid: int) -> set[int]:
    """They lead sessions; what they fork does not."""
    return {child for child in children_of(pid) if session_of(child) == child}


async def forker_of(sandbox: Sandbox) -> int:
    """The zygote that forks children, whose session they are in."""
    async with sandbox.process() as process:
        return os.getsid(process._child.pid)


async def test_a_process_is_gone_when_its_answer_is_there() -> None:
    sandbox = Sandbox(SandboxConfig(pool_low=0, pool_high=0))
    before = children_of(os.getpid())
    await sandbox.start()
    zygotes = zygotes_of(os.getpid())
    try:
        for code in ("1", "while True: pass", "import os; os._exit(1)"):
            await sandbox.execute(code, timeout_s=0.3)
            assert children_of(os.getpid()) == before | zygotes
    finally:
        await sandbox.stop()
    assert children_of(os.getpid()) == before


async def test_every_run_has_a_process_of_its_own(sandbox: Sandbox) -> None:
    code = "import os, builtins; builtins.left = getattr(builtins, 'left', 0) + 1; (os.getpid(), left)"
    values = [(await sandbox.execute(code)).result or "" for _ in range(5)]
    assert len(set(values)) == 5
    assert all(value.endswith(", 1)") for value in values)


def belongings(sandbox: Sandbox) -> tuple[int, int]:
    """Descriptors and children of this process, less those of children that wait."""
    return open_descriptors() - 3 * sandbox.waiting, len(children_of(os.getpid())) - sandbox.waiting


async def at_rest(sandbox: Sandbox) -> tuple[int, int]:
    """The belongings once nothing runs and nothing is being forked ahead."""
    while sandbox.in_use or sandbox._pool._refilling is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return belongings(sandbox)


async def has_again(sandbox: Sandbox, before: tuple[int, int]) -> None:
    """Waits for the belongings of before; other tests may have left descriptors that are closed meanwhile."""
    deadline = time.monotonic() + 2
    while True:
        descriptors, processes = now = belongings(sandbox)
        if descriptors <= before[0] and processes == before[1]:
            return
        assert time.monotonic() < deadline, f"{now} descriptors and processes after {before}"
        await asyncio.sleep(0.01)


async def test_a_thousand_runs_leave_no_process_and_no_descriptor(sandbox: Sandbox) -> None:
    before = await at_rest(sandbox)
    for _ in range(125):
        await asyncio.gather(*(sandbox.execute("print(1)") for _ in range(8)))
    await has_again(sandbox, before)


async def test_a_cancelled_run_leaves_nothing(sandbox: Sandbox) -> None:
    before = await at_rest(sandbox)
    for delay in (0, 0.001, 0.003, 0.006, 0.01, 0.05):
        run = asyncio.create_task(sandbox.execute("while True: pass"))
        await asyncio.sleep(delay)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    await has_again(sandbox, before)
    assert (await sandbox.execute("1")).status is Status.OK


async def test_no_more_processes_than_slots() -> None:
    sandbox = Sandbox(SandboxConfig(concurrency=2))
    await sandbox.start()
    try:
        runs = [asyncio.create_task(sandbox.execute("import time; time.sleep(0.2)")) for _ in range(6)]
        most = 0
        while not all(run.done() for run in runs):
            most = max(most, sandbox.in_use)
            await asyncio.sleep(0.01)
    finally:
        await sandbox.stop()
    assert most == 2
    assert {run.result().status for run in runs} == {Status.OK}


@pytest.mark.timed
async def test_a_killed_zygote_is_replaced_and_what_runs_is_not_disturbed() -> None:
    sandbox = Sandbox(SandboxConfig(pool_low=0, pool_high=0))
    await sandbox.start()
    try:
        zygote = await forker_of(sandbox)
        running = asyncio.create_task(sandbox.execute("import time; time.sleep(0.5); 'finished'"))
        await asyncio.sleep(0.2)
        os.kill(zygote, signal.SIGKILL)
        started = time.monotonic()
        assert (await sandbox.execute("'next'")).result == "'next'"
        assert time.monotonic() - started < 1
        assert (await running).result == "'finished'"
        assert await forker_of(sandbox) != zygote
    finally:
        await sandbox.stop()
    assert zygote not in descendants_of(os.getpid())


async def test_stopping_ends_every_process() -> None:
    before, processes = open_descriptors(), descendants_of(os.getpid())
    sandbox = Sandbox(SandboxConfig())
    await sandbox.start()
    running = asyncio.create_task(sandbox.execute("import time; time.sleep(60)", timeout_s=60))
    await asyncio.sleep(0.2)
    await sandbox.stop()
    assert (await running).status is Status.KILLED
    assert descendants_of(os.getpid()) == processes
    assert open_descriptors() == before
    with pytest.raises(SandboxError):
        await sandbox.execute("1")


async def test_the_start_reports_every_layer(sandbox: Sandbox) -> None:
    again = Sandbox(sandbox.config)
    report = await again.start()
    await again.stop()
    root = os.geteuid() == 0
    assert report.layers == (("uid",) if root else ()) + ("rlimits", "landlock", "seccomp")
    assert report.missing == ()
    assert report.landlock_abi == lockdown.landlock_abi()


async def test_the_oldest_landlock_will_do() -> None:
    sandbox = Sandbox(SandboxConfig(landlock_abi=1))
    report = await sandbox.start()
    execution = await sandbox.execute("open('/etc/passwd')")
    await sandbox.stop()
    assert report.landlock_abi == 1
    assert execution.status is Status.ERROR


@pytest.fixture
def kernel_without(monkeypatch: pytest.MonkeyPatch) -> str:
    """A self-test that finds one layer not in force: its probes are run in a child that lacks it."""
    layer = "seccomp"
    locked_down = Sandbox._locked_down

    async def weaker(self: Sandbox, layers: frozenset[str], *, warm: bool = False) -> object:
        return await locked_down(self, layers - {layer}, warm=warm)

    monkeypatch.setattr(Sandbox, "_locked_down", weaker)
    return layer


async def test_a_missing_layer_is_found_by_trying_and_refuses_to_start(kernel_without: str) -> None:
    sandbox = Sandbox(SandboxConfig())
    with pytest.raises(StartError, match=f"{kernel_without}.*GAUNTLET_SANDBOX_ALLOW_WEAKER"):
        await sandbox.start()
    with pytest.raises(SandboxError):
        await sandbox.execute("1")


async def test_a_process_that_the_kernel_killed_for_want_of_memory_is_no_fault_of_its_code(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts such a kill before the process is gone. tests/container has real ones."""
    own, counter = tmp_path / "proc/self/cgroup", tmp_path / "sys/fs/cgroup/memory.events"
    for file, text in ((own, "0::/\n"), (counter, "oom 3\noom_kill 3\n")):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    monkeypatch.setattr(sandbox, "_memory_kills", MemoryKills(tmp_path))
    suicide = "import os; os.kill(os.getpid(), 9)"
    assert (await sandbox.execute(suicide)).status is Status.KILLED
    ends = [suicide, suicide, "import os; os.abort()", "1"]
    running = [asyncio.create_task(sandbox.execute(f"import time; time.sleep(0.5); {end}")) for end in ends]
    await asyncio.sleep(0.2)
    counter.write_text("oom 4\noom_kill 4\n")
    for each in running[:2]:  # which of the two it was, nobody says
        with pytest.raises(SandboxError, match="want of memory"):
            await each
    assert [(await each).status for each in running[2:]] == [Status.KILLED, Status.OK]
    assert (await sandbox.execute(suicide)).status is Status.KILLED  # the kernel killed nobody while it ran


async def test_a_missing_layer_may_be_allowed_by_name(kernel_without: str) -> None:
    sandbox = Sandbox(SandboxConfig(allow_weaker=frozenset({kernel_without})))
    report = await sandbox.start()
    await sandbox.stop()
    assert report.missing == (kernel_without,)
    assert kernel_without not in report.layers


async def test_every_probe_succeeds_where_its_layer_is_missing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without any layer, all that the self-test tries gets through, so a refusal proves the layer."""
    tried = [name for name in probes.PROBES if name.split(".")[0] != "uid" or os.geteuid() == 0]
    got_through = []
    for name in tried:
        child = await sandbox._locked_down(frozenset())
        process = sandbox._process(child)
        outcome = await process.ask({"op": "probe", "forbidden": [name]})
        await process.end()
        if (outcome.answer or {}).get("succeeded") != []:
            got_through.append(name)
    assert got_through == tried
