"""Records for tests, with everything filled in that the test does not care about."""

from datetime import UTC, datetime
from typing import Any

from runner.records import EpisodePlan, EpisodeRecord, Limits, Outcome, PassBand, RunConfig

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def record(
    episode: int = 1,
    outcome: Any = Outcome.FAILED,
    score: Any = 0.8,
    feedback: Any = "✗ Tier1 cascade unresolved",
    **changes: Any,
) -> Any:
    valid = outcome.is_valid
    values = {
        "run_id": "run",
        "episode": episode,
        "scripted": False,
        "notice": None,
        "outcome": outcome,
        "score": score if valid else None,
        "passed": outcome is Outcome.PASSED if valid else None,
        "points": 100 * score if valid else None,
        "feedback": feedback,
        "suite": "classic",
        "seed": None,
        "steps": 1,
        "started_at": NOON,
        "ended_at": NOON,
        "duration_s": 0.0,
    }
    return EpisodeRecord(**{**values, **changes})


def config(**changes: Any) -> Any:
    values = {
        "run_id": "run",
        "started_at": NOON,
        "scripted": False,
        "notice": None,
        "model": "claude-sonnet-5-5",
        "service": "http://127.0.0.1:1",
        "suite": "classic",
        "seed": 0,
        "episodes": 10,
        "concurrency": 5,
        "max_tokens": 8192,
        "task_id": "t",
        "task_version": "1",
        "target_pass_band": PassBand(low=0.1, high=0.4),
    }
    return RunConfig(**{**values, **changes})


def plan(episode: int = 1, **limits: Any) -> Any:
    return EpisodePlan(
        run_id="run", episode=episode, suite="classic", seed=None, limits=Limits(**limits), scripted=False
    )
