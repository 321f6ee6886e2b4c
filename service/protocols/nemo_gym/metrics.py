"""What NeMo Gym reports of many rollouts: statistics of every number that `/verify` answered, per task and in all."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["aggregated"]

_TASK = "_ng_task_index"
_NOT_MEASURED = frozenset({_TASK, "_ng_rollout_index", "seed", "step_limit"})
_MOST = 1e100  # beyond it, squares and sums are no numbers any more


def _deviation(numbers: Sequence[float]) -> float:
    if len(numbers) < 2:
        return 0.0
    mean = statistics.fmean(numbers)
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1))


_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "max": max,
    "min": min,
    "median": statistics.median,
    "std": _deviation,
}


def aggregated(rollouts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The three parts of the report, in the shape of NeMo Gym's `AggregateMetrics`."""
    tasks = defaultdict(list)
    for rollout in rollouts:
        index = rollout.get(_TASK, 0)
        tasks[index if isinstance(index, int) else 0].append(rollout)
    overall = _described(rollouts)
    return {
        "group_level_metrics": [
            {_TASK: index, "num_rollouts": len(tasks[index]), **_described(tasks[index])} for index in sorted(tasks)
        ],
        "agent_metrics": overall,
        "key_metrics": {name: value for name, value in overall.items() if name.startswith("mean/")},
    }


def _described(rollouts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    columns = defaultdict(list)
    for rollout in rollouts:
        for name, value in _numbers(rollout).items():
            columns[name].append(value)
    return {
        f"{statistic}/{name}": measure(numbers)
        for statistic, measure in _STATISTICS.items()
        for name, numbers in columns.items()
    }


def _numbers(rollout: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a rollout, with those of its response's token usage."""
    response = rollout.get("response")
    usage = response.get("usage") if isinstance(response, dict) else None
    merged = {**rollout, **(usage if isinstance(usage, dict) else {})}
    return {
        name: float(value)
        for name, value in merged.items()
        if name not in _NOT_MEASURED and isinstance(value, int | float) and -_MOST < value < _MOST
    }
