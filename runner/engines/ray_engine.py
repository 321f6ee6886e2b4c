"""The episodes of a run on a Ray cluster: a worker on every node, and what was lost with one begun again on another.

The run stays where it was begun: its records, its budget and its journal are in this process, and what the workers
have to say is fetched from them. A worker is believed until it is lost; from then on nothing of it is heard.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.engines.messages import Asked, Ended, Noted, Orders, Settled
from runner.engines.worker import SECRET_PREFIXES
from runner.episode import unplayed
from runner.errors import BudgetSpentError, EngineError, RunnerError, WorkerLostError
from runner.local_service import ServiceAddress
from runner.providers import own_version
from runner.records import EpisodeRecord, Usage, total_cost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping, Sequence

    from runner.answers import Json
    from runner.engines.cluster import Cluster, Node, RemoteWorker
    from runner.engines.engine import Job, Play
    from runner.engines.messages import Message
    from runner.records import EpisodePlan

__all__ = ["RayEngine"]

_TRIES = 3
_LOOK_S = 1.0
_READY_S = 30.0
_NO_NODE_S = 60.0
_CANCEL_S = 5.0


class RayEngine:
    """Plays on every node of a cluster that has a core and can reach the service."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @asynccontextmanager
    async def playing(self, job: Job) -> AsyncIterator[Play]:
        """Start a worker on every node, and yield what plays one episode on the least busy of them."""
        crew = _Crew(self._cluster, job)
        try:
            await crew.gather()
            yield crew.play
        finally:
            await crew.dismiss()


@dataclass(slots=True)
class _Try:
    """An episode under way.

    Attributes:
        ended: Gets the record, or why the worker was lost.
        calls: Those that were answered, as the journal has them.
        open_usd: What the call on its way may cost; None while there is none.
        hold: Holds that back from the budget.
        is_cut: Whether a call was on its way when it was lost, of which nobody knows whether it was answered.
    """

    plan: EpisodePlan
    ended: asyncio.Future[EpisodeRecord | WorkerLostError]
    calls: list[Json] = field(default_factory=list)
    open_usd: float | None = None
    hold: asyncio.Task[None] | None = None
    is_cut: bool = False


@dataclass(slots=True, eq=False)
class _Hand:
    """A worker, and what it plays.

    Attributes:
        share: How many of the run's calls may be its own.
        allowed: How many are, after rate limits.
    """

    node: Node
    remote: RemoteWorker
    share: int
    allowed: int
    tries: dict[int, _Try] = field(default_factory=dict)
    is_lost: bool = False


