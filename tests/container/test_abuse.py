"""The whole catalogue of abuse over HTTP, inside the hardened container that docker-compose.yml describes."""

import asyncio
import json
import subprocess
from typing import Any

import httpx
import pytest

from tests.container.conftest import Composition
from tests.sandbox.abuse import ABUSE, CONTROL, LEFT_BEHIND, Line
from tests.sandbox.trial import Footprint, Trial, Trials, assert_as_expected, assert_nothing_left, lines_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.anyio]

# To be run as root, without capabilities: to its own user, the process of the service is closed.
_LOOK = f"""
grep -La urllib /proc/[0-9]*/cmdline | wc -l  # neither this shell nor a health check
ls /proc/1/fd | wc -l
sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/1/status
ls -d {" ".join(LEFT_BEHIND)} 2>/dev/null
echo --
cut -d' ' -f5,6,18,19 /proc/1/stat; grep -E '^Max (cpu|open|address)' /proc/1/limits; grep Cpus_allowed: /proc/1/status
"""

_DESCRIPTORS_OF_A_CHILD = 3


class HttpDoor:
    """The service's own two endpoints."""

    refuses = True

    def __init__(self, composition: Composition) -> None:
        self._url = composition.url
        self._container = composition.compose("ps", "--quiet", "service").stdout.strip()
        self.wall_time_s = 2.0
        limits = httpx.get(f"{composition.url}/task").json()["limits"]
        self.graded_wall_time_s = float(limits["wall_time_s"])

    async def execute(self, code: str, timeout_s: float) -> Trial:
        status, body = await self._post("/execute", {"expression": code, "timeout_s": timeout_s})
        if status != 200:
            return Trial(http=status)
        text, printed = body["error"] or body["result"] or "", body["stdout"] or body["stderr"]
        return Trial(status=body["status"], text=text, printed=printed, truncated=body["truncated"])

    async def grade(self, code: str) -> Trial:
        status, body = await self._post("/grade", {"code": code})
        if status != 200:
            return Trial(http=status)
        lost = [row for row in body["checks"] if not row["passed"]]
        return Trial(text="\n".join(row["detail"] for row in lost), lost=tuple(row["id"] for row in lost))

    async def footprint(self) -> Footprint:
        return await asyncio.to_thread(self._footprint)

    def _footprint(self) -> Footprint:
        waiting = httpx.get(f"{self._url}/health").json()["capacity"]["waiting"]  # as many as were lately needed
        command = ["docker", "exec", "--user", "0", self._container, "sh", "-c", _LOOK]
        looked = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        counted, standing = looked.split("--\n")
        processes, descriptors, rss_kb, *left = counted.split("\n")
        return Footprint(
            int(processes) - waiting,
            int(descriptors) - _DESCRIPTORS_OF_A_CHILD * waiting,
            standing,
            tuple(filter(None, left)),
            int(rss_kb),
        )

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            response = await client.post(path, content=json.dumps(body), headers=headers)
        return response.status_code, response.json()


@pytest.fixture(scope="module")
def trials(composition: Composition) -> Trials:
    return Trials(HttpDoor(composition))


@pytest.mark.parametrize(("group", "line"), lines_of(ABUSE))
async def test_abuse_comes_to_what_the_contract_says(trials: Trials, group: str, line: Line) -> None:
    assert_as_expected(line, (await trials.of(group)).trials[line.id], trials.door)


@pytest.mark.parametrize(("group", "line"), lines_of(CONTROL))
async def test_what_is_allowed_passes_beside_it(trials: Trials, group: str, line: Line) -> None:
    assert_as_expected(line, (await trials.of(group)).trials[line.id], trials.door)


@pytest.mark.parametrize("group", ABUSE)
async def test_abuse_leaves_nothing_and_harms_nobody(trials: Trials, group: str) -> None:
    assert_nothing_left(await trials.of(group))
