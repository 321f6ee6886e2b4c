"""What one submission can leave for, take from or learn of another: nothing."""

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import pytest

from service.sandbox import Sandbox, SandboxConfig, Status
from tests.sandbox.test_processes import children_of, descendants_of, forker_of, session_of

pytestmark = pytest.mark.anyio

# Runs in a frame of its own beside the child's loop, whose codec it replaces: the nonce is then put before its text.
FORGE = """import sys
def forge(text):
    frame = sys._getframe()
    while 'wire' not in frame.f_globals: frame = frame.f_back
    frame.f_globals['wire'].encode = lambda *a, **k: text.encode()
"""


async def test_the_standard_library_of_others_cannot_be_rewritten(sandbox: Sandbox) -> None:
    rewrite = """import sys, marshal, ctypes
finder = sys.meta_path[-1]
entry, image = finder._entries['colorsys'], finder._image
evil = marshal.dumps(compile("def rgb_to_hsv(*a): return 'OWNED'", 'x', 'exec'))
class Buffer(ctypes.Structure):  # Py_buffer, to learn where a read-only mapping lies
    _fields_ = [('buf', ctypes.c_void_p), ('rest', ctypes.c_byte * 200)]
view = Buffer()
ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(image), ctypes.byref(view), 0)
libc = ctypes.CDLL(None)
page = view.buf + entry.offset & ~4095
assert libc.mprotect(ctypes.c_void_p(page), 16384, 3) == 0
ctypes.memmove(view.buf + entry.offset, evil, len(evil))
import colorsys
colorsys.rgb_to_hsv(0, 0, 0)"""
    assert (await sandbox.execute(rewrite)).result == "'OWNED'"  # it owns itself, as ever
    assert (await sandbox.execute("import colorsys; colorsys.rgb_to_hsv(0, 0, 0)")).result == "(0.0, 0.0, 0)"


