"""What the service refuses or gets wrong. A submission's failure is never one of these: it is data.

GauntletError
├── StartError          the service cannot start: a setting is wrong, a sandbox layer is missing
├── InputError          what was given does not fit; names the field; answered 422
├── UnauthorizedError   no token that holds was given, where calls need one; answered 401
├── ForbiddenError      it takes another token; answered 403
├── OverloadedError     the queue is full, or the service is draining; answered 503 with Retry-After
│   ├── CapacityError   as many episodes are open as the service keeps
│   │   └── EpisodeShareError  the caller has as many open as one may; answered 429
│   ├── StoreError      where episodes are kept cannot be reached
│   └── ShareError      the caller has more in flight than its share; answered 429
├── SandboxError        a sandbox process could not be had, or ended through no fault of its code; answered 500
└── EpisodeError        an episode does not take the call
    ├── NoEpisodeError        unknown, closed or expired; answered 404
    ├── EpisodeExistsError    its id is in use; answered 409
    ├── EpisodeFinishedError  it has ended; answered 409
    └── UnknownToolError      it has no such tool; answered 404
"""

from enum import StrEnum
from typing import ClassVar

__all__ = [
    "CapacityError",
    "EpisodeError",
    "EpisodeExistsError",
    "EpisodeFinishedError",
    "EpisodeShareError",
    "ForbiddenError",
    "GauntletError",
    "InputError",
    "NoEpisodeError",
    "OverloadedError",
    "Refusal",
    "SandboxError",
    "ShareError",
    "StartError",
    "StoreError",
    "UnauthorizedError",
    "UnknownToolError",
]


class GauntletError(Exception):
    """Anything that this service itself gets wrong or has to refuse.

    Attributes:
        code: its name in every protocol.
        status: what HTTP answers.
    """

    code: ClassVar[str] = "fault"
    status: ClassVar[int] = 500


class StartError(GauntletError):
    """The service cannot start; the message says what to change."""


class InputError(GauntletError):
    """What was given does not fit.

    Attributes:
        field: the member that is wrong.
        message: what is wrong with it, for whoever gave it.
    """

    code = "invalid"
    status = 422

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class UnauthorizedError(GauntletError):
    """No token that holds was given, where calls need one."""

    code = "unauthorized"
    status = 401


class ForbiddenError(GauntletError):
    """It takes another token than what was given."""

    code = "forbidden"
    status = 403


class OverloadedError(GauntletError):
    """No capacity now.

    Attributes:
        retry_after_s: seconds after which asking again is reasonable.
    """

    code = "overloaded"
    status = 503

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refusal(StrEnum):
    """What there is no capacity for.

    Attributes:
        FULL: one more request at a time.
        DRAINING: any, since the service is going away.
        CAPACITY: one more episode.
        SHARE: one more request of the same caller.
    """

    FULL = "full"
    DRAINING = "draining"
    CAPACITY = "capacity"
    SHARE = "share"


class CapacityError(OverloadedError):
    """As many episodes are open as the service keeps."""

    code = "capacity"


class StoreError(OverloadedError):
    """Where episodes are kept cannot be reached now."""

    code = "store_unavailable"


class ShareError(OverloadedError):
    """This caller has as many calls in flight as one may have."""

    code = "client_share"
    status = 429


class EpisodeShareError(CapacityError):
    """This caller has as many episodes open as one may have."""

    code = ShareError.code
    status = ShareError.status


class SandboxError(GauntletError):
    """A fault of the sandbox, not of the code it was to run: no score may be made of it."""

    code = "sandbox_fault"


class EpisodeError(GauntletError):
    """An episode does not take the call."""


class NoEpisodeError(EpisodeError):
    """Nobody has an episode of that id: it was never opened, has been closed, or was idle for too long."""

    code = "episode_not_found"
    status = 404


class EpisodeExistsError(EpisodeError):
    """Its id, which a protocol had handed out, is in use."""

    code = "episode_exists"
    status = 409


class EpisodeFinishedError(EpisodeError):
    """It has been handed in, or has used up its steps or its time."""

    code = "episode_finished"
    status = 409


class UnknownToolError(EpisodeError):
    """An episode has no tool of that name."""

    code = "unknown_tool"
    status = 404
