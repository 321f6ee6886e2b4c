"""Opening episodes, and calling their tools."""

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from service.access import Access
from service.admission import CALLER
from service.episodes.changes import Changes
from service.episodes.models import EpisodeRequest, EpisodeStatus, EpisodeView, ToolResponse
from service.episodes.state import EpisodeState, Grading
from service.episodes.store import Change, NoPlaceError, NoShareError, Store, TakenError
from service.errors import (
    CapacityError,
    EpisodeExistsError,
    EpisodeShareError,
    GauntletError,
    InputError,
    NoEpisodeError,
    OverloadedError,
    Refusal,
    StoreError,
    UnknownToolError,
)
from service.gauntlet import Gauntlet
from service.logs import REQUEST_ID
from service.metrics import Metrics
from service.schemas import ExecuteResponse, GradeResponse
from service.settings import Settings
from service.tool_text import FAULT_TEXT, execution_text, grade_text

__all__ = ["OWNER", "Episodes"]

OWNER: ContextVar[str] = ContextVar("owner", default="")  # who makes the request at hand, where tokens tell
_RETRY_AFTER_S = 5
_LEASE_S = 6.0
_POLL_S = 0.05
_GLANCE_S = 0.2
_log = logging.getLogger("gauntlet.service")


class Episodes:
    """Every episode that the service keeps. To whoever does not come with its id and its owner's token, there is none.

    An id is 128 random bits, and the only key where there are no tokens.

    Ended episodes are kept, too, so that a reward can be asked for again: until they are idle for too long, or their
    place is needed.

    Where several processes share a store, a submission is graded by the one that took it, which says every few seconds
    that it still does. Should it fall silent, the process that is asked for the episode next takes the grade over: it
    has one reward, whoever grades it. A submission that is made again under its request's id is told the same.
    """

    def __init__(
        self,
        settings: Settings,
        gauntlet: Gauntlet,
        access: Access,
        metrics: Metrics,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._gauntlet = gauntlet
        self._access = access
        self._metrics = metrics
        self._store = store
        self._changes = Changes(store, settings.episode_idle_s, metrics, clock)
        self._clock = clock
        self._me = secrets.token_hex(8)
        self._grading: dict[str, asyncio.Task[EpisodeState | None]] = {}  # by the episode's birth

    @property
    def limit(self) -> int:
        """Most episodes at a time."""
        return self._settings.episodes

    async def running(self) -> int:
        """Episodes that have not ended; those whose time is over are found by this."""
        for key in await self._store.overdue(self._clock()):
            with contextlib.suppress(NoEpisodeError):
                await self._looked_at(key)
        return await self._store.running(self._clock())

    async def running_if_known(self) -> int | None:
        """The same, or None where the store does not say so at once: probes and scrapes must not wait for it."""
        try:
            async with asyncio.timeout(_GLANCE_S):
                return await self.running()
        except (StoreError, TimeoutError):
            return None

    async def open(
        self, request: EpisodeRequest, *, authorization: str | None = None, episode_id: str | None = None
    ) -> EpisodeView:
        """Begins an episode.

        Args:
            request: what it is about.
            authorization: the header that came with it.
            episode_id: one that the protocol has already handed out, as hard to guess as those drawn here.

        Raises:
            CapacityError: all places are taken by episodes that have not ended.
            EpisodeShareError: all of the caller's are.
            ForbiddenError: seeds of the test split, without the evaluation token.
            EpisodeExistsError: the id is in use.
            InputError: limits beyond the service's own.
        """
        return await self._begin(episode_id or secrets.token_hex(16), request, authorization, replace=False)

    async def reset(self, episode_id: str, request: EpisodeRequest, *, authorization: str | None = None) -> EpisodeView:
        """Begins an episode anew, under its id and in its place, if it is kept still.

        Args:
            episode_id: one that was handed out to whoever asks.
            request: what the new one is about.
            authorization: the header that came with it.

        Raises:
            CapacityError, EpisodeShareError, ForbiddenError, InputError: as `open`; the old one is left as it is.
        """
        return await self._begin(episode_id, request, authorization, replace=True)

    async def view(self, episode_id: str) -> EpisodeView:
        """An episode as it is.

        Raises:
            NoEpisodeError: there is none of this id.
        """
        return (await self._looked_at(_key(episode_id))).view(self._clock())

    async def call(self, episode_id: str, tool: str, arguments: Any) -> ToolResponse:
        """Calls a tool.

        Args:
            episode_id: of the episode.
            tool: ``python_expression`` or ``submit_code``.
            arguments: an object with its one member, ``expression`` or ``code``.

        Raises:
            NoEpisodeError: there is no episode of this id.
            EpisodeFinishedError: it has ended, or is being graded.
            UnknownToolError: no such tool.
            InputError: the arguments do not fit; costs no step.
            OverloadedError: no capacity now; costs no step, and a submission may be handed in again.
            SandboxError: the expression could not be run; costs no step.
        """
        key = _key(episode_id)
        state = await self._looked_at(key)
        submission = _submission(tool, arguments)
        if not state.has_taken(submission):
            state.check_running()
        match tool:
            case "python_expression":
                return await self._execute(key, _only("expression", arguments))
            case "submit_code":
                return await self._submit(state, _only("code", arguments), submission)
        raise UnknownToolError("There is no such tool: use python_expression or submit_code.")

    async def end(self, episode_id: str) -> EpisodeView:
        """Ends an episode that is still running, without a submission; a grade under way is waited for.

        Raises:
            NoEpisodeError: there is none of this id.
            OverloadedError: there was no capacity for the grade that was waited for; the episode goes on.
        """
        key = _key(episode_id)
        await self._after_grading(key)
        return (await self._changes.make(key, EpisodeState.abandoned)).view(self._clock())

    async def close(self, episode_id: str) -> None:
        """Forgets an episode.

        Raises:
            NoEpisodeError: there is none of this id.
        """
        await self._changes.remove(_key(episode_id))

    async def greet(self) -> None:
        """Has the log say so where the store cannot be reached, before anybody calls."""
        with contextlib.suppress(StoreError):
            await self._store.running(self._clock())

    async def secret(self) -> bytes:
        """32 random bytes, by which any process of a store knows what another one has handed out."""
        return await self._store.secret()

    async def leave(self) -> None:
        """Hands what is being graded on to the other processes of a store, and lets go of it."""
        for task in list(self._grading.values()):
            task.cancel()
        await asyncio.gather(*self._grading.values(), return_exceptions=True)
        await self._store.close()

    async def _begin(
        self, episode_id: str, request: EpisodeRequest, authorization: str | None, *, replace: bool
    ) -> EpisodeView:
        request = request.drawn()
        self._access.check_seed(request.seed, authorization)
        now = self._clock()
        state = EpisodeState(
            id=episode_id,
            key=_key(episode_id),
            caller=_digest(CALLER.get())[:32],
            birth=secrets.token_hex(8),
            request=request,
            step_limit=int(_bounded("step_limit", request.step_limit, self._settings.episode_steps)),
            deadline=now + _bounded("time_limit_s", request.time_limit_s, self._settings.episode_time_s),
        )
        try:
            added = await self._store.add(state, now, replace=replace)
        except TakenError:
            raise EpisodeExistsError("There is an episode of this id already.") from None
        except NoShareError as refusal:
            self._count_forgotten(refusal.forgotten)
            self._metrics.refused(Refusal.SHARE)
            raise EpisodeShareError(
                f"{self._settings.client_episodes} of your episodes are open, which is all that one caller may have.",
                retry_after_s=_RETRY_AFTER_S,
            ) from None
        except NoPlaceError as refusal:
            self._count_forgotten(refusal.forgotten)
            self._metrics.refused(Refusal.CAPACITY)
            raise CapacityError(
                f"{self.limit} episodes are open, which is all that the service keeps.", retry_after_s=_RETRY_AFTER_S
            ) from None
        self._count_forgotten(added.forgotten)
        if added.replaced is not None:
            self._changes.count(added.replaced, added.replaced.settled(now).abandoned())
        return state.view(now)

    def _count_forgotten(self, episodes: int) -> None:
        for _ in range(episodes):
            self._metrics.episode_ended(EpisodeStatus.ABANDONED)

    async def _execute(self, key: str, expression: str) -> ToolResponse:
        stepping = asyncio.ensure_future(self._changes.make(key, lambda state: state.stepping(self._clock())))
        try:
            begun = await asyncio.shield(stepping)
            execution = await self._gauntlet.execute(expression)
        except BaseException:
            await asyncio.shield(self._not_stepped(stepping))
            raise
        state = await self._changes.if_same(begun, EpisodeState.stepped)
        return self._response(state, execution_text(execution, state.step_limit - state.steps), execution)

    async def _not_stepped(self, stepping: asyncio.Future[EpisodeState]) -> None:
        """Takes a step back that has come to nothing, also one that is only just being taken."""
        with contextlib.suppress(GauntletError):
            await self._changes.if_same(await stepping, EpisodeState.not_stepped)

    async def _submit(self, to: EpisodeState, code: str, submission: str | None) -> ToolResponse:
        """Has a submission graded, to the end, whether or not somebody still waits for it."""
        self._gauntlet.check_source("code", code)
        while True:
            grading = Grading(code=code, owner=self._me, until=self._clock() + _LEASE_S)
            begun = await self._changes.make(to.key, lambda now: now.submitting(grading, submission, to.birth))  # noqa: B023
            is_its_own = begun.grading is grading
            if is_its_own and (graded := await asyncio.shield(self._grade_in_background(begun))):
                return self._told(graded)
            ended = await self._after_grading(to.key)  # by another process, or of the same call that was made before
            if ended.outcome and ended.birth == to.birth and (is_its_own or ended.has_taken(submission)):
                return self._told(ended)

    def _grade_in_background(self, state: EpisodeState, *, again: bool = False) -> asyncio.Task[EpisodeState | None]:
        task = asyncio.create_task(self._graded(state, again=again))
        self._grading[state.birth] = task
        task.add_done_callback(lambda _: self._grading.pop(state.birth, None))
        task.add_done_callback(_retrieved)
        return task

    async def _graded(self, state: EpisodeState, *, again: bool) -> EpisodeState | None:
        """Grades an episode's submission; answers None where another process has taken it over, whose grade counts.

        Args:
            state: whose.
            again: whether its client has been promised a grade: then it stays to be graded where there is no capacity.

        Raises:
            InputError, OverloadedError: it was not graded; unless it was promised, the episode goes on.
        """
        keeping = asyncio.create_task(self._keep_lease(state))
        try:
            grade = await self._grade(state)
        except (InputError, OverloadedError):
            await self._change_mine(state, EpisodeState.handed_on if again else EpisodeState.refused)
            raise
        except asyncio.CancelledError:
            await self._change_mine(state, EpisodeState.handed_on)
            raise
        finally:
            keeping.cancel()
        try:
            return await self._changes.if_graded_by(self._me, state, lambda mine: mine.graded(grade))
        except NoEpisodeError:
            return state.graded(grade)  # it is kept no more, but its client has waited

    async def _grade(self, state: EpisodeState) -> GradeResponse | None:
        assert state.grading is not None  # noqa: S101 - it is why it is called
        request = state.request
        try:
            return await self._gauntlet.grade(state.grading.code, suite=request.suite, seed=request.seed)
        except (InputError, OverloadedError):
            raise
        except Exception:  # noqa: BLE001 - whatever it is: it must not look like a grade
            _log.exception("no grade for a submission")
            return None

    async def _keep_lease(self, state: EpisodeState) -> None:
        while True:
            await asyncio.sleep(_LEASE_S / 3)
            until = self._clock() + _LEASE_S
            with contextlib.suppress(StoreError):  # which may be back by the next time
                await self._change_mine(state, lambda mine: mine.graded_by(self._me, until))  # noqa: B023

    async def _change_mine(self, begun: EpisodeState, change: Change) -> None:
        with contextlib.suppress(NoEpisodeError):
            await self._changes.if_graded_by(self._me, begun, change)

    async def _after_grading(self, key: str) -> EpisodeState:
        """An episode once nothing of it is being graded any more."""
        while (state := await self._looked_at(key)).status is EpisodeStatus.GRADING:
            if (task := self._grading.get(state.birth)) is not None:
                await asyncio.shield(task)
            else:  # in another process
                await asyncio.sleep(_POLL_S)
        return state

    async def _looked_at(self, key: str) -> EpisodeState:
        """An episode as it is; a grade that its owner has left is taken over."""
        state = await self._changes.make(key, lambda state: state)
        if state.grading is None or state.grading.until > self._clock():
            return state

        def taken_over(now: EpisodeState) -> EpisodeState:
            return now if now.grading != state.grading else now.graded_by(self._me, self._clock() + _LEASE_S)

        taken = await self._changes.make(key, taken_over)
        if taken.grading is not None and taken.grading.owner == self._me and taken.birth not in self._grading:
            self._grade_in_background(taken, again=True)
        return taken

    def _told(self, state: EpisodeState) -> ToolResponse:
        return self._response(state, grade_text(state.grade) if state.grade else FAULT_TEXT)

    def _response(self, state: EpisodeState, text: str, execution: ExecuteResponse | None = None) -> ToolResponse:
        return ToolResponse(**dict(state.view(self._clock())), text=text, execution=execution)


def _key(episode_id: str) -> str:
    """What an episode is kept under, so that another owner's is looked for in vain, and as one that there never was."""
    return _digest(f"{OWNER.get()}:{episode_id}")[:32]


def _submission(tool: str, arguments: Any) -> str | None:
    """What tells a call that is made again from a second one: a proxy makes it whose replica has failed."""
    request_id, code = REQUEST_ID.get(), arguments.get("code") if isinstance(arguments, dict) else None
    if tool != "submit_code" or request_id is None or not isinstance(code, str):
        return None
    return _digest(f"{request_id}:{code}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _only(name: str, arguments: Any) -> str:
    """The one argument that a tool takes."""
    if not isinstance(arguments, dict) or arguments.keys() != {name} or type(arguments[name]) is not str:
        raise InputError(name, f"The tool takes an object with the one member {name!r}, a string.")
    return str(arguments[name])


def _bounded(name: str, wanted: float | None, most: int) -> float:
    if wanted is not None and wanted > most:
        raise InputError(name, f"Input should be less than or equal to {most}")
    return most if wanted is None else wanted


def _retrieved(task: asyncio.Task[Any]) -> None:
    """Has a refusal that nobody waits for known, so that it is no complaint at the end."""
    if not task.cancelled():
        task.exception()
