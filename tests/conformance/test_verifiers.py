"""vf-eval of verifiers 0.4, with a scripted model in the place of a real one."""

import json
import os
from pathlib import Path

import pytest

from tests.conformance.clients import EXAMPLES, client_python, run_client
from tests.conftest import ServiceProcess

UV = """\
#!/bin/sh
case "$*" in
  *--help*) echo --script ;;
  "python find "*) echo {python} ;;
esac
"""


@pytest.fixture
def offline_path(tmp_path: Path) -> str:
    """A search path whose `uv` finds all that verifiers' chat program needs in the environment that is there already.

    The real one would ask a package index for it, without pins, on every new machine.
    """
    python = client_python("verifiers")
    uv = tmp_path / "uv"
    uv.write_text(UV.format(python=python))
    uv.chmod(0o755)
    return f"{tmp_path}:{python.parent}:{os.environ['PATH']}"


def test_vf_eval_pays_what_the_grade_says_by_its_openenv_taskset(
    service: ServiceProcess, partial: Path, offline_path: str
) -> None:
    command = [str(EXAMPLES / "verifiers_openenv" / "run.py"), str(partial)]
    printed = run_client("verifiers", command, url=service.url, settings={"PATH": offline_path})
    rollouts = [json.loads(line) for line in printed.splitlines() if line.startswith('{"reward"')]
    assert sorted(rollouts, key=lambda rollout: rollout["seed"]) == [
        {"reward": 0.8, "split": "validation", "seed": seed} for seed in (1_000_000_007, 1_000_000_008)
    ]
