"""What a process may use, as the kernel's files tell it: both versions of cgroups, in containers and outside."""

import os
from pathlib import Path

import pytest

from service.machine import Machine, MemoryKills, read_machine

INSTALLED = {"proc/meminfo": "MemTotal:       16777216 kB\nMemFree: 1 kB\n"}
SECOND = {"proc/self/cgroup": "0::/system.slice/gauntlet.service\n"}
FIRST = {"proc/self/cgroup": "4:memory:/docker/03b4\n2:cpu,cpuacct:/docker/03b4\n1:name=systemd:/docker/03b4\n0::/x\n"}
UNBOUND = str(2**63 - 4096)  # how the first version says that there is no limit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def read(root: Path, files: dict[str, str], affinity: int = 16) -> Machine:
    for name, text in (INSTALLED | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read_machine(root, affinity=affinity)


@pytest.mark.parametrize(
    ("files", "memory_mib"),
    [
        ({}, 16384),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, 1024),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 16384),
        (SECOND | {"sys/fs/cgroup/system.slice/gauntlet.service/memory.max": "2147483648\n"}, 2048),
        (
            SECOND
            | {
                "sys/fs/cgroup/system.slice/gauntlet.service/memory.max": "max\n",
                "sys/fs/cgroup/system.slice/memory.max": "3221225472\n",
            },
            3072,
        ),
        (SECOND | {"sys/fs/cgroup/memory.max": "4294967296\n"}, 4096),  # a container that is shown the host's path
        ({"proc/self/cgroup": "0::/../..\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, 1024),
        (FIRST | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n"}, 1024),  # in its container
        (FIRST | {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{UNBOUND}\n"}, 16384),
        (
            FIRST
            | {
                "sys/fs/cgroup/memory/docker/03b4/memory.limit_in_bytes": f"{UNBOUND}\n",
                "sys/fs/cgroup/memory/docker/memory.limit_in_bytes": "2147483648\n",
            },
            2048,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{2**40}\n"}, 16384),  # more than there is
    ],
)
def test_memory_is_the_least_limit_that_can_be_seen(root: Path, files: dict[str, str], memory_mib: int) -> None:
    assert read(root, files).memory_mib == memory_mib


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "5000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "3200000 100000\n"}, 16),
        (SECOND | {"sys/fs/cgroup/system.slice/cpu.max": "400000 100000\n"}, 4),
        (
            FIRST
            | {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            FIRST
            | {
                "sys/fs/cgroup/cpu/docker/03b4/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/docker/03b4/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_cores_are_those_of_affinity_and_quota(root: Path, files: dict[str, str], cores: int) -> None:
    assert read(root, files).cores == cores


def test_affinity_counts_where_it_is_less_than_the_quota(root: Path) -> None:
    assert read(root, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"}, affinity=3).cores == 3


@pytest.mark.parametrize(
    ("files", "file", "text"),
    [
        (SECOND, "system.slice/gauntlet.service/memory.events", "low 0\noom 9\noom_kill {}\noom_group_kill 0\n"),
        (SECOND, "memory.events", "oom_kill {}\n"),  # a container that is shown the host's path
        (FIRST, "memory/docker/03b4/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
        (FIRST, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
    ],
)
def test_the_kernels_kills_for_want_of_memory_are_counted(
    root: Path, files: dict[str, str], file: str, text: str
) -> None:
    counter = root / "sys/fs/cgroup" / file
    read(root, files | {f"sys/fs/cgroup/{file}": text.format(5)})
    kills = MemoryKills(root)
    assert kills.count() == 5
    counter.write_text(text.format(17))
    assert kills.count() == 17
    kills.close()
    assert kills.count() == 0
    kills.close()


@pytest.mark.parametrize("text", [None, "", "oom_kill_disable 0\nunder_oom 0\n"])
def test_where_kills_are_not_counted_there_are_none(root: Path, text: str | None) -> None:
    read(root, FIRST if text is None else FIRST | {"sys/fs/cgroup/memory/memory.oom_control": text})
    assert MemoryKills(root).count() == 0


def test_this_machine_can_be_read() -> None:
    machine = read_machine()
    assert 1 <= machine.cores <= len(os.sched_getaffinity(0))
    assert 0 < machine.memory_mib <= (os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) >> 20


def test_the_service_has_its_share_of_memory() -> None:
    machine = Machine(cores=16, memory_mib=1024)
    assert (machine.room(256), machine.slots(256), machine.slots(16, most=20)) == (2, 2, 20)
    assert (machine.room(1024), machine.slots(1024)) == (0, 1)
