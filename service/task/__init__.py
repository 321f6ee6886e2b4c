"""What the agent is asked: the prompt, the fragile pipeline in it, the tools and the rubric's wording. Pure."""

from service.task.contract import (
    BUFFER_LIMIT,
    ENTRY_POINT,
    RUBRIC,
    SEEDS,
    TARGET_PASS_BAND,
    TASK_ID,
    TASK_VERSION,
    TITLE,
    RubricRow,
    SeedRange,
    Split,
    Suite,
    split_of,
)
from service.task.prompt import fragile_pipeline, prompt
from service.task.tools import ToolFormat, tool_schemas

__all__ = [
    "BUFFER_LIMIT",
    "ENTRY_POINT",
    "RUBRIC",
    "SEEDS",
    "TARGET_PASS_BAND",
    "TASK_ID",
    "TASK_VERSION",
    "TITLE",
    "RubricRow",
    "SeedRange",
    "Split",
    "Suite",
    "ToolFormat",
    "fragile_pipeline",
    "prompt",
    "split_of",
    "tool_schemas",
]
