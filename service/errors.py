"""What goes wrong on the service's side. A submission's failure is never one of these: it is data.

GauntletError
├── StartError          the service cannot start: a setting is wrong, a sandbox layer is missing
├── OverloadedError     the queue is full, or the service is draining; answered 503 with Retry-After
└── SandboxError        a sandbox process could not be had, or died before the code was delivered; answered 500
"""

__all__ = ["GauntletError", "OverloadedError", "SandboxError", "StartError"]


class GauntletError(Exception):
    """Anything that this service itself gets wrong or has to refuse."""


class StartError(GauntletError):
    """The service cannot start; the message says what to change."""


class OverloadedError(GauntletError):
    """No capacity now.

    Attributes:
        retry_after_s: seconds after which asking again is reasonable.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SandboxError(GauntletError):
    """A fault of the sandbox, not of the code it was to run: no score may be made of it."""
