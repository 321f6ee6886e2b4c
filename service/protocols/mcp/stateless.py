"""MCP since 2026-07-28: no handshake and no session; each request says itself what it speaks. Pure.

Basis: the specification's `basic/index` (per-request fields), `basic/transports` (mirrored headers) and schema.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from service.protocols.mcp.jsonrpc import INVALID_PARAMS, Message, RpcError

__all__ = ["VERSION", "VERSION_HEADER", "check_envelope", "completed", "unsupported"]

VERSION = "2026-07-28"
VERSION_HEADER = "mcp-protocol-version"
_HEADER_MISMATCH = -32020
_UNSUPPORTED_VERSION = -32022
_META = "io.modelcontextprotocol/"
_LISTS_TTL_MS = 3_600_000
_CACHED = {
    "server/discover": {"ttlMs": 0, "cacheScope": "private"},  # its instructions are the episode's
    "tools/list": {"ttlMs": _LISTS_TTL_MS, "cacheScope": "public"},
}


def unsupported(requested: str, supported: Sequence[str], message: str = "Unsupported protocol version.") -> RpcError:
    """The error for a version that is not spoken here."""
    data = {"requested": requested, "supported": list(supported)}
    return RpcError(_UNSUPPORTED_VERSION, message, status=400, data=data)


def check_envelope(message: Message, headers: Mapping[str, str]) -> None:
    """Has a request carry what every request must, and its headers say the same.

    Raises:
        RpcError: something is missing, or they contradict each other.
    """
    meta = message.params.get("_meta")
    required = [_META + "protocolVersion", _META + "clientCapabilities"]
    if not isinstance(meta, dict) or any(name not in meta for name in required):
        raise RpcError(INVALID_PARAMS, f"params._meta must have {' and '.join(required)}.", status=400)
    mirrored = {VERSION_HEADER: meta[required[0]], "mcp-method": message.method}
    if message.method == "tools/call":
        mirrored["mcp-name"] = message.params.get("name")
    for header, value in mirrored.items():
        if value is None or _decoded(headers.get(header)) != value:
            raise RpcError(_HEADER_MISMATCH, f"The header {header} does not match the request's body.", status=400)


def completed(method: str, result: Mapping[str, Any], server: Mapping[str, str]) -> dict[str, Any]:
    """A result with what this revision adds to each."""
    meta = {**result.get("_meta", {}), _META + "serverInfo": server}
    return {**result, "_meta": meta, "resultType": "complete", **_CACHED.get(method, {})}


def _decoded(value: str | None) -> str | None:
    """A header's value, which is base64 between marks where it is no plain ASCII."""
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, ValueError):
        return None
