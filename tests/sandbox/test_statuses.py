"""What code gets back, beyond the status that it earned."""

import asyncio
import subprocess
import sys

import pytest

from service.sandbox import Sandbox, Status

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("x = 20\nx + 1", "21"),
        ("stats.median([5.4, 7.2]) == statistics.median([5.4, 7.2]) and math.pi > 3", "True"),
        ("print('only printed')", None),
        ("x = 1", None),
        ("import asyncio, csv, unittest, typing, dataclasses, logging, heapq, decimal; 'imported'", "'imported'"),
        ("import threading\nt = threading.Thread(target=print, args=('from a thread',)); t.start(); t.join()", None),
        ("import os; dict(os.environ)", "{}"),
        ("import sys; sys.stdin.read()", "''"),
        ("import sys; [name for name in sys.modules if 'service' in name or 'inside' in name]", "[]"),
        ("__name__", "'__main__'"),
    ],
)
async def test_what_honest_code_needs_works(sandbox: Sandbox, code: str, result: str | None) -> None:
    execution = await sandbox.execute(code)
    assert (execution.status, execution.result, execution.error) == (Status.OK, result, None)


@pytest.fixture(scope="module")
def hash_with_seed_0() -> str:
    command = [sys.executable, "-c", "print(hash('reading'))"]
    return subprocess.run(
        command, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    ).stdout.strip()


async def test_the_hash_seed_is_fixed(sandbox: Sandbox, hash_with_seed_0: str) -> None:
    assert (await sandbox.execute("hash('reading')")).result == hash_with_seed_0


async def test_only_its_own_descriptors_are_open(sandbox: Sandbox) -> None:
    code = """import os
def is_open(number):
    try: os.close(os.dup(number))
    except OSError: return False
    return True
[number for number in range(64) if is_open(number)]"""
    busy = asyncio.create_task(sandbox.execute("import time; time.sleep(0.5)"))
    assert (await sandbox.execute(code)).result == "[0, 1, 2, 3]"
    await busy


async def test_runs_are_repeatable(sandbox: Sandbox) -> None:
    code = "import random; (random.random(), hash('x'), list({'a', 'b', 'c'}))"
    first, second = await sandbox.execute(code), await sandbox.execute(code)
    assert first.result == second.result


async def test_streams_are_kept_apart_and_whole(sandbox: Sandbox) -> None:
    execution = await sandbox.execute(
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.stdout.write('end')"
    )
    assert (execution.stdout, execution.stderr, execution.truncated) == ("out\nend", "err\n", False)


async def test_what_was_printed_before_a_timeout_is_kept(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("print('probing')\nwhile True: pass")
    assert (execution.status, execution.stdout) == (Status.TIMEOUT, "probing\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_10_mb_of_output_complete_and_are_cut(sandbox: Sandbox, stream: str) -> None:
    code = f"import sys\nsys.{stream}.write('first' + 'x' * (10 << 20))\n'done'"
    execution = await sandbox.execute(code)
    text = getattr(execution, stream)
    assert (execution.status, execution.result, execution.truncated) == (Status.OK, "'done'", True)
    assert text.startswith("first")
    assert len(text) == sandbox.config.stdout_bytes


async def test_bytes_that_are_no_text_are_replaced(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("import os; os.write(1, b'\\xff\\xfe ok'); print('\\ud800')")
    assert execution.stdout.endswith("\\ud800\n")
    assert "\ufffd" in execution.stdout
    assert execution.stdout.encode()


async def test_a_long_result_is_cut(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("'x' * 100_000")
    assert (execution.status, execution.truncated, len(execution.result or "")) == (Status.OK, True, 64 << 10)


async def test_an_error_shows_the_submissions_frames_and_nothing_else(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("import json\ndef read():\n    return json.loads('{')\nread()")
    lines = (execution.error or "").splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("json.decoder.JSONDecodeError")
    assert {line for line in lines if line.lstrip().startswith("File")} == {
        '  File "<submission>", line 4, in <module>',
        '  File "<submission>", line 3, in read',
    }


async def test_a_longer_timeout_can_be_asked_for(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("import time; time.sleep(1.8)", timeout_s=5)
    assert (execution.status, execution.duration_ms > 1700) == (Status.OK, True)


async def test_processor_time_and_memory_are_reported(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("x = bytearray(b'1') * (100 << 20)\nsum(range(3_000_000))")
    assert execution.max_rss_kb > 100 << 10
    assert execution.cpu_ms > 20
