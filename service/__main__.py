"""Starts the service: ``python -m service`` or ``gauntlet-service``."""

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import click
import uvicorn
from fastapi import FastAPI

from service.advice import warn
from service.api.problems import body_bytes
from service.app import create_app
from service.errors import StartError
from service.http import BoundedHttpProtocol, ClosingWebSocketProtocol
from service.logs import configure, line
from service.settings import Settings, read_settings
from service.workers import Worker, Workers, shared_folder

__all__ = ["main"]

_WORKER_START_S = 60  # and to say that it still lives, on a machine that is busy


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks a free one."
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Processes that serve; they share the limits, and several need GAUNTLET_REDIS_URL.",
)
@click.version_option(package_name="resilience-gauntlet", prog_name="gauntlet-service")
def main(host: str, port: int, workers: int) -> None:
    """Serve the task, the sandbox and the grader over HTTP.

    Settings are read from GAUNTLET_… environment variables; the README lists them.
    """
    try:
        settings = read_settings(os.environ)
        _check_workers(workers, settings)
        app = create_app(settings)  # also for workers, which make their own: what is wrong is said once, and here
        listener = _listen(host, port)
    except StartError as error:
        raise click.ClickException(str(error)) from None
    configure(settings.log_format)
    warn(settings, workers=workers)
    _use_all_descriptors()
    with listener:
        if workers == 1:
            _serve(app, listener, settings)
        else:
            _serve_with_workers(workers, listener, settings)


def _check_workers(workers: int, settings: Settings) -> None:
    if workers > 1 and settings.redis_url is None:
        raise StartError(f"--workers {workers} needs GAUNTLET_REDIS_URL, where the workers share their episodes")


def _serve(app: FastAPI, listener: socket.socket, settings: Settings) -> None:
    # uvicorn raises the signal that ended it once more when it is done: an orderly end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    server = _Server(_config(app, settings), settings.log_format)
    server.run(sockets=[listener])
    if app.state.condition.fault is not None:
        raise click.ClickException(app.state.condition.fault)
    sys.exit(0 if server.started else 1)


def _serve_with_workers(count: int, listener: socket.socket, settings: Settings) -> None:
    try:
        with shared_folder() as folder:
            config = _config(
                Worker(settings.of_one_worker(count), folder),
                settings,
                factory=True,
                workers=count,
                timeout_worker_healthcheck=_WORKER_START_S,
            )
            workers = Workers(config, listener, folder, lambda: _say_url(listener, settings.log_format))
            workers.run()
    except StartError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(workers.status)


def _config(app: Callable[..., Any], settings: Settings, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        loop="uvloop",
        http=BoundedHttpProtocol,
        ws=ClosingWebSocketProtocol,
        ws_per_message_deflate=False,  # one read of it could hold hundreds of frames of the largest size
        ws_max_size=body_bytes(settings.code_kib * 1024),
        timeout_graceful_shutdown=settings.drain_s,
        **options,
    )


class _Server(uvicorn.Server):
    """Says where it serves, once it does; does not serve at all where the sandbox does not hold."""

    def __init__(self, config: uvicorn.Config, log_format: str) -> None:
        super().__init__(config)
        self._log_format = log_format

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.config.app.state.condition.fault is not None:  # type: ignore[union-attr]
            self.should_exit = True
        elif sockets and self.started:
            self.config.app.state.condition.warn()  # type: ignore[union-attr]
            _say_url(sockets[0], self._log_format)


def _use_all_descriptors() -> None:
    """Raises the soft limit to the hard one: connections and sandboxed processes draw on the same descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise StartError(f"cannot listen on {host} port {port}: {_reason(error)}; choose another with --port") from None


def _reason(error: OSError) -> str:
    return str(error) if isinstance(error, socket.gaierror) or error.errno is None else os.strerror(error.errno)


def _say_url(listener: socket.socket, log_format: str) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    click.echo(line(f"Resilience Gauntlet is serving on {url}", log_format, url=url))


if __name__ == "__main__":
    main()
