"""Starts the service: ``python -m service`` or ``gauntlet-service``."""

import os
import resource
import signal
import socket
import sys

import click
import uvicorn

from service.api.problems import body_bytes
from service.app import create_app
from service.errors import StartError
from service.http import BoundedHttpProtocol, ClosingWebSocketProtocol
from service.logs import configure
from service.settings import read_settings

__all__ = ["main"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks a free one."
)
@click.version_option(package_name="resilience-gauntlet", prog_name="gauntlet-service")
def main(host: str, port: int) -> None:
    """Serve the task, the sandbox and the grader over HTTP.

    Settings are read from GAUNTLET_… environment variables; the README lists them.
    """
    try:
        settings = read_settings(os.environ)
        app = create_app(settings)
        listener = _listen(host, port)
    except StartError as error:
        raise click.ClickException(str(error)) from None
    configure(settings.log_format)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        loop="uvloop",
        http=BoundedHttpProtocol,
        ws=ClosingWebSocketProtocol,
        ws_per_message_deflate=False,  # one read of it could hold hundreds of frames of the largest size
        ws_max_size=body_bytes(settings.code_kib * 1024),
        timeout_graceful_shutdown=settings.drain_s,
    )
    server = _Server(config)
    # uvicorn raises the signal that ended it once more when it is done: an orderly end is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    _use_all_descriptors()
    with listener:
        server.run(sockets=[listener])
    if app.state.condition.fault is not None:
        raise click.ClickException(app.state.condition.fault)
    sys.exit(0 if server.started else 1)


class _Server(uvicorn.Server):
    """Says where it serves, once it does; does not serve at all where the sandbox does not hold."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.config.app.state.condition.fault is not None:  # type: ignore[union-attr]
            self.should_exit = True
        elif sockets and self.started:
            if missing := self.config.app.state.condition.report.missing:  # type: ignore[union-attr]
                click.echo(f"Warning: sandbox layers not in force, as allowed: {', '.join(missing)}", err=True)
            click.echo(f"Resilience Gauntlet is serving on {_url(sockets[0])}")


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


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    main()
