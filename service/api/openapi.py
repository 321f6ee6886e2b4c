"""What FastAPI cannot know when it describes the service: problem documents, and limits that are settings."""

from typing import Any

from fastapi import FastAPI

from service.api.models import ExecuteRequest, Problem
from service.episodes import EpisodeRequest
from service.settings import Settings

__all__ = ["complete"]


def complete(app: FastAPI, settings: Settings) -> None:
    """Has an app's OpenAPI document completed when it is asked for; it is made once, and kept."""
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
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _problem_schemas() -> dict[str, Any]:
    """The schemas that `problems.documented` refers to; FastAPI adds only those of application/json bodies."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), Problem.__name__: schema}
