"""The Open Reward Standard: the wire of `ors-sdk` and `openreward` over HTTP and server-sent events.

A session id is all that `/create_session` gives: it is signed rather than kept, so that ids without an episode cost
nothing. `/create` opens the episode, whose id it is from then on. Clients know one secret only, their API key: it
counts as the evaluation token.
"""

from service.protocols.ors.routes import ors_routes

__all__ = ["ors_routes"]
