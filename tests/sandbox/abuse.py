"""What hostile code tries and what must come of it: pure data, run on the bare sandbox and inside the container.

`PHRASES` lists the contract, `ABUSE` has at least one `Line` for each phrase of it, and `CONTROL` holds, for each
group, code of the same kind that is allowed and passes: a refusal could be no more than a broken test.
"""

import os
import textwrap
from dataclasses import dataclass

from tests.grading.corpus import ROWS, submissions

__all__ = ["ABUSE", "CONTROL", "HONEST", "LEFT_BEHIND", "PHRASES", "Line"]


@dataclass(frozen=True, slots=True)
class Line:
    """One piece of hostile code, and what must come of it.

    Attributes:
        id: the phrase of the contract, and after a colon which variant of it.
        code: what is sent.
        status: as `/execute` answers it, several joined by "|". "denied" is `ok` with a list of what became of each
            attempt, every one of them an error named in `says`. Empty for what is graded.
        says: part of the error, or of the result where there is none, several joined by "|"; for what is graded, of a
            lost row's reason.
        loses: rows of the grade that are lost, where the code is graded; None where it is executed.
        prints: how stdout, or else stderr, begins.
        truncated: whether output or result is cut.
        times: how often it is run, one after the other, with the same outcome each time.
        timeout_s: wall clock that it is given; 0 for the runner's own.
        http: the status with which the service refuses it unrun; 0 for none.
    """

    id: str
    code: str
    status: str = ""
    says: str = ""
    loses: tuple[str, ...] | None = None
    prints: str = ""
    truncated: bool = False
    times: int = 1
    timeout_s: float = 0
    http: int = 0

    def __str__(self) -> str:
        return self.id

    @property
    def source(self) -> str:
        """The code without the catalogue's indentation."""
        return textwrap.dedent(self.code)

    @property
    def phrase(self) -> str:
        """The contract's words."""
        return self.id.partition(": ")[0]


PHRASES = {
    "time": (
        "busy loop", "sleep", "SIGTERM, SIGALRM and SIGXCPU ignored", "a huge power in C with the GIL held",
        "CPU burnt by many threads", "regex blow-up", "hang at import", "hang in atexit", "hang in __del__",
        "a result whose __repr__ hangs", "a result whose __eq__ hangs", "a result whose __iter__ hangs",
        "a result whose __len__ hangs", "an endless iterator as result", "0.9 of the limit on every call of a grade",
    ),
    "memory": (
        "one big string", "growth in small steps", "anonymous shared mmap", "memfd", "SysV shm", "/dev/shm",
        "SharedMemory", "recursion with the limit raised", "MemoryError caught in a loop", "thread stacks",
        "a huge return value", "'+0'*200000", "deep parentheses", "other compile bombs", "a 3 MB source",
    ),
    "processes": (
        "fork", "vfork", "clone", "clone3", "subprocess", "os.system", "posix_spawn", "exec of a shell",
        "double fork with setsid", "a thread bomb", "multiprocessing",
    ),
    "others": (
        "kill the parent", "kill(-1)", "pidfd signals", "ptrace", "process_vm_readv", "prlimit on the parent",
        "setpriority on the parent", "sched_setaffinity on the parent", "pidfd_getfd", "setpgid",
    ),
    "files": (
        "/etc/passwd", "the service's and the grader's source", "settings", "the environment of the parent",
        "/proc/self/mem", "/proc/PID/fd", "write", "mkdir", "symlink", "hardlink", "rename", "chmod", "utime",
        "setxattr", "mknod", "a sparse file of 1 PiB", "a million small files", "existence oracles by stat",
        "a file left for the next run",
    ),
    "network": (
        "TCP", "UDP", "ICMP", "DNS", "loopback to the service's own port", "unix sockets by path",
        "unix sockets abstract", "netlink", "vsock", "raw", "io_uring",
    ),
    "kernel": (
        "mount", "unshare", "setns", "bpf", "userfaultfd", "perf_event_open", "keyctl", "personality", "x32 calls",
        "i386 calls", "reboot", "module loading", "swapon", "chroot", "a setuid binary",
    ),
    "pipes": (
        "10 MB on stdout", "10 MB on stderr", "more than a pipe's buffer", "non-UTF-8 bytes", "a lone surrogate",
        "NUL in the source", "fds 0, 1, 2 closed", "every inherited fd written to", "a result line forged on stdout",
        "a result line forged on the answer's fd", "a result line forged twice", "a result line forged before time",
        "a result line forged by atexit", "a result line forged by a thread after the return", "os._exit(0)",
        "sys.exit", "SystemExit at import", "SystemExit in a call", "KeyboardInterrupt at import",
        "KeyboardInterrupt in a call",
        "self-SIGKILL", "segfault", "stdin read", "environment read", "json tampered with", "time tampered with",
        "math tampered with", "statistics tampered with", "builtins tampered with", "type dicts tampered with",
        "meta_path tampered with", "settrace", "excepthook", "frames walked", "gc walked", "sys.modules walked",
    ),
    "answers": (
        "a str subclass that lies", "a float subclass that lies", "a dict subclass that lies",
        "a list subclass that lies", "an int subclass that lies", "__class__ spoofs", "objects equal to everything",
        "NaN", "infinities", "10**5000", "Decimal", "bools", "cycles", "nesting of 100,000", "duplicate keys",
        "forged marks", "non-string keys", "lone surrogates", "a generator", "a lying deque", "a __reduce__ hook",
        "a __deepcopy__ hook", "a __del__ hook", "100 MB of rows",
    ),
}  # fmt: skip

_BY_CLEAN = ("tier1", "tier2_flat", "tier2_heavy_tail", "validity")
_BY_CALLS = ROWS[:-1]  # the words stand in the source, whatever it does
_CORPUS = {submission.id: submission for submission in submissions("honest", "edge", "wrong")}
HONEST = _CORPUS["honest/list_slicing"].source

# Where a line that got through would show on the machine.
LEFT_BEHIND = (
    *(f"{folder}/left" for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "")),
    *("/tmp/sparse", "/tmp/0", "/tmp/left-for-the-next", "/dev/shm/x"),
)

# Numbers from the kernel's own tables (asm/unistd_64.h, asm-generic/unistd.h).
_NUMBERS = {
    "x86_64": {
        "access": 21, "add_key": 248, "bind": 49, "bpf": 321, "capset": 126, "chroot": 161, "clone": 56, "clone3": 435,
        "connect": 42, "delete_module": 176, "execve": 59, "execveat": 322, "faccessat2": 439, "fallocate": 285,
        "finit_module": 313, "fork": 57, "fsopen": 430, "getpid": 39, "init_module": 175, "inotify_init1": 294,
        "io_setup": 206, "io_uring_enter": 426, "io_uring_register": 427, "io_uring_setup": 425, "ioprio_set": 251,
        "kcmp": 312, "kexec_load": 246, "keyctl": 250, "listen": 50, "migrate_pages": 256, "mknodat": 259, "mount": 165,
        "move_mount": 429, "move_pages": 279, "newfstatat": 262, "open_by_handle_at": 304, "open_tree": 428,
        "openat2": 437, "perf_event_open": 298, "personality": 135, "pidfd_getfd": 438, "pidfd_open": 434,
        "pidfd_send_signal": 424, "pivot_root": 155, "process_madvise": 440, "process_vm_readv": 310,
        "process_vm_writev": 311, "prlimit64": 302, "ptrace": 101, "readlinkat": 267, "reboot": 169, "recvmsg": 47,
        "request_key": 249, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "sched_setaffinity": 203,
        "sched_setattr": 314, "sched_setscheduler": 144, "sendmsg": 46, "sendto": 44, "setns": 308, "setpgid": 109,
        "setpriority": 141, "setsid": 112, "shmat": 30, "shmctl": 31, "shmget": 29, "shutdown": 48, "socket": 41,
        "statfs": 137, "statx": 332, "swapoff": 168, "swapon": 167, "syslog": 103, "tgkill": 234, "tkill": 200,
        "truncate": 76, "umount2": 166, "unshare": 272, "userfaultfd": 323, "vfork": 58,
    },
    "aarch64": {
        "add_key": 217, "bind": 200, "bpf": 280, "capset": 91, "chroot": 51, "clone": 220, "clone3": 435,
        "connect": 203,
        "delete_module": 106, "execve": 221, "execveat": 281, "faccessat2": 439, "fallocate": 47, "finit_module": 273,
        "fsopen": 430, "getpid": 172, "init_module": 105, "inotify_init1": 26, "io_setup": 0, "io_uring_enter": 426,
        "io_uring_register": 427, "io_uring_setup": 425, "ioprio_set": 30, "kcmp": 272, "kexec_load": 104,
        "keyctl": 219,
        "listen": 201, "migrate_pages": 238, "mknodat": 33, "mount": 40, "move_mount": 429, "move_pages": 239,
        "newfstatat": 79, "open_by_handle_at": 265, "open_tree": 428, "openat2": 437, "perf_event_open": 241,
        "personality": 92, "pidfd_getfd": 438, "pidfd_open": 434, "pidfd_send_signal": 424, "pivot_root": 41,
        "process_madvise": 440, "process_vm_readv": 270, "process_vm_writev": 271, "prlimit64": 261, "ptrace": 117,
        "readlinkat": 78, "reboot": 142, "recvmsg": 212, "request_key": 218, "rt_sigqueueinfo": 138,
        "rt_tgsigqueueinfo": 240, "sched_setaffinity": 122, "sched_setattr": 274, "sched_setscheduler": 119,
        "sendmsg": 211, "sendto": 206, "setns": 268, "setpgid": 154, "setpriority": 140, "setsid": 157, "shmat": 196,
        "shmctl": 195, "shmget": 194, "shutdown": 210, "socket": 198, "statfs": 43, "statx": 291, "swapoff": 225,
        "swapon": 224, "syslog": 116, "tgkill": 131, "tkill": 130, "truncate": 45, "umount2": 39, "unshare": 97,
        "userfaultfd": 282,
    },
}  # fmt: skip
_ON_X86 = os.uname().machine == "x86_64"

