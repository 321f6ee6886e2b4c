"""The runner's expected errors; every one carries a message fit to be printed as it is.

RunnerError
├── LocalServiceError       the service could not be started as a child process
├── ServiceError            the service gave no usable answer: nothing may be scored
│   ├── ServiceRefusedError the service refused this one request (4xx)
│   └── ServiceGoneError    nobody answers there any more, or not us: the run ends
├── ModelError              the model's API gave no usable answer: the episode is invalid
│   ├── TransientModelError another attempt may be answered
│   │   └── RateLimitError  and every other call had better wait too
│   └── FatalModelError     it will refuse every other episode too: the run ends
├── ContextOverflowError    the conversation no longer fits the model
├── EngineError             where episodes are played cannot be used, or is gone: the run ends
├── WorkerLostError         a process that played some of them is gone: they begin again
└── BudgetSpentError        the run's money is gone: it ends, and can be resumed
"""

from __future__ import annotations

__all__ = [
    "BudgetSpentError",
    "ContextOverflowError",
    "EngineError",
    "FatalModelError",
    "LocalServiceError",
    "ModelError",
    "RateLimitError",
    "RunnerError",
    "ServiceError",
    "ServiceGoneError",
    "ServiceRefusedError",
    "TransientModelError",
    "WorkerLostError",
    "shortened",
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
    """The grading service refused a request as it was made.

    Args:
        fields: The members of the request that it names as wrong; none where it does not tell.
    """

    def __init__(self, message: str, *, status: int | None = None, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message, status=status)
        self.fields = fields


class ServiceGoneError(ServiceError):
    """The grading service does not answer any more, or not without a token: no other episode could be graded either."""


class ModelError(RunnerError):
    """The model's API gave no usable answer to one call."""


class TransientModelError(ModelError):
    """One attempt failed for a reason that may pass.

    Args:
        retry_after_s: How long the server asks to wait, in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id)
        self.retry_after_s = retry_after_s


class RateLimitError(TransientModelError):
    """One attempt met a rate limit that all calls share."""


class FatalModelError(ModelError):
    """The model's API will refuse every call of this run."""


class ContextOverflowError(RunnerError):
    """The conversation has outgrown what the model accepts."""


class BudgetSpentError(RunnerError):
    """The next call might cost more than is left for the run."""


class EngineError(RunnerError):
    """Episodes cannot be played there, or no longer."""


class WorkerLostError(RunnerError):
    """A process that played episodes is gone, and they with it."""


_MOST_CHARACTERS = 1000


def shortened(words: str) -> str:
    """Somebody else's words, as long as an error message may be."""
    return words if len(words) <= _MOST_CHARACTERS else f"{words[:_MOST_CHARACTERS]}…"
