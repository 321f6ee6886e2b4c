"""Who is calling: tokens are looked at here, before anything of a request is read."""

import base64
import binascii
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from service.access import Access
from service.admission import CALLER
from service.api.problems import refusal
from service.episodes import OWNER
from service.errors import UnauthorizedError

__all__ = ["Callers"]

_CREDENTIALS = (b"authorization", b"x-api-key")
_POLICY_VIOLATION = 1008


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
        """Passes a call on, or answers 401; whatever its token came in, behind here it is `Authorization: Bearer`."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        came, shown = _shown(scope["headers"])
        if shown != came:
            scope = {**scope, "headers": _with_authorization(scope["headers"], shown)}
        if not self._is_public(scope["path"]):
            try:
                caller = self._access.check_caller(shown)
            except UnauthorizedError as error:
                await _refuse(error, scope, receive, send)
                return
            OWNER.set(caller or "")
            CALLER.set(caller or (scope.get("client") or ("",))[0])
            if scope["type"] == "websocket":
                receive = self._while_it_holds(shown, receive, send)
        await self._app(scope, receive, send)

    def _while_it_holds(self, shown: str | None, receive: Receive, send: Send) -> Receive:
        """Hands a socket's messages on until its token ends."""

        async def receive_or_close() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                try:
                    self._access.check_caller(shown)
                except UnauthorizedError:
                    await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "The token has ended."})
                    return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}
            return message

        return receive_or_close

    def _is_public(self, path: str) -> bool:
        return path in self._public or path.startswith(self._public_folders)


def _shown(headers: list[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """A request's `Authorization` as it came, and as it is with a bearer's token however that came.

    It may be the password or else the name of Basic, which clients make of `http://TOKEN@host`, for those that take no
    headers; or an `X-API-Key`, which is what ORS' and OpenReward's have.
    """
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _CREDENTIALS:
            found.setdefault(name, value.decode("latin-1"))  # the first of several
    authorization, key = (found.get(name) for name in _CREDENTIALS)
    if authorization is None:
        return None, f"Bearer {key}" if key is not None else None
    scheme, _, rest = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return authorization, f"Bearer {rest}"
        case "basic":
            return authorization, f"Bearer {_of_basic(rest)}"
    return authorization, authorization


def _of_basic(credentials: str) -> str:
    try:
        name, _, password = base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")
    except (binascii.Error, ValueError):
        return ""
    return password or name


def _with_authorization(headers: list[tuple[bytes, bytes]], shown: str | None) -> list[tuple[bytes, bytes]]:
    others = [header for header in headers if header[0] not in _CREDENTIALS]
    return others if shown is None else [*others, (b"authorization", shown.encode("latin-1"))]


async def _refuse(error: UnauthorizedError, scope: Scope, receive: Receive, send: Send) -> None:
    answer = refusal(error)
    if scope["type"] == "http":
        await answer(scope, receive, send)
    else:
        await WebSocket(scope, receive, send).send_denial_response(answer)
