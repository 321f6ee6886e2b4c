"""Every call to a model's API: within the rate limits and the budget, again where that is worth while, and logged."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Protocol

from runner.errors import FatalModelError, ModelError, RateLimitError, TransientModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from runner.answers import Json
    from runner.pricing import Pricing
    from runner.records import EpisodePlan, Turn
    from runner.retry import RetryPolicy
    from runner.throttle import Throttle

__all__ = ["Caller", "Journal", "Provider", "Purse"]


class Provider(Protocol):
    """One model behind one API.

    Attributes:
        name: The model's id.
        endpoint: The API's base URL.
        max_tokens: The longest single answer, in tokens.
        pricing: What its tokens cost.
    """

    name: str
    endpoint: str
    max_tokens: int
    pricing: Pricing

    async def warning(self) -> str | None:
        """What one should know of the model before a run, such as that it retires soon."""

    async def count_tokens(self, messages: Sequence[Json], tools: Sequence[Json]) -> int:
        """How long a prompt is, in tokens.

        Raises:
            ModelError: The API does not tell.
        """

    async def ask(self, messages: Sequence[Json], tools: Sequence[Json], user_id: str) -> Turn:
        """Make one attempt.

        Raises:
            TransientModelError: Another attempt may be answered.
            FatalModelError: The API would refuse every other call too.
            ContextOverflowError: The conversation is longer than the API takes.
            ModelError: This call will never be answered.
        """


class Journal(Protocol):
    """Where events are kept; `kind` names them, the fields are JSON."""

    def __call__(self, kind: str, /, **fields: object) -> None:
        """Keep one event."""


class Purse(Protocol):
    """What pays for the calls of a run."""

    @property
    def is_limited(self) -> bool:
        """Whether a call has to say what it may cost."""

    def reserved(self, dearest_usd: float) -> AbstractAsyncContextManager[None]:
        """Hold back what a call may cost while it lasts.

        Raises:
            BudgetSpentError: There is not as much left.
        """

    def spend(self, cost_usd: float) -> None:
        """Book an answer, while what it may cost is held back."""


class Caller:
    """The one way from all episodes of a run to the model.

    Args:
        provider: Makes single attempts.
        policy: When to try again.
        throttle: Spaces the attempts of all episodes.
        budget: Pays for them.
        call_timeout_s: Seconds after which an attempt is given up, however slowly its answer drips in.
        journal: Is told of every answer, failed attempt and wait.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        policy: RetryPolicy,
        throttle: Throttle,
        budget: Purse,
        journal: Journal,
        call_timeout_s: float = 300.0,
    ) -> None:
        self._provider = provider
        self._policy = policy
        self._throttle = throttle
        self._budget = budget
        self._journal = journal
        self._call_timeout_s = call_timeout_s
        self._answered_at = -math.inf

    async def reply(
        self, plan: EpisodePlan, messages: Sequence[Json], tools: Sequence[Json], spare_wait_s: float
    ) -> Turn:
        """Get the next turn of an episode's conversation.

        Failed attempts are repeated as often as the policy allows; after a rate limit, as long as `spare_wait_s` lasts.

        Args:
            plan: Whose call it is.
            messages: The conversation so far.
            tools: What the model may call.
            spare_wait_s: Seconds that the episode may still lose to waits and failed attempts.

        Raises:
            RunnerError: As `Provider.ask` does, and when the patience or the budget is at its end.
        """
        dearest_usd = self._dearest_usd(messages, tools)
        async with self._budget.reserved(dearest_usd):
            turn = await self._patiently(plan, messages, tools, spare_wait_s)
            booked_usd = dearest_usd if turn.cost_usd is None else turn.cost_usd
            self._budget.spend(booked_usd)
        self._journal(
            "call",
            episode=plan.episode,
            attempt=plan.attempt,
            request_id=turn.request_id,
            model=turn.model,
            usage=turn.usage.model_dump(),
            cost_usd=turn.cost_usd,
            booked_usd=booked_usd,
            attempts=turn.attempts,
        )
        if self._budget.is_limited and (turn.cost_usd is None or turn.cost_usd > dearest_usd):
            cost = "unknown" if turn.cost_usd is None else f"${turn.cost_usd:.4f}"
            raise FatalModelError(
                f"--max-cost cannot be kept: the cost of an answer by {turn.model} is {cost}, "
                f"and ${dearest_usd:.4f} was the most that {self._provider.name} could have cost"
            )
        return turn

    async def _patiently(
        self, plan: EpisodePlan, messages: Sequence[Json], tools: Sequence[Json], spare_wait_s: float
    ) -> Turn:
        attempt, failures, waited_s, first_at = 0, 0, 0.0, time.monotonic()
        while True:
            attempt += 1
            async with self._throttle.turn() as cooled_s:
                began = time.monotonic()
                waited_s += cooled_s
                try:
                    turn = await self._ask(messages, tools, plan.user_id)
                except TransientModelError as error:
                    fault = error
                else:
                    self._throttle.answered()
                    self._answered_at = time.monotonic()
                    took_s = time.monotonic() - began
                    return turn.model_copy(update={"attempts": attempt, "duration_s": took_s, "wait_s": waited_s})
                waited_s += time.monotonic() - began
                failures += not isinstance(fault, RateLimitError)
                delay_s = self._policy.delay_s(attempt, fault.retry_after_s)
                if isinstance(fault, RateLimitError):
                    self._throttle.limited(delay_s, began)
            self._log_retry(plan, attempt, fault, delay_s)
            if failures == self._policy.attempts:
                raise fault
            if waited_s + delay_s > spare_wait_s:
                raise _given_up(fault, waited_s, is_everyones=self._answered_at < first_at)
            if not isinstance(fault, RateLimitError):  # a rate limit is waited out before the next turn, by all
                await asyncio.sleep(delay_s)
                waited_s += delay_s

    async def _ask(self, messages: Sequence[Json], tools: Sequence[Json], user_id: str) -> Turn:
        try:
            async with asyncio.timeout(self._call_timeout_s):
                return await self._provider.ask(messages, tools, user_id)
        except TimeoutError as error:
            raise TransientModelError(f"no whole answer within {self._call_timeout_s:g} s") from error

    def _log_retry(self, plan: EpisodePlan, attempt: int, fault: TransientModelError, delay_s: float) -> None:
        self._journal(
            "retry",
            episode=plan.episode,
            attempt=plan.attempt,
            call_attempt=attempt,
            status=fault.status,
            request_id=fault.request_id,
            reason=str(fault),
            delay_s=round(delay_s, 3),
        )

    def _dearest_usd(self, messages: Sequence[Json], tools: Sequence[Json]) -> float:
        if not self._budget.is_limited:
            return 0.0
        size = len(json.dumps([messages, tools]))
        return self._provider.pricing.dearest_usd(self._provider.name, size, self._provider.max_tokens) or 0.0


def _given_up(fault: TransientModelError, waited_s: float, *, is_everyones: bool) -> ModelError:
    """The end of an episode's patience; of all episodes' where nobody was answered for as long."""
    kind, nobody = (FatalModelError, "nobody was answered; ") if is_everyones else (ModelError, "")
    words = f"given up after {waited_s:.0f} s of waiting: {nobody}{fault}"
    return kind(words, status=fault.status, request_id=fault.request_id)
