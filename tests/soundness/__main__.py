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
    parser.add_argument("--seeds", type=int, default=200, help="for honest solutions")
    parser.add_argument(
        "--method-seeds", type=int, default=1000, help="for a few solutions of different methods, and floors"
    )
    parser.add_argument("--attack-seeds", type=int, default=20, help="for attacks, twins and grafts")
    parser.add_argument("--out", type=Path, default=_REPORT)
    arguments = parser.parse_args()
    counts = {"seeds": arguments.seeds, "method-seeds": arguments.method_seeds, "attack-seeds": arguments.attack_seeds}
    study = uvloop.run(_study(*map(range, counts.values())))
    command = f"make soundness ARGS='{' '.join(f'--{name} {count}' for name, count in counts.items())}'"
    arguments.out.write_text(text(study, command), encoding="utf-8")
    for finding in study.findings:
        print(f"does not hold: {finding}")  # noqa: T201
    return 1 if study.findings else 0


async def _study(seeds: range, method_seeds: range, attack_seeds: range) -> Study:
    sandbox = Sandbox(SandboxConfig(wall_time_s=1.0))
    await sandbox.start()
    try:
        study, started = Study(Grader(sandbox), seeds, method_seeds, attack_seeds), time.monotonic()
        async with asyncio.timeout(3 * 3600):
            await study.run(lambda part: print(f"{time.monotonic() - started:6.0f} s  {part}", flush=True))  # noqa: T201
        return study
    finally:
        await sandbox.stop()


if __name__ == "__main__":
    sys.exit(main())
