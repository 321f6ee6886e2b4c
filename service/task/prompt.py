"""The prompt: what a model reads before its first call. Its text is `prompt.md`."""

from functools import cache
from importlib.resources import files

from service.task.contract import BUFFER_LIMIT, Suite

__all__ = ["fragile_pipeline", "prompt"]


@cache
def fragile_pipeline() -> str:
    """Source of the pipeline that the agent is to harden, without the note on it."""
    source = _text("fragile_pipeline.py")
    return source[source.index("import math") :]


@cache
def prompt(suite: Suite) -> str:
    """The whole prompt for a suite; it shows no grader input."""
    del suite  # the classic suite's contract holds for every suite there is
    template = _text("prompt.md")
    return template.replace("{{source}}", fragile_pipeline().rstrip()).replace("{{buffer_limit}}", str(BUFFER_LIMIT))


def _text(name: str) -> str:
    return files("service.task").joinpath(name).read_text(encoding="utf-8")
