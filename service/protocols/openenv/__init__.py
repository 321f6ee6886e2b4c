"""The face for OpenEnv 0.10: its WebSocket, and its endpoints over HTTP.

A session is an episode, and its id the episode's: `/ws?session_id=` and `openenv/session/create` of `POST /mcp` share
it. A WebSocket without one opens an episode of its own, which ends with it; `reset` begins it anew. Over HTTP, where
upstream keeps nothing between two calls, `POST /reset` answers a `session_id`, which `/step` and `/state` take.

What a model may read is in `observation`; what its trainer needs, the seed among it, is in `metadata`.
"""

from service.protocols.openenv.routes import openenv_routes

__all__ = ["openenv_routes"]
