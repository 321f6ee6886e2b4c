"""What an episode is asked to be, and how it is told of."""

import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from service.schemas import (
    EXECUTION,
    Count,
    ExecuteResponse,
    GradeResponse,
    Request,
    Seed,
    check_takes_seed,
    documented_model,
    first_error,
)
from service.task import SEEDS, Split, Suite, split_of

__all__ = ["OUTCOMES", "RUNNING", "EpisodeRequest", "EpisodeStatus", "EpisodeView", "ToolResponse"]


class EpisodeStatus(StrEnum):
    """Where an episode is, or how it ended."""

    RUNNING = "running"
    GRADING = "grading"
    SUBMITTED = "submitted"
    STEP_LIMIT = "step_limit"
    TIME_LIMIT = "time_limit"
    ABANDONED = "abandoned"
    FAULT = "fault"


OUTCOMES = tuple(status for status in EpisodeStatus if status not in {EpisodeStatus.RUNNING, EpisodeStatus.GRADING})

_SEED_SCHEMAS: dict[Split, dict[str, Any]] = {
    split: {"split": {"const": split.value}, "seed": {"minimum": span.low, "maximum": span.high}}
    for split, span in SEEDS.items()
}


class EpisodeRequest(Request):
    """What a new episode is about. Everything has a default."""

    model_config = documented_model(
        {"seed": 7},
        {"split": "validation", "step_limit": 16},
        {"suite": "classic", "time_limit_s": 600},
        anyOf=[
            {"properties": {"seed": {"type": "null"}}},
            {"properties": {"suite": {"const": "hardened"}, "split": {"type": "null"}}},
            *({"properties": {"suite": {"const": "hardened"}, **_SEED_SCHEMAS[split]}} for split in Split),
        ],
    )

    suite: Suite = Field(Suite.HARDENED, description="which inputs to grade on")
    split: Split | None = Field(None, description="what the seed is for; `train` where neither it nor a seed is given")
    seed: Seed | None = Field(
        None,
        description="draws the inputs of the hardened suite; one of the split's where it is left out. The classic suite"
        " takes none",
    )
    step_limit: Count | None = Field(None, description="tool calls, up to the service's own limit")
    time_limit_s: float | None = Field(
        None, gt=0, strict=True, allow_inf_nan=False, description="seconds, up to the service's own limit"
    )

    @field_validator("seed")
    @classmethod
    def _fitting_seed(cls, seed: int | None, info: ValidationInfo) -> int | None:
        suite, split = info.data.get("suite"), info.data.get("split")
        check_takes_seed(suite, seed)
        if seed is not None and split is not None and seed not in SEEDS[split]:
            raise PydanticCustomError(
                "other_split",
                "{seed} is of the split {actual}; seeds of {split} are {low} to {high}",
                {"seed": seed, "actual": split_of(seed).value, "split": split.value}
                | {"low": SEEDS[split].low, "high": SEEDS[split].high},
            )
        return seed

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Reads what a protocol was given; members that are None count as left out.

        Raises:
            InputError: the first thing that is wrong.
        """
        try:
            return cls.model_validate({name: value for name, value in options.items() if value is not None})
        except ValidationError as error:
            raise first_error(error, "episode") from None

    def drawn(self) -> "EpisodeRequest":
        """The same with its split and its seed, which is drawn where none was given."""
        if self.suite is Suite.CLASSIC:
            return self
        if self.seed is not None:
            return self.model_copy(update={"split": split_of(self.seed)})
        split = self.split or Split.TRAIN
        return self.model_copy(update={"split": split, "seed": SEEDS[split].at(secrets.randbits(64))})


RUNNING = {
    "id": "0a4b8e1c2d3f4a5b6c7d8e9fa0b1c2d3",
    "suite": "hardened",
    "split": "train",
    "seed": 7,
    "status": "running",
    "done": False,
    "reward": None,
    "grade": None,
    "rows": None,
    "steps": 1,
    "step_limit": 64,
    "time_left_s": 3581.204,
}


class EpisodeView(BaseModel):
    """An episode as anybody who knows its id may see it."""

    model_config = documented_model(RUNNING)

    id: str = Field(
        description="secret: who has it can use the episode, with the token that it was begun with where there are any"
    )
    suite: Suite
    split: Split | None
    seed: int | None = Field(description="what the graded inputs are drawn from, null for the classic suite")
    status: EpisodeStatus
    done: bool = Field(description="whether it has ended")
    reward: float | None = Field(
        description="once it has ended: the score, 0.0 to 1.0; 0 without a submission; null through the service's fault"
    )
    grade: GradeResponse | None = Field(description="of the submission, with its six rows")
    rows: dict[str, int] | None = Field(description="of the grade: each row's points by its id")
    steps: int = Field(description="tool calls so far")
    step_limit: int
    time_left_s: float = Field(description="0 once it has ended")


class ToolResponse(EpisodeView):
    """What came of a tool call, and where the episode is now."""

    model_config = documented_model({**RUNNING, "text": "result:\n6.5", "execution": EXECUTION})

    text: str = Field(description="what to show the model")
    execution: ExecuteResponse | None = Field(description="of `python_expression`")
