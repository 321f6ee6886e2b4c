"""The scripted agents: each probes the fragile pipeline in the sandbox, then hands in source of its own.

What a submission is worth is not known here; the grader decides.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.answers import Json

__all__ = ["BLOCK", "FAREWELL", "PAUSE", "Policy", "Step", "ToolUse", "policy_for", "script"]

BLOCK = ("passes",) + ("leaves_strings",) * 5 + ("over_trims",) * 4
"""The policies of ten episodes in a row, before they are shuffled."""

_SUBMISSIONS = {
    "passes": ("passes",),
    "leaves_strings": ("leaves_strings_dropping", "leaves_strings_unconverted"),
    "over_trims": ("over_trims_quartiles", "over_trims_tight_cut"),
}
# Chosen so that the default seed puts the passing episode third and opens with one that leaves strings.
_SHUFFLE_SALT = "gauntlet-14"

_FENCED_PIPELINE = re.compile(r"```(?:python)?\n((?:(?!```).)*?def process_batch\(.*?)```", re.DOTALL)

_PROBE_HEAD = """
from collections import deque

def attempt(label, events, **changes):
    state = {"seen": 0, "limit": 100, "buffer": deque(), "z_cutoff": 3, **changes}
    try:
        result = process_batch(events, state)
        clean = [row["reading"] for row in result["clean"]]
        print(label, "->", clean, "mean", result["mean"], "std", result["std"])
    except Exception as error:
        print(label, "->", type(error).__name__ + ":", error)
"""
_PROBES = {
    "dirty": """
attempt("text", [{"ts": 2, "reading": "offline", "tag": "a"}, {"ts": 1, "reading": 3.5, "tag": "a"}])
attempt("nan", [{"ts": 0, "reading": float("nan"), "tag": "a"}, {"ts": 1, "reading": 3.5, "tag": "a"}])
attempt("order", [{"ts": t, "reading": 1.0 + t, "tag": "a"} for t in (5, 1, 3)])
""",
    "flat": """
attempt("flat", [{"ts": t, "reading": 4.2, "tag": "a"} for t in range(8)])
""",
    "spikes": """
core = [{"ts": t, "reading": 20 + t / 10, "tag": "core"} for t in range(12)]
spikes = [{"ts": 50 + t, "reading": 5e4, "tag": "spike"} for t in range(3)]
attempt("spikes", core + spikes + [{"ts": 60, "reading": 18.0, "tag": "rare"}])
""",
    "flood": """
state = {"seen": 95, "limit": 100, "buffer": deque(), "z_cutoff": 3}
for call in range(6):
    result = process_batch([{"ts": t, "reading": t % 5, "tag": "s"} for t in range(80)], state)
    state = result["state"]
    print("call", call, "buffer", len(state["buffer"]), "telemetry", result.get("telemetry"))
""",
}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call a policy makes."""

    name: str
    input: Json


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of a policy.

    Attributes:
        thinking, text: Left out of the answer where empty. A step that thinks nothing calls no tools.
        stop: The stop reason where it is another than what the tool uses say.
        details: Those of the stop reason.
    """

    thinking: str
    text: str
    tool_uses: tuple[ToolUse, ...] = ()
    stop: str | None = None
    details: Json | None = None

    @property
    def stop_reason(self) -> str:
        """Why the turn ends."""
        return self.stop or ("tool_use" if self.tool_uses else "end_turn")


PAUSE = Step("", "One moment, I am still reading the pipeline.", stop="pause_turn")
"""A turn that is resumed when it is sent back."""

FAREWELL = Step("", "I have handed in my work and have nothing to add.")
"""What follows on the last turn of a script."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What an agent will hand in, and how: its kind, and which of the kind's sources."""

    kind: str
    submission: str

    @property
    def source(self) -> str:
        """The submission itself."""
        return _source(self.submission)


def policy_for(seed: int, episode: int) -> Policy:
    """Draw the policy of an episode, counted from 1; every block of ten holds the same mix in another order."""
    block, position = divmod(episode - 1, len(BLOCK))
    draw = random.Random(f"{_SHUFFLE_SALT}:{seed}:{block}")
    kinds = draw.sample(BLOCK, len(BLOCK))
    kind = kinds[position]
    turn = kinds[:position].count(kind) + block
    return Policy(kind, _SUBMISSIONS[kind][turn % len(_SUBMISSIONS[kind])])


def script(policy: Policy, prompt: str) -> list[Step]:
    """All turns of a policy, given the prompt that shows the fragile pipeline."""
    found = _FENCED_PIPELINE.search(prompt)
    pipeline = found[1] if found else ""
    return [*_probing(policy, pipeline), _submitting(policy)]


@cache
def _source(submission: str) -> str:
    return (files(__package__) / "submissions" / f"{submission}.py").read_text(encoding="utf-8")


def _probing(policy: Policy, pipeline: str) -> list[Step]:
    match policy.kind:
        case "passes":
            return [
                Step(
                    "Conversion and ordering first, and flat input beside it: these do not depend on each other.",
                    "I will see how the pipeline fails before I change it.",
                    (_probe(pipeline, "dirty"), _probe(pipeline, "flat")),
                ),
                Step(
                    "Now what the z-score keeps of a small group, and what the buffer does once `limit` is passed.",
                    "Corrupt readings and flat segments break it. Next, spikes and a long stream.",
                    (_probe(pipeline, "spikes"), _probe(pipeline, "flood")),
                ),
                Step(
                    "Median and MAD resist the spikes. The same inputs should now go through.",
                    "Here is my version on the same inputs.",
                    (_probe(policy.source, "dirty", "flat", "spikes", "flood"),),
                ),
            ]
        case "leaves_strings":
            return [
                Step(
                    "The deviation of a constant segment is zero, so the z-score must divide by it somewhere.",
                    "I will try flat input and spikes on the pipeline.",
                    (_probe(pipeline, "flat"), _probe(pipeline, "spikes")),
                ),
                Step("What remains is growth over many calls.", "Now a long stream.", (_probe(pipeline, "flood"),)),
            ]
        case _:
            return [
                Step(
                    "The spikes are the obvious danger. How far do they pull the mean?",
                    "I will look at what the spikes do.",
                    (_probe(pipeline, "spikes"),),
                ),
            ]


def _probe(source: str, *names: str) -> ToolUse:
    return ToolUse("python_expression", {"expression": source + _PROBE_HEAD + "".join(_PROBES[name] for name in names)})


def _submitting(policy: Policy) -> Step:
    return Step(
        "The faults are clear and the replacement covers what I have seen.",
        "I am handing in my replacement.",
        (ToolUse("submit_code", {"code": policy.source}),),
    )
