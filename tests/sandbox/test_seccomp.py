"""The system call filter of both architectures, run in an interpreter of its own against what it must decide."""

import errno
import struct

import pytest

from service.sandbox.inside import seccomp
from service.sandbox.inside.seccomp import ARCHITECTURES, build_filter

ALLOW, REFUSE, MISSING = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
PID = 4321
THREAD = 0x3D0F00  # pthread_create's flags in glibc
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386, ARM = 0x40000003, 0x40000028

# Numbers from the kernel's own tables (asm/unistd_64.h, asm-generic/unistd.h).
FORBIDDEN = {
    "x86_64": {
        "open": 2, "stat": 4, "lstat": 6, "ioctl": 16, "access": 21, "sendfile": 40, "shmget": 29, "shmat": 30,
        "socket": 41, "connect": 42, "sendto": 44, "sendmsg": 46, "bind": 49, "socketpair": 53, "fork": 57, "vfork": 58,
        "execve": 59, "wait4": 61, "semget": 64, "msgget": 68, "flock": 73, "truncate": 76, "getdents": 78, "chdir": 80,
        "rename": 82, "mkdir": 83, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90,
        "chown": 92, "umask": 95, "ptrace": 101, "setuid": 105, "setpgid": 109, "setsid": 112, "capset": 126,
        "utime": 132, "mknod": 133, "personality": 135, "setpriority": 141, "sched_setparam": 142,
        "sched_setscheduler": 144, "mlock": 149, "pivot_root": 155, "prctl": 157, "arch_prctl": 158, "setrlimit": 160,
        "chroot": 161, "mount": 165, "swapon": 167, "reboot": 169, "init_module": 175, "setxattr": 188, "tkill": 200,
        "sched_setaffinity": 203, "io_setup": 206, "getdents64": 217, "timer_create": 222, "mq_open": 240,
        "kexec_load": 246, "add_key": 248, "keyctl": 250, "ioprio_set": 251, "inotify_init": 253, "openat": 257,
        "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "fchmodat": 268, "unshare": 272,
        "splice": 275, "utimensat": 280, "signalfd": 282, "eventfd": 284, "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297, "perf_event_open": 298, "name_to_handle_at": 303, "setns": 308,
        "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "seccomp": 317, "memfd_create": 319,
        "bpf": 321, "execveat": 322, "userfaultfd": 323, "statx": 332, "pidfd_send_signal": 424, "io_uring_setup": 425,
        "open_tree": 428, "pidfd_open": 434, "openat2": 437, "pidfd_getfd": 438, "faccessat2": 439,
        "landlock_create_ruleset": 444, "memfd_secret": 447, "process_madvise": 440, "a_call_of_the_future": 900,
    },
    "aarch64": {
        "setxattr": 5, "ioctl": 29, "ioprio_set": 30, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36,
        "linkat": 37, "renameat": 38, "mount": 40, "chroot": 51, "fchmodat": 53, "openat": 56, "getdents64": 61,
        "readlinkat": 78, "newfstatat": 79, "utimensat": 88, "personality": 92, "unshare": 97, "init_module": 105,
        "timer_create": 107, "ptrace": 117, "sched_setscheduler": 119, "sched_setaffinity": 122, "tkill": 130,
        "rt_sigqueueinfo": 138, "setpriority": 140, "reboot": 142, "setuid": 146, "setpgid": 154, "setsid": 157,
        "setrlimit": 164, "umask": 166, "prctl": 167, "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194,
        "socket": 198, "socketpair": 199, "connect": 203, "sendto": 206, "add_key": 217, "keyctl": 219, "execve": 221,
        "swapon": 224, "perf_event_open": 241, "wait4": 260, "setns": 268, "process_vm_readv": 270, "seccomp": 277,
        "memfd_create": 279, "bpf": 280, "execveat": 281, "userfaultfd": 282, "statx": 291, "pidfd_send_signal": 424,
        "io_uring_setup": 425, "pidfd_open": 434, "openat2": 437, "pidfd_getfd": 438, "a_call_of_the_future": 900,
    },
}  # fmt: skip


