"""Who is calling: tokens are looked at here, before anything of a request is read."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from service.access import Access
from service.admission import CALLER
from service.api.problems import refusal
from service.errors import UnauthorizedError

__all__ = ["Callers"]


class Callers:
    """ASGI middleware: lets callers in who have a token, where tokens are set, and has the rest know who is calling.

    Without tokens, callers are told apart by their addresses.
    """

    def __init__(
        self, app: ASGIApp, *, access: Access, public: Collection[str], public_folders: tuple[str, ...]
    ) -> None:
        """Knows whom to let in.

        Args:
            app: what it stands before.
            access: what knows the tokens.
            public: paths that take no token.
            public_folders: beginnings of such paths.
        """
        self._app = app
        self._access = access
        self._public = frozenset(public)
        self._public_folders = public_folders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a call on, or answers 401."""
        if scope["type"] not in {"http", "websocket"} or self._is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._access.check_caller(Headers(scope=scope).get("authorization"))
        except UnauthorizedError as error:
            await _refuse(error, scope, receive, send)
            return
        CALLER.set(caller or (scope.get("client") or ("",))[0])
        await self._app(scope, receive, send)

    def _is_public(self, path: str) -> bool:
        return path in self._public or path.startswith(self._public_folders)


async def _refuse(error: UnauthorizedError, scope: Scope, receive: Receive, send: Send) -> None:
    answer = refusal(error)
    if scope["type"] == "http":
        await answer(scope, receive, send)
    else:
        await WebSocket(scope, receive, send).send_denial_response(answer)
