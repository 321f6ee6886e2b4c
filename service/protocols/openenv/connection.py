"""One WebSocket of OpenEnv's protocol."""

import contextlib
import logging
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.episodes import EpisodeRequest, Episodes
from service.errors import (
    CapacityError,
    EpisodeShareError,
    GauntletError,
    InputError,
    NoEpisodeError,
    OverloadedError,
    SandboxError,
)
from service.protocols.openenv.face import Face
from service.protocols.openenv.messages import (
    ErrorCode,
    FrameError,
    ResetRequest,
    error_frame,
    read_action,
    read_frame,
)

__all__ = ["Connection"]

_SANDBOX_FAULT = "The sandbox failed, which is the service's own fault. Try again."
_UNEXPECTED = "An unexpected fault of the service."
_log = logging.getLogger("gauntlet.service")


class Connection:
    """Answers a socket's messages, one after the other, until it is closed.

    A socket's own episode is closed with it: after a grade that is under way, which nobody waits for then.
    """

    def __init__(self, websocket: WebSocket, episodes: Episodes) -> None:
        self._websocket = websocket
        self._episodes = episodes
        self._face = Face(episodes)
        self._authorization = websocket.headers.get("authorization")
        self._session_id = ""
        self._name: str | None = None  # the client's own for its episode

    async def serve(self, session_id: str | None) -> None:
        """Serves a session until the client leaves.

        Args:
            session_id: an open one, which outlives the socket; None for one of the socket's own.
        """
        with contextlib.suppress(WebSocketDisconnect):
            await self._websocket.accept()
            try:
                self._session_id = await self._attached(session_id)
            except GauntletError as error:
                await self._websocket.send_json(await self._refusal(error))
            else:
                await self._play(keep=session_id is not None)
            await self._websocket.close()

    async def _attached(self, session_id: str | None) -> str:
        if session_id is None:
            return (await self._episodes.open(EpisodeRequest(), authorization=self._authorization)).id
        return (await self._episodes.view(session_id)).id

    async def _play(self, *, keep: bool) -> None:
        try:
            while (answer := await self._answer(await self._received())) is not None:
                await self._websocket.send_json(answer)
        finally:
            if not keep:
                with contextlib.suppress(NoEpisodeError):
                    await self._episodes.close(self._session_id)

    async def _received(self) -> str | None:
        """The next message, None where it is binary."""
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        text: str | None = message.get("text")
        return text

    async def _answer(self, text: str | None) -> dict[str, Any] | None:
        """What to send back, None for the end."""
        try:
            kind, data = read_frame(text)
            match kind:
                case "reset":
                    return {"type": "observation", "data": await self._reset(data)}
                case "step":
                    outcome = await self._face.step(self._session_id, read_action(data), self._name)
                    return {"type": "observation", "data": outcome.model_dump(mode="json")}
                case "state":
                    state = await self._face.state(self._session_id, self._name)
                    return {"type": "state", "data": state.model_dump(mode="json")}
        except GauntletError as error:
            return await self._refusal(error)
        except Exception:  # noqa: BLE001 - whatever it is: nothing of it may be told
            _log.exception("unexpected error")
            return error_frame(ErrorCode.EXECUTION_ERROR, _UNEXPECTED, reason=GauntletError.code)
        return None

    async def _reset(self, data: dict[str, Any]) -> dict[str, Any]:
        request = ResetRequest.read(data)
        outcome = await self._face.reset(request, authorization=self._authorization, session_id=self._session_id)
        self._name = request.episode_id
        return outcome.model_dump(mode="json")

    async def _refusal(self, error: GauntletError) -> dict[str, Any]:
        """An error in the protocol's words; `reason` is its name in every protocol of the service."""
        details: dict[str, Any] = {"reason": error.code}
        if isinstance(error, InputError):
            details["errors"] = [{"loc": error.field.split("."), "msg": error.message}]
            return error_frame(ErrorCode.VALIDATION_ERROR, f"Invalid message: {error}", **details)
        if isinstance(error, OverloadedError):
            details["retry_after_s"] = error.retry_after_s
        if isinstance(error, CapacityError) and not isinstance(error, EpisodeShareError):
            details |= {"active_sessions": await self._episodes.running(), "max_sessions": self._episodes.limit}
        if isinstance(error, SandboxError):
            _log.error("sandbox fault: %s", error)
            return error_frame(ErrorCode.EXECUTION_ERROR, _SANDBOX_FAULT, **details)
        return error_frame(_code(error), str(error), **details)


def _code(error: GauntletError) -> ErrorCode:
    match error:
        case FrameError():
            return error.answer
        case CapacityError():
            return ErrorCode.CAPACITY_REACHED
        case NoEpisodeError():
            return ErrorCode.SESSION_ERROR
    return ErrorCode.EXECUTION_ERROR