def memory_map(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


async def test_no_memory_is_shared_for_writing(sandbox: Sandbox) -> None:
    maps = memory_map(await forker_of(sandbox))
    assert "r--p" in maps
    assert re.findall(r"^.* .w.s .*$", maps, re.MULTILINE) == []


async def test_flags_of_an_open_file_end_with_the_process(sandbox: Sandbox) -> None:
    set_flags = "import fcntl, os\n[fcntl.fcntl(n, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK) for n in range(4)]"
    get_flags = "import fcntl\n[fcntl.fcntl(n, fcntl.F_GETFL) for n in range(4)]"
    before = await sandbox.execute(get_flags)
    await sandbox.execute(set_flags)
    assert (await sandbox.execute(get_flags)).result == before.result is not None


async def test_a_thread_bomb_takes_nobody_elses_threads(sandbox: Sandbox) -> None:
    bomb = "from threading import *\nwhile True: Thread(target=Event().wait, daemon=True).start()"
    eight = """from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool: lengths = list(pool.map(len, ['ab'] * 20))
sum(lengths)"""
    bombing = [asyncio.create_task(sandbox.execute(bomb)) for _ in range(3)]
    await asyncio.sleep(0.3)
    assert (await sandbox.execute("1 + 1")).result == "2"
    assert {(await run).status for run in bombing} <= {Status.MEMORY_LIMIT, Status.ERROR}
    assert (await sandbox.execute(eight)).result == "40"


RAW_THREADS = """import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7); code.write(b'\\xeb\\xfe')  # jumps onto itself
spin = ctypes.addressof(ctypes.c_char.from_buffer(code))
libc = ctypes.CDLL(None)
started = 0
for _ in range(600):
    stack = mmap.mmap(-1, 8192)
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + 8000
    if libc.clone(ctypes.c_void_p(spin), ctypes.c_void_p(top), 0x3d0f00, None, None, None, None) < 0: break
    started += 1
while True: pass"""


@pytest.mark.timed
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86-64")
async def test_deadlines_hold_beside_threads_that_never_rest(sandbox: Sandbox) -> None:
    started = time.monotonic()
    runs = [asyncio.create_task(sandbox.execute(RAW_THREADS)) for _ in range(8)]
    longest = max([(await run).duration_ms for run in runs])
    assert longest < (sandbox.config.wall_time_s + 0.5) * 1000
    assert time.monotonic() - started < sandbox.config.wall_time_s + 2
    assert (await sandbox.execute("1")).status is Status.OK


@pytest.mark.parametrize(
    "text",
    [
        '[{"status":"ok","x":[]},[["deque",["x"],1%s]]]' % ("0" * 30),
        '[{"status":"ok","x":[]},[["tuple",["y"]]]]',
        '[{"status":"ok","error":"yet it failed"},[]]',
        '[{"status":"error","error":null},[]]',
        '[{"status":"error"},[]]',
        '[{"status":"missing","error":"x"},[]]',
        '[{"status":["ok"]},[]]',
        '{"status":"ok"}',
        "[[],[]]",
        "",
    ],
)
async def test_a_forged_answer_is_an_error_of_the_submission(sandbox: Sandbox, text: str) -> None:
    execution = await sandbox.execute(f"{FORGE}forge({text!r})")
    assert (execution.status, "no answer to what it was asked" in (execution.error or "")) == (Status.ERROR, True)


async def test_a_forged_error_is_one_line_of_text_in_every_summary(sandbox: Sandbox) -> None:
    text = '[{"status":"syntax_error","error":"Syntax error\\n\\u2713 All tiers stable\\u001b[2J\\r","line":1%s},[]]'
    async with sandbox.process() as process:
        loaded = await process.load(f"{FORGE}forge({text % ('0' * 300)!r})", "process_batch")
    assert loaded.line is None
    assert loaded.summary == "✓ All tiers stable\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}"


async def test_a_source_that_is_all_commas_is_delivered(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("len([" + "1," * 120_000 + "])")
    assert execution.result == "120000"


async def test_two_hundred_processes_at_once_all_answer() -> None:
    sandbox = Sandbox(SandboxConfig(concurrency=200))
    await sandbox.start()
    try:
        runs = await asyncio.gather(*(sandbox.execute(f"{number}", timeout_s=20) for number in range(400)))
    finally:
        await sandbox.stop()
    assert [run.result for run in runs] == [str(number) for number in range(400)]


async def test_a_zygote_killed_again_and_again_leaves_no_process() -> None:
    killed: set[int] = set()
    sandbox = Sandbox(SandboxConfig(concurrency=4))
    await sandbox.start()
    outcomes: list[object] = []

    async def load() -> None:
        while time.monotonic() < until:
            try:
                outcomes.append((await sandbox.execute("'answered'")).result)
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is looked at below
                outcomes.append(type(fault).__name__)

    until = time.monotonic() + 4
    loads = [asyncio.create_task(load()) for _ in range(6)]
    while time.monotonic() < until:
        await asyncio.sleep(0.25)
        pair = sandbox._zygotes._pair
        if pair is not None and pair.done() and pair.exception() is None:
            killed |= {zygote._pid for zygote in (pair.result().origin, pair.result().forker)}
            pair.result().origin.kill()
            pair.result().forker.kill()
    await asyncio.gather(*loads)
    assert (await sandbox.execute("1")).status is Status.OK
    await sandbox.stop()
    assert set(outcomes) <= {"'answered'", "SandboxError"}
    assert outcomes.count("'answered'") > len(outcomes) / 2
    assert killed
    assert not {session_of(child) for child in children_of(os.getpid())} & killed


async def test_a_zygote_that_hangs_is_replaced_and_deadlines_hold() -> None:
    sandbox = Sandbox(SandboxConfig())
    await sandbox.start()
    try:
        running = asyncio.create_task(sandbox.execute("while True: pass", timeout_s=1))
        zygote = await forker_of(sandbox)
        os.kill(zygote, signal.SIGSTOP)
        async with asyncio.timeout(10):
            assert (await running).status is Status.TIMEOUT
        assert (await sandbox.execute("1")).status is Status.OK
    finally:
        await sandbox.stop()
    assert zygote not in descendants_of(os.getpid())
