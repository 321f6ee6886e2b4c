"""Grades the whole corpus on both suites and many seeds, and writes docs/soundness.md."""

import argparse
import asyncio
import sys
import time
from pathlib import Path

import uvloop

from service.grading import Grader
from service.sandbox import Sandbox, SandboxConfig
from tests.soundness.report import text
from tests.soundness.study import Study

_REPORT = Path(__file__).parents[2] / "docs" / "soundness.md"


def main() -> int:
    """Answers 1 when something does not hold."""
    parser = argparse.ArgumentParser(prog="make soundness", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="for honest solutions and floors")
    parser.add_argument("--attack-seeds", type=int, default=20, help="for attacks, twins and grafts")
    parser.add_argument("--out", type=Path, default=_REPORT)
    arguments = parser.parse_args()
    study = uvloop.run(_study(arguments.seeds, arguments.attack_seeds))
    command = f"make soundness ARGS='--seeds {arguments.seeds} --attack-seeds {arguments.attack_seeds}'"
    arguments.out.write_text(text(study, command), encoding="utf-8")
    for finding in study.findings:
        print(f"does not hold: {finding}")  # noqa: T201
    return 1 if study.findings else 0


async def _study(seeds: int, attack_seeds: int) -> Study:
    sandbox = Sandbox(SandboxConfig(wall_time_s=1.0))
    await sandbox.start()
    try:
        study, started = Study(Grader(sandbox), range(seeds), range(attack_seeds)), time.monotonic()
        async with asyncio.timeout(3 * 3600):
            await study.run(lambda part: print(f"{time.monotonic() - started:6.0f} s  {part}", flush=True))  # noqa: T201
        return study
    finally:
        await sandbox.stop()


if __name__ == "__main__":
    sys.exit(main())
