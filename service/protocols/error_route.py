"""Routes that answer errors in their own protocol's words."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.errors import GauntletError

__all__ = ["Refusal", "error_route"]

Refusal = RequestValidationError | HTTPException | GauntletError


def error_route(answer: Callable[[Refusal], Response]) -> type[APIRoute]:
    """A class of routes whose errors, but for the unexpected ones, a function answers."""

    class ErrorRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """The handler, with its errors answered."""
            handle = super().get_route_handler()

            async def handle_or_refuse(request: Request) -> Response:
                try:
                    return await handle(request)
                except (RequestValidationError, HTTPException, GauntletError) as error:
                    return answer(error)

            return handle_or_refuse

    return ErrorRoute
