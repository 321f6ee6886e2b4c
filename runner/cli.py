"""The `gauntlet` command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.client import checked_service_url
from runner.errors import RunnerError
from runner.local_service import ServiceAddress, open_service
from runner.records import Grade, Json
from runner.report import grade_lines, neutralised

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runner.session import RunResult

__all__ = ["cli", "main"]

NO_GRADE = 3
"""Exit status of `gauntlet grade` when there is no verdict, so that no script takes a fault for a failed submission."""

_Answer = TypeVar("_Answer")


def _service_url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else checked_service_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _model_id(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise click.BadParameter("name a model, such as claude-sonnet-5-5")
    return value.strip()


def _service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command has."""
    url = click.option(
        "--service",
        metavar="URL",
        envvar="RUNNER_SERVICE",
        show_envvar=True,
        callback=_service_url,
        help="A running service; without it, one is started.",
    )
    suite = click.option("--suite", default="classic", show_default=True, help="The cases to grade on.")
    return url(suite(command))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="resilience-gauntlet", prog_name="gauntlet")
def cli() -> None:
    """Let Claude harden a fragile sensor pipeline, and grade what it hands in."""


@cli.command()
@_service_options
@click.option("-n", "--episodes", type=click.IntRange(1), default=10, show_default=True, help="How many to run.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many at a time.")
@click.option("--model", default="claude-sonnet-5-5", show_default=True, callback=_model_id, help="The model to ask.")
@click.option(
    "--live/--offline",
    default=False,
    help="--live asks the Messages API and spends money; --offline, the default, asks a scripted stand-in.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    envvar="RUNNER_OUT",
    show_envvar=True,
    help="Where each run gets a directory for its records.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the run: which scripted policy plays which episode offline, and the cases of a seeded suite "
    "(episode i is graded with seed + i - 1).",
)
@click.option("--max-steps", type=click.IntRange(1), default=18, show_default=True, help="Model calls per episode.")
def run(
    *,
    service: str | None,
    suite: str,
    episodes: int,
    concurrency: int,
    model: str,
    live: bool,
    out: Path,
    seed: int,
    max_steps: int,
) -> int:
    """Run episodes and print how they went.

    Exits with 0 when at least one episode was valid, whatever its score; with 130 on Ctrl-C.
    """
    from runner.session import RunOptions, run_session  # noqa: PLC0415 - the SDK behind it takes a second to import

    options = RunOptions(
        episodes=episodes,
        concurrency=concurrency,
        model=model,
        service=ServiceAddress(service, os.environ),
        suite=suite,
        live=live,
        out=out,
        seed=seed,
        max_steps=max_steps,
    )
    return _run_status(_await(run_session(options, sys.stdout)))


def _run_status(result: RunResult) -> int:
    if result.signal is not None:
        return 128 + result.signal
    if result.fatal is not None:
        _print_error(result.fatal)
        return 1
    if result.summary.valid == 0:
        _print_error("no valid episode: see the reasons above")
        return 1
    return 0


@cli.command()
@_service_options
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

    answer = _await(ask(), failure_status=NO_GRADE)
    verdict = Grade.model_validate(answer)
    _print(json.dumps(answer, indent=2) if as_json else "\n".join(map(neutralised, grade_lines(verdict))))
    return 0 if verdict.passed else 1


def _source(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{name} is not UTF-8 text (byte {error.start})", param_hint="FILE") from error


@cli.command()
@_service_options
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

    answer = _await(ask())
    _print(json.dumps(answer, indent=2) if as_json else neutralised(str(answer.get("prompt", "")), keep="\n\t"))
    return 0


def _await(work: Coroutine[Any, Any, _Answer], failure_status: int = 1) -> _Answer:
    try:
        return asyncio.run(work)
    except RunnerError as error:
        _print_error(str(error))
        raise click.exceptions.Exit(failure_status) from error


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _print_error(text: str) -> None:
    words = neutralised(text, keep="\n")
    sys.stderr.write(f"gauntlet: error: {words}\n")


def main() -> None:
    """Run the command and exit: 2 for a wrong call, 1 for a failed run, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # "✅" must not end a run on an ASCII terminal
    try:
        status = cli.main(prog_name="gauntlet", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        _print_error(error.format_message())
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 128 + signal.SIGINT
    sys.exit(status)