class _Crew:
    """The workers of a run, one on each node."""

    def __init__(self, cluster: Cluster, job: Job) -> None:
        self._cluster = cluster
        self._job = job
        self._orders = _orders(job)
        self._hands: dict[str, _Hand] = {}  # by node, as are the next three
        self._joining: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._left_out: dict[str, str] = {}
        self._gone: EngineError | None = None
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def gather(self) -> None:
        """Start the workers, and wait for them; those that take long join later.

        Raises:
            EngineError: There will be none.
        """
        self._welcome(await self._cluster.nodes())
        self._spawn(self._watch())
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_S):
                while self._joining:
                    await self._changed.wait()
        if not self._hands and not self._joining:
            reasons = sorted(set(self._left_out.values())) or ["no node has a core for them"]
            raise EngineError(f"no node of the Ray cluster can play episodes: {'; '.join(reasons)}")

    async def dismiss(self) -> None:
        """End the workers, and whatever they still do."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for hand in self._hands.values():
            hand.remote.kill()

    async def play(self, plan: EpisodePlan) -> EpisodeRecord:
        """Play an episode, again where it was lost; the last time on a worker of its own, so that no other suffers."""
        lost: _Try | None = None
        for number in range(1, _TRIES + 1):
            try:
                hand = await (self._own_hand() if number == _TRIES else self._least_busy())
            except asyncio.CancelledError:
                return _unplayed(plan, lost, None)
            except EngineError as error:
                return _unplayed(plan, lost, error)
            if lost is not None:
                plan = plan.model_copy(update={"attempt": plan.attempt + 1})
                self._job.journal("begun", episode=plan.episode, attempt=plan.attempt)
            tried = _Try(plan, asyncio.get_running_loop().create_future())
            ended = await self._played(hand, tried)
            if isinstance(ended, EpisodeRecord):
                return ended
            self._journal_loss(hand, tried, ended)
            lost = tried
        return _unplayed(plan, lost, WorkerLostError(f"{_TRIES} workers were lost in it, the last with nothing else"))

    async def _played(self, hand: _Hand, tried: _Try) -> EpisodeRecord | WorkerLostError:
        """Have a worker play an episode, and tell it when that is cancelled."""
        hand.tries[tried.plan.episode] = tried
        self._job.journal("placed", episode=tried.plan.episode, attempt=tried.plan.attempt, node=str(hand.node))
        try:
            await self._send(hand, hand.remote.play(tried.plan))
            return await asyncio.shield(tried.ended)
        except asyncio.CancelledError:
            self._spawn(self._send(hand, hand.remote.cancel(tried.plan.episode)))
            await asyncio.wait([tried.ended], timeout=_CANCEL_S)
            if tried.ended.done() and isinstance(record := tried.ended.result(), EpisodeRecord):
                return record
            return _unplayed(tried.plan, tried, None)
        finally:
            if hand is not self._hands.get(hand.node.id):  # it was this episode's own, or is lost already
                hand.is_lost = True
                hand.remote.kill()

    async def _least_busy(self) -> _Hand:
        try:
            async with asyncio.timeout(_NO_NODE_S):
                while not self._hands and self._gone is None:
                    await self._changed.wait()
        except TimeoutError:
            raise EngineError(f"no node of the Ray cluster has played episodes for {_NO_NODE_S:g} s") from None
        if self._gone is not None:
            raise self._gone
        return min(self._hands.values(), key=lambda hand: len(hand.tries))

    async def _own_hand(self) -> _Hand:
        """A worker that nobody else uses."""
        while True:
            beside = await self._least_busy()
            try:
                hand = await self._started(beside.node)
            except WorkerLostError:
                await asyncio.sleep(_LOOK_S)  # its node is about to be missed
            else:
                self._spawn(self._listen(hand))
                return hand

    async def _watch(self) -> None:
        """Use the nodes that join, and miss those that left."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                self._welcome(await self._cluster.nodes())
            except EngineError as error:
                self._end(error)
                return

    def _welcome(self, nodes: Sequence[Node]) -> None:
        alive = {node.id for node in nodes}
        for hand in [hand for hand in self._hands.values() if hand.node.id not in alive]:
            self._lose(hand, WorkerLostError("its node is gone"))
        for node in nodes:
            if node.id not in self._hands and node.id not in self._joining and node.id not in self._left_out:
                self._joining.add(node.id)
                self._spawn(self._join(node))

    async def _join(self, node: Node) -> None:
        try:
            hand = await self._started(node)
        except (EngineError, WorkerLostError) as error:
            self._failures[node.id] += 1
            if isinstance(error, EngineError) or self._failures[node.id] == _TRIES:
                self._leave_out(node, error)
            return
        else:
            self._failures.pop(node.id, None)
            self._hands[node.id] = hand
            self._job.journal("worker", node=str(node), state="ready")
            self._share_out()
        finally:
            self._joining.discard(node.id)
            self._wake()
        await self._listen(hand)

    async def _started(self, node: Node) -> _Hand:
        """A worker that is ready.

        Raises:
            WorkerLostError: It did not live to be.
            EngineError: It cannot be, there.
        """
        remote = self._cluster.worker(node)
        try:
            reason = await remote.begin(self._orders)
        except BaseException:
            remote.kill()
            raise
        if reason is not None:
            remote.kill()
            raise EngineError(reason)
        return _Hand(node, remote, share=self._job.concurrency, allowed=self._job.concurrency)

    def _leave_out(self, node: Node, error: RunnerError) -> None:
        self._left_out[node.id] = f"{node}: {error}"
        self._job.journal("worker", node=str(node), state="left out", reason=str(error))

    async def _listen(self, hand: _Hand) -> None:
        try:
            while True:
                for message in await hand.remote.messages():
                    self._take(hand, message)
        except WorkerLostError as error:
            self._lose(hand, error)

    def _take(self, hand: _Hand, message: Message) -> None:
        if hand.is_lost:
            return
        match message:
            case Noted("concurrency", fields):
                hand.allowed = fields["allowed"]
                self._job.journal("concurrency", allowed=sum(each.allowed for each in self._hands.values()))
            case Noted(kind, fields):
                if kind == "call" and fields["episode"] in hand.tries:
                    hand.tries[fields["episode"]].calls.append(fields)
                self._job.journal(kind, **fields)
            case Asked(episode, dearest_usd):
                hand.tries[episode].hold = self._spawn(self._hold(hand, hand.tries[episode], dearest_usd))
            case Settled(episode, spent_usd):
                self._settle(hand.tries[episode], spent_usd)
            case Ended(record):
                tried = hand.tries.pop(record.episode)
                if not tried.ended.done():
                    tried.ended.set_result(record)

    async def _hold(self, hand: _Hand, tried: _Try, dearest_usd: float) -> None:
        """Hold back what a call may cost, let it begin, and hold on until it is settled or lost."""
        try:
            async with self._job.budget.reserved(dearest_usd):
                tried.open_usd = dearest_usd
                await self._send(hand, hand.remote.answer(tried.plan.episode, None))
                await asyncio.Event().wait()
        except BudgetSpentError as error:
            await self._send(hand, hand.remote.answer(tried.plan.episode, str(error)))

    def _settle(self, tried: _Try, spent_usd: float) -> None:
        self._job.budget.spend(spent_usd)
        tried.open_usd = None
        if tried.hold is not None:
            tried.hold.cancel()
            tried.hold = None

    def _lose(self, hand: _Hand, error: WorkerLostError) -> None:
        if hand.is_lost:
            return
        hand.is_lost = True
        hand.remote.kill()
        if self._hands.get(hand.node.id) is hand:
            del self._hands[hand.node.id]
        self._job.journal("worker", node=str(hand.node), state="lost", reason=str(error), episodes=len(hand.tries))
        for tried in hand.tries.values():
            if not tried.ended.done():
                tried.ended.set_result(error)
        self._share_out()
        self._wake()

    def _journal_loss(self, hand: _Hand, tried: _Try, error: WorkerLostError) -> None:
        """Say what is known of an episode that was lost, and book what its last call may have cost."""
        tried.is_cut, booked_usd = tried.open_usd is not None, tried.open_usd or 0.0
        self._settle(tried, booked_usd)
        self._job.journal(
            "lost",
            episode=tried.plan.episode,
            attempt=tried.plan.attempt,
            node=str(hand.node),
            reason=str(error),
            open_call=tried.is_cut,
            booked_usd=booked_usd,
        )

    def _share_out(self) -> None:
        """Divide the run's calls among the workers."""
        share = math.ceil(self._job.concurrency / max(1, len(self._hands)))
        for hand in self._hands.values():
            if hand.share != share:
                hand.allowed = share if hand.allowed >= hand.share else min(hand.allowed, share)
                hand.share = share
                self._spawn(self._send(hand, hand.remote.share(share)))

    async def _send(self, hand: _Hand, sent: Awaitable[None]) -> None:
        try:
            await sent
        except WorkerLostError as error:
            self._lose(hand, error)

    def _end(self, error: EngineError) -> None:
        """Nothing can be played any more."""
        self._gone = error
        for hand in list(self._hands.values()):
            self._lose(hand, WorkerLostError(str(error)))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._gone is None:
            words = str(error) if isinstance(error, RunnerError) else f"defect of the runner: {error!r}"
            self._end(EngineError(words))


