"""How errors read in ORS: `{"detail": …}`, as its reference server answers them."""

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.errors import EpisodeExistsError, GauntletError, InputError, NoEpisodeError, OverloadedError

__all__ = ["NO_SESSION", "DetailRoute"]

NO_SESSION = "Active environment not found"
_SHOWN = 5
_SHOWN_CHARS = 200


class DetailRoute(APIRoute):
    """A route whose errors are what FastAPI itself would answer, from which nothing that was sent comes back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with its errors answered."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return _detail(422, [_problem(item) for item in error.errors()[:_SHOWN]])
            except HTTPException as error:
                return _detail(error.status_code, error.detail, error.headers)
            except GauntletError as error:
                return _refused(error)

        return answer


def _refused(error: GauntletError) -> Response:
    match error:
        case NoEpisodeError():
            return _detail(404, NO_SESSION)
        case EpisodeExistsError():
            return _detail(400, "Session already exists")
        case InputError():
            return _detail(400, str(error))
        case OverloadedError():
            return _detail(error.status, str(error), {"Retry-After": str(error.retry_after_s)})
    return _detail(error.status, str(error))


def _problem(item: Mapping[str, Any]) -> dict[str, Any]:
    location = [part if isinstance(part, int) else part[:_SHOWN_CHARS] for part in item["loc"]]
    return {"type": item["type"], "loc": location, "msg": item["msg"]}


def _detail(status: int, detail: Any, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps({"detail": detail})  # in ASCII: names may hold lone surrogates
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")
