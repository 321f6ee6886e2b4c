"""Hostile and clumsy code on the real sandbox: each gets the status it earned, and the next call works."""

import asyncio
import subprocess
import sys
import time

import pytest

from service.sandbox import Sandbox, Status

pytestmark = pytest.mark.anyio

GRACE_S = 0.5

OUTCOMES = {
    # name: (code, status, part of the error)
    "a value": ("1 + 1", Status.OK, ""),
    "raises": ("1 / 0", Status.ERROR, "ZeroDivisionError: division by zero"),
    "does not parse": ("def f(:", Status.SYNTAX_ERROR, "line 1"),
    "NUL": ("1\0", Status.SYNTAX_ERROR, "null bytes"),
    "too many parentheses": ("(" * 1000 + ")" * 1000, Status.SYNTAX_ERROR, "parentheses"),
    "sys.exit": ("import sys; sys.exit(0)", Status.ERROR, "SystemExit"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", Status.ERROR, "KeyboardInterrupt"),
    "os._exit": ("import os; os._exit(0)", Status.ERROR, "exit code 0"),
    # time
    "busy loop": ("while True: pass", Status.TIMEOUT, "deadline"),
    "sleep": ("import time; time.sleep(60)", Status.TIMEOUT, "deadline"),
    "signals ignored": (
        "from signal import *\nfor s in (SIGTERM, SIGALRM, SIGXCPU): signal(s, SIG_IGN)\nwhile True: pass",
        Status.TIMEOUT,
        "",
    ),
    "a huge power with the GIL held": ("9 ** 9 ** 9", Status.TIMEOUT, ""),
    "a regex that blows up": ("import re; re.match('(a+)+$', 'a' * 60 + 'b')", Status.TIMEOUT, ""),
    "hang at exit": ("import atexit\n@atexit.register\ndef hang():\n    while True: pass", Status.TIMEOUT, ""),
    "hang in a finalizer": ("class A:\n    def __del__(self):\n        while True: pass\na = A()", Status.TIMEOUT, ""),
    "hang in repr": ("class A:\n    def __repr__(self):\n        while True: pass\nA()", Status.TIMEOUT, ""),
    "hang in an exception's text": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        Status.TIMEOUT,
        "",
    ),
    "processor time of many threads": (
        """import threading, hashlib
def burn():
    while True: hashlib.sha256(bytes(1 << 20)).digest()
for _ in range(4): threading.Thread(target=burn).start()""",
        Status.TIMEOUT,
        "",
    ),
    # memory
    "10 GB at once": ("bytearray(10 * 10**9)", Status.MEMORY_LIMIT, "MemoryError"),
    "growth in small steps": ("kept = []\nwhile True: kept.append(bytearray(1 << 16))", Status.MEMORY_LIMIT, ""),
    "MemoryError caught in a loop": (
        "kept = []\nwhile True:\n    try: kept.append(bytearray(1 << 20))\n    except MemoryError: pass",
        Status.MEMORY_LIMIT,
        "",
    ),
    "anonymous mapping": ("import mmap; mmap.mmap(-1, 10**9)", Status.MEMORY_LIMIT, ""),
    "thread stacks": (
        "from threading import *\nfor _ in range(500): Thread(target=Event().wait, daemon=True).start()",
        Status.MEMORY_LIMIT,
        "",
    ),
    # output
    "200 MB printed": (
        "import sys\nfor _ in range(200): sys.stdout.write('x' * (1 << 20))",
        Status.OUTPUT_LIMIT,
        "more than",
    ),
    "a value of 100 MB": ("'x' * 10**8", Status.OUTPUT_LIMIT, "100000002 characters"),
    # its own end
    "SIGKILL to itself": ("import os; os.kill(os.getpid(), 9)", Status.KILLED, "SIGKILL"),
    "segfault": ("import ctypes; ctypes.string_at(0)", Status.KILLED, "SIGSEGV"),
    "abort": ("import os; os.abort()", Status.KILLED, "SIGABRT"),
    "alarm": ("import signal, time; signal.alarm(1); time.sleep(9)", Status.KILLED, "SIGALRM"),
    # its descriptors
    "closes its channel": ("import os, time; os.close(3); time.sleep(60)", Status.ERROR, "closed its channel"),
    "forges an answer": ("import os; os.write(3, b'\\0\\0\\0\\x20' + b'0' * 32)", Status.ERROR, "no answer"),
    "announces 4 GiB": ("import os; os.write(3, b'\\xff' * 20)", Status.ERROR, "no answer"),
}


@pytest.mark.parametrize("name", OUTCOMES)
async def test_status(sandbox: Sandbox, name: str) -> None:
    code, status, error = OUTCOMES[name]
    started = time.monotonic()
    execution = await sandbox.execute(code)
    took = time.monotonic() - started
    assert (execution.status, error in (execution.error or "")) == (status, True), execution
    assert took < sandbox.config.wall_time_s + GRACE_S
    assert (await sandbox.execute("'still here'")).result == "'still here'"


FORBIDDEN = {
    "read a file": "open('/etc/passwd')",
    "read the library's source": "import os; open(os.__file__)",
    "read its own memory": "open('/proc/self/mem')",
    "read the parent's environment": "import os; open(f'/proc/{os.getppid()}/environ')",
    "write a file": "open('/tmp/left-behind', 'w')",
    "list a directory": "import os; os.listdir('/')",
    "stat": "import os; os.stat('/etc/passwd')",
    "chmod": "import os; os.chmod('/tmp', 0o777)",
    "mkdir": "import os; os.mkdir('/tmp/left-behind')",
    "symlink": "import os; os.symlink('/etc/passwd', '/tmp/left-behind')",
    "memfd": "import os; os.memfd_create('x')",
    "tcp": "import socket; socket.socket()",
    "udp": "import socket; socket.socket(type=socket.SOCK_DGRAM)",
    "unix socket": "import socket; socket.socket(socket.AF_UNIX)",
    "socket pair": "import socket; socket.socketpair()",
    "fork": "import os; os.fork()",
    "posix_spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "exec": "import os; os.execv('/bin/sh', ['sh'])",
    "subprocess": "import subprocess; subprocess.run(['/bin/true'])",
    "kill the parent": "import os; os.kill(os.getppid(), 9)",
    "kill everything": "import os; os.kill(-1, 9)",
    "limit the parent": "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    "parent's priority": "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "parent's affinity": "import os; os.sched_setaffinity(os.getppid(), {0})",
    "pidfd": "import os; os.pidfd_open(os.getppid())",
    "become root": "import os; os.setuid(0)",
    "a session of its own": "import os; os.setsid()",
}


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_what_reaches_beyond_the_process_is_refused(sandbox: Sandbox, name: str) -> None:
    execution = await sandbox.execute(FORBIDDEN[name])
    assert execution.status is Status.ERROR
    assert "Operation not permitted" in (execution.error or "")


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


@pytest.mark.parametrize(
    "bomb", ["+" * 100_000 + "1", "+0" * 100_000, "-" * 50_000 + "1", "[" * 90 + "]" * 90 + "*" * 3]
)
async def test_a_source_that_exhausts_the_compiler_is_refused_in_the_sandbox(sandbox: Sandbox, bomb: str) -> None:
    execution = await sandbox.execute(bomb)
    assert execution.status in (Status.MEMORY_LIMIT, Status.SYNTAX_ERROR)  # which of them, CPython's version decides


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
