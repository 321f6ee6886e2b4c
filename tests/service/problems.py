"""What every refusal over HTTP must be."""

from typing import Any

import httpx


def problem_of(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    for secret in ("Traceback", "/site-packages", "service/", ".py"):
        assert secret not in response.text
    return body
