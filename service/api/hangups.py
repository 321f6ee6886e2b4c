"""Ends what nobody waits for any more."""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Hangups"]


class Hangups:
    """ASGI middleware: a request whose client has gone away is cancelled, and what it ran is ended at once.

    It stands behind `BodyLimit`, which gives the whole body in one: after that, nothing comes but that news. The grade
    of an episode's submission goes on: it belongs to the episode.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, for as long as somebody waits for its answer."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        given = [await receive()]

        async def replay() -> Message:
            return given.pop() if given else await receive()

        answering = asyncio.ensure_future(self._app(scope, replay, send))
        hanging_up = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((answering, hanging_up), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
        finally:
            hanging_up.cancel()
            answering.cancel()