def decide(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Runs the filter on one call, as the kernel would; a jump out of the program is an IndexError."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, AUDIT[machine] if audit is None else audit, 0, *padded)
    program = list(struct.iter_unpack("<HBBI", build_filter(machine, PID)))
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x15:
                position += if_true if accumulator == value else if_false
            case 0x35:
                position += if_true if accumulator >= value else if_false
            case 0x45:
                position += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)
            case _:
                raise ValueError(f"unexpected instruction {code:#x}")


machines = pytest.mark.parametrize("machine", sorted(ARCHITECTURES))


@machines
def test_calls_that_reach_beyond_the_process_are_refused(machine: str) -> None:
    allowed = {name for name, number in FORBIDDEN[machine].items() if decide(machine, number) != REFUSE}
    assert allowed == set()


@machines
def test_only_the_named_calls_can_ever_be_allowed(machine: str) -> None:
    numbers = ARCHITECTURES[machine].numbers
    allowed = {number for number in range(1024) if ALLOW in (decide(machine, number, PID), decide(machine, number))}
    assert allowed <= set(numbers.values())
    for name in ("read", "write", "mmap", "futex", "exit_group", "clock_nanosleep", "getrandom", "rt_sigreturn"):
        assert numbers[name] in allowed


def test_every_allowed_name_has_a_number_and_every_number_a_use() -> None:
    allowed = {*seccomp._FREE, *seccomp._conditional(PID)}
    assert allowed == set(ARCHITECTURES["x86_64"].numbers)
    assert set(ARCHITECTURES["aarch64"].numbers) < allowed


@machines
def test_a_thread_may_be_made_and_a_process_may_not(machine: str) -> None:
    clone, clone3 = ARCHITECTURES[machine].numbers["clone"], ARCHITECTURES[machine].numbers["clone3"]
    assert decide(machine, clone, THREAD) == ALLOW
    assert decide(machine, clone, 17) == REFUSE  # fork: SIGCHLD alone
    assert decide(machine, clone, 0x4100 | 17) == REFUSE  # vfork
    assert decide(machine, clone, THREAD | 0x10000000) == REFUSE  # CLONE_NEWUSER
    assert decide(machine, clone, THREAD | 0x00020000) == REFUSE  # CLONE_NEWNS
    assert decide(machine, clone, THREAD | 1 << 33) == REFUSE
    assert decide(machine, clone3) == MISSING


@machines
@pytest.mark.parametrize("call", ["kill", "tgkill"])
def test_it_may_signal_itself_alone(machine: str, call: str) -> None:
    number = ARCHITECTURES[machine].numbers[call]
    assert decide(machine, number, PID) == ALLOW
    for other in (0, 1, PID - 1, PID + 1, 0xFFFFFFFF, 2**64 - 1, 2**32 - PID):
        assert decide(machine, number, other) == REFUSE


@machines
def test_it_may_read_its_own_limits_and_set_nobodys(machine: str) -> None:
    number = ARCHITECTURES[machine].numbers["prlimit64"]
    assert decide(machine, number, 0, 7, 0, 0x7FFF0000) == ALLOW
    assert decide(machine, number, PID - 1, 0, 0, 0x7FFF0000) == REFUSE
    assert decide(machine, number, 0, 0, 0x7FFF0000) == REFUSE
    assert decide(machine, number, 0, 0, 1 << 32) == REFUSE


@machines
def test_fcntl_sets_no_owner_and_no_pipe_size(machine: str) -> None:
    number = ARCHITECTURES[machine].numbers["fcntl"]
    assert {command for command in range(2048) if decide(machine, number, 1, command) == ALLOW} == {0, 1, 2, 3, 4, 1030}


@machines
@pytest.mark.parametrize("audit", [I386, ARM, 0, 0xFFFFFFFF])
def test_calls_of_another_architecture_are_refused(machine: str, audit: int) -> None:
    for number in range(512):
        assert decide(machine, number, audit=audit) == REFUSE


def test_x32_calls_are_refused() -> None:
    for number in range(1024):
        assert decide("x86_64", 0x40000000 | number) == REFUSE


@machines
def test_the_filter_fits_the_kernels_limit(machine: str) -> None:
    assert len(build_filter(machine, PID)) // 8 <= 4096


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        build_filter("riscv64", PID)
