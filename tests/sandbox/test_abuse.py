"""The whole catalogue of abuse on the bare sandbox, with this kernel's Landlock and with the oldest."""

import os
from collections.abc import AsyncIterator

import pytest

from service.sandbox import Sandbox, SandboxConfig, Status
from tests.sandbox.abuse import ABUSE, CONTROL, PHRASES, Line
from tests.sandbox.trial import SandboxDoor, Trials, assert_as_expected, assert_nothing_left, lines_of

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=[0, 1], ids=["landlock", "landlock_abi_1"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    config = SandboxConfig(wall_time_s=2, cpu_time_s=3, landlock_abi=request.param, pool_low=8, pool_high=8)
    running = Sandbox(config)
    report = await running.start()
    assert report.missing == ()
    assert report.landlock_abi == request.param or not request.param
    yield running
    await running.stop()


@pytest.fixture(scope="module")
def trials(sandbox: Sandbox) -> Trials:
    return Trials(SandboxDoor(sandbox))


@pytest.mark.parametrize(("group", "line"), lines_of(ABUSE))
async def test_abuse_comes_to_what_the_contract_says(trials: Trials, group: str, line: Line) -> None:
    assert_as_expected(line, (await trials.of(group)).trials[line.id], trials.door)


@pytest.mark.parametrize(("group", "line"), lines_of(CONTROL))
async def test_what_is_allowed_passes_beside_it(trials: Trials, group: str, line: Line) -> None:
    assert_as_expected(line, (await trials.of(group)).trials[line.id], trials.door)


@pytest.mark.parametrize("group", ABUSE)
async def test_abuse_leaves_nothing_and_harms_nobody(trials: Trials, group: str) -> None:
    assert_nothing_left(await trials.of(group))


@pytest.mark.skipif(os.geteuid() != 0, reason="the service is not run by root")
async def test_where_root_runs_the_service_its_children_are_somebody_else(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("import os; {*os.getresuid(), *os.getresgid(), *os.getgroups()}")
    assert execution.result == f"{{{sandbox.config.uid}}}"
    assert sandbox.config.uid not in (0, os.getuid())


async def test_recursion_to_the_end_of_memory_is_memory_limit() -> None:
    """With time enough to come to an end of its own."""
    sandbox = Sandbox(SandboxConfig(wall_time_s=20, cpu_time_s=20, memory_bytes=64 << 20))
    await sandbox.start()
    try:
        execution = await sandbox.execute("import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()")
    finally:
        await sandbox.stop()
    assert execution.status is Status.MEMORY_LIMIT, execution.error


def test_every_phrase_of_the_contract_has_its_line() -> None:
    assert ABUSE.keys() == PHRASES.keys()
    for group, lines in ABUSE.items():
        assert {line.phrase for line in lines} == set(PHRASES[group]), group


def test_every_group_has_a_control() -> None:
    assert CONTROL.keys() == ABUSE.keys()
    assert all(CONTROL.values())


def test_no_two_lines_of_a_group_go_by_one_name() -> None:
    for group in ABUSE:
        names = [line.id for line in (*ABUSE[group], *CONTROL[group])]
        assert len(names) == len(set(names)), group
