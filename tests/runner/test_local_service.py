import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from runner.errors import LocalServiceError
from runner.local_service import local_service

pytestmark = pytest.mark.anyio

READY = "print('Resilience Gauntlet is serving on http://127.0.0.1:1234', flush=True)\n"
READY_AS_JSON = (
    """print('{"message": "Resilience Gauntlet is serving on http://127.0.0.1:1234", "url": "x"}', flush=True)\n"""
)
WAIT = "import signal\nsignal.pause()\n"


def alive(pid: int) -> Any:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid: int, within_s: Any = 5.0) -> Any:
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def told(path: Path) -> Any:
    """Code that leaves a note of the child's process id and environment."""
    return f"import os, json\njson.dump([os.getpid(), dict(os.environ)], open({str(path)!r}, 'w'))\n"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


async def test_the_announced_url_is_yielded_and_the_child_stopped_afterwards(tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = told(note) + "print('some other line')\n" + READY + WAIT
    async with local_service(os.environ, arguments=("-c", code)) as url:
        assert url == "http://127.0.0.1:1234"
        pid, _ = read(note)
        assert alive(pid)
        assert os.getsid(pid) != os.getsid(0)
    assert not alive(pid)


async def test_the_url_may_be_announced_in_json() -> None:
    async with local_service(os.environ, arguments=("-c", READY_AS_JSON + WAIT)) as url:
        assert url == "http://127.0.0.1:1234"


async def test_the_real_service_is_understood_in_both_formats() -> None:
    async with httpx.AsyncClient() as client:
        for log_format in ("text", "json"):
            async with local_service({**os.environ, "GAUNTLET_LOG_FORMAT": log_format}) as url:
                assert (await client.get(f"{url}/ready")).status_code == 200


async def test_the_child_sees_nothing_of_the_anthropic_settings_and_all_else(tmp_path: Path) -> None:
    note = tmp_path / "note"
    environment = {**os.environ, "ANTHROPIC_API_KEY": "sk", "ANTHROPIC_X": "1", "GAUNTLET_WALL_S": "7"}
    async with local_service(environment, arguments=("-c", told(note) + READY + WAIT)):
        _, seen = read(note)
    assert not [name for name in seen if name.startswith("ANTHROPIC")]
    assert seen["GAUNTLET_WALL_S"] == "7"


async def test_a_child_that_dies_is_reported_with_its_last_words() -> None:
    code = "import sys\nsys.stderr.write('x' * 100_000 + 'GAUNTLET_WALL_S: not a number')\nsys.exit(3)"
    with pytest.raises(LocalServiceError, match=r"with status 3; name a running one with --service") as caught:
        async with local_service(os.environ, arguments=("-c", code)):
            pass
    assert str(caught.value).endswith("GAUNTLET_WALL_S: not a number")
    assert len(str(caught.value)) < 20_000


async def test_a_silent_child_is_given_up_and_stopped(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(LocalServiceError, match=r"did not start within 1.5 s"):
        async with local_service(os.environ, arguments=("-c", told(note) + WAIT), start_limit_s=1.5):
            pass
    assert not alive(read(note)[0])


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + told(note)
        + READY
        + "while True: signal.pause()"
    )
    async with local_service(os.environ, arguments=("-c", code), stop_limit_s=0.3):
        pid, _ = read(note)
    assert not alive(pid)


async def test_a_chatty_child_never_blocks_on_its_pipes(tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = (
        READY
        + "import sys\nfor _ in range(50): sys.stdout.write('o' * 100_000); sys.stderr.write('e' * 100_000)\n"
        + f"sys.stdout.flush(); open({str(done)!r}, 'w').close()\n"
        + WAIT
    )
    async with local_service(os.environ, arguments=("-c", code)):
        for _ in range(500):
            if done.exists():
                break
            await asyncio.sleep(0.01)
    assert done.exists()


async def test_an_exception_inside_still_stops_the_child(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(ZeroDivisionError):
        async with local_service(os.environ, arguments=("-c", told(note) + READY + WAIT)):
            raise ZeroDivisionError
    assert not alive(read(note)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="the tether is the Linux kernel's")
def test_the_child_does_not_outlive_a_runner_that_was_killed(tmp_path: Path, clean_environment: dict[str, str]) -> None:
    note = tmp_path / "note"
    code = f"""
import asyncio, os
from runner.local_service import local_service
async def main():
    async with local_service(os.environ, arguments=("-c", {told(note) + READY + WAIT!r})):
        print("up", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    runner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=clean_environment)
    with runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"up\n"
        pid, _ = read(note)
        os.kill(runner.pid, signal.SIGKILL)
    assert gone(pid)