_ATTEMPT = f"""import ctypes, errno, os, socket
NUMBERS = {_NUMBERS[os.uname().machine]!r}
PARENT = os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
def attempt(do, *arguments, **named):
    try:
        done = do(*arguments, **named)
    except (ImportError, NotImplementedError):  # an extension module that is not there
        return 'ImportError'
    except (socket.gaierror, socket.herror):
        return 'unresolved'
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
    return f'succeeded: {{done!r}}'
def checked(do, *arguments):
    done = do(*arguments)
    if done < 0:
        raise OSError(ctypes.get_errno(), 'refused')
    return done
def raw(number, *arguments):
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return checked(libc.syscall, ctypes.c_long(number), *wide)
def call(name, *arguments):
    if name not in NUMBERS:
        return 'EPERM'  # this machine has no such call
    return attempt(raw, NUMBERS[name], *arguments)
"""

# Puts words of its own, with the nonce that was asked for, in the place of what this process answers next.
_FORGE = """import os
def forge(body):
    def forged(fd, data, write=os.write):
        text = bytes(data)[4:20] + body.encode()
        write(fd, len(text).to_bytes(4, 'big') + text)
        return len(data)
    os.write = forged
"""
_FORGE_TWICE = """
import os
write = os.write
def twice(fd, data):
    os.write = write
    write(fd, bytes(data) * 2)
    return len(data)
os.write = twice
"""


def _denied(id_: str, attempts: str, says: str = "EPERM") -> Line:
    return Line(id_, _ATTEMPT + textwrap.dedent(attempts), "denied", says)


def _submitted(id_: str, name: str) -> Line:
    submission = _CORPUS[name]
    return Line(id_, submission.source, loses=submission.loses)


def _called(
    id_: str, body: str, says: str = "", *, first: str = "", loses: tuple[str, ...] = _BY_CALLS, status: str = ""
) -> Line:
    """Graded code that does nothing but this when it is called, beside the two words that earn a row."""
    head = f"# telemetry, fallback\n{textwrap.dedent(first)}\ndef process_batch(events, state):\n"
    return Line(id_, head + textwrap.indent(textwrap.dedent(body), "    "), status, says, loses)


def _answered(id_: str, spoil: str, loses: tuple[str, ...], says: str = "", *, first: str = "") -> Line:
    """Honest code whose honest result is spoilt before it is returned."""
    wrapper = "\nhonest = process_batch\ndef process_batch(events, state):\n    result = honest(events, state)\n"
    spoilt = textwrap.indent(textwrap.dedent(spoil), "    ")
    return Line(id_, f"{HONEST}\n{textwrap.dedent(first)}{wrapper}{spoilt}\n    return result\n", "", says, loses)


def _hanging(method: str, base: str = "") -> str:
    return f"class Hang({base}):\n    def {method}(self, *_):\n        while True: pass\n"


