"""An offline run where there is no network but the loopback."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A network of its own, whose loopback is down at first: SIOCSIFFLAGS with IFF_UP.
ALONE = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))
try:
    socket.create_connection(("192.0.2.1", 80), 1)
except OSError as error:
    print(error.strerror, flush=True)
os.execv(sys.executable, [sys.executable, "-m", "runner", *sys.argv[1:]])
"""


def unshare(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--net", sys.executable, "-c", ALONE, *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0,
    reason="no network namespace can be made here",
)
def test_an_offline_run_needs_no_network(tmp_path: Path) -> None:
    done = unshare("run", "-n", "3", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Network is unreachable\n")
    assert "✅ Run 3: 100% - ✓ All tiers stable" in done.stdout
