"""What the service says at start of settings that it takes, and that will hurt."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.advice import advice
from service.machine import Machine
from service.settings import read_settings
from tests.conftest import running_service

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC).timestamp()
SMALL = Machine(cores=16, memory_mib=4096)
TOKEN = "a-token-of-some-trainer"


def told(workers: int = 1, /, **settings: str) -> list[str]:
    given = {f"GAUNTLET_{name}": text for name, text in settings.items()}
    return list(advice(read_settings(given), SMALL, now=NOW, workers=workers))


@pytest.mark.parametrize(
    ("settings", "workers", "product"),
    [
        ({"CONCURRENCY": "64"}, 1, "64 × 256 MiB"),
        ({"CONCURRENCY": "15"}, 1, "15 × 256 MiB"),
        ({"CONCURRENCY": "8", "MEMORY_MIB": "512"}, 1, "8 × 512 MiB"),
        ({"CONCURRENCY": "14"}, 15, "15 × 256 MiB"),  # each has one
    ],
)
def test_what_does_not_fit_into_memory_is_told(settings: dict[str, str], workers: int, product: str) -> None:
    (words,) = told(workers, **settings)
    assert words.startswith(f"GAUNTLET_CONCURRENCY × GAUNTLET_MEMORY_MIB is {product}: ")
    assert "over the limit of 4096 MiB" in words


def test_nothing_is_told_of_what_fits() -> None:
    assert told(CONCURRENCY="14") == []
    assert told(4, CONCURRENCY="14") == []
    assert told(CONCURRENCY="7", MEMORY_MIB="512", API_TOKENS=f"{TOKEN},{TOKEN}s@2999-01-01") == []


def test_tokens_that_end_are_told_by_their_number_and_day() -> None:
    days = ["2026-06-15", "2026-06-16", "2026-06-22", "2026-06-23"]
    tokens = ",".join([TOKEN, *(f"{TOKEN}@{day}" for day in days)])
    assert told(CONCURRENCY="1", API_TOKENS=tokens) == [
        "GAUNTLET_API_TOKENS: token 2 has ended on 2026-06-15 (UTC)",
        "GAUNTLET_API_TOKENS: token 3 ends on 2026-06-16 (UTC)",
        "GAUNTLET_API_TOKENS: token 4 ends on 2026-06-22 (UTC)",
    ]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_it_is_in_the_log_once(stderr: Path, log_format: str) -> None:
    settings = {
        "GAUNTLET_CONCURRENCY": "1000",
        "GAUNTLET_MEMORY_MIB": "65536",
        "GAUNTLET_API_TOKENS": f"{TOKEN}@2026-01-01",
        "GAUNTLET_LOG_FORMAT": log_format,
    }
    with running_service(**settings):
        pass
    lines = stderr.read_text().splitlines()
    if log_format == "json":
        assert {json.loads(line)["level"] for line in lines} == {"warning"}
    memory, token = lines
    assert "1000 × 65536 MiB" in (json.loads(memory)["message"] if log_format == "json" else memory)
    assert "token 1 has ended on 2026-01-01" in token
    assert TOKEN not in stderr.read_text()
