"""The prompt: what a model reads before its first call. Its text is `prompt.md`, with `prompt_hardened.md` in it."""

from functools import cache
from importlib.resources import files

from service.task.contract import BUFFER_LIMIT, STATE_LIMIT, Suite

__all__ = ["fragile_pipeline", "prompt"]

_NEXT = "## How to work"  # what follows the contract


@cache
def fragile_pipeline() -> str:
    """Source of the pipeline that the agent is to harden, without the note on it."""
    source = _text("fragile_pipeline.py")
    return source[source.index("import math") :]


@cache
def prompt(suite: Suite) -> str:
    """The whole prompt for a suite; it shows no grader input."""
    template = _text("prompt.md")
    if suite is Suite.HARDENED:
        template = template.replace(_NEXT, _text("prompt_hardened.md") + _NEXT)
    values = {"source": fragile_pipeline().rstrip(), "buffer_limit": BUFFER_LIMIT, "state_limit": f"{STATE_LIMIT:,}"}
    for name, value in values.items():
        template = template.replace(f"{{{{{name}}}}}", str(value))
    return template


def _text(name: str) -> str:
    return files("service.task").joinpath(name).read_text(encoding="utf-8")