_TIME = (
    Line("busy loop", "while True: pass", "timeout", "deadline"),
    Line("busy loop: what it printed is kept", "print('probing')\nwhile 1: pass", "timeout", prints="probing\n"),
    Line("sleep", "import time; time.sleep(60)", "timeout", "deadline"),
    Line("sleep: on a lock", "import threading\nthreading.Event().wait()", "timeout"),
    Line("sleep: stopped by its own signal", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    Line(
        "SIGTERM, SIGALRM and SIGXCPU ignored",
        "from signal import *\nfor s in (SIGTERM, SIGALRM, SIGXCPU): signal(s, SIG_IGN)\nalarm(1)\nwhile True: pass",
        "timeout",
    ),
    Line("a huge power in C with the GIL held", "9 ** 9 ** 9", "timeout"),
    Line(
        "CPU burnt by many threads",
        """
        import hashlib, threading
        def burn():
            while True: hashlib.sha256(bytes(1 << 20)).digest()
        for _ in range(4): threading.Thread(target=burn).start()
        """,
        "timeout",
    ),
    Line("regex blow-up", "import re; re.match('(a+)+$', 'a' * 60 + 'b')", "timeout"),
    _submitted("hang at import", "wrong/all_endless_on_import"),
    Line(
        "hang at import: of a module of its own making",
        """
        import importlib.abc, importlib.util, sys
        class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
            def find_spec(self, name, path, target=None): return importlib.util.spec_from_loader(name, self)
            def exec_module(self, module):
                while True: pass
        sys.meta_path.insert(0, Finder())
        import anything
        """,
        "timeout",
    ),
    Line("hang in atexit", "import atexit\n@atexit.register\ndef hang():\n    while True: pass", "timeout"),
    Line(
        "hang in atexit: a thread that never ends",
        "import threading as t\nt.Thread(target=t.Event().wait).start()",
        "timeout",
    ),
    Line("hang in __del__", f"{_hanging('__del__')}kept = Hang()", "timeout"),
    _called("hang in __del__: of what a call drops", "Hang()", "timeout: ", first=_hanging("__del__")),
    Line("a result whose __repr__ hangs", f"{_hanging('__repr__')}Hang()", "timeout"),
    Line(
        "a result whose __repr__ hangs: an exception's text", f"{_hanging('__str__', 'Exception')}raise Hang", "timeout"
    ),
    # What no answer needs is never called: these lose their rows without any delay.
    Line("a result whose __eq__ hangs: executed", f"{_hanging('__eq__')}Hang()", "ok", "Hang object"),
    _answered(
        "a result whose __eq__ hangs",
        "result['mean'] = Hang()",
        ("validity",),
        "mean is a Hang",
        first=_hanging("__eq__"),
    ),
    _answered(
        "a result whose __iter__ hangs",
        "result['clean'] = Hang()",
        _BY_CLEAN,
        "clean is a Hang",
        first=_hanging("__iter__"),
    ),
    _answered(
        "a result whose __iter__ hangs: a list's",
        "result['clean'] = Hang()",
        _BY_CLEAN,
        "clean has 0 rows",
        first=_hanging("__iter__", "list"),
    ),
    _answered(
        "a result whose __len__ hangs",
        "result['state'] = Hang()",
        ("tier3", "validity"),
        "state is a Hang",
        first=_hanging("__len__"),
    ),
    Line("an endless iterator as result", "import itertools; itertools.count()", "ok", "count(0)"),
    _answered(
        "an endless iterator as result: of a call",
        "import itertools\nresult['clean'] = itertools.cycle(result['clean'])",
        _BY_CLEAN,
        "clean is a cycle",
    ),
    _answered(
        "0.9 of the limit on every call of a grade",
        "import time; time.sleep(0.9 * WALL_TIME_S)",
        ("tier3",),
        " of 12: timeout: ",  # the second call, or the first one on a machine that is busy
    ),
)

_MEMORY = (
    Line("one big string", "'x' * 10**10", "memory_limit", "MemoryError"),
    Line("one big string: of bytes", "bytearray(10**10)", "memory_limit", "MemoryError"),
    _called("one big string: in a call", "'x' * 10**10", "memory_limit: "),
    Line(
        "growth in small steps", "kept = []\nwhile True: kept.append(bytearray(1 << 16))", "memory_limit", timeout_s=5
    ),
    Line(
        "growth in small steps: of texts",
        "kept = []\nwhile True: kept.append('x' * 9999 + str(len(kept)))",
        "memory_limit",
        timeout_s=5,
    ),
    Line("anonymous shared mmap", "import mmap; mmap.mmap(-1, 10**9)", "memory_limit"),
    Line(
        "anonymous shared mmap: many small ones",
        "import mmap\nkept = [mmap.mmap(-1, 1 << 20) for _ in range(1000)]",
        "memory_limit",
    ),
    _denied("memfd", "[attempt(os.memfd_create, 'x'), attempt(os.memfd_create, 'x', os.MFD_HUGETLB)]"),
    _denied("SysV shm", "[call('shmget', 0, 1 << 30, 0o1600), call('shmat', 0, 0, 0), call('shmctl', 0, 0, 0)]"),
    _denied("/dev/shm", "[attempt(os.open, '/dev/shm/x', os.O_CREAT | os.O_RDWR), attempt(open, '/dev/shm/x', 'wb')]"),
    _denied(
        "SharedMemory",
        """
        def share():
            from multiprocessing.shared_memory import SharedMemory
            return SharedMemory(create=True, size=1 << 30)
        [attempt(share), attempt(checked, libc.shm_open, b'/x', os.O_CREAT | os.O_RDWR, 0o600)]
        """,
        "EPERM|ImportError",
    ),
    Line(
        "recursion with the limit raised",
        "import sys; sys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "memory_limit",
        timeout_s=8,
    ),
    Line(
        "recursion with the limit raised: on the C stack, which ends before memory does",
        "import sys; sys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr(self)\nrepr(A())",
        "memory_limit|killed|error",
    ),
    Line(
        "MemoryError caught in a loop",
        "kept = []\nwhile True:\n    try: kept.append(bytearray(1 << 20))\n    except MemoryError: pass",
        "memory_limit",
        timeout_s=5,
    ),
    Line(
        "thread stacks",
        "from threading import *\nfor _ in range(500): Thread(target=Event().wait, daemon=True).start()",
        "memory_limit",
    ),
    Line("a huge return value", "'x' * 10**8", "output_limit", "100000002 characters", truncated=True, timeout_s=5),
    _called("a huge return value: of a call", "return {'clean': [1.5] * 10**6}", "output_limit: "),
    Line(
        "a huge return value: an exception's text",
        "raise ValueError('x' * 10**8)",
        "error",
        "ValueError",
        timeout_s=5,
    ),
    Line("'+0'*200000", "1" + "+0" * 200_000, "memory_limit|syntax_error", http=422, timeout_s=8),
    Line("'+0'*200000: half of it", "+0" * 100_000, "memory_limit|syntax_error", timeout_s=8),
    Line(
        "'+0'*200000: compiled by itself",
        "compile('1' + '+0' * 200_000, 'x', 'eval')",
        "memory_limit|error",
        timeout_s=8,
    ),
    Line("deep parentheses", "(" * 1000 + ")" * 1000, "syntax_error", "parentheses"),
    Line("deep parentheses: to the parser's limit", "[" * 90 + "]" * 90 + "*" * 3, "memory_limit|syntax_error"),
    Line("other compile bombs: signs", "+" * 100_000 + "1", "memory_limit|syntax_error"),
    Line("other compile bombs: minus signs", "-" * 50_000 + "1", "memory_limit|syntax_error"),
    Line(
        "other compile bombs: a tuple of tuples",
        "((((1,) * 200) * 200) * 200) * 200",
        "memory_limit|output_limit",
        timeout_s=5,
    ),
    Line("other compile bombs: a shift", "len(str(1 << (1 << 33)))", "memory_limit|error"),
    Line("other compile bombs: attributes", "x" + ".a" * 50_000, "memory_limit|syntax_error|error", timeout_s=5),
    Line("other compile bombs: nested blocks", "".join(" " * n + "if 1:\n" for n in range(99)), "syntax_error"),
    Line("a 3 MB source", "#" * (3 << 20), "ok", http=413, timeout_s=5),
)

_PROCESSES = (
    _denied("fork", "[attempt(os.fork), call('fork')]"),
    _called("fork: in a call", "import os; os.fork()", "PermissionError"),
    _denied("vfork", "[call('vfork')]"),
    _denied(
        "clone", "[call('clone', flags, 0, 0, 0, 0) for flags in (17, 0x4111, 0, 0x100, 0x900, 0x20011, 0x10000011)]"
    ),
    _denied(
        "clone: a thread in namespaces of its own",
        "[call('clone', 0x3d0f00 | flag, 0, 0, 0, 0) for flag in (0x20000, 0x10000000, 0x40000000)]",
    ),
    _denied("clone3", "[call('clone3', (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88), call('clone3', 0, 0)]", "ENOSYS"),
    _denied(
        "subprocess",
        """
        import subprocess
        ways = ({}, {'close_fds': False}, {'shell': True}, {'start_new_session': True}, {'preexec_fn': int})
        [attempt(subprocess.run, ['/bin/true'], **way) for way in ways]
        """,
    ),
    Line("os.system", "import os; os.system('true') != 0", "ok", "True"),
    Line("os.system: popen", "import os; os.popen('true')", "error", "Operation not permitted"),
    _denied(
        "posix_spawn", "[attempt(spawn, '/bin/true', ['true'], {}) for spawn in (os.posix_spawn, os.posix_spawnp)]"
    ),
    _denied(
        "exec of a shell",
        """
        arguments = (ctypes.c_char_p * 2)(b'sh', None)
        [attempt(os.execv, '/bin/sh', ['sh']), attempt(os.execve, 3, ['sh'], {}),
         call('execve', b'/bin/sh', arguments, 0), call('execveat', -100, b'/bin/sh', arguments, 0, 0)]
        """,
    ),
    _denied(
        "double fork with setsid",
        """
        def daemon():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    while True: pass
                os._exit(0)
        [attempt(daemon), attempt(os.setsid), call('setsid')]
        """,
    ),
    Line(
        "a thread bomb",
        "from threading import *\nwhile True: Thread(target=Event().wait, daemon=True).start()",
        "memory_limit|error",
    ),
    Line(
        "a thread bomb: of threads that start threads",
        "from _thread import *\ndef f():\n    while True: start_new_thread(f, ())\nf()",
        "memory_limit|error|timeout|killed",
    ),
    _denied(
        "multiprocessing",
        """
        def run(method):
            import multiprocessing
            return multiprocessing.get_context(method).Process(target=print).start()
        def pool():
            import concurrent.futures
            with concurrent.futures.ProcessPoolExecutor(1) as pool: return pool.submit(print).result()
        [*(attempt(run, method) for method in ('fork', 'spawn', 'forkserver')), attempt(pool)]
        """,
        "EPERM|ImportError",
    ),
)

_OTHERS = (
    _denied("kill the parent", "[attempt(os.kill, pid, number) for pid in (PARENT, 1) for number in (0, 9, 15, 19)]"),
    _denied(
        "kill the parent: by thread and by queue",
        """
        [call('tgkill', PARENT, PARENT, 9), call('tkill', PARENT, 9), call('rt_sigqueueinfo', PARENT, 9, bytes(128)),
         call('rt_tgsigqueueinfo', PARENT, PARENT, 9, bytes(128))]
        """,
    ),
    _denied(
        "kill the parent: as the owner of a descriptor",
        """
        import fcntl
        set_owner, set_signal, set_owner_ex, set_lease, ioctl_set_owner = 8, 10, 15, 1024, 0x8901
        [*(attempt(fcntl.fcntl, 3, command, PARENT) for command in (set_owner, set_signal, set_owner_ex, set_lease)),
         attempt(fcntl.ioctl, 3, ioctl_set_owner, PARENT.to_bytes(4, 'little'))]
        """,
    ),
    _called("kill the parent: in a call", "import os; os.kill(os.getppid(), 9)", "PermissionError"),
    _denied("kill(-1)", "[attempt(os.kill, -1, 9), attempt(os.kill, 0, 9), attempt(os.killpg, os.getpgrp(), 9)]"),
    _denied(
        "pidfd signals",
        "[call('pidfd_open', PARENT, 0), *(call('pidfd_send_signal', fd, 9, 0, 0) for fd in (0, 3, 4))]",
    ),
    _denied("ptrace", "[call('ptrace', request, PARENT, 0, 0) for request in (0, 16, 0x4206)]"),
    _denied(
        "process_vm_readv",
        """
        buffer = ctypes.create_string_buffer(64)
        where = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 64)
        calls = ('process_vm_readv', 'process_vm_writev')
        [*(call(name, pid, where, 1, where, 1, 0) for name in calls for pid in (PARENT, os.getpid())),
         call('process_madvise', 3, where, 1, 4, 0), call('kcmp', PARENT, os.getpid(), 0, 0, 0),
         call('migrate_pages', PARENT, 0, 0, 0), call('move_pages', PARENT, 0, 0, 0, 0, 0)]
        """,
    ),
    _denied(
        "prlimit on the parent",
        """
        import resource
        limits = (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)
        [*(attempt(resource.prlimit, PARENT, limit, (0, 0)) for limit in limits),
         attempt(resource.prlimit, PARENT, resource.RLIMIT_CPU), call('prlimit64', PARENT, 0, bytes(16), 0)]
        """,
    ),
    _denied(
        "setpriority on the parent",
        """
        [attempt(os.setpriority, os.PRIO_PROCESS, PARENT, 19), attempt(os.setpriority, os.PRIO_USER, 0, 19),
         call('ioprio_set', 1, PARENT, 0), attempt(os.nice, -5)]
        """,
    ),
    _denied(
        "sched_setaffinity on the parent",
        """
        [attempt(os.sched_setaffinity, PARENT, {0}), call('sched_setattr', PARENT, bytes(48), 0),
         attempt(os.sched_setscheduler, PARENT, os.SCHED_IDLE, os.sched_param(0))]
        """,
    ),
    _denied("pidfd_getfd", "[call('pidfd_getfd', pidfd, fd, 0) for pidfd in (0, 3, 4) for fd in (0, 3)]"),
    _denied(
        "setpgid",
        """
        [*(attempt(os.setpgid, *which) for which in ((PARENT, 0), (0, PARENT), (0, 0))),
         attempt(os.setsid), attempt(os.getsid, PARENT), attempt(os.getpgid, PARENT)]
        """,
    ),
)

# The sandbox's own path stands in the frames below the submission: the rest of the service can be guessed from it.
_SERVICE = """
import sys
frame, paths = sys._getframe(), []
while frame:
    paths.append(frame.f_code.co_filename)
    frame = frame.f_back
service = [path.split('/sandbox/')[0] for path in paths if '/sandbox/' in path][0]
"""
_PLACES = (
    "places = [p + '/left' for p in ('/tmp', '/var/tmp', '/dev/shm', '/run', '', '/proc/self', '/dev/fd/3', '.')]\n"
)

_FILES = (
    _denied(
        "/etc/passwd",
        """
        [attempt(open, '/etc/passwd'), attempt(os.open, '/etc/passwd', os.O_PATH), attempt(os.listdir, '/etc'),
         call('openat2', -100, b'/etc/passwd', bytes(24), 24), call('open_by_handle_at', 3, bytes(16), 0)]
        """,
    ),
    _called("/etc/passwd: in a call", "open('/etc/passwd')", "PermissionError"),
    _denied(
        "the service's and the grader's source",
        f"""{_SERVICE}
names = ('grading/checks.py', 'grading/cases.py', 'task/contract.py', 'sandbox/inside/child.py')
[*(attempt(open, f'{{service}}/{{name}}') for name in names), attempt(os.listdir, service)]""",
    ),
    _denied(
        "the service's and the grader's source: imported",
        "[attempt(__import__, name) for name in ('service', 'service.settings', 'runner', 'inside.child', 'pydantic')]",
        "ImportError",
    ),
    _denied(
        "the service's and the grader's source: and the library's",
        "[attempt(open, path) for path in (os.__file__, os.__spec__.origin, '/etc/os-release', '/proc/version')]",
    ),
    _denied(
        "settings",
        f"""{_SERVICE}
names = ('settings.py', '../.env', '../pyproject.toml', '../docker-compose.yml')
[attempt(open, path) for path in (*(f'{{service}}/{{name}}' for name in names), f'/proc/{{PARENT}}/cmdline')]""",
    ),
    _denied(
        "the environment of the parent",
        "[attempt(open, f'/proc/{pid}/environ', 'rb') for pid in (PARENT, 1, 'self', os.getpid(), 'thread-self')]",
    ),
    _denied(
        "/proc/self/mem",
        """
        [attempt(open, f'/proc/{pid}/{name}', mode)
         for pid in ('self', PARENT) for name in ('mem', 'maps', 'auxv') for mode in ('rb', 'r+b')]
        """,
    ),
    _denied(
        "/proc/PID/fd",
        """
        [*(attempt(do, f'/proc/{pid}/fd') for pid in ('self', PARENT, 1) for do in (os.listdir, os.readlink)),
         *(attempt(os.open, f'/proc/self/fd/{fd}', os.O_RDWR) for fd in range(4)),
         attempt(os.readlink, '/proc/self/exe')]
        """,
    ),
    _denied(
        "write",
        f"""{_PLACES}
[*(attempt(open, place, mode) for place in places for mode in ('w', 'x', 'a', 'r+')),
 *(attempt(os.open, folder, os.O_TMPFILE | os.O_RDWR) for folder in ('/tmp', '/dev/shm')),
 attempt(os.truncate, '/etc/passwd', 0), attempt(os.ftruncate, 1, 0), attempt(os.remove, '/tmp/left')]""",
    ),
    _denied("mkdir", f"{_PLACES}[attempt(do, place) for place in places for do in (os.mkdir, os.rmdir)]"),
    _denied("symlink", f"{_PLACES}[attempt(os.symlink, '/etc/passwd', place) for place in places]"),
    _denied("hardlink", f"{_PLACES}[attempt(os.link, '/etc/passwd', place) for place in places]"),
    _denied(
        "rename", f"{_PLACES}[attempt(do, '/etc/passwd', place) for place in places for do in (os.rename, os.replace)]"
    ),
    _denied(
        "chmod",
        f"""{_PLACES}
[*(attempt(os.chmod, place, 0o777) for place in ('/tmp', '/', *places)), attempt(os.fchmod, 1, 0o777),
 attempt(os.chown, '/tmp', 0, 0), attempt(os.fchown, 1, 0, 0), attempt(os.umask, 0)]""",
    ),
    _denied("utime", f"{_PLACES}[attempt(os.utime, place) for place in ('/tmp', '/', 1, *places)]"),
    _denied(
        "setxattr",
        f"""{_PLACES}
[*(attempt(os.setxattr, place, 'user.left', b'x') for place in ('/tmp', 1, *places)),
 attempt(os.getxattr, '/tmp', 'user.left'), attempt(os.listxattr, '/tmp'),
 attempt(os.removexattr, '/tmp', 'user.left')]""",
    ),
    _denied(
        "mknod",
        f"""{_PLACES}import stat
kinds = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)
[*(attempt(os.mknod, place, kind | 0o600) for place in places for kind in kinds), attempt(os.mkfifo, '/tmp/left')]""",
    ),
    _denied(
        "a sparse file of 1 PiB",
        """
        [attempt(os.open, '/tmp/sparse', os.O_CREAT | os.O_RDWR),
         *(attempt(os.ftruncate, fd, 1 << 50) for fd in range(4)),
         *(call('fallocate', fd, 0, 0, 1 << 50) for fd in range(4))]
        """,
    ),
    _denied(
        "a million small files",
        """
        made = 0
        def make():
            global made
            for made in range(10**6): os.close(os.open(f'/tmp/{made}', os.O_CREAT | os.O_WRONLY))
        [attempt(make), *([f'made {made}'] if made else [])]
        """,
    ),
    _denied(
        "existence oracles by stat",
        """
        names = ['/etc/passwd', '/nowhere', '/tmp', '/proc/1', f'/proc/{PARENT}', '/proc/99999999', '/root/.ssh', '.']
        by_name = (os.stat, os.lstat, os.readlink, os.statvfs, os.chdir, os.scandir)
        bare = [name.encode() for name in names]  # where os.access would swallow the error
        [*(attempt(do, name) for name in names for do in by_name), *(call('access', name, 0) for name in bare),
         *(call('faccessat2', -100, name, 0, 0) for name in bare), call('inotify_init1', 0),
         *(call('statx', -100, name, 0, 0xfff, bytes(256)) for name in bare),
         *(call('newfstatat', -100, name, bytes(256), 0) for name in bare),
         *(f'{name} was seen' for name in names if os.path.exists(name) or os.access(name, os.F_OK))]
        """,
    ),
    Line(
        "a file left for the next run",
        f"""{_ATTEMPT}{_PLACES}import builtins, sys
found = [attempt(open, place) for place in places]
found += [name for name in ('left', 'LEFT') if hasattr(builtins, name) or name in os.environ or name in sys.modules]
made = [attempt(open, place, 'w') for place in places]
builtins.left, os.environ['LEFT'], sys.modules['left'] = 1, '1', sys
found + made""",
        "denied",
        "EPERM",
        times=2,
    ),
)

_LOOPBACK = "loopback = bytes((2, 0, 8000 >> 8, 8000 & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0))\n"

_NETWORK = (
    _denied(
        "TCP",
        """
        protocols = (0, socket.IPPROTO_TCP, 132, 262)  # SCTP and MPTCP beside it
        families = (socket.AF_INET, socket.AF_INET6)
        [*(attempt(socket.socket, family, socket.SOCK_STREAM, number) for family in families for number in protocols),
         attempt(socket.create_connection, ('192.0.2.1', 80), 1)]
        """,
    ),
    _denied(
        "TCP: by raw calls",
        f"""{_LOOPBACK}
[call('socket', 2, 1, 0), *(call(name, fd, loopback, 16) for name in ('connect', 'bind') for fd in range(4)),
 *(call('listen', fd, 5) for fd in range(4))]""",
    ),
    _called("TCP: in a call", "import socket; socket.socket()", "PermissionError"),
    _denied(
        "UDP",
        f"""{_LOOPBACK}
[*(attempt(socket.socket, family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)),
 *(call('sendto', fd, b'x', 1, 0, loopback, 16) for fd in range(4))]""",
    ),
    _denied(
        "ICMP",
        "[attempt(socket.socket, socket.AF_INET, kind, 1) for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW)]",
    ),
    _denied(
        "DNS",
        """
        [attempt(socket.getaddrinfo, 'example.com', 80), attempt(socket.gethostbyname, 'localhost'),
         attempt(socket.gethostbyaddr, '127.0.0.1'), attempt(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)]
        """,
        "EPERM|unresolved",
    ),
    _denied(
        "loopback to the service's own port",
        "[attempt(socket.create_connection, (host, 8000), 1) for host in ('127.0.0.1', '0.0.0.0', '::1')]",
    ),
    _denied(
        "loopback to the service's own port: as HTTP",
        "import http.client\n[attempt(http.client.HTTPConnection('127.0.0.1', 8000).request, 'GET', '/health')]",
    ),
    _denied(
        "unix sockets by path",
        r"""
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
        [*(attempt(socket.socket, socket.AF_UNIX, kind) for kind in kinds),
         call('connect', 3, b'\1\0/var/run/docker.sock\0', 23), call('bind', 3, b'\1\0/tmp/left\0', 12)]
        """,
    ),
    _denied(
        "unix sockets by path: a pair, and descriptors over the channel",
        """
        [attempt(socket.socketpair), call('sendmsg', 3, bytes(56), 0), call('recvmsg', 3, bytes(56), 0),
         call('shutdown', 3, 2)]
        """,
    ),
    _denied(
        "unix sockets abstract",
        r"""
        name = b'\1\0\0abstract'
        [call('connect', 3, name, 11), call('bind', 3, name, 11), call('sendto', 3, b'x', 1, 0, name, 11)]
        """,
    ),
    _denied(
        "netlink",
        """
        [*(attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, number) for number in (0, 9, 15, 16)),
         attempt(socket.if_nameindex)]
        """,
    ),
    _denied("vsock", "[attempt(socket.socket, 40, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]"),
    _denied(
        "raw",
        """
        [attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, 255),
         attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 3),
         attempt(socket.socket, 38, socket.SOCK_SEQPACKET), attempt(socket.socket, 44, socket.SOCK_RAW)]
        """,
    ),
    _denied(
        "io_uring",
        """
        [call('io_uring_setup', 1, bytes(120)), call('io_uring_enter', 3, 1, 0, 0, 0, 0),
         call('io_uring_register', 3, 0, 0, 0), call('io_setup', 1, bytes(8))]
        """,
    ),
)

_MACHINE_CODE = """import ctypes, errno, mmap, os
def run(code):
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex(code))
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""

_KERNEL = (
    _denied(
        "mount",
        """
        [call('mount', b'none', b'/mnt', b'tmpfs', 0, 0), call('umount2', b'/proc', 2),
         call('open_tree', -100, b'/', 1),
         call('move_mount', -100, b'/', -100, b'/', 0), call('fsopen', b'tmpfs', 0)]
        """,
    ),
    _denied("unshare", "[call('unshare', flag) for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x400, 0)]"),
    _denied("setns", "[call('setns', 0, 0), call('setns', 3, 0), attempt(os.open, '/proc/1/ns/mnt', 0)]"),
    _denied("bpf", "[call('bpf', command, bytes(128), 128) for command in (0, 5, 18)]"),
    _denied("userfaultfd", "[call('userfaultfd', 0), call('userfaultfd', 1), attempt(os.open, '/dev/userfaultfd', 2)]"),
    _denied("perf_event_open", "[call('perf_event_open', bytes(128), pid, -1, -1, 0) for pid in (0, -1, PARENT)]"),
    _denied(
        "keyctl",
        """
        [call('keyctl', 0, -3, 1), call('add_key', b'user', b'left', b'x', 1, -3),
         call('request_key', b'user', b'left', 0, -3)]
        """,
    ),
    _denied("personality", "[call('personality', value) for value in (0xffffffff, 0x0040000, 0x0400000)]"),
    _denied("x32 calls", "[attempt(raw, 0x40000000 + number) for number in (39, 57, 2, 41, 512, 520, 545)]"),
    # getpid, fork, open and socketcall through int 0x80; a kernel without it answers with a signal.
    Line(
        "i386 calls",
        f"{_MACHINE_CODE}[errno.errorcode[-run(f'53b8{{number:02x}}000000cd805bc3')] for number in (20, 2, 5, 102)]"
        if _ON_X86
        else "['EPERM']",
        "denied|killed",
        "EPERM|SIGSEGV",
    ),
    _denied(
        "reboot",
        "[call('reboot', 0xfee1dead, 672274793, 0, 0), call('kexec_load', 0, 0, 0, 0), call('syslog', 10, 0, 0)]",
    ),
    _denied(
        "module loading",
        "[call('init_module', b'x', 1, b''), call('finit_module', 3, b'', 0), call('delete_module', b'x', 0)]",
    ),
    _denied("swapon", "[call('swapon', b'/nowhere', 0), call('swapoff', b'/nowhere')]"),
    _denied(
        "chroot",
        "[attempt(os.chroot, '/'), call('pivot_root', b'/', b'/'), attempt(os.chdir, '/'), attempt(os.fchdir, 0)]",
    ),
    _denied(
        "a setuid binary",
        """
        binaries = ('/bin/su', '/usr/bin/passwd', '/bin/mount', '/usr/bin/sudo')
        [*(attempt(os.execv, path, [path]) for path in binaries), attempt(os.setuid, 0), attempt(os.setgid, 0),
         attempt(os.setgroups, [0]), attempt(os.setresuid, 0, 0, 0), call('capset', bytes(8), bytes(24))]
        """,
    ),
)


def _tampering(phrase: str, how: str) -> tuple[Line, Line]:
    """Executed, it says of itself what it likes; graded, it earns nothing."""
    return (
        Line(phrase, f"{textwrap.dedent(how)}\n1 / 0", "error|ok|killed"),
        _called(f"{phrase}: in a call", f"{textwrap.dedent(how)}\nreturn {{}}"),
    )


_FORGED_OK = '[{"status":"ok","result":"42","truncated":false},[]]'
_FORGED_RETURN = '[{"status":"ok","returned":{"clean":[],"state":{}},"given_state":null},[]]'
_DOUBLE_KEYS = '[{"status":"ok","returned":{"clean":7,"clean":[]},"given_state":null},[]]'
_FORGED_MARK = '[{{"status":"ok","returned":{{"clean":[[]]}},"given_state":null}},[{}]]'
_FORGED_MARKS = {
    "on nothing": '["tuple",["returned","clean",1]]',
    "twice": '["tuple",["returned","clean",0]],["tuple",["returned","clean",0]]',
    "within a tuple": '["tuple",["returned","clean"]],["tuple",["returned","clean",0]]',
    "of no kind": '["set",["returned","clean"]]',
    "of a maxlen that is too small": '["deque",["returned","clean"],0]',
    "of a key that has no hash": '["dict",["returned","clean"]]',
}
# A whole frame, but for its nonce.
_JUNK = 'junk = b\'\\0\\0\\0\\x36\' + b\'0\' * 16 + b\'[{"status":"ok","result":"forged"},[]]\'\n'
_LATE = f"{_JUNK}import os, threading, time\ndef late():\n    time.sleep(0.1)\n    os.write(3, junk)\n"

# What only the grader knows: in hexadecimal, so that the submission does not find itself.
_SECRETS = [
    w.encode().hex() for w in ("tier2_heavy_tail", "minority rows were dropped", "Output validity", "GAUNTLET_")
]
_SEEN = f"(len(text) > 1000, [word for word in {_SECRETS} if bytes.fromhex(word).decode() in text])"

_PIPES = (
    Line(
        "10 MB on stdout",
        "import sys\nsys.stdout.write('first' + 'x' * (10 << 20))\n'done'",
        "ok",
        "'done'",
        prints="firstxx",
        truncated=True,
    ),
    Line(
        "10 MB on stdout: and 190 more",
        "import sys\nfor _ in range(200): sys.stdout.write('x' * (1 << 20))",
        "output_limit",
        "more than",
        prints="xxx",
        truncated=True,
    ),
    Line(
        "10 MB on stderr",
        "import sys\nsys.stderr.write('first' + 'x' * (10 << 20))\n'done'",
        "ok",
        "'done'",
        prints="firstxx",
        truncated=True,
    ),
    Line("more than a pipe's buffer", "print('x' * 200_000)\n'done'", "ok", "'done'", prints="xxx", truncated=True),
    Line(
        "more than a pipe's buffer: of both by turns",
        "import os\nfor _ in range(30): os.write(1, b'y' * 10_000); os.write(2, b'z' * 10_000)\n'done'",
        "ok",
        "'done'",
        prints="yyy",
        truncated=True,
    ),
    Line(
        "non-UTF-8 bytes", "import os; os.write(1, b'\\xff\\xfe ok'); 'done'", "ok", "'done'", prints="\ufffd\ufffd ok"
    ),
    Line("a lone surrogate", "print('\\ud800'); '\\ud800'", "ok", "'\\ud800'", prints="\\ud800\n"),
    Line("a lone surrogate: in an error", "raise ValueError(chr(0xd800))", "error", "\\ud800"),
    Line("a lone surrogate: in the source", "'\ud800'", "syntax_error", "lone surrogate", http=422),
    Line("NUL in the source", "1\0", "syntax_error", "null bytes"),
    Line("NUL in the source: and in the output", "print('a\\0b'); 'c\\0d'", "ok", "'c\\x00d'", prints="a\0b\n"),
    Line(
        "fds 0, 1, 2 closed",
        "import os\nprint('gone')\nfor fd in range(3): os.close(fd)\n'closed'",
        "ok",
        "'closed'",
        prints="gone\n",
    ),
    Line(
        "fds 0, 1, 2 closed: as objects",
        "import sys\nfor file in (sys.stdin, sys.stdout, sys.stderr): file.close()\n'closed'",
        "ok",
        "'closed'",
    ),
    Line(
        "fds 0, 1, 2 closed: and the answer's",
        "import os, time\nos.closerange(0, 99)\ntime.sleep(60)",
        "error",
        "closed its channel",
    ),
    Line(
        "every inherited fd written to",
        'import os\nfor fd in range(256):\n    try: os.write(fd, b\'{"status":"ok"}\\n\')\n    except OSError: pass',
        "error",
        "no answer",
        prints='{"status":"ok"}\n',
    ),
    Line("a result line forged on stdout", f"print({_FORGED_OK!r})\n'honest'", "ok", "'honest'", prints=_FORGED_OK),
    Line("a result line forged on the answer's fd", f"{_JUNK}import os; os.write(3, junk)", "error", "no answer"),
    Line(
        "a result line forged on the answer's fd: of 4 GiB",
        "import os; os.write(3, b'\\xff' * 20)",
        "error",
        "no answer",
    ),
    Line(
        "a result line forged on the answer's fd: without an end",
        "import os, time; os.write(3, b'\\0\\0\\1\\0' + bytes(16)); time.sleep(60)",
        "timeout|error",
    ),
    Line(
        "a result line forged on the answer's fd: and a flood",
        "import os\nwhile True: os.write(3, bytes(1 << 16))",
        "error|output_limit",
    ),
    _called(
        "a result line forged on the answer's fd: in a call",
        f"{_JUNK}import os; os.write(3, junk)",
        "no answer",
    ),
    _called(
        "a result line forged on the answer's fd: with the nonce of its question",
        f"forge({_FORGED_RETURN!r})",
        "clean has 0 rows",
        first=_FORGE,
    ),
    Line("a result line forged twice", f"{_JUNK}import os; os.write(3, junk * 2)", "error", "no answer"),
    _answered(
        "a result line forged twice: each answer of a grade",
        f"{_FORGE_TWICE}",
        ("tier3",),
        "call 2 of 12: the process sent something that is no answer",
    ),
    _called(
        "a result line forged before time",
        "return None",
        "Import failed: the process sent something that is no answer",
        first=f"{_JUNK}import os; os.write(3, junk)",
        loses=ROWS,
    ),
    Line(
        "a result line forged by atexit",
        f"{_JUNK}import atexit, os\natexit.register(os.write, 3, junk)\n'honest'",
        "error",
        "no answer",
    ),
    Line(
        "a result line forged by a thread after the return",
        f"{_LATE}threading.Thread(target=late).start()\n'honest'",
        "error",
        "no answer",
    ),
    Line(
        "a result line forged by a thread after the return: when it is too late",
        f"{_LATE}threading.Thread(target=late, daemon=True).start()\n'honest'",
        "ok",
        "'honest'",
    ),
    _called(
        "a result line forged by a thread after the return: of a call",
        "threading.Thread(target=late).start()",
        first=f"{_LATE}".replace("time.sleep(0.1)\n    ", "while True: "),
    ),
    Line("os._exit(0)", "import os; os._exit(0)", "error", "exit code 0"),
    _called("os._exit(0): in a call", "import os; os._exit(0)", "exit code 0"),
    Line("os._exit(0): in C", "import ctypes; ctypes.CDLL(None)._exit(0)", "error", "exit code 0"),
    Line("sys.exit", "import sys; sys.exit(0)", "error", "SystemExit"),
    _submitted("sys.exit: at import", "wrong/all_sys_exit_on_import"),
    Line("SystemExit at import", "raise SystemExit", "error", "SystemExit"),
    _called("SystemExit at import: graded", "pass", "Import failed: SystemExit", first="raise SystemExit", loses=ROWS),
    _called("SystemExit in a call", "raise SystemExit(0)", "SystemExit"),
    Line("KeyboardInterrupt at import", "raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
    _called(
        "KeyboardInterrupt at import: graded",
        "pass",
        "Import failed: KeyboardInterrupt",
        first="raise KeyboardInterrupt",
        loses=ROWS,
    ),
    _called("KeyboardInterrupt in a call", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    _called(
        "KeyboardInterrupt in a call: from its own signal",
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
        "KeyboardInterrupt",
    ),
    Line("self-SIGKILL", "import os; os.kill(os.getpid(), 9)", "killed", "SIGKILL"),
    _called("self-SIGKILL: in a call", "import os; os.kill(os.getpid(), 9)", "killed: "),
    Line("self-SIGKILL: abort", "import os; os.abort()", "killed", "SIGABRT"),
    Line("self-SIGKILL: alarm", "import signal, time; signal.alarm(1); time.sleep(9)", "killed", "SIGALRM"),
    Line("segfault", "import ctypes; ctypes.string_at(0)", "killed", "SIGSEGV"),
    _called("segfault: in a call", "import ctypes; ctypes.string_at(0)", "killed: "),
    Line("stdin read", "import sys; sys.stdin.read()", "ok", "''"),
    Line("stdin read: a line", "input()", "error", "EOFError"),
    Line(
        "environment read",
        """
        import ctypes, os
        block = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
        (dict(os.environ), block[0] if block else None)
        """,
        "ok",
        "({}, None)",
    ),
    *_tampering(
        "json tampered with",
        f"""
        import json, json.encoder
        for name in ('dumps', 'dump', 'loads', 'load'): setattr(json, name, lambda *a, **k: {_FORGED_OK!r})
        json.JSONEncoder.encode = json.JSONEncoder.iterencode = lambda *a, **k: {_FORGED_RETURN!r}
        json.JSONDecoder.decode = json.encoder.encode_basestring_ascii = lambda *a, **k: {_FORGED_RETURN!r}
        """,
    ),
    *_tampering(
        "time tampered with",
        "import time\ntime.time = time.monotonic = time.perf_counter = time.process_time = time.sleep = lambda *a: 0",
    ),
    Line(
        "time tampered with: the deadline stands",
        "import time\ntime.time = time.monotonic = lambda: 0\nwhile True: pass",
        "timeout",
    ),
    *_tampering("math tampered with", "import math\nfor name in dir(math): setattr(math, name, lambda *a: True)"),
    *_tampering(
        "statistics tampered with",
        "import statistics\nstatistics.median = statistics.mean = statistics.pstdev = lambda *a: 3.0",
    ),
    *_tampering(
        "builtins tampered with",
        """
        import builtins
        for name in ('isinstance', 'issubclass', 'callable', 'all', 'any'): setattr(builtins, name, lambda *a: True)
        builtins.len, builtins.type, builtins.id = lambda *a: 240, lambda *a: dict, lambda *a: 0
        """,
    ),
    *_tampering("builtins tampered with: emptied", "import builtins; builtins.__dict__.clear()"),
    *_tampering(
        "type dicts tampered with",
        """
        import ctypes, gc
        yes, nothing = lambda *a: True, lambda *a: iter(())
        for kind, methods in (
            (float, {'__eq__': yes, '__lt__': yes}), (int, {'__eq__': yes, 'bit_length': lambda *a: 1}),
            (dict, {'get': yes, 'items': nothing, '__iter__': nothing}), (list, {'__iter__': nothing}),
        ):
            gc.get_referents(kind.__dict__)[0].update(methods)
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))
        """,
    ),
    *_tampering("meta_path tampered with", "import sys; sys.meta_path.clear(); sys.modules.clear()"),
    *_tampering(
        "settrace",
        """
        import sys
        def trace(frame, *_):
            frame.f_locals.update(status='ok', returned={}, answer=b'', self=None)
            return trace
        sys.settrace(trace); sys.setprofile(lambda *a: None)
        frame = sys._getframe()
        while frame: frame.f_trace = trace; frame = frame.f_back
        """,
    ),
    *_tampering(
        "excepthook",
        """
        import os, sys, threading
        sys.excepthook = threading.excepthook = sys.unraisablehook = lambda *a: os._exit(0)
        """,
    ),
    Line(
        "frames walked",
        f"""
        import sys
        frame, text = sys._getframe(), ''
        while frame:
            text += repr((frame.f_locals, frame.f_globals, frame.f_code.co_consts))
            frame = frame.f_back
        {_SEEN}
        """,
        "ok",
        "(True, [])",
    ),
    Line(
        "gc walked",
        f"""
        import gc
        def texts(held):
            if type(held) is dict: held = [*held, *held.values()]
            return [item for item in held if type(item) is str] if type(held) in (list, tuple, set) else []
        objects = gc.get_objects()
        text = ' '.join(text for held in objects for text in texts(held))
        text += ' '.join(text for held in objects for inner in gc.get_referents(held) for text in texts(inner))
        {_SEEN}
        """,
        "ok",
        "(True, [])",
        timeout_s=5,
    ),
    Line(
        "sys.modules walked",
        f"""
        import sys
        text = ' '.join(repr(vars(module)) for module in list(sys.modules.values()))
        ours = ('service', 'inside', 'grading', 'runner', 'pydantic')
        [{_SEEN}, *(name for name in sys.modules if name.partition('.')[0] in ours)]
        """,
        "ok",
        "[(True, [])]",
    ),
)

_LIES = """class Lies:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return hash(True)
    def __bool__(self): return True
    def __len__(self): return 4
    def __float__(self): return 9.5
    def __int__(self): return 5
    __index__ = __int__
    def __iter__(self): return iter([{'ts': 1, 'reading': 9.5, 'tag': 'minority'}] * 6)
    def __getitem__(self, key): return 9.5
    def get(self, *key): return 9.5
    def __str__(self): return '9.5'
    __repr__ = __format__ = __str__
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
"""
_READING = "result['clean'] = [dict(row, reading={}) for row in result['clean']]"


def _lying(name: str, base: str) -> str:
    return f"{_LIES}class {name}(Lies, {base}):\n    __hash__ = Lies.__hash__\n"


def _hooked(*methods: str) -> str:
    hooks = " = ".join(methods)
    return f"def harm(*_):\n    print('harm')\n    raise SystemExit\nclass Hooked:\n    {hooks} = harm\n"


_ANSWERS = (
    _answered(
        "a str subclass that lies", _READING.format("Text('?')"), _BY_CLEAN, "reading '?'", first=_lying("Text", "str")
    ),
    _answered(
        "a float subclass that lies",
        _READING.format("Number('nan')"),
        _BY_CLEAN,
        "reading nan",
        first=_lying("Number", "float"),
    ),
    _answered(
        "a float subclass that lies: as mean",
        "result['mean'] = Number(1e300)",
        ("validity",),
        "mean 1e+300",
        first=_lying("Number", "float"),
    ),
    _called("a dict subclass that lies", "return Rows()", "clean is None", first=_lying("Rows", "dict")),
    _answered(
        "a dict subclass that lies: as rows",
        "result['clean'] = [Rows() for row in result['clean']]",
        _BY_CLEAN,
        "reading None",
        first=_lying("Rows", "dict"),
    ),
    _answered(
        "a list subclass that lies",
        "result['clean'] = Rows()",
        _BY_CLEAN,
        "clean has 0 rows",
        first=_lying("Rows", "list"),
    ),
    _answered(
        "an int subclass that lies",
        "result['state']['seen'] = Count(-1)",
        ("validity",),
        "seen grew by -",
        first=_lying("Count", "int"),
    ),
    _called("__class__ spoofs", "return Spoof()", "a Spoof", first="class Spoof:\n    __class__ = dict"),
    _answered(
        "__class__ spoofs: of a list",
        "result['clean'] = Spoof()",
        _BY_CLEAN,
        "clean is a Spoof",
        first="class Spoof:\n    __class__ = list\n    __iter__ = lambda self: iter(())",
    ),
    _answered(
        "__class__ spoofs: by a property",
        _READING.format("Spoof()"),
        _BY_CLEAN,
        "reading a Spoof",
        first="class Spoof:\n    __class__ = property(lambda self: float)",
    ),
    _answered(
        "__class__ spoofs: by a metaclass",
        _READING.format("Spoof()"),
        _BY_CLEAN,
        "reading a Spoof",
        first="""
        class Meta(type):
            __instancecheck__ = __subclasscheck__ = __eq__ = lambda *a: True
            __hash__ = lambda self: hash(float)
            __name__ = property(lambda self: 'float')
        class Spoof(metaclass=Meta): pass
        """,
    ),
    _called("objects equal to everything", "return Lies()", first=_LIES),
    _answered(
        "objects equal to everything: as readings", _READING.format("Lies()"), _BY_CLEAN, "reading a Lies", first=_LIES
    ),
    _answered(
        "objects equal to everything: as telemetry",
        "result['telemetry'] = Lies()",
        ("tier3",),
        "telemetry",
        first=_LIES,
    ),
    _answered(
        "objects equal to everything: as state",
        "result['state'] = Lies()",
        ("tier3", "validity"),
        "a Lies",
        first=_LIES,
    ),
    _submitted("NaN", "wrong/validity_mean_nan"),
    _submitted("NaN: as reading", "wrong/tier1_keeps_nan"),
    _submitted("infinities", "wrong/infinite_std"),
    _submitted("infinities: as reading", "wrong/tier1_imputes_infinity"),
    _answered("10**5000", "result['mean'] = 10**5000", ("validity",), "mean is"),
    _answered("10**5000: as reading", _READING.format("-10**5000"), _BY_CLEAN, "reading"),
    _answered("10**5000: as seen", "result['state']['seen'] = 10**5000", ("validity",), "seen is"),
    _submitted("10**5000: and just beyond a float", "wrong/huge_std"),
    _submitted("Decimal", "wrong/decimal_readings"),
    _submitted("bools", "wrong/bool_readings"),
    _answered("cycles", "result['clean'].append(result['clean'])", _BY_CLEAN, "not a dict"),
    _answered("cycles: a row within itself", "for row in result['clean']: row['reading'] = row", _BY_CLEAN, "reading"),
    _called(
        "cycles: the result within itself", "r = {}; r['clean'] = r['state'] = r['mean'] = r; return r", "clean is"
    ),
    _called(
        "nesting of 100,000",
        "nested = []\nfor _ in range(100_000): nested = [nested]\nreturn {'clean': nested, 'state': {}}",
        "row 0 of clean is a list",
    ),
    _called(
        "nesting of 100,000: of dicts",
        "nested = {}\nfor _ in range(100_000): nested = {'state': nested}\nreturn nested",
        "clean is None",
    ),
    _called("duplicate keys", f"forge({_DOUBLE_KEYS!r})", "clean has 0 rows", first=_FORGE),
    *(
        _called(f"forged marks: {name}", f"forge({_FORGED_MARK.format(mark)!r})", "no answer", first=_FORGE)
        for name, mark in _FORGED_MARKS.items()
    ),
    _called("non-string keys", "return {b'clean': [], 1: 2, None: 3, (1, 2): 4, 1.5: 5, True: 6}", "clean is None"),
    _called("non-string keys: with methods of their own", "return {Lies(): 1, 'clean': []}", first=_LIES),
    _submitted("non-string keys: where they do no harm", "edge/telemetry_odd_keys"),
    _answered("lone surrogates", _READING.format("chr(0xd800)"), _BY_CLEAN, "reading '\\ud800'"),
    _called("lone surrogates: in an error", "raise KeyError(chr(0xd800))", "KeyError"),
    _answered(
        "lone surrogates: as telemetry, which they may be", "result['telemetry'] = {chr(0xd800): chr(0xdfff)}", ()
    ),
    _submitted("a generator", "wrong/generator_entry_point"),
    _submitted("a generator: as clean", "wrong/clean_is_lazy"),
    _answered(
        "a lying deque",
        "result['state']['buffer'] = Buffer([0] * 500)",
        ("tier3",),
        "holds 500 rows",
        first="""
        from collections import deque
        class Buffer(deque):
            maxlen = 240
            __len__ = lambda self: 3
            __iter__ = lambda self: iter(())
        """,
    ),
    _answered(
        "a __reduce__ hook",
        "result['clean'] = Hooked()",
        _BY_CLEAN,
        "clean is a Hooked",
        first=_hooked("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__"),
    ),
    _answered(
        "a __deepcopy__ hook",
        "result['clean'] = Hooked()",
        _BY_CLEAN,
        "clean is a Hooked",
        first=_hooked("__deepcopy__", "__copy__", "__replace__"),
    ),
    _answered("a __del__ hook", "result['clean'] = Hooked()", _BY_CLEAN, "clean is a Hooked", first=_hooked("__del__")),
    _called("100 MB of rows", "return {'clean': [{'ts': n, 'reading': n / 7, 'tag': 'core'} for n in range(400_000)]}"),
    _called("100 MB of rows: the same one a million times", "return {'clean': events[:1] * 10**6}", "output_limit: "),
)

ABUSE: dict[str, tuple[Line, ...]] = {
    "time": _TIME,
    "memory": _MEMORY,
    "processes": _PROCESSES,
    "others": _OTHERS,
    "files": _FILES,
    "network": _NETWORK,
    "kernel": _KERNEL,
    "pipes": _PIPES,
    "answers": _ANSWERS,
}

CONTROL: dict[str, tuple[Line, ...]] = {
    "time": (
        Line("0.3 s of sleep, and the time of day", "import time; time.sleep(0.3); time.time() > 1.7e9", "ok", "True"),
        Line("0.1 s of work", "sum(range(1_000_000))", "ok", "499999500000"),
        Line(
            "a handler at exit that ends", "import atexit; atexit.register(print, 'bye'); 1", "ok", "1", prints="bye\n"
        ),
        _answered("half of the limit over all calls of a grade", "import time; time.sleep(0.04 * WALL_TIME_S)", ()),
    ),
    "memory": (
        Line("a mapping of 10 MB", "import mmap; len(mmap.mmap(-1, 10 << 20))", "ok", "10485760"),
        Line("100 MB", "len(bytearray(100 << 20))", "ok", "104857600", timeout_s=5),
        Line("900 calls deep", "def f(n): return n and f(n - 1)\nf(900)", "ok", "0"),
        Line("90 parentheses", "(" * 90 + "7" + ")" * 90, "ok", "7"),
        Line("200 KB of source", "len([" + "1," * 100_000 + "])", "ok", "100000", timeout_s=5),
    ),
    "processes": (
        Line(
            "a thread",
            "import threading\nt = threading.Thread(target=print, args=('in it',)); t.start(); t.join(); 1",
            "ok",
            "1",
            prints="in it\n",
        ),
        Line(
            "eight threads",
            "from concurrent.futures import ThreadPoolExecutor as P\nwith P(8) as p: n = sum(p.map(len, 'a' * 40))\nn",
            "ok",
            "40",
        ),
    ),
    "others": (
        _denied(
            "a signal to itself",
            "[attempt(os.kill, os.getpid(), 0), call('tgkill', os.getpid(), os.getpid(), 0)]",
            "succeeded: None|succeeded: 0",
        ),
        Line(
            "its own limits and processors",
            """
            import os, resource
            (resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 16, resource.prlimit(0, resource.RLIMIT_CORE),
             len(os.sched_getaffinity(0)) > 0)
            """,
            "ok",
            "(True, (0, 0), True)",
        ),
    ),
    "files": (
        Line(
            "the library, from memory",
            "import colorsys, json, wave; (colorsys.rgb_to_hsv(0, 0, 0), json.dumps([1]))",
            "ok",
            "((0.0, 0.0, 0), '[1]')",
        ),
        _denied("its own descriptors", "[attempt(os.dup, 0), attempt(os.close, 4)]", "succeeded: 4|succeeded: None"),
        Line("a file in memory", "import io; f = io.StringIO(); f.write('kept'); f.getvalue()", "ok", "'kept'"),
    ),
    "network": (
        Line(
            "a pipe between threads",
            """
            import os, threading
            ours, theirs = os.pipe()
            threading.Thread(target=os.write, args=(theirs, b'sent')).start()
            os.read(ours, 9)
            """,
            "ok",
            "b'sent'",
        ),
        Line(
            "addresses as values",
            "import socket, urllib.parse; (socket.inet_aton('127.0.0.1'), urllib.parse.urlsplit('http://x:80/').port)",
            "ok",
            "(b'\\x7f\\x00\\x00\\x01', 80)",
        ),
    ),
    "kernel": (
        _denied("a raw call", "[call('getpid') == f'succeeded: {os.getpid()}' and 'made']", "made"),
        Line(
            "machine code with a call of this architecture",
            f"{_MACHINE_CODE}run('b8270000000f05c3') == os.getpid()" if _ON_X86 else "True",
            "ok",
            "True",
        ),
    ),
    "pipes": (
        Line("a value", "1 + 1", "ok", "2"),
        Line(
            "a line on each stream",
            "import sys; print('out'); print('err', file=sys.stderr); 1",
            "ok",
            "1",
            prints="out\n",
        ),
        Line("as much as is kept", "print('x' * 65_535)\n'done'", "ok", "'done'", prints="xxx"),
        Line(
            "a forged claim about itself, which forging reaches", f"{_FORGE}forge({_FORGED_OK!r})\n'honest'", "ok", "42"
        ),
        Line("an exception", "1 / 0", "error", "ZeroDivisionError: division by zero"),
        Line("what does not parse", "def f(:", "syntax_error", "line 1"),
        Line(
            "a trace",
            """
            import sys
            seen = []
            sys.settrace(lambda *a: seen.append(a[1]))
            (lambda: 0)()
            sys.settrace(None)
            seen[0]
            """,
            "ok",
            "'call'",
        ),
    ),
    "answers": (
        _answered("an honest answer, wrapped as the hostile ones are", "", ()),
        *(
            _submitted(name, f"edge/{name}")
            for name in (
                "list_subclass_clean",
                "float_subclass_readings",
                "int_subclass_seen",
                "deque_subclass_buffer",
                "ordered_dict_rows",
                "extra_keys",
            )
        ),
    ),
}
