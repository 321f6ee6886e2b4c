"""The service on a real Ray of one node, as `serve run deploy/ray/serve.yaml` deploys it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml  # type: ignore[import-untyped]

from service.sandbox.outcome import Status
from tests.conformance.clients import ROOT, client_python
from tests.sandbox.abuse import LEFT_BEHIND
from tests.sandbox.test_processes import descendants_of, zygotes_of
from tests.sandbox.trial import Footprint, Trial

__all__ = ["MOST_REPLICAS", "NODE", "SHARE", "RayCluster", "ServeDoor", "ray_environment", "running_cluster"]

SHARE = 12  # requests of one caller that a replica has in flight
MOST_REPLICAS = 2
NODE = Path(__file__).with_name("ray_node.py")
_START_S = 90.0
_STOP_S = 10.0
_QUICK = {"upscale_delay_s": 0.5, "metrics_interval_s": 0.5, "look_back_period_s": 1.0}
ARGUMENTS = {
    "max_replicas": MOST_REPLICAS,
    "cpus": 0.5,  # Ray counts them, and has two here
    "target_in_flight": 5,
    "autoscaling": _QUICK,
    "settings": {
        "GAUNTLET_CONCURRENCY": "8",
        "GAUNTLET_CLIENT_REQUESTS": str(SHARE),
        "GAUNTLET_POOL_LOW": "2",
        "GAUNTLET_POOL_HIGH": "2",
    },
}


@dataclass(frozen=True)
class RayCluster:
    """Serve's proxy and the replicas behind it.

    Attributes:
        url: of the proxy.
        metrics_url: where Ray exports its metrics.
        node: process that all others of Ray descend from.
    """

    url: str
    metrics_url: str
    node: int

    def replicas(self) -> list[int]:
        """Processes of replicas whose sandbox has started: before that, one takes no requests."""
        pids = descendants_of(self.node)
        return [pid for pid in pids if _command(pid).startswith("ray::ServeReplica") and zygotes_of(pid)]

    def kill(self, _: str = "") -> None:
        """Kills a replica where it stands; Ray starts another one."""
        os.kill(self.replicas()[0], signal.SIGKILL)


class ServeDoor:
    """The service's two endpoints behind Serve's proxy, and what one replica has of the machine."""

    refuses = True
    wall_time_s = 2.0
    graded_wall_time_s = 5.0

    def __init__(self, cluster: RayCluster) -> None:
        self._url = cluster.url
        (self._replica,) = cluster.replicas()

    async def execute(self, code: str, timeout_s: float) -> Trial:
        status, body = await self._post("/execute", {"expression": code, "timeout_s": timeout_s})
        if status != 200:
            return Trial(http=status)
        text, printed = body["error"] or body["result"] or "", body["stdout"] or body["stderr"]
        return Trial(status=Status(body["status"]), text=text, printed=printed, truncated=body["truncated"])

    async def grade(self, code: str) -> Trial:
        status, body = await self._post("/grade", {"code": code})
        if status != 200:
            return Trial(http=status)
        lost = [row for row in body["checks"] if not row["passed"]]
        return Trial(text="\n".join(row["detail"] for row in lost), lost=tuple(row["id"] for row in lost))

    async def footprint(self) -> Footprint:
        """Its descriptors are left out: Ray opens and closes some of its own."""
        stat = Path(f"/proc/{self._replica}/stat").read_text().rpartition(")")[2].split()  # noqa: ASYNC240 - procfs
        resident = int(Path(f"/proc/{self._replica}/statm").read_text().split()[1])  # noqa: ASYNC240
        return Footprint(
            processes=1 + len(descendants_of(self._replica)),
            descriptors=0,
            standing=f"group {stat[2]}, session {stat[3]}, priority {stat[15]}",
            left=tuple(path for path in LEFT_BEHIND if Path(path).exists()),  # noqa: ASYNC240
            rss_kb=resident * os.sysconf("SC_PAGESIZE") // 1024,
        )

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            response = await client.post(path, content=json.dumps(body), headers=headers)
        return response.status_code, response.json()


def ray_environment(installed: Path, home: Path, **settings: str) -> dict[str, str]:
    """What Ray and its replicas are started with.

    Nothing is sent to its makers, its token is not kept at home, and its proxy may take long to start.
    """
    python = client_python("ray")
    return {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "PYTHONPATH": str(installed),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        **settings,
    }


@contextmanager
def running_cluster(installed: Path, **settings: str) -> Iterator[RayCluster]:
    """Deploys the service's wheel, and takes it down when the block is left; its settings are the node's."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets need short paths
    port, metrics_port = _free_port(), _free_port()
    config = folder / "serve.yaml"
    config.write_text(_config(port))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(client_python("ray")), str(NODE), str(config), str(folder), str(metrics_port)],
            env=ray_environment(installed, folder, **settings),
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    cluster = RayCluster(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}", process.pid)
    try:
        _wait_until_ready(cluster, process, folder)
        yield cluster
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _config(port: int) -> str:
    """The one of `deploy/`, small and quick."""
    config = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text())
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    assert application["args"].keys() <= {*ARGUMENTS, "min_replicas"}
    application["args"] |= ARGUMENTS
    return str(yaml.safe_dump(config))


def _wait_until_ready(cluster: RayCluster, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not _is_ready(cluster.url):
        if process.poll() is not None or time.monotonic() > deadline:
            logs = [folder / "log", *(folder / "session_latest" / "logs" / "serve").glob("*.log")]
            raise AssertionError("\n".join(path.read_text()[-4000:] for path in logs))
        time.sleep(0.1)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupts it, as Ctrl-C would; whatever of Ray is there after that is killed, process by process."""
    everything = descendants_of(process.pid)
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_S)  # Ray itself may wait for longer than a minute for a replica that was killed
    process.kill()
    process.wait()
    for pid in everything:
        if "ray" in _command(pid):
            os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
