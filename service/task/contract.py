"""Names and numbers of the task that agents, graders and reports share."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "BUFFER_LIMIT",
    "ENTRY_POINT",
    "RUBRIC",
    "SEEDS",
    "STATE_LIMIT",
    "TARGET_PASS_BAND",
    "TASK_ID",
    "TASK_VERSION",
    "TITLE",
    "RubricRow",
    "SeedRange",
    "Split",
    "Suite",
    "split_of",
]

TASK_ID = "resilience-gauntlet"
TASK_VERSION = "1.0.0"
TITLE = "Resilience Gauntlet: harden a streaming-sensor pipeline"
ENTRY_POINT = "process_batch"
BUFFER_LIMIT = 240  # rows, after every call
STATE_LIMIT = 2000  # values in the whole state, after every call
TARGET_PASS_BAND = (0.10, 0.40)  # pass rates at which the task separates models


class Suite(StrEnum):
    """Which inputs a submission is graded on."""

    CLASSIC = "classic"
    HARDENED = "hardened"


class Split(StrEnum):
    """What seeds are for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class SeedRange:
    """Seeds of the hardened suite for one purpose, both ends inclusive."""

    low: int
    high: int

    def __contains__(self, seed: int) -> bool:
        return self.low <= seed <= self.high

    def at(self, number: int) -> int:
        """The seed that a number stands for, of any size: evenly, where it is drawn from far more than there are."""
        return self.low + number % (self.high - self.low + 1)


SEEDS = {  # disjoint, so that nobody is evaluated on what was trained on
    Split.TRAIN: SeedRange(0, 999_999_999),
    Split.VALIDATION: SeedRange(1_000_000_000, 1_499_999_999),
    Split.TEST: SeedRange(1_500_000_000, 1_999_999_999),
}


def split_of(seed: int) -> Split:
    """The split that a seed belongs to; it is one of some split."""
    return next(split for split, span in SEEDS.items() if seed in span)


@dataclass(frozen=True, slots=True)
class RubricRow:
    """One row of a grade.

    Attributes:
        id: stable name of the row.
        check: the 20 % check it belongs to; a check holds when all of its rows do.
        title: what a person reads.
        max_points: of 100.
        message: what the feedback says when the check does not hold.
    """

    id: str
    check: str
    title: str
    max_points: int
    message: str


RUBRIC = (
    RubricRow("tier1", "tier1", "Tier 1: data integrity", 20, "Tier1 cascade unresolved"),
    RubricRow("tier2_flat", "tier2", "Tier 2: flat segments", 10, "Tier2 balance broken"),
    RubricRow("tier2_heavy_tail", "tier2", "Tier 2: heavy tails", 10, "Tier2 balance broken"),
    RubricRow("tier3", "tier3", "Tier 3: resilience", 20, "Tier3 resilience broken"),
    RubricRow("validity", "validity", "Output validity", 20, "Output validity broken"),
    RubricRow("guardrails", "guardrails", "Guardrail evidence", 20, "Guardrail evidence missing"),
)
