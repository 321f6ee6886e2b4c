"""Runs the catalogue of abuse through a door of the service, a group at a time, and judges what came of each line."""

import ast
import asyncio
import os
import resource
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from service.grading import Grader
from service.sandbox import Sandbox
from tests.sandbox.abuse import ABUSE, CONTROL, HONEST, LEFT_BEHIND, Line
from tests.sandbox.test_processes import descendants_of

__all__ = [
    "Door",
    "Footprint",
    "SandboxDoor",
    "Trial",
    "Trials",
    "assert_as_expected",
    "assert_nothing_left",
    "lines_of",
]

_GRACE_S = 0.5
_TRIES = 3
_EXECUTIONS_AT_ONCE = 3  # beside one grade of five cases: no line waits for a slot
_SETTLING_S = 0.1
_SETTLING_TIMES = 50
_RSS_SLACK_KB = 48 << 10
_NEXT_CALL = Line("the next call", "'still here'", "ok", "'still here'")
_NEXT_GRADE = Line("the next grade", HONEST, loses=())


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one line, once.

    Attributes:
        http: status of the response; 200 where there was none in between.
        status: of an execution.
        text: the error or else the result, or the reasons of lost rows.
        printed: stdout, or else stderr.
        truncated: whether any of it was cut.
        lost: rows of a grade.
        took_s: as the caller measured it.
    """

    http: int = 200
    status: str = ""
    text: str = ""
    printed: str = ""
    truncated: bool = False
    lost: tuple[str, ...] = ()
    took_s: float = 0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the service has of the machine, and must have again afterwards.

    Attributes:
        processes: how many, its own included.
        descriptors: of the service's process.
        standing: its limits, priority, processors and process group.
        left: files that somebody left behind.
        rss_kb: resident memory, which may differ a little.
    """

    processes: int
    descriptors: int
    standing: str
    left: tuple[str, ...]
    rss_kb: int

    def same_as(self, other: "Footprint") -> bool:
        """Whether nothing was lost or gained between the two."""
        return (self.processes, self.descriptors, self.standing, self.left) == (
            other.processes,
            other.descriptors,
            other.standing,
            other.left,
        ) and abs(self.rss_kb - other.rss_kb) < _RSS_SLACK_KB


class Door(Protocol):
    """A way to have code executed and graded.

    Attributes:
        wall_time_s: of an execution that asks for no other.
        graded_wall_time_s: of a graded case.
        refuses: whether something before the sandbox refuses what is too large or no text.
    """

    wall_time_s: float
    graded_wall_time_s: float
    refuses: bool

    async def execute(self, code: str, timeout_s: float) -> Trial: ...

    async def grade(self, code: str) -> Trial: ...

    async def footprint(self) -> Footprint: ...


class SandboxDoor:
    """No service, no HTTP: the sandbox and the grader in this process."""

    refuses = False

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._grader = Grader(sandbox)
        self.wall_time_s = self.graded_wall_time_s = sandbox.config.wall_time_s

    async def execute(self, code: str, timeout_s: float) -> Trial:
        ran = await self._sandbox.execute(code, timeout_s=timeout_s)
        text = ran.error or ran.result or ""
        return Trial(status=ran.status, text=text, printed=ran.stdout or ran.stderr, truncated=ran.truncated)

    async def grade(self, code: str) -> Trial:
        lost = [row for row in (await self._grader.grade(code)).rows if not row.passed]
        return Trial(text="\n".join(row.detail for row in lost), lost=tuple(row.id for row in lost))

    async def footprint(self) -> Footprint:
        pid = os.getpid()
        limits = [
            resource.getrlimit(limit) for limit in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)
        ]
        standing = (limits, os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0), os.getpgrp(), os.getsid(0))
        return Footprint(
            1 + len(descendants_of(pid)),
            len(list(Path("/proc/self/fd").iterdir())),  # noqa: ASYNC240 - procfs does not block
            repr(standing),
            tuple(path for path in LEFT_BEHIND if Path(path).exists()),  # noqa: ASYNC240
            int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024,  # noqa: ASYNC240
        )


