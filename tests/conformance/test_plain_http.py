"""The example for plain HTTP."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conformance.clients import EXAMPLES, last_json
from tests.conftest import ServiceProcess


def test_the_example_runs_an_episode_to_its_reward(
    service: ServiceProcess, graded: tuple[Path, dict[str, Any]]
) -> None:
    submission, expected = graded
    command = [sys.executable, str(EXAMPLES / "plain_http.py"), str(submission)]
    printed = subprocess.run(command, env={**os.environ, "GAUNTLET_URL": service.url}, check=True, capture_output=True)
    told = last_json(printed.stdout.decode())
    assert {name: told[name] for name in expected} == expected
    assert told["split"] == "validation"
