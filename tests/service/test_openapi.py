"""Schemathesis over the whole OpenAPI document: what fits the schema works, what does not is refused, no 500."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from tests.conftest import ServiceProcess

WITH_INPUT = [
    "GET /task",
    "POST /execute",
    "POST /grade",
    "POST /grade/rows",
    "POST /trace",
    "POST /episodes",
    "GET /episodes/{episode_id}",
    "POST /episodes/{episode_id}/tools/{tool}",
    "DELETE /episodes/{episode_id}",
]
WITHOUT_INPUT = ["GET /health", "GET /ready", "GET /metrics"]
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.fixture(scope="session")
def schema(service: ServiceProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


def test_every_operation_is_tried(schema: schemathesis.BaseSchema) -> None:
    described = [result.ok().label for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert sorted(described) == sorted(WITH_INPUT + WITHOUT_INPUT)


@pytest.mark.parametrize(
    ("operation", "mode"),
    [(operation, POSITIVE) for operation in WITH_INPUT + WITHOUT_INPUT]
    + [(operation, NEGATIVE) for operation in WITH_INPUT],
)
def test_an_operation_keeps_to_its_schema(schema: Any, operation: str, mode: schemathesis.GenerationMode) -> None:
    method, path = operation.split()

    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def keeps_to_it(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(timeout=40)

    keeps_to_it()
