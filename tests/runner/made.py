"""Records for tests, with everything filled in that the test does not care about."""

from datetime import UTC, datetime
from typing import Any

from runner.answers import Check, Grade, PassBand
from runner.records import EpisodePlan, EpisodeRecord, Limits, Outcome, RunConfig

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


ROWS = {"tier1": 20, "tier2_flat": 10, "tier2_heavy_tail": 10, "tier3": 20, "validity": 20, "guardrails": 20}


def grade(*lost: str) -> Any:
    checks = [
        Check(id=row, title=row, passed=row not in lost, points=0 if row in lost else points, max_points=points)
        for row, points in ROWS.items()
    ]
    points = sum(check.points for check in checks)
    return Grade(
        passed=not lost, score=points / 100, points=points, feedback="…", checks=checks, suite="classic", seed=None
    )


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
