"""An episode as the server plays it: the policy's script, with what its model does off the script worked in."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from runner.offline.checks import content_blocks
from runner.offline.faults import Behaviour, behaviour_of
from runner.offline.policies import FAREWELL, PAUSE, Step, ToolUse, policy_for, script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.answers import Json

__all__ = ["next_step", "played", "turns_taken"]

_IDLE = Step("Is there anything that I have not looked at yet?", "The pipeline needs a closer look before I go on.")
_REFUSAL = Step(
    "",
    "I will begin with",
    stop="refusal",
    details={
        "type": "refusal",
        "category": "cyber",
        "explanation": "This request was declined because it could enable cyber harm.",
    },
)
_OVERFLOW = Step(
    "This is a long conversation by now.", "What I have found so far is", stop="model_context_window_exceeded"
)


def next_step(seed: int, faults: float, episode: int, messages: list[Json]) -> Step:
    """What comes next in an episode, by its history alone."""
    steps = played(seed, faults, episode, _prompt(messages[0]))
    return steps[min(turns_taken(messages), len(steps) - 1)]


@lru_cache(maxsize=256)  # every request of a conversation asks for the same
def played(seed: int, faults: float, episode: int, prompt: str) -> tuple[Step, ...]:
    """All turns of an episode; whoever asks for more gets the last one again."""
    steps = [*script(policy_for(seed, episode), prompt), FAREWELL]
    behaviour = behaviour_of(seed, faults, episode)
    if behaviour is not None:
        steps = _off_script(steps, behaviour, random.Random(f"gauntlet-off-script:{seed}:{episode}"))
    return tuple(steps)


def turns_taken(messages: list[Json]) -> int:
    """How many answers a history holds, even if several stand in one message.

    Every answer begins with thinking or is nothing but a text.
    """
    blocks = [block for message in messages if message["role"] == "assistant" for block in content_blocks(message)]
    kinds = ["", *(block["type"] for block in blocks)]
    return sum(kind == "thinking" or (kind == "text" and before != "thinking") for before, kind in pairwise(kinds))


def _prompt(message: Json) -> str:
    return "".join(block.get("text", "") for block in content_blocks(message))


def _off_script(steps: list[Step], behaviour: Behaviour, draw: random.Random) -> list[Step]:
    submitting = len(steps) - 2
    place = draw.randint(0, submitting)
    match behaviour:
        case Behaviour.MAX_TOKENS:
            return _inserted(steps, submitting, _cut_off(steps[submitting]))
        case Behaviour.PARALLEL_TOOLS:
            return [*steps[:submitting], _parallel(steps[:submitting], steps[submitting]), *steps[submitting + 1 :]]
        case Behaviour.REFUSAL:
            return [*steps[:place], _REFUSAL]
        case Behaviour.CONTEXT_EXCEEDED:
            return [*steps[:place], _OVERFLOW]
        case _:
            return _inserted(steps, place, _detour(behaviour, steps[place], draw))


def _detour(behaviour: Behaviour, step: Step, draw: random.Random) -> Step:
    if behaviour is Behaviour.PAUSE_TURN:
        return PAUSE
    return _IDLE if behaviour is Behaviour.NO_TOOL else _malformed(step, draw)


def _inserted(steps: list[Step], place: int, step: Step) -> list[Step]:
    return [*steps[:place], step, *steps[place:]]


def _malformed(step: Step, draw: random.Random) -> Step:
    variant = draw.randrange(3)
    return replace(step, tool_uses=tuple(_misused(use, variant) for use in step.tool_uses))


def _misused(use: ToolUse, variant: int) -> ToolUse:
    """Another key, a number for a string, or a key too many."""
    ((key, value),) = use.input.items()
    return ToolUse(use.name, ({"source": value}, {key: 42}, {key: value, "timeout": 5})[variant])


def _cut_off(step: Step) -> Step:
    (use,) = step.tool_uses
    code = use.input["code"]
    return replace(step, tool_uses=(ToolUse(use.name, {"code": code[: len(code) // 2]}),), stop="max_tokens")


def _parallel(before: Iterable[Step], submitting: Step) -> Step:
    probes = [use for step in before for use in step.tool_uses]
    return replace(submitting, tool_uses=(*(probes * 2)[:2], *submitting.tool_uses))