class Trials:
    """The trials of every group through one door; each group is run once, when it is first asked for."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._groups: dict[str, _Group] = {}

    async def of(self, group: str) -> "_Group":
        """Runs the group's abuse, then its controls, and remembers."""
        if group not in self._groups:
            self._groups[group] = await self._run(group)
        return self._groups[group]

    async def _run(self, group: str) -> "_Group":
        before = await self._steady()
        trials = await self._all(ABUSE[group])
        next_call, next_grade = [await self._try_once(line) for line in (_NEXT_CALL, _NEXT_GRADE)]
        trials |= await self._all(CONTROL[group])
        return _Group(trials, before, await self._again(before), next_call, next_grade)

    async def _all(self, lines: tuple[Line, ...]) -> dict[str, list[Trial]]:
        executing, grading = asyncio.Semaphore(_EXECUTIONS_AT_ONCE), asyncio.Semaphore(1)
        work = [self._try(line, executing if line.loses is None else grading) for line in lines]
        return dict(zip((line.id for line in lines), await asyncio.gather(*work), strict=True))

    async def _try(self, line: Line, turn: asyncio.Semaphore) -> list[Trial]:
        async with turn:
            return [await self._try_once(line) for _ in range(line.times)]

    async def _try_once(self, line: Line) -> Trial:
        """What came of a line, or of it the next time if the machine may have stood still meanwhile."""
        code = line.source.replace("WALL_TIME_S", str(self.door.graded_wall_time_s))
        for _ in range(_TRIES):
            run = self.door.execute(code, _time_of(line, self.door)) if line.loses is None else self.door.grade(code)
            trial = await _timed(run)
            if not _is_late(line, trial, self.door):
                break
        return trial

    async def _steady(self) -> Footprint:
        """The footprint once it has stopped changing: children may still be made ahead of need."""
        before = await self.door.footprint()
        for _ in range(_SETTLING_TIMES):
            await asyncio.sleep(_SETTLING_S)
            now = await self.door.footprint()
            if now.same_as(before):
                break
            before = now
        return before

    async def _again(self, before: Footprint) -> Footprint:
        """The first footprint that is the same as before, or the last one that was waited for."""
        for _ in range(_SETTLING_TIMES):
            now = await self.door.footprint()
            if now.same_as(before):
                break
            await asyncio.sleep(_SETTLING_S)
        return now


@dataclass(frozen=True, slots=True)
class _Group:
    trials: dict[str, list[Trial]]
    before: Footprint
    after: Footprint
    next_call: Trial
    next_grade: Trial


async def _timed(run: Coroutine[Any, Any, Trial]) -> Trial:
    started = time.monotonic()
    trial = await run
    return replace(trial, took_s=time.monotonic() - started)


def lines_of(catalogue: dict[str, tuple[Line, ...]]) -> list[object]:
    """One parameter set, group and line, for each line of a catalogue."""
    return [pytest.param(group, line, id=f"{group}-{line}") for group, lines in catalogue.items() for line in lines]


def assert_nothing_left(tried: _Group) -> None:
    """All is as it was before a group, and the next call and the next grade are as good as any."""
    assert tried.after.same_as(tried.before), (tried.before, tried.after)
    assert tried.after.left == ()
    assert (tried.next_call.status, tried.next_call.text) == (_NEXT_CALL.status, _NEXT_CALL.says)
    assert tried.next_grade.lost == _NEXT_GRADE.loses


def _time_of(line: Line, door: Door) -> float:
    return door.graded_wall_time_s if line.loses is not None else line.timeout_s or door.wall_time_s


def _is_late(line: Line, trial: Trial, door: Door) -> bool:
    """Whether a trial is not as it should be, and its time may be to blame."""
    try:
        assert_as_expected(line, [trial], door)
    except AssertionError:
        return "timeout" in f"{trial.status} {trial.text}" or trial.took_s >= _time_of(line, door) + _GRACE_S
    return False


def assert_as_expected(line: Line, trials: Iterable[Trial], door: Door) -> None:
    """Compares what came of a line with what the catalogue says."""
    check = _assert_executed if line.loses is None else _assert_graded
    for trial in trials:
        if door.refuses and line.http:
            assert trial.http == line.http, trial
            continue
        assert trial.http == 200, trial
        check(line, trial)
        assert trial.took_s < _time_of(line, door) + _GRACE_S, trial
        trial.text.encode()  # text that can be sent


def _assert_executed(line: Line, trial: Trial) -> None:
    wanted, said = line.status.split("|"), line.says.split("|")
    if trial.status == "ok" and "denied" in wanted:
        came_of_it = ast.literal_eval(trial.text)
        assert came_of_it, "nothing was tried"
        assert set(came_of_it) <= set(said), trial
    else:
        assert trial.status in wanted, trial
        assert any(part in trial.text for part in said), trial
    assert trial.printed.startswith(line.prints), trial
    assert trial.truncated is line.truncated, trial


def _assert_graded(line: Line, trial: Trial) -> None:
    assert trial.lost == line.loses, trial
    assert line.says in trial.text, trial
