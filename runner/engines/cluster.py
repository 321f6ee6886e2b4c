"""A Ray cluster: its nodes, and a worker on any of them. The only file of the runner that imports Ray, an extra."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from runner.engines.worker import SECRET_PREFIXES, Worker
from runner.errors import EngineError, WorkerLostError, shortened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from runner.engines.messages import Message, Orders
    from runner.local_service import ServiceAddress
    from runner.records import EpisodePlan

__all__ = ["Cluster", "Node", "RemoteWorker", "check_reach", "connected"]

_Answer = TypeVar("_Answer")

# Ray ends this process at once, and without a word from it, when its head has not answered for sixty seconds.
_SILENCE_S = 40.0
_CONNECT_S = 5.0
_LEAVE_S = 15.0
_BEGIN_S = 90.0
_OBJECT_STORE_BYTES = 100_000_000  # of a cluster started here: messages that are larger than 100 kB go through it
_MOST_CALLS = 4096  # that an actor has under way, each an await
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # no line of Ray's own processes is printed among the run's
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or Ray warns of it, whoever uses no accelerator
}


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster, or what stands for one."""

    id: str
    address: str

    def __str__(self) -> str:
        return f"{self.address} ({self.id[:8]})"


class RemoteWorker:
    """A `Worker` on a node.

    Every method raises WorkerLostError when it is gone; to be asked something twice would not bring it back.
    """

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    async def begin(self, orders: Orders) -> str | None:
        """As `Worker.begin`; the orders go to the worker itself, past all that the cluster keeps or shows."""
        return await self._asked(self._actor.begin.remote(orders), _BEGIN_S)

    async def play(self, plan: EpisodePlan) -> None:
        """As `Worker.play`."""
        await self._asked(self._actor.play.remote(plan))

    async def messages(self) -> Sequence[Message]:
        """As `Worker.messages`."""
        return await self._asked(self._actor.messages.remote())

    async def answer(self, episode: int, refusal: str | None) -> None:
        """As `Worker.answer`."""
        await self._asked(self._actor.answer.remote(episode, refusal))

    async def share(self, calls: int) -> None:
        """As `Worker.share`."""
        await self._asked(self._actor.share.remote(calls))

    async def cancel(self, episode: int) -> None:
        """As `Worker.cancel`."""
        await self._asked(self._actor.cancel.remote(episode))

    def kill(self) -> None:
        """End its process; whether it is there or not."""
        with suppress(Exception):  # Ray's own errors, of whatever kind
            self._ray.kill(self._actor)

    async def _asked(self, answer: Awaitable[_Answer], limit_s: float = _SILENCE_S) -> _Answer:
        try:
            async with asyncio.timeout(limit_s):
                return await answer
        except TimeoutError:
            raise WorkerLostError(f"no answer within {limit_s:g} s") from None
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError(_reason(error)) from error


class Cluster:
    """The cluster that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.own_address = str(ray.util.get_node_ip_address())

    async def nodes(self) -> Sequence[Node]:
        """Those that are alive and take work.

        Raises:
            EngineError: The cluster's head does not answer.
        """
        try:
            async with asyncio.timeout(_SILENCE_S):
                found = await _aside(self._ray.nodes)
        except (TimeoutError, self._ray.exceptions.RayError) as error:
            atexit.unregister(self._ray.shutdown)  # it would wait for the head, until Ray ends this process
            raise EngineError("the Ray cluster is gone: its head does not answer any more") from error
        return [Node(each["NodeID"], each["NodeManagerAddress"]) for each in found if _takes_work(each)]

    def worker(self, node: Node) -> RemoteWorker:
        """Start a worker on this node and on no other."""
        place = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        # By default, an actor needs a free core to be placed and holds none while it runs.
        remote = self._ray.remote(Worker).options(scheduling_strategy=place, max_concurrency=_MOST_CALLS)
        return RemoteWorker(self._ray, remote.remote())


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Be connected to a cluster while the context lasts.

    Args:
        address: Of its head, or `auto` for one that runs on this machine; None starts one on this machine alone.

    Raises:
        EngineError: Ray is not installed, or there is no such cluster.
    """
    ray = _imported()
    if address is not None:
        _check_address(address)
    try:
        with _hidden_secrets():
            _init(ray, address)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "a local Ray cluster cannot be started" if address is None else f"--ray-address {address}"
        raise EngineError(f"{where}: {_reason(error)}") from error
    try:
        yield Cluster(ray)
    finally:
        _leave(ray)


async def check_reach(cluster: Cluster, service: ServiceAddress) -> None:
    """Refuse to start a service that other machines of the cluster cannot reach.

    Raises:
        EngineError: Says which, and what to do.
    """
    others = sorted({node.address for node in await cluster.nodes()} - {cluster.own_address})
    if service.url is None and others:
        raise EngineError(
            f"the Ray cluster has nodes on other machines ({', '.join(others)}), and the service that a run starts "
            "listens on 127.0.0.1: start one that they reach (gauntlet-service --host), and name it with --service URL"
        )


def _imported() -> Any:
    for name, value in _QUIET.items():  # read when Ray is imported
        os.environ.setdefault(name, value)
    try:
        import ray  # noqa: PLC0415 - an extra, and a second to import
        import ray.util.scheduling_strategies  # noqa: PLC0415
    except ImportError as missing:
        raise EngineError("--engine ray needs an extra: pip install 'resilience-gauntlet[ray]'") from missing
    return ray


def _init(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
    else:
        ray.init(address, **quiet)


def _check_address(address: str) -> None:
    """Find out in seconds that nobody listens there, which Ray tries for minutes."""
    if address in {"auto", "local"}:
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise EngineError(f"--ray-address {address}: write it as HOST:PORT, that of the head's GCS, or as auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError as error:
        raise EngineError(f"--ray-address {address}: nobody listens there ({error.strerror or error})") from error


@contextmanager
def _hidden_secrets() -> Iterator[None]:
    """Keep what Ray starts from inheriting keys; it hands its environment on to all processes."""
    secrets = {name: value for name, value in os.environ.items() if name.startswith((*SECRET_PREFIXES, "GAUNTLET_"))}
    for name in secrets:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(secrets)


def _leave(ray: Any) -> None:
    """Disconnect, or give it up after a while."""
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(_LEAVE_S)


async def _aside(work: Callable[[], _Answer]) -> _Answer:
    """Have a thread do it that nobody waits for at the end, unlike those of `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    answer: concurrent.futures.Future[_Answer] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            answer.set_exception(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    await done.wait()
    return answer.result()


def _takes_work(node: Any) -> bool:
    return bool(node["Alive"] and node["Resources"].get("CPU", 0) >= 1)


def _reason(error: BaseException) -> str:
    """The last line of Ray's words that says something, without its colours and its tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[-1] if lines else type(error).__name__)
