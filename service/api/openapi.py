"""What FastAPI cannot know when it describes the service: problem documents, and what settings say."""

from collections.abc import Collection, Iterator
from typing import Any

from fastapi import FastAPI

from service.api.models import ExecuteRequest, Problem
from service.api.problems import documented
from service.episodes import EpisodeRequest
from service.settings import Settings

__all__ = ["complete"]


_TOKEN = {"type": "http", "scheme": "bearer", "description": "one of the service's API tokens"}


def complete(app: FastAPI, settings: Settings, *, public: Collection[str]) -> None:
    """Has an app's OpenAPI document completed when it is asked for; it is made once, and kept.

    Args:
        app: whose.
        settings: say which limits there are.
        public: paths that take no token.
    """
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        schemas = document["components"]["schemas"]
        schemas |= _problem_schemas()
        for model, field, maximum in (
            (ExecuteRequest, "timeout_s", settings.max_wall_time_s),
            (EpisodeRequest, "step_limit", settings.episode_steps),
            (EpisodeRequest, "time_limit_s", settings.episode_time_s),
        ):
            number, _ = schemas[model.__name__]["properties"][field]["anyOf"]
            number["maximum"] = maximum
        if settings.api_tokens is not None:
            document["components"]["securitySchemes"] = {"token": _TOKEN}
            for operation in _operations(document, but=public):
                operation["security"] = [{"token": []}]
                operation["responses"] |= _answers(401)
        if settings.client_requests is not None or settings.client_episodes is not None:
            for operation in _operations(document, but=public):
                if "503" in operation["responses"]:
                    operation["responses"] |= _answers(429)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any], *, but: Collection[str]) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        if path not in but:
            yield from methods.values()


def _answers(status: int) -> dict[str, Any]:
    return {str(code): answer for code, answer in documented(status).items()}


def _problem_schemas() -> dict[str, Any]:
    """The schemas that `problems.documented` refers to; FastAPI adds only those of application/json bodies."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), Problem.__name__: schema}
