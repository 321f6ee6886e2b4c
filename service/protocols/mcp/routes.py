"""The route of MCP, and its methods."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.episodes import EpisodeRequest, Episodes, EpisodeStatus, EpisodeView, ToolResponse
from service.errors import (
    CapacityError,
    EpisodeFinishedError,
    GauntletError,
    InputError,
    NoEpisodeError,
    OverloadedError,
    SandboxError,
    UnknownToolError,
)
from service.protocols.mcp import stateless
from service.protocols.mcp.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    SERVER_ERROR,
    Message,
    RpcError,
    answer,
    failure,
    read_message,
)
from service.protocols.origins import foreign_origin
from service.task import TITLE, ToolFormat, prompt, tool_schemas

__all__ = ["EPISODE_META", "mcp_routes"]

HANDSHAKE_VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
SESSION_HEADER = "mcp-session-id"
EPISODE_META = "resilience-gauntlet/episode"
_NO_SESSION = -32001  # what the SDKs' servers answer for a session that is gone
_log = logging.getLogger("gauntlet.service")


def mcp_routes(episodes: Episodes, version: str) -> APIRouter:
    """The router of ``/mcp``.

    Args:
        episodes: what it is a face of.
        version: the service's own.
    """
    router = APIRouter(include_in_schema=False)
    face = _Face(episodes, {"name": "resilience-gauntlet", "title": TITLE, "version": version})

    @router.post("/mcp/")  # as some hosts write it
    @router.post("/mcp")
    async def post(request: Request) -> Response:
        return await face.post(request, await request.body())

    @router.delete("/mcp/")
    @router.delete("/mcp")
    async def delete(request: Request) -> Response:
        return await face.delete(request)

    @router.get("/mcp/")
    @router.get("/mcp")
    async def get() -> Response:
        return Response(status_code=405, headers={"Allow": "POST, DELETE"})  # nothing is ever pushed

    return router


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, and what came with it over HTTP."""

    message: Message
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def stateless(self) -> bool:
        return self.headers.get(stateless.VERSION_HEADER) == stateless.VERSION

    @property
    def session(self) -> str | None:
        """The id of the episode it is about, if it names one; the URL has the last word."""
        named = self.query.get("episode") or self.headers.get(SESSION_HEADER)
        openenv = self.message.params.get("session_id")
        return named or (openenv if isinstance(openenv, str) and openenv else None)


@dataclass(frozen=True, slots=True)
class _Face:
    episodes: Episodes
    server: Mapping[str, str]

    async def post(self, request: Request, body: bytes) -> Response:
        """Answers a message."""
        message = None
        try:
            _check_origin(request.headers)
            message = _read(body, request.headers)
            call = _Call(message, request.query_params, request.headers)
            await self._check_session(call)
            if not message.is_request:
                return Response(status_code=202)
            if call.stateless:
                return await self._stateless(call)
            return await self._answer(call)
        except RpcError as error:
            return failure(message, error)
        except GauntletError as error:
            return failure(message, _refusal(error))

    async def delete(self, request: Request) -> Response:
        """Ends a session."""
        try:
            _check_origin(request.headers)
            view = await self._view(request.query_params.get("episode") or request.headers.get(SESSION_HEADER, ""))
        except RpcError as error:
            return failure(None, error)
        if view.status is EpisodeStatus.RUNNING and "episode" not in request.query_params:
            await self.episodes.close(view.id)
        return Response(status_code=204)

    async def _answer(self, call: _Call) -> Response:
        """A request of the revisions that begin with a handshake, or of OpenEnv."""
        match call.message.method:
            case "initialize":
                return await self._initialize(call)
            case "ping":
                return answer(call.message, {})
            case "tools/list":
                return answer(call.message, _tools())
            case "tools/call":
                return answer(call.message, await self._call_tool(call))
            case "openenv/session/create":
                return answer(call.message, {"session_id": (await self._open(call.message.params, call)).id})
            case "openenv/session/close":
                return answer(call.message, await self._close(call))
        # To a client with a session 404 says that this is gone, so that it would begin another.
        status = 404 if call.session is None else 200
        raise RpcError(METHOD_NOT_FOUND, "There is no such method.", status=status)

    async def _stateless(self, call: _Call) -> Response:
        method = call.message.method
        if call.query.get("episode") is None:
            raise _needs_episode(method)
        stateless.check_envelope(call.message, call.headers)
        match method:
            case "server/discover":
                result = await self._discover(call)
            case "tools/list":
                result = _tools()
            case "tools/call":
                result = await self._call_tool(call)
            case _:
                raise RpcError(METHOD_NOT_FOUND, "There is no such method.", status=404)
        return answer(call.message, stateless.completed(method, result, self.server))

    async def _initialize(self, call: _Call) -> Response:
        wanted = call.message.params.get("protocolVersion")
        if not isinstance(wanted, str):
            raise RpcError(INVALID_PARAMS, "protocolVersion: a string is needed.")
        if call.session:
            view = await self._view(call.session)
        else:
            view = await self._open(_options(call.query), call)
        result = {
            "protocolVersion": wanted if wanted in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1],
            "serverInfo": self.server,
            **_described(view),
        }
        return answer(call.message, result, headers={SESSION_HEADER: view.id})

    async def _discover(self, call: _Call) -> dict[str, Any]:
        versions = [*HANDSHAKE_VERSIONS, stateless.VERSION]
        return {"supportedVersions": versions, **_described(await self._view(call.query["episode"]))}

    async def _call_tool(self, call: _Call) -> dict[str, Any]:
        name, arguments = call.message.params.get("name"), call.message.params.get("arguments", {})
        if call.session is None:
            raise RpcError(INVALID_REQUEST, "There is no session: send initialize, or name an episode.", status=400)
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise _invalid_params("A tool's name and its arguments, an object, are needed.", call)
        try:
            return _told(await self.episodes.call(call.session, name, arguments))
        except UnknownToolError:
            raise _invalid_params("Unknown tool: use python_expression or submit_code.", call) from None
        except (EpisodeFinishedError, InputError, OverloadedError, SandboxError) as error:
            return _failed(error, await self._view(call.session))

    async def _open(self, options: Mapping[str, Any], call: _Call) -> EpisodeView:
        request = EpisodeRequest.read(options)
        return await self.episodes.open(request, authorization=call.headers.get("authorization"))

    async def _close(self, call: _Call) -> dict[str, Any]:
        if call.session is None:
            raise RpcError(INVALID_PARAMS, "Invalid params - 'session_id' is required")
        await self.episodes.close(call.session)
        return {"session_id": call.session, "closed": True}

    async def _check_session(self, call: _Call) -> None:
        """Refuses a session that is gone: OpenEnv reads of it with status 200, MCP's clients know it by a 404."""
        if call.session is None:
            return
        try:
            await self.episodes.view(call.session)
        except NoEpisodeError as error:
            if call.session == call.message.params.get("session_id"):
                raise RpcError(INVALID_PARAMS, f"Unknown session_id. {error}") from None
            raise _gone(error) from None

    async def _view(self, episode_id: str) -> EpisodeView:
        try:
            return await self.episodes.view(episode_id)
        except NoEpisodeError as error:
            raise _gone(error) from None


