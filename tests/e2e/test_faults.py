"""A run whose calls fail in every way the stand-in knows."""

import asyncio
import functools
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runner.local_service import ServiceAddress
from runner.offline.faults import expected_outcome
from runner.offline.server import serve_offline
from runner.records import Usage
from runner.request import RunRequest
from runner.session import run_session
from tests.conftest import ServiceProcess

EPISODES, FAULTS, SEED = 200, 1 / 3, 11


@pytest.mark.timeout(300)
def test_every_episode_ends_as_it_must_and_the_totals_are_the_servers_own(
    tmp_path: Path, service: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[dict[str, Any]] = []
    monkeypatch.setattr("runner.providers.serve_offline", functools.partial(serve_offline, log=served.append))
    request = RunRequest(
        ServiceAddress(service.url, {}), tmp_path, episodes=EPISODES, concurrency=50, seed=SEED, faults=FAULTS
    )
    result = asyncio.run(run_session(request, io.StringIO()))
    [run] = tmp_path.iterdir()
    rows = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]

    assert sorted(row["episode"] for row in rows) == list(range(1, EPISODES + 1))
    assert {row["episode"]: row["outcome"] for row in rows} == {
        episode: expected_outcome(SEED, FAULTS, episode) for episode in range(1, EPISODES + 1)
    }
    assert set(Counter(row["outcome"] for row in rows)) == {"passed", "failed", "refused", "limit"}

    answered = [line for line in served if line["answered"]]
    assert 0.25 < 1 - len(answered) / len(served) < 0.4
    assert result.summary.calls == len(answered)
    assert result.summary.retries == len(served) - len(answered)
    assert result.summary.usage == Usage.total(Usage.model_validate(line["usage"]) for line in answered)
    assert Counter(request_id for row in rows for request_id in row["request_ids"]) == Counter(
        line["request_id"] for line in answered
    )
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "retry" for event in events) == result.summary.retries
    assert any(event["event"] == "concurrency" and event["allowed"] < 50 for event in events)
    assert all((run / "transcripts" / f"{episode:04}-1.json").exists() for episode in range(1, EPISODES + 1))
