"""`gauntlet grade` and `gauntlet task`: one call to the grading service each."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from runner.answers import Grade
from runner.cli.options import service_options
from runner.cli.printing import awaited, print_text
from runner.local_service import ServiceAddress, open_service
from runner.terminal import grade_lines
from runner.wording import neutralised

if TYPE_CHECKING:
    from runner.answers import Json

__all__ = ["grade", "task"]

_NO_GRADE = 3  # so that no script takes a fault for a failed submission


@click.command()
@service_options
@click.argument("file", type=click.File("rb"))
@click.option("--seed", type=click.IntRange(0), help="Draws the cases of a seeded suite.")
@click.option("--json", "as_json", is_flag=True, help="Print the service's whole answer.")
def grade(*, service: str | None, suite: str, file: Any, seed: int | None, as_json: bool) -> int:
    """Grade FILE (`-` for standard input), a Python source that defines process_batch.

    Exits with 0 when it passed, 1 when it did not, 3 when no grade could be given.
    """
    code = _source(file.read(), file.name)
    address = ServiceAddress(service, os.environ)

    async def ask() -> Json:
        async with open_service(address) as client:
            return await client.grade_json(code, suite, seed)

    answer = awaited(ask(), failure_status=_NO_GRADE)
    verdict = Grade.model_validate(answer)
    print_text(json.dumps(answer, indent=2) if as_json else "\n".join(map(neutralised, grade_lines(verdict))))
    return 0 if verdict.passed else 1


def _source(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{name} is not UTF-8 text (byte {error.start})", param_hint="FILE") from error


@click.command()
@service_options
@click.option(
    "--format",
    "shape",
    type=click.Choice(["anthropic", "openai", "mcp"]),
    default="anthropic",
    show_default=True,
    help="The shape of the tools in --json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole task: prompt, tools, rubric, limits.")
def task(*, service: str | None, suite: str, shape: str, as_json: bool) -> int:
    """Print what the agent is asked."""
    address = ServiceAddress(service, os.environ)

    async def ask() -> Json:
        async with open_service(address) as client:
            return await client.task_json(suite, shape)

    answer = awaited(ask())
    print_text(json.dumps(answer, indent=2) if as_json else neutralised(str(answer.get("prompt", "")), keep="\n\t"))
    return 0
