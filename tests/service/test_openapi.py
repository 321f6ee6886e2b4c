"""Schemathesis over the whole OpenAPI document: what fits the schema works, what does not is refused, no 500."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from tests.conftest import ServiceProcess

OPERATIONS = ["GET /task", "POST /execute", "POST /grade", "GET /health", "GET /ready"]


@pytest.fixture(scope="session")
def schema(service: ServiceProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


def test_every_operation_is_tried(schema: schemathesis.BaseSchema) -> None:
    assert sorted(result.ok().label for result in schema.get_all_operations() if isinstance(result, Ok)) == sorted(
        OPERATIONS
    )


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_an_operation_keeps_to_its_schema(schema: Any, operation: str, mode: schemathesis.GenerationMode) -> None:
    method, path = operation.split()
    described = schema[path][method]
    if mode is schemathesis.GenerationMode.NEGATIVE and not (described.body or described.query):
        pytest.skip("it takes nothing that could be wrong")

    @given(case=described.as_strategy(generation_mode=mode))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def keeps_to_it(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(timeout=40)

    keeps_to_it()
