"""MCP (Model Context Protocol) over streamable HTTP, at ``/mcp``: a session is an episode, its id the episode's.

Two ways to a session:

- ``initialize`` opens an episode; the URL's query says which (``/mcp?split=validation&seed=1000000007``). DELETE, which
  clients send when they leave, closes it, unless it has been handed in: then its reward can still be read.
- ``/mcp?episode=ID`` is an episode that was opened before (``POST /episodes``). Every session at this URL is that
  episode, and DELETE leaves it alone. This is for hosts that connect anew for each call, and for the stateless revision
  2026-07-28, which has no sessions.

HTTP's status is 200 unless MCP's transport names another: an error that is answered with 4xx or 5xx reaches the users
of many clients without its message. What a model can mend or should read (`isError`) is told from what only its host
can act on (a JSON-RPC error). On the same path are OpenEnv's methods, ``openenv/session/…`` and `params.session_id`.
"""

from service.protocols.mcp.routes import mcp_routes

__all__ = ["mcp_routes"]
