"""Which faults an episode meets: drawn from the seed, so that the same run meets the same ones again.

No draw knows of any other call, of the clock or of how often a server was started.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from runner.offline.policies import policy_for

__all__ = ["Behaviour", "Fault", "Transient", "behaviour_of", "expected_outcome", "fault_of"]

_MOST_IN_A_ROW = 3
_KEEP = (0.05, 0.95)
_RETRY_AFTER_S = (0.05, 0.3)


class Transient(StrEnum):
    """What can go wrong with one attempt; another one is answered in the end."""

    RATE_LIMIT = "rate_limit"  # 429 with `retry-after`
    RATE_LIMIT_BARE = "rate_limit_bare"  # 429 without
    OVERLOADED = "overloaded"  # 529
    OVERLOADED_MIDWAY = "overloaded_midway"  # an `error` event within a stream; 529 to who does not stream
    API_ERROR = "api_error"  # 500
    HANG = "hang"  # not a byte for long, then the connection is closed
    DROP = "drop"  # the connection is closed at once
    DROP_IN_HEADERS = "drop_in_headers"  # it is closed after half a header
    TRUNCATED = "truncated"  # the body breaks off before its announced end
    CUT = "cut"  # a body whose JSON or last event is half missing, and which ends as if it were whole
    UNFINISHED = "unfinished"  # a message without a stop reason
    PROXY_PAGE = "proxy_page"  # an HTML page with status 200


class Behaviour(StrEnum):
    """What a model may do that takes the conversation off the script; a proper answer each time."""

    MALFORMED_INPUT = "malformed_input"  # a call whose input does not fit the tool's schema, then the right one
    PAUSE_TURN = "pause_turn"  # a turn that has to be sent back to be resumed
    MAX_TOKENS = "max_tokens"  # the submission, cut off in mid code; then the whole of it
    PARALLEL_TOOLS = "parallel_tools"  # two expressions and the submission in one turn
    NO_TOOL = "no_tool"  # a turn that only talks
    REFUSAL = "refusal"  # ends the episode
    CONTEXT_EXCEEDED = "context_exceeded"  # ends the episode


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one attempt.

    Attributes:
        kind: Its name.
        keep: The share of the answer that still arrives, where it breaks off.
        retry_after_s: What a rate limit asks to wait, in seconds.
    """

    kind: Transient
    keep: float
    retry_after_s: float


def fault_of(seed: int, faults: float, episode: int, turn: int, attempt: int) -> Fault | None:
    """Draw what befalls an attempt at a turn.

    Of any four attempts in a row the last is spared, so that a patient client gets through, and a share above about a
    half is not quite reached. A larger share adds faults, and changes none.

    Args:
        seed: Of the run.
        faults: The share of attempts to befall, 0 to 1.
        episode: Counted from 1.
        turn: The number of answers that the conversation holds already.
        attempt: Counted from 1, at this turn.
    """
    if not faults or attempt % (_MOST_IN_A_ROW + 1) == 0:
        return None
    draw = random.Random(f"gauntlet-fault:{seed}:{episode}:{turn}:{attempt}")
    if draw.random() >= faults:
        return None
    return Fault(draw.choice(tuple(Transient)), draw.uniform(*_KEEP), draw.uniform(*_RETRY_AFTER_S))


def behaviour_of(seed: int, faults: float, episode: int) -> Behaviour | None:
    """Draw what an episode's model does off its script; `faults` is the share of episodes in which it does."""
    draw = random.Random(f"gauntlet-behaviour:{seed}:{episode}")
    return draw.choice(tuple(Behaviour)) if draw.random() < faults else None


def expected_outcome(seed: int, faults: float, episode: int) -> str:
    """How an episode must end on the classic suite, however many of its attempts fail.

    Returns:
        `passed`, `failed`, `refused` or `limit`.
    """
    match behaviour_of(seed, faults, episode):
        case Behaviour.REFUSAL:
            return "refused"
        case Behaviour.CONTEXT_EXCEEDED:
            return "limit"
        case _:
            return "passed" if policy_for(seed, episode).kind == "passes" else "failed"
