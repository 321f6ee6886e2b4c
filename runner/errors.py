"""The runner's expected errors; every one carries a message fit to be printed as it is.

RunnerError
├── LocalServiceError       the service could not be started as a child process
├── ServiceError            the service gave no usable answer: nothing may be scored
│   ├── ServiceRefusedError the service refused this one request (4xx)
│   └── ServiceGoneError    nobody answers there any more: the run ends
├── ModelError              the Messages API gave no usable answer: the episode is invalid
│   └── FatalModelError     it will refuse every other episode too: the run ends
└── ContextOverflowError    the conversation no longer fits the model
"""

from __future__ import annotations

__all__ = [
    "ContextOverflowError",
    "FatalModelError",
    "LocalServiceError",
    "ModelError",
    "RunnerError",
    "ServiceError",
    "ServiceGoneError",
    "ServiceRefusedError",
]


class RunnerError(Exception):
    """An error that the user can act on.

    Args:
        message: What happened and what to do about it, in one line.
        status: The HTTP status behind it, if there was one.
        request_id: The id under which the other side logged the request.
    """

    def __init__(self, message: str, *, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id


class LocalServiceError(RunnerError):
    """The grading service did not start."""


class ServiceError(RunnerError):
    """The grading service gave no usable answer."""


class ServiceRefusedError(ServiceError):
    """The grading service refused a request as it was made."""


class ServiceGoneError(ServiceError):
    """The grading service does not answer any more: no other episode could be graded either."""


class ModelError(RunnerError):
    """The Messages API gave no usable answer to one call."""


class FatalModelError(ModelError):
    """The Messages API will refuse every call of this run."""


class ContextOverflowError(RunnerError):
    """The conversation has outgrown what the model accepts."""
