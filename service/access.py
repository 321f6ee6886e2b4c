"""Who may call, and who may use which seeds."""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from service.errors import ForbiddenError, UnauthorizedError
from service.task import SEEDS, Split

__all__ = ["Access", "ApiToken"]


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What a caller shows.

    Attributes:
        secret: the token itself.
        until: Unix time at which it ends to hold, None where it does not.
    """

    secret: SecretStr
    until: float | None = None

    @classmethod
    def read(cls, text: str) -> "ApiToken":
        """Reads ``TOKEN``, or ``TOKEN@2027-01-31``, which holds until that day begins (UTC).

        Raises:
            ValueError: the day is none.
        """
        secret, _, day = text.partition("@")
        until = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() if day else None
        return cls(SecretStr(secret), until)

    @classmethod
    def read_all(cls, texts: SecretStr | None) -> list["ApiToken"]:
        """Reads a comma-separated list; None is none."""
        return [cls.read(text) for text in texts.get_secret_value().split(",")] if texts is not None else []


_NONE = "This service takes calls with a token only: send it as `Authorization: Bearer …`."
_WRONG = "What was sent as `Authorization` is no token of this service, or its time is over."


class Access:
    """Lets in who has a token, where there are any, and keeps the seeds of the test split for those who evaluate.

    Tokens are compared by digests of one length, and always with every one there is: time tells nothing of them.
    """

    def __init__(
        self,
        evaluation_token: SecretStr | None = None,
        api_tokens: Iterable[ApiToken] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._evaluation = _digest(f"Bearer {evaluation_token.get_secret_value()}") if evaluation_token else None
        self._callers = [(_digest(f"Bearer {token.secret.get_secret_value()}"), token.until) for token in api_tokens]
        self._clock = clock

    def check_caller(self, authorization: str | None) -> str | None:
        """Lets a call pass.

        Args:
            authorization: the request's header, as it came.

        Returns:
            What tells the caller from others; None where there are no tokens to tell by.

        Raises:
            UnauthorizedError: there are tokens, and none that holds was given.
        """
        if not self._callers:
            return None
        given, now = _digest(authorization or ""), self._clock()
        holds = False
        for expected, until in self._callers:
            holds |= hmac.compare_digest(given, expected) and (until is None or now < until)
        if self._evaluation is not None:
            holds |= hmac.compare_digest(given, self._evaluation)
        if not holds:
            raise UnauthorizedError(_WRONG if authorization else _NONE)
        return given.hex()

    def check_seed(self, seed: int | None, authorization: str | None) -> None:
        """Lets a seed pass.

        Args:
            seed: what is to be drawn from, None for the classic suite.
            authorization: the request's header, as it came.

        Raises:
            ForbiddenError: it is of the test split, and the evaluation token was not given.
        """
        if self._evaluation is None or seed is None or seed not in SEEDS[Split.TEST]:
            return
        if not hmac.compare_digest(_digest(authorization or ""), self._evaluation):
            raise ForbiddenError(
                "Seeds of the test split need the evaluation token: send it as `Authorization: Bearer …`, or use seeds"
                " of another split."
            )


def _digest(text: str) -> bytes:
    """Of one length, whatever the text's, so that comparing tells nothing of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