def _check_origin(headers: Mapping[str, str]) -> None:
    """Refuses what another site's page sends."""
    if foreign_origin(headers):
        raise RpcError(INVALID_REQUEST, "The Origin is foreign.", status=403)


def _read(body: bytes, headers: Mapping[str, str]) -> Message:
    """The message, of a client whose revision is spoken here.

    What is no message at all is 400 to a client that has negotiated a revision, and 200 to OpenEnv, which wants that.
    """
    version = headers.get(stateless.VERSION_HEADER)
    if version is not None and version not in (*HANDSHAKE_VERSIONS, stateless.VERSION):
        raise stateless.unsupported(version[:64], [*HANDSHAKE_VERSIONS, stateless.VERSION])
    try:
        return read_message(body)
    except RpcError as error:
        if version is not None or SESSION_HEADER in headers:
            error.status = 400
        raise


def _options(query: Mapping[str, str]) -> dict[str, Any]:
    """The query's options of an episode, with the numbers among them as numbers."""
    numbers = {"seed", "step_limit", "time_limit_s"}
    return {name: _number(value) if name in numbers else value for name, value in query.items()}


def _number(text: str) -> float | str:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _tools() -> dict[str, Any]:
    return {"tools": tool_schemas(ToolFormat.MCP)}


def _described(view: EpisodeView) -> dict[str, Any]:
    """What a client is told of its episode at the beginning."""
    return {
        "capabilities": {"tools": {"listChanged": False}},
        "instructions": prompt(view.suite),
        "_meta": {EPISODE_META: _state(view)},
    }


def _state(view: EpisodeView) -> dict[str, Any]:
    return view.model_dump(mode="json", exclude={"grade", "text", "execution"})


def _told(response: ToolResponse) -> dict[str, Any]:
    """What a tool answered. Only an episode's end is structured: many hosts show a model that in place of the text."""
    state = _state(response)
    result = {"content": [{"type": "text", "text": response.text}], "isError": False, "_meta": {EPISODE_META: state}}
    if response.done:
        grade = response.grade.model_dump(mode="json") if response.grade else None
        shown = {name: value for name, value in state.items() if name != "id"}  # a model has no use for the key
        result["structuredContent"] = {"text": response.text, **shown, "grade": grade}
    return result


def _failed(error: GauntletError, view: EpisodeView) -> dict[str, Any]:
    """A call that came to nothing, as a model reads it."""
    text = str(error)
    if isinstance(error, SandboxError):
        _log.error("sandbox fault: %s", error)
        text = "The sandbox failed, which is the service's own fault. The call costs no step: try again."
    meta: dict[str, Any] = {EPISODE_META: _state(view), "resilience-gauntlet/error": error.code}
    if isinstance(error, OverloadedError):
        meta["resilience-gauntlet/retry-after-s"] = error.retry_after_s
    return {"content": [{"type": "text", "text": text}], "isError": True, "_meta": meta}


def _refusal(error: GauntletError) -> RpcError:
    """An episode that could not be had, as a host reads it."""
    data: dict[str, Any] = {"code": error.code}
    if isinstance(error, CapacityError):
        data["retry_after_s"] = error.retry_after_s
    return RpcError(INVALID_PARAMS if isinstance(error, InputError) else SERVER_ERROR, str(error), data=data)


def _gone(error: NoEpisodeError) -> RpcError:
    return RpcError(_NO_SESSION, f"Session not found. {error}", status=404, data={"code": error.code})


def _invalid_params(text: str, call: _Call) -> RpcError:
    return RpcError(INVALID_PARAMS, text, status=400 if call.stateless else 200)


def _needs_episode(method: str) -> RpcError:
    """Without sessions and without an episode there is only the older way, to which clients fall back on a 404."""
    if method == "server/discover":
        return RpcError(
            METHOD_NOT_FOUND, "There is no such method here: use initialize, or /mcp?episode=ID.", status=404
        )
    text = f"{stateless.VERSION} is spoken at /mcp?episode=ID only: open an episode with POST /episodes."
    return stateless.unsupported(stateless.VERSION, HANDSHAKE_VERSIONS, text)
