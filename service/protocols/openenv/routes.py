"""The routes of OpenEnv's protocol."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, WebSocket

from service.episodes import Episodes
from service.errors import InputError
from service.protocols.openenv.connection import Connection
from service.protocols.openenv.face import Face
from service.protocols.openenv.messages import (
    CallToolAction,
    CallToolObservation,
    ListToolsAction,
    Outcome,
    ResetObservation,
    ResetRequest,
    State,
    StepRequest,
    read_action,
)
from service.protocols.origins import foreign_origin
from service.task import TASK_ID, TITLE

__all__ = ["openenv_routes"]

_DESCRIPTION = (
    "An agent gets a fragile streaming-sensor pipeline and hands in a hardened process_batch(events, state), which a"
    " sandboxed grader judges in six rows. Tools: python_expression and submit_code."
)
SessionId = Annotated[str | None, Query(description="as `POST /reset` answered it in `metadata`", max_length=64)]


def openenv_routes(episodes: Episodes, version: str) -> APIRouter:
    """The router of ``/ws``, ``/reset``, ``/step``, ``/state``, ``/schema`` and ``/metadata``.

    Args:
        episodes: what they are a face of.
        version: the service's.
    """
    router = APIRouter(include_in_schema=False)
    face = Face(episodes)

    @router.websocket("/ws")
    async def play(websocket: WebSocket) -> None:
        """Serves an episode of the socket's own, or that of `?session_id=`; refuses other sites' pages with 403."""
        if foreign_origin(websocket.headers):  # browsers ask no server before they open a socket for any page
            await websocket.close(1008)
            return
        await Connection(websocket, episodes).serve(websocket.query_params.get("session_id"))

    @router.post("/reset")
    async def reset(
        request: Annotated[ResetRequest, Body(default_factory=ResetRequest)],
        session_id: SessionId = None,
        authorization: Annotated[str | None, Header()] = None,
    ) -> Outcome:
        """Begins an episode, in a session where one is given; the answer's `metadata.session_id` is the key to it."""
        known = (await episodes.view(session_id)).id if session_id is not None else None
        return await face.reset(request, authorization=authorization, session_id=known)

    @router.post("/step")
    async def step(request: StepRequest, session_id: SessionId = None) -> Outcome:
        """Does what an action says, in the session of `?session_id=`; listing the tools takes none."""
        action = read_action(request.action)
        if isinstance(action, ListToolsAction):
            return face.tools()
        if session_id is None:
            raise InputError("session_id", "POST /reset answers one in `metadata`: send it as `?session_id=`")
        return await face.step(session_id, action)

    @router.get("/state")
    async def state(session_id: SessionId = None) -> State:
        """Answers where a session's episode is; without one, upstream's initial state."""
        return State() if session_id is None else await face.state(session_id)

    @router.get("/schema")
    async def schema() -> dict[str, Any]:
        """Answers the JSON Schemas of actions, observations and state."""
        return {
            "action": CallToolAction.model_json_schema(),
            "observation": CallToolObservation.model_json_schema(),
            "reset_observation": ResetObservation.model_json_schema(),
            "state": State.model_json_schema(),
        }

    @router.get("/metadata")
    async def metadata() -> dict[str, str | None]:
        """Answers what this environment is."""
        told = {"name": TASK_ID, "description": f"{TITLE}. {_DESCRIPTION}", "version": version, "author": None}
        return {**told, "readme_content": None, "documentation_url": None}

    return router
