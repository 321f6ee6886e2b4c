"""A refusal in the API's own words."""

from __future__ import annotations

__all__ = ["ApiError", "invalid"]


class ApiError(Exception):
    """What the API answers instead of a message.

    Args:
        status: Of the HTTP answer.
        kind: The API's name for it, such as `not_found_error`.
        message: Names the parameter where there is one.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def invalid(message: str) -> ApiError:
    """A refusal of the request as it was made."""
    return ApiError(400, "invalid_request_error", message)
