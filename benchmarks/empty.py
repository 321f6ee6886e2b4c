"""The floor of HTTP: an app that takes one model and does nothing, served as the service is."""

import socket

import click
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

__all__ = ["main"]


class Body(BaseModel):
    """As large as what ``/execute`` takes."""

    expression: str


class Answer(BaseModel):
    """As little as can be said."""

    status: str


app = FastAPI()


@app.post("/")
async def nothing(body: Body) -> Answer:
    """Answers that it was asked."""
    return Answer(status="ok" if body.expression else "empty")


def main() -> None:
    """Serves on a free port, and says which."""
    config = uvicorn.Config(app, access_log=False, log_level="warning", loop="uvloop", http="httptools")
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        click.echo(f"Serving on http://127.0.0.1:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
