"""What a process needs to play episodes: the model that was asked for, and room for its connections."""

from __future__ import annotations

import resource
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from runner.errors import RunnerError
from runner.model import ClaudeModel, live_client, offline_client
from runner.offline.server import serve_offline
from runner.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runner.caller import Provider
    from runner.request import RunRequest

__all__ = ["allow_descriptors", "open_model", "own_version", "retry_policy"]

_OFFLINE_POLICY = RetryPolicy(first_delay_s=0.02, max_delay_s=1.0)
_OFFLINE_HANG_S = 2.0


@asynccontextmanager
async def open_model(request: RunRequest) -> AsyncIterator[Provider]:
    """The model that a request names; opened first, so that a missing key is found before anything is started."""
    if request.live and request.provider == "openai":
        from runner.openai_model import live_openai  # noqa: PLC0415 - an extra

        opened = live_openai(request.model, max_tokens=request.max_tokens, timeout_s=request.call_timeout_s)
        async with opened as openai:
            yield openai
        return
    if request.live:
        async with live_client(request.call_timeout_s) as client:
            yield ClaudeModel(client, request.model, max_tokens=request.max_tokens)
        return
    async with (
        serve_offline(request.seed, faults=request.faults, hang_s=_OFFLINE_HANG_S) as url,
        offline_client(url, request.call_timeout_s) as client,
    ):
        yield ClaudeModel(client, request.model, max_tokens=request.max_tokens)


def retry_policy(*, live: bool) -> RetryPolicy:
    """How patiently a model is asked again."""
    return RetryPolicy() if live else _OFFLINE_POLICY


def allow_descriptors(concurrency: int) -> None:
    """Make room for the connections of all episodes, to the model's API, the service and the stand-in."""
    needed = 4 * concurrency + 128
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise RunnerError(
                f"--concurrency {concurrency} needs {needed} open files, {hard} are allowed: see ulimit -n"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def own_version() -> str:
    """The version of this distribution."""
    try:
        return version("resilience-gauntlet")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
