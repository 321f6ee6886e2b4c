"""The models that the stand-in lists, as the Models API describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.offline.errors import ApiError, invalid

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

    from runner.answers import Json

__all__ = ["SERVED", "find_model", "list_models"]

_LIFECYCLES = ("active", "deprecated", "retired")
_PAGE, _LARGEST_PAGE = 20, 1000


def _model(
    name: str,
    title: str,
    created: str,
    *,
    lifecycle: str = "active",
    deprecated: str | None = None,
    retires: str | None = None,
    sizes: tuple[int, int] = (1_000_000, 128_000),
) -> Json:
    """Dates are days; `sizes` are the longest input and the longest output, in tokens."""
    return {
        "type": "model",
        "id": name,
        "display_name": title,
        "created_at": f"{created}T00:00:00Z",
        "lifecycle": lifecycle,
        "deprecated_at": deprecated and f"{deprecated}T00:00:00Z",
        "retires_at": retires and f"{retires}T00:00:00Z",
        "max_input_tokens": sizes[0],
        "max_tokens": sizes[1],
    }


# Newest first, as the API lists them. The days of deprecation are made up: what matters is that there are some.
_MODELS = (
    _model("claude-haiku-5-5", "Claude Haiku 5.5", "2026-10-07"),
    _model("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-09-28"),
    _model("claude-opus-5-5", "Claude Opus 5.5", "2026-09-21"),
    _model(
        "claude-sonnet-4-5",
        "Claude Sonnet 4.5",
        "2025-09-29",
        lifecycle="deprecated",
        deprecated="2026-08-01",
        retires="2026-11-30",
        sizes=(200_000, 64_000),
    ),
    _model(
        "claude-sonnet-4-20250514",
        "Claude Sonnet 4",
        "2025-05-22",
        lifecycle="retired",
        deprecated="2026-04-01",
        retires="2026-06-15",
        sizes=(200_000, 64_000),
    ),
)

SERVED = frozenset(model["id"] for model in _MODELS if model["lifecycle"] != "retired")
"""The models that answer."""


def find_model(name: str) -> Json:
    """Describe a model, retired or not.

    Raises:
        ApiError: 404.
    """
    for model in _MODELS:
        if model["id"] == name:
            return model
    raise ApiError(404, "not_found_error", f"model: {name}")


def list_models(query: QueryParams) -> Json:
    """One page of the catalogue, chosen by `lifecycle[]`, `limit` and `after_id` or `before_id`.

    Raises:
        ApiError: 400 naming the parameter.
    """
    found = [model for model in _MODELS if model["lifecycle"] in _wanted(query)]
    limit = _limit(query.get("limit", str(_PAGE)))
    if "before_id" in query:
        rest = found[: _position(found, "before_id", query["before_id"])]
        return _page(rest[-limit:], has_more=len(rest) > limit)
    rest = found[_position(found, "after_id", query["after_id"]) + 1 :] if "after_id" in query else found
    return _page(rest[:limit], has_more=len(rest) > limit)


def _wanted(query: QueryParams) -> list[str]:
    wanted = query.getlist("lifecycle[]")
    if strangers := set(wanted) - set(_LIFECYCLES):
        raise invalid(f"lifecycle: Input should be one of {', '.join(_LIFECYCLES)}, not {', '.join(sorted(strangers))}")
    return wanted or ["active", "deprecated"]


def _limit(value: str) -> int:
    if value not in map(str, range(1, _LARGEST_PAGE + 1)):
        raise invalid(f"limit: Input should be an integer from 1 to {_LARGEST_PAGE}")
    return int(value)


def _position(models: list[Json], parameter: str, name: str) -> int:
    for position, model in enumerate(models):
        if model["id"] == name:
            return position
    raise invalid(f"{parameter}: there is no model {name!r} in this list")


def _page(models: list[Json], *, has_more: bool) -> Json:
    return {
        "data": models,
        "has_more": has_more,
        "first_id": models[0]["id"] if models else None,
        "last_id": models[-1]["id"] if models else None,
    }
