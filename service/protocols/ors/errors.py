"""How errors read in ORS: `{"detail": …}`, as its reference server answers them."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.errors import EpisodeExistsError, InputError, NoEpisodeError, OverloadedError
from service.protocols.error_route import Refusal, error_route

__all__ = ["NO_SESSION", "DetailRoute"]

NO_SESSION = "Active environment not found"
_SHOWN = 5
_SHOWN_CHARS = 200


def _refused(error: Refusal) -> Response:
    match error:
        case RequestValidationError():
            return _detail(422, [_problem(item) for item in error.errors()[:_SHOWN]])
        case HTTPException():
            return _detail(error.status_code, error.detail, error.headers)
        case NoEpisodeError():
            return _detail(404, NO_SESSION)
        case EpisodeExistsError():
            return _detail(400, "Session already exists")
        case InputError():
            return _detail(400, str(error))
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, OverloadedError) else None
    return _detail(error.status, str(error), headers)


def _problem(item: Mapping[str, Any]) -> dict[str, Any]:
    location = [part if isinstance(part, int) else part[:_SHOWN_CHARS] for part in item["loc"]]
    return {"type": item["type"], "loc": location, "msg": item["msg"]}


def _detail(status: int, detail: Any, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps({"detail": detail})  # in ASCII: names may hold lone surrogates
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")


DetailRoute = error_route(_refused)
"""A route whose errors are what FastAPI itself would answer, from which nothing that was sent comes back."""
