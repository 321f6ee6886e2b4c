"""`gauntlet run` and `gauntlet calibrate`: episodes against a model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.options import Finite, model_id, positive, service_options
from runner.cli.printing import awaited, print_error, told
from runner.local_service import ServiceAddress
from runner.records import Limits
from runner.request import RunRequest
from runner.store import read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.session import RunResult

__all__ = ["calibrate", "run"]

# What a resumed run may be given anew; everything else is as it was.
_RESUMABLE = frozenset(
    {
        "resume",
        "service",
        "concurrency",
        "engine",
        "ray_address",
        "max_cost_usd",
        "grace_s",
        "call_timeout_s",
        "live",
        "out",
    }
)


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return service_options(command)


_OPTIONS = (
    click.option(
        "--concurrency",
        metavar="N",
        type=click.IntRange(1, 1000),
        default=5,
        show_default=True,
        help="How many at a time.",
    ),
    click.option(
        "--model",
        metavar="ID",
        default="claude-sonnet-5-5",
        show_default=True,
        callback=model_id,
        help="The model to ask.",
    ),
    click.option(
        "--provider",
        type=click.Choice(["anthropic", "openai"]),
        default="anthropic",
        show_default=True,
        help="Whose API the model is reached by; `openai` is any endpoint that speaks Chat Completions.",
    ),
    click.option(
        "--live/--offline",
        default=False,
        help="--live asks the model's API and spends money; --offline, the default, asks a scripted stand-in.",
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("runs"),
        show_default=True,
        envvar="RUNNER_OUT",
        show_envvar=True,
        help="Where each run gets a directory for its records.",
    ),
    click.option(
        "--seed",
        metavar="N",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Of the run: which scripted policy plays which episode offline, and the cases of a seeded suite "
        "(episode i is graded with seed + i - 1).",
    ),
    click.option(
        "--max-steps",
        metavar="N",
        type=click.IntRange(1),
        default=18,
        show_default=True,
        help="Model calls per episode.",
    ),
    click.option(
        "--max-seconds",
        metavar="SECONDS",
        type=positive,
        default=1800,
        show_default=True,
        help="Of work per episode: answered calls and tools. Rate limits and failed calls are not counted.",
    ),
    click.option(
        "--max-episode-tokens",
        metavar="N",
        type=click.IntRange(1),
        help="Per episode: input, output and caches together.",
    ),
    click.option("--max-episode-cost", metavar="DOLLARS", type=positive, help="Per episode, in US dollars."),
    click.option(
        "--max-wait",
        metavar="SECONDS",
        type=positive,
        default=1800,
        show_default=True,
        help="Seconds that an episode may lose to rate limits and failed calls before it is invalid.",
    ),
    click.option(
        "--call-timeout",
        "call_timeout_s",
        metavar="SECONDS",
        type=positive,
        default=300,
        show_default=True,
        help="Seconds until a call without an answer is given up, and made again.",
    ),
    click.option(
        "--max-tokens",
        metavar="N",
        type=click.IntRange(1, 21_333),
        default=8192,
        show_default=True,
        help="Of a single answer.",
    ),
    click.option(
        "--max-cost",
        "max_cost_usd",
        metavar="DOLLARS",
        type=positive,
        help="Of the whole run, in US dollars; no call is begun that might pass it.",
    ),
    click.option(
        "--grace",
        "grace_s",
        metavar="SECONDS",
        type=Finite(0),
        default=60,
        show_default=True,
        help="Seconds that Ctrl-C leaves to what is under way.",
    ),
    click.option(
        "--faults",
        metavar="SHARE",
        type=Finite(0, 1),
        default=0.0,
        show_default=True,
        help="Offline only: the share of calls that get a rate limit, a dropped answer and the like.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where episodes are played: in this process, or on the nodes of a Ray cluster (an extra).",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        envvar="RAY_ADDRESS",
        show_envvar=True,
        help="HOST:PORT of the Ray cluster's head, or auto for the one on this machine; without it, one is started.",
    ),
    click.option(
        "--resume",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="RUN",
        help="Go on with the run in this directory: what is missing or invalid is run again.",
    ),
)


@click.command()
@click.option(
    "-n", "--episodes", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="How many to run."
)
@_run_options
@click.option("--dry-run", is_flag=True, help="Say what the run might cost, and end; nothing is spent.")
@click.pass_context
def run(context: click.Context, /, *, dry_run: bool, **options: Any) -> int:
    """Run episodes and print how they went.

    Exits with 0 when at least one episode was valid, whatever its score; with 130 on Ctrl-C.
    """
    request = _request(context, options)
    if dry_run:
        from runner.estimate import estimate_session  # noqa: PLC0415 - as below

        return awaited(estimate_session(request, sys.stdout))
    return _ran(request, options["resume"])


@click.command()
@click.option(
    "-n",
    "--episodes",
    metavar="N",
    type=click.IntRange(1),
    default=320,
    show_default=True,
    help="The most to run; the verdict is looked at after some of them only, so that looking does not settle it.",
)
@_run_options
@click.pass_context
def calibrate(context: click.Context, /, **options: Any) -> int:
    """Run episodes until the pass rate surely lies in the task's band, or outside.

    Ends earlier when --max-cost is spent. Exits as `gauntlet run` does.
    """
    request = _request(context, {**options, "calibrate": True})
    if not request.live:
        raise click.BadParameter("a scripted model has no pass rate to settle: add --live", param_hint="calibrate")
    return _ran(request, options["resume"])


def _request(context: click.Context, options: Mapping[str, Any]) -> RunRequest:
    limits = Limits(
        steps=options["max_steps"],
        work_s=options["max_seconds"],
        tokens=options["max_episode_tokens"],
        cost_usd=options["max_episode_cost"],
        wait_s=options["max_wait"],
    )
    same = {name: options[name] for name in RunRequest.__dataclass_fields__ if name in options and name != "service"}
    request = RunRequest(service=ServiceAddress(options["service"], os.environ), limits=limits, **same)
    if options["resume"] is not None:
        return _resumed(context, request, options["resume"])
    if request.live and request.faults:
        raise click.BadParameter("only --offline calls can be faulted", param_hint="--faults")
    if request.provider == "openai" and not request.live:
        raise click.BadParameter("the offline stand-in speaks the Messages API alone", param_hint="--provider openai")
    return request


def _resumed(context: click.Context, request: RunRequest, path: Path) -> RunRequest:
    given = click.core.ParameterSource.COMMANDLINE
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in _RESUMABLE and context.get_parameter_source(name) is given:
            raise click.BadParameter("a resumed run is what it was; leave this out", param_hint=parameter.opts[-1])
    config = told(lambda: read_config(path))
    if not config.scripted and not request.live:
        raise click.BadParameter(f"{path} asks a real model: add --live to spend money on it", param_hint="--resume")
    is_given = context.get_parameter_source("concurrency") is given
    return request.resuming(config, concurrency=request.concurrency if is_given else None)


def _ran(request: RunRequest, resume: Path | None) -> int:
    # The SDK behind it takes a second to import.
    from runner.session import resume_session, run_session  # noqa: PLC0415

    session = run_session(request, sys.stdout) if resume is None else resume_session(request, resume, sys.stdout)
    return _status(awaited(session))


def _status(result: RunResult) -> int:
    if result.signal is not None:
        return 128 + result.signal
    if result.fatal is not None:
        print_error(result.fatal)
        return 1
    if result.summary.valid == 0:
        print_error("no valid episode: see the reasons above")
        return 1
    return 0
