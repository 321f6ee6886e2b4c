"""What a run was asked to be, before anything is started, and what of it a resumed run may change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.errors import RunnerError
from runner.records import Limits, RunConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runner.local_service import ServiceAddress

__all__ = ["RunRequest", "check_unchanged"]

# What may differ between two sessions of one run: where and how fast it goes, not what is measured.
_MAY_CHANGE = frozenset({"run_id", "started_at", "service", "concurrency", "engine", "max_cost_usd"})


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What `gauntlet run` and `gauntlet calibrate` were asked to do; the fields are those of `RunConfig`.

    Attributes:
        ray_address: Of a Ray cluster's head; None starts one.
    """

    service: ServiceAddress
    out: Path
    episodes: int = 10
    calibrate: bool = False
    concurrency: int = 5
    provider: str = "anthropic"
    model: str = "claude-sonnet-5-5"
    suite: str = "classic"
    seed: int = 0
    live: bool = False
    faults: float = 0.0
    limits: Limits = field(default_factory=Limits)
    max_tokens: int = 8192
    call_timeout_s: float = 300.0
    max_cost_usd: float | None = None
    grace_s: float = 60.0
    engine: str = "local"
    ray_address: str | None = None

    def resuming(self, config: RunConfig, *, concurrency: int | None) -> RunRequest:
        """The request that a stored run was; service, engine, grace and budget may be given anew, concurrency too."""
        kept = ("episodes", "calibrate", "provider", "model", "suite", "seed", "faults", "limits", "max_tokens")
        return replace(
            self,
            live=not config.scripted,
            concurrency=concurrency or config.concurrency,
            max_cost_usd=self.max_cost_usd or config.max_cost_usd,
            **{name: getattr(config, name) for name in kept},
        )


def check_unchanged(stored: RunConfig, now: RunConfig) -> None:
    """Refuse to go on with a run under another configuration.

    Raises:
        RunnerError: Names what differs.
    """
    before, after = _identity(stored), _identity(now)
    changed = [f"{name} was {before[name]!r} and is {after[name]!r}" for name in before if before[name] != after[name]]
    if changed:
        raise RunnerError(f"{stored.run_id} cannot be resumed: {'; '.join(changed)}. Start a new run")


def _identity(config: RunConfig) -> Mapping[str, object]:
    fields = config.model_dump(mode="json", exclude=set(_MAY_CHANGE))
    return {**fields, "versions": {name: fields["versions"].get(name) for name in ("runner", "anthropic")}}