def _orders(job: Job) -> Orders:
    request, told = job.request, job.request.service.environment if job.request.live else {}
    return Orders(
        request=replace(request, service=ServiceAddress(job.service.url, _shown(job)), out=Path()),
        task=job.task,
        is_limited=job.budget.is_limited,
        version=own_version(),
        environment={name: value for name, value in told.items() if name.startswith(SECRET_PREFIXES)},
    )


def _shown(job: Job) -> Mapping[str, str]:
    """The token that the run's episodes need: no other goes to the nodes."""
    request, address = job.request, job.request.service
    is_test = request.suite != "classic" and job.task.is_test_seed(request.seed)  # and so are all of the run
    token = (address.evaluation_token if is_test else None) or address.token
    return {"RUNNER_TOKEN": token} if token else {}


def _unplayed(plan: EpisodePlan, lost: _Try | None, error: RunnerError | None) -> EpisodeRecord:
    """The record of an episode without an end: what is known of its last try; cancelled, where there is no error."""
    if lost is None:
        return unplayed(plan, error)
    costs = [call["cost_usd"] for call in lost.calls] + [None] * (lost.is_cut or lost.open_usd is not None)
    usage = Usage.total(Usage.model_validate(call["usage"]) for call in lost.calls)
    return unplayed(lost.plan, error, steps=len(lost.calls), usage=usage, cost_usd=total_cost(costs))
