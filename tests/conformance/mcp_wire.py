"""MCP as it is on the wire, without any SDK."""

from typing import Any

import httpx

LATEST = "2025-11-25"
STATELESS = "2026-07-28"
EPISODE = "resilience-gauntlet/episode"
TEST_SEED = 1_500_000_007


class Mcp:
    """A client of one URL, with a session once it has been initialized."""

    def __init__(self, client: httpx.AsyncClient, url: str = "/mcp") -> None:
        self._client = client
        self.url = url
        self.headers: dict[str, str] = {}

    async def send(self, method: str, params: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.post(self.url, json=body, headers={**self.headers, **named})

    async def initialize(self, version: str = LATEST, **headers: str) -> dict[str, Any]:
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        answer = await self.send("initialize", params, **headers)
        result = result_of(answer)
        self.headers = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": version}
        return result

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return result_of(await self.send("tools/call", {"name": tool, "arguments": arguments}))

    async def delete(self) -> httpx.Response:
        return await self._client.delete(self.url, headers=self.headers)

    @property
    def session(self) -> str:
        return self.headers["mcp-session-id"]


def result_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.keys() == {"jsonrpc", "id", "result"}, body
    assert (body["jsonrpc"], body["id"]) == ("2.0", 1)
    result: dict[str, Any] = body["result"]
    return result


def error_of(answer: httpx.Response) -> tuple[int, int, str]:
    """HTTP's status, JSON-RPC's code and the message of an error, which has the shape that JSON-RPC gives it."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"jsonrpc", "id", "error"}, body
    assert body["jsonrpc"] == "2.0"
    assert {"code", "message"} <= body["error"].keys() <= {"code", "message", "data"}
    return answer.status_code, body["error"]["code"], body["error"]["message"]


def text_of(result: dict[str, Any]) -> str:
    (content,) = result["content"]
    assert content.keys() == {"type", "text"}
    return str(content["text"])
