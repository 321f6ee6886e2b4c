"""The tasks that ORS clients list: a fixed number of seeds of each split."""

import json
from functools import cache
from typing import Any

from service.task import SEEDS, Split, Suite

__all__ = ["TASKS", "task_at", "task_list", "task_span"]

TASKS = {Split.TRAIN: 10_000, Split.VALIDATION: 1_000, Split.TEST: 1_000}


def task_at(split: Split, index: int) -> dict[str, Any]:
    """The task of an index; a negative one counts from the end.

    Raises:
        IndexError: there are not so many.
    """
    index = range(TASKS[split])[index]
    return {"suite": Suite.HARDENED.value, "split": split.value, "seed": SEEDS[split].at(index), "index": index}


def task_span(split: Split, start: int | None, stop: int | None) -> list[dict[str, Any]]:
    """The tasks from one index up to another, as in a slice."""
    return [task_at(split, index) for index in range(TASKS[split])[start:stop]]


@cache
def task_list(split: Split) -> bytes:
    """All tasks of a split, as JSON."""
    return json.dumps(task_span(split, None, None), separators=(",", ":")).encode()
