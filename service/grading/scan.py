"""The static scan for guardrail evidence."""

__all__ = ["GUARDRAIL_WORDS", "WORDS_NEEDED", "guardrail_words"]

GUARDRAIL_WORDS = ("guardrail", "telemetry", "monitor", "backpressure", "fallback")
WORDS_NEEDED = 2


def guardrail_words(code: str) -> list[str]:
    """The words of `GUARDRAIL_WORDS` in the raw text, whatever their case, comments included."""
    text = code.lower()
    return [word for word in GUARDRAIL_WORDS if word in text]
