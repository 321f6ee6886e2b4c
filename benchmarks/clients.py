"""Clients that ask a service one call after the other, from threads of this process."""

import http.client
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.worker import ROOT, MeasureError

__all__ = ["EXECUTE", "GRADE_CLASSIC", "GRADE_HARDENED", "SOLUTION", "Call", "ask", "processor_s"]

_TICKS = 100  # of a second, as Linux tells processor time
SOLUTION = (ROOT / "examples/solution.py").read_text()
_WORKER = b"spawn_main"


@dataclass(frozen=True, eq=False)
class Call:
    """One kind of call.

    Attributes:
        name: for a reader.
        path: of the request.
        body: of it.
        sign: what a right answer has in it.
    """

    name: str
    path: str
    body: Mapping[str, Any]
    sign: bytes


EXECUTE = Call("execute", "/execute", {"expression": "sum(range(100))"}, b'"4950"')
GRADE_CLASSIC = Call("grade, classic", "/grade", {"code": SOLUTION}, b'"score":1.0')
GRADE_HARDENED = Call("grade, hardened", "/grade", {"code": SOLUTION, "suite": "hardened", "seed": 7}, b'"score":1.0')


def ask(port: int, call: Call, *, clients: int, seconds: float, token: str | None = None) -> tuple[int, float]:
    """Keeps so many clients busy for a while.

    Args:
        port: of the service on this machine.
        call: what they ask.
        clients: how many.
        seconds: for how long they begin calls.
        token: theirs.

    Returns:
        Calls that were answered, and the seconds to the last answer.

    Raises:
        MeasureError: an answer was not the right one.
    """
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    body = json.dumps(call.body)

    def keep_asking() -> int:
        connection, count = http.client.HTTPConnection("127.0.0.1", port, timeout=60), 0
        while time.perf_counter() - started < seconds:
            connection.request("POST", call.path, body, headers)
            answer = connection.getresponse().read()
            if call.sign not in answer:
                raise MeasureError(f"{call.path} answered {answer[:200]!r}")
            count += 1
        connection.close()
        return count

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        counts = [threads.submit(keep_asking) for _ in range(clients)]
        total = sum(count.result() for count in counts)
    return total, time.perf_counter() - started


def processor_s(pid: int) -> tuple[float, float]:
    """Processor time so far of a service and its workers, and of all that they have sandboxed, seconds."""
    serving = [pid, *(child for child in _children(pid) if _WORKER in _command(child))]
    beneath = {child for one in serving for child in _children(one)} - set(serving)
    own, ended = zip(*(_times(one) for one in serving), strict=True)
    living = sum(sum(_times(child)) for child in beneath)
    return sum(own), sum(ended) + living


def _children(pid: int) -> set[int]:
    """Those of all its threads, and the zygotes' own, which are none of the service's."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {int(child) for thread in threads for child in (thread / "children").read_text().split()}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _times(pid: int) -> tuple[float, float]:
    """Of a process, and of its children that have ended and been reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    user, system, children_user, children_system = (int(field) / _TICKS for field in fields[11:15])
    return user + system, children_user + children_system
