"""Tokens into US dollars, by the table that genai-prices carries; nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from runner.records import Usage

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Pricing"]


@dataclass(frozen=True, slots=True)
class Pricing:
    """The prices of one provider.

    Attributes:
        provider: As genai-prices names it, such as `anthropic`; None guesses by the model's name.
    """

    provider: str | None

    def cost_usd(self, model: str, usage: Usage, at: datetime | None = None) -> float | None:
        """What one call cost, in US dollars; None for a model that the table does not know.

        Calls are priced one by one: some prices rise with the length of a prompt.

        Args:
            model: As the answer names it.
            usage: Of this call.
            at: When it was made, for prices that changed; now by default.
        """
        tokens = PricedUsage(
            # The table counts cached tokens as part of the input, the Messages API beside it.
            input_tokens=usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_input_tokens,
            cache_write_tokens=usage.cache_creation_input_tokens,
        )
        try:
            price = calc_price(tokens, model, provider_id=self.provider, genai_request_timestamp=at)
        except LookupError:
            return None
        return float(price.total_price)

    def dearest_usd(self, model: str, prompt_bytes: int, max_tokens: int) -> float | None:
        """The most a call can cost: every byte of its prompt a token that is newly cached, and the longest answer."""
        return self.cost_usd(model, Usage(cache_creation_input_tokens=prompt_bytes, output_tokens=max_tokens))
