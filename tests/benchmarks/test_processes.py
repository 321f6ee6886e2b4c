"""What a process tree holds is seen, and told apart."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import processes

SLEEPER = "import time; print('zygote', flush=True); time.sleep(60)"


@contextmanager
def sleeping(*, leads_session: bool) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, start_new_session=leads_session)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_a_zygote_leads_its_session_and_a_waiting_child_does_not() -> None:
    own = os.getpid()
    of_other_tests = {*processes.zygotes(own), *processes.waiting(own)}
    with sleeping(leads_session=True) as zygote, sleeping(leads_session=False) as waiting:
        assert {*processes.zygotes(own)} - of_other_tests == {zygote}
        assert {*processes.waiting(own)} - of_other_tests == {waiting}
        assert {own, zygote, waiting} <= set(processes.tree(own))
        assert processes.memory_kib(zygote) > 1000
        assert processes.pss_kib(waiting) > 1000
        assert processes.descriptors(waiting) == 3


def test_a_child_that_nobody_reaped_is_a_zombie() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    deadline = time.monotonic() + 10
    while pid not in processes.zombies(os.getpid()):
        assert time.monotonic() < deadline
    os.waitpid(pid, 0)
    assert pid not in processes.zombies(os.getpid())


def test_what_is_gone_holds_nothing() -> None:
    with sleeping(leads_session=True) as pid:
        pass
    assert (processes.memory_kib(pid), processes.pss_kib(pid), processes.descriptors(pid)) == (0, 0, 0)
    assert processes.tree(pid) == [pid]
