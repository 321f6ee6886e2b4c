"""A Ray cluster of several nodes on this machine, for who has no Ray: ``python -m benchmarks.ray_cluster``.

It says where it is in a line of JSON, and does what it is told by lines on its standard input: ``kill 2`` kills what
makes up that node, ``add`` starts another (``add 127.0.0.2`` on that address), ``head`` kills what keeps the cluster
together. It ends with its input.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.processes import tree


@click.command()
@click.option("--nodes", default=3, show_default=True, help="With a core each.")
@click.option("--folder", required=True, help="Where Ray keeps its logs; short, for its sockets are there, too.")
@click.option("--dashboard/--no-dashboard", default=False, show_default=True)
def main(nodes: int, folder: str, dashboard: bool) -> None:
    """Run a cluster until the input ends."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - it takes a second

    # Where Ray notes the address of the newest cluster: by default in /tmp/ray, which this one does not make.
    os.environ["RAY_TMPDIR"] = folder
    Path(folder, "ray").mkdir(exist_ok=True)
    common = {"num_cpus": 1, "object_store_memory": 80_000_000}
    head = {**common, "include_dashboard": dashboard, "dashboard_port": 0, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        added = [cluster.head_node, *(cluster.add_node(wait=False, **common) for _ in range(nodes - 1))]
        cluster.wait_for_nodes(timeout=60)
        _say(cluster)
        for line in sys.stdin:
            order, _, number = line.strip().partition(" ")
            if order == "kill":
                _kill(added[int(number)], "raylet")
            elif order == "head":
                _kill(added[0], "gcs_server")
            elif order == "add":
                place = {"node_ip_address": number} if number else {}
                added.append(cluster.add_node(wait=False, **common, **place))
            _say(cluster)
    finally:
        with contextlib.suppress(Exception):  # of nodes that were killed
            cluster.shutdown()


def _kill(node: Any, kind: str) -> None:
    """Kill a process of a node with all that it started, as a machine takes all with it."""
    for started in node.all_processes[kind]:
        for pid in tree(started.process.pid):
            os.kill(pid, signal.SIGKILL)


def _say(cluster: Any) -> None:
    sys.stdout.write(json.dumps({"address": cluster.address, "dashboard": cluster.webui_url}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
