"""Runs a configuration of Ray Serve on a Ray of its own until it is interrupted: `serve run`, without a dashboard."""

import sys

import ray
from ray.serve.scripts import cli

config, folder, metrics_port = sys.argv[1:]
ray.init(
    include_dashboard=False,
    log_to_driver=False,
    num_cpus=2,
    object_store_memory=100 << 20,
    _metrics_export_port=int(metrics_port),
    _temp_dir=folder,
)
cli(["run", config])
