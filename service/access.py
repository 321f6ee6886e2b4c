"""Who may use which seeds."""

import hashlib
import hmac

from pydantic import SecretStr

from service.errors import ForbiddenError
from service.task import SEEDS, Split

__all__ = ["Access"]


class Access:
    """Keeps the seeds of the test split for those who evaluate, where a token tells them apart."""

    def __init__(self, evaluation_token: SecretStr | None) -> None:
        self._expected = _digest(f"Bearer {evaluation_token.get_secret_value()}") if evaluation_token else None

    def check_seed(self, seed: int | None, authorization: str | None) -> None:
        """Lets a seed pass.

        Args:
            seed: what is to be drawn from, None for the classic suite.
            authorization: the request's header, as it came.

        Raises:
            ForbiddenError: it is of the test split, and the evaluation token was not given.
        """
        if self._expected is None or seed is None or seed not in SEEDS[Split.TEST]:
            return
        if not hmac.compare_digest(_digest(authorization or ""), self._expected):
            raise ForbiddenError(
                "Seeds of the test split need the evaluation token: send it as `Authorization: Bearer …`, or use seeds"
                " of another split."
            )


def _digest(text: str) -> bytes:
    """Of one length, whatever the text's, so that comparing tells nothing of it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
